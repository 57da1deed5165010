//! Power cuts. Workloads that create, grow, wrap and trim a journal run on a disk that logs what it
//! is told; at points of that log the power is cut, the image is opened and compared with the truth,
//! goes on, and is cut again, during the recovery too.
//!
//! `POSTERN_POWER_CUTS` sets how many cuts (half as many of them double); 10,000 is the long run.

use tokio::time::Instant;

use super::backend::{CutDisk, Rng, Tear};
use super::rig::{CONTROLLERS, Rig, Step, append, controller, resolve};
use super::truth::{Finding, Truth, go_on, unusable};

/// Cuts of a plain `cargo test`, and how many of one workload's log.
const CUTS: usize = 1_000;
const CUTS_EACH: usize = 50;

/// When a workload takes a commit for acknowledged, and what shares one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Right,
    /// The wrong ways: each must be found.
    DeafDisk,
    AnswerThenCommit,
    CursorBefore,
    CursorAfter,
}

/// What a workload stresses.
#[derive(Clone, Copy, Debug)]
struct Profile {
    capacity: u64,
    largest: usize,
    steps: usize,
}

const PROFILES: [Profile; 4] = [
    // Wraps all the time.
    Profile { capacity: 40, largest: 8, steps: 60 },
    Profile { capacity: 600, largest: 200, steps: 40 },
    // Wraps with segments of a third of the ring.
    Profile { capacity: 4_000, largest: 1_500, steps: 16 },
    // Grows.
    Profile { capacity: 10_000, largest: 1_500, steps: 14 },
];

struct Workload {
    seed: u64,
    profile: Profile,
    disk: CutDisk,
    truth: Truth,
    created: usize,
    tears: &'static [Tear],
}

impl Workload {
    fn run(seed: u64, way: Way) -> Self {
        let mut rng = Rng(seed);
        let profile = PROFILES[rng.below(PROFILES.len())];
        let disk = CutDisk::default();
        let mut rig = Rig::open(&disk, profile.capacity).unwrap();
        let created = disk.position();
        let mut truth = Truth::new(created);
        for step in 0..profile.steps {
            if way == Way::DeafDisk && step == profile.steps / 2 {
                disk.ignore_syncs();
            }
            // Now and then the disk has no room: appends are refused, the rest is committed.
            let room = rng.below(12) != 0;
            rig.set_room(room);
            let steps = steps(&mut rng, &truth, profile, room);
            truth.begin(&steps, disk.position());
            if way == Way::AnswerThenCommit {
                truth.acknowledge(disk.position());
            }
            for group in apart(&steps, way) {
                assert!(rig.commit(&group).unwrap().into_iter().all(|taken| taken), "seed {seed}");
            }
            if way != Way::AnswerThenCommit {
                truth.acknowledge(disk.position());
            }
            if !room {
                let refused = [Step::Append(append(controller(0), 0, 1))];
                assert_eq!(rig.commit(&refused).unwrap(), [false], "seed {seed}");
            }
            assert_eq!(rig.head(), truth.chain(), "seed {seed}");
            if rng.below(12) == 0 {
                drop(rig);
                rig = Rig::open(&disk, profile.capacity).unwrap();
            }
        }
        // What a disk that ignores syncs loses is whatever was in its cache.
        let tears = if way == Way::DeafDisk { &[Tear::Nothing] } else { Tear::EACH };
        Self { seed, profile, disk, truth, created, tears }
    }
}

/// What is committed next: now and then a group of several controllers' appends, what an epoch turned
/// out to be, `safe` and a role; or no appends, as when the writer settles.
fn steps(rng: &mut Rng, truth: &Truth, profile: Profile, appends: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let unsafe_entries = truth.head() - truth.told();
    let mut room = usize::try_from(profile.capacity - unsafe_entries).unwrap();
    let first = rng.below(CONTROLLERS);
    if appends && rng.below(10) != 0 {
        for number in first..=first + rng.below(3) {
            let scale = [1, 10, 100, profile.largest][rng.below(4)];
            let count = (1 + rng.below(scale)).min(profile.largest).min(room);
            if count > 0 {
                let controller = controller(number % CONTROLLERS);
                let more = append(controller, truth.read_to(controller), count as u64);
                steps.push(Step::Append(more));
                room -= count;
            }
        }
    }
    if room > 0 && rng.below(10) == 0 {
        let controller = controller(first);
        steps.insert(0, resolve(controller, truth.read_to(controller), rng.next()));
        room -= 1;
    }
    if room < profile.largest || rng.below(3) == 0 {
        let rise = rng.next() % (unsafe_entries + 1);
        steps.insert(rng.below(steps.len() + 1), Step::Safe(truth.told() + rise));
    }
    if rng.below(10) == 0 {
        steps.push(Step::Role(truth.term() + 1));
    }
    steps
}

/// One commit; or, in the wrong ways, the cursors in a commit of their own.
fn apart(steps: &[Step], way: Way) -> Vec<Vec<Step>> {
    if !matches!(way, Way::CursorBefore | Way::CursorAfter) {
        return vec![steps.to_vec()];
    }
    let (mut entries, mut cursors) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Append(whole) => {
                let read_to = whole.cursor.index.0 - whole.transactions.len() as u64;
                let mut entry = whole.clone();
                // The cursor stays where it is, or comes to where it was put already.
                if way == Way::CursorAfter {
                    entry.cursor = super::rig::cursor(whole.controller, read_to);
                }
                entries.push(Step::Append(entry));
                let mut cursor = whole.clone();
                cursor.transactions.clear();
                cursors.push(Step::Append(cursor));
            }
            other => entries.push(other.clone()),
        }
    }
    if way == Way::CursorBefore { vec![cursors, entries] } else { vec![entries, cursors] }
}

#[derive(Debug, Default)]
struct Figures {
    cuts: usize,
    doubles: usize,
    in_recovery: usize,
    during_creation: usize,
    absent: usize,
    /// Unacknowledged commits that were there nevertheless: the outcome of a cut is unknown.
    surplus: usize,
    bytes: usize,
    findings: Vec<(String, Finding)>,
}

impl Figures {
    fn images(&self) -> usize {
        self.cuts + self.doubles
    }

    /// Cuts the power of one workload `cuts` times, and of `doubles` of these a second time.
    fn cut(&mut self, work: &Workload, cuts: usize, doubles: usize) {
        let mut rng = Rng(!work.seed);
        let end = work.disk.position();
        // One in twelve during the creation, which has few operations.
        let position = |number: usize, rng: &mut Rng| {
            rng.below(if number.is_multiple_of(12) { work.created } else { end } + 1)
        };
        let mut positions: Vec<_> = (0..cuts).map(|number| position(number, &mut rng)).collect();
        positions.sort_unstable();
        let mut images = work.disk.cuts();
        for (number, &at) in positions.iter().enumerate() {
            let tear = work.tears[rng.below(work.tears.len())];
            let image = images.image(at, tear, &mut rng);
            self.cuts += 1;
            self.bytes += image.len();
            // Spread evenly over the log.
            let double = (number + 1) * doubles / cuts > number * doubles / cuts;
            if let Err(finding) = self.after_cut(work, image, at, double, &mut rng) {
                let (seed, of) = (work.seed, work.profile.capacity);
                let place = format!(
                    "seed {seed}, capacity {of}, image {number} at {at} of {end}, {tear:?}, double {double}"
                );
                self.findings.push((place, finding));
            }
        }
    }

    fn after_cut(
        &mut self,
        work: &Workload,
        image: Vec<u8>,
        at: usize,
        double: bool,
        rng: &mut Rng,
    ) -> Result<(), Finding> {
        let capacity = work.profile.capacity;
        let created = at >= work.created;
        self.during_creation += usize::from(!created);
        let disk = CutDisk::with(image);
        let mut rig = match Rig::open(&disk, capacity) {
            Ok(rig) => rig,
            // The file has not got its name before it is whole and synced: it is made again.
            Err(_) if !created => {
                self.absent += 1;
                return Ok(());
            }
            Err(error) => return Err(unusable(error)),
        };
        let opened = disk.position();
        let seen = rig.seen().map_err(unusable)?;
        let mark = work.truth.check(&seen, at)?;
        let mut truth = work.truth.resume(&seen, mark, opened);
        self.surplus += usize::from(!work.truth.is_acknowledged(mark, at));
        go_on(&mut rig, &disk, &mut truth, &seen, capacity)?;
        let tail = rig.seen_from(seen.head.seq.0).map_err(unusable)?;
        truth.check(&tail, disk.position())?;
        if !double {
            return Ok(());
        }

        // The recovery's own writes are cut as often as those of the first append after it. Whatever
        // was seen once it was open stays seen; before that, either outcome of the first cut may come.
        drop(rig);
        self.doubles += 1;
        let end = disk.position();
        let again = if rng.coin() { rng.below(opened + 1) } else { rng.below(end + 1) };
        self.in_recovery += usize::from(again < opened);
        let tear = work.tears[rng.below(work.tears.len())];
        let image = disk.cut(again, tear, rng);
        self.bytes += image.len();
        let label = |finding| match finding {
            Finding::Unusable(what) => Finding::Unusable(format!("second at {again}: {what}")),
            other => other,
        };
        let disk = CutDisk::with(image);
        let mut rig = match Rig::open(&disk, capacity) {
            Err(_) if !created && again < opened => return Ok(()),
            other => other.map_err(unusable).map_err(label)?,
        };
        let seen = rig.seen().map_err(unusable)?;
        let truth = if again < opened { &work.truth } else { &truth };
        let mark = truth.check(&seen, if again < opened { at } else { again })?;
        let mut truth = truth.resume(&seen, mark, disk.position());
        go_on(&mut rig, &disk, &mut truth, &seen, capacity)?;
        drop(rig);
        let rig = Rig::open(&disk, capacity).map_err(unusable)?;
        let tail = rig.seen_from(seen.head.seq.0).map_err(unusable)?;
        truth.check(&tail, disk.position()).map(|_| ())
    }
}

fn wanted_cuts() -> usize {
    let wanted = std::env::var("POSTERN_POWER_CUTS").ok();
    wanted.map_or(CUTS, |text| text.parse().expect("POSTERN_POWER_CUTS is a number"))
}

fn report(what: &str, figures: &Figures, since: Instant) {
    let seconds = since.elapsed().as_millis().max(1);
    let Figures { cuts, doubles, in_recovery, during_creation, absent, surplus, bytes, .. } =
        figures;
    println!(
        "{what}: {cuts} power cuts ({during_creation} during creation, {absent} of them as good as \
         absent; {surplus} with a surplus commit), {doubles} double ({in_recovery} in the recovery), {} images/s, {} KiB a file",
        figures.images() as u128 * 1_000 / seconds,
        bytes / 1_024 / figures.images().max(1),
    );
}

#[test]
fn what_was_acknowledged_survives_every_power_cut_and_a_second_one_in_the_recovery() {
    let since = Instant::now();
    let cuts = wanted_cuts();
    let mut figures = Figures::default();
    let mut seed = 0;
    while figures.cuts < cuts || figures.doubles < cuts / 2 {
        figures.cut(&Workload::run(seed, Way::Right), CUTS_EACH, CUTS_EACH.div_ceil(2));
        assert!(figures.findings.is_empty(), "{:#?}", figures.findings);
        seed += 1;
    }
    report("right", &figures, since);
    assert!(figures.during_creation * 20 > figures.cuts, "few cuts in the creation: {figures:?}");
    assert!(figures.in_recovery * 5 > figures.doubles, "few cuts in the recovery: {figures:?}");
    assert!(figures.surplus * 50 > figures.cuts, "few cuts in a commit: {figures:?}");
}

/// The same cuts, of workloads that do it wrong. `found` picks what must be reported.
fn reports(way: Way, found: impl Fn(&Finding) -> bool) {
    let since = Instant::now();
    let mut figures = Figures::default();
    for seed in 0..4 {
        figures.cut(&Workload::run(seed, way), 40, 0);
    }
    report(&format!("{way:?}, found {}", figures.findings.len()), &figures, since);
    let found = figures.findings.iter().filter(|(_, finding)| found(finding)).count();
    assert!(found > 0, "{way:?} was not found out: {:#?}", figures.findings);
}

#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    reports(Way::DeafDisk, |finding| matches!(finding, Finding::Lost(_)));
}

#[test]
fn an_answer_before_the_commit_is_found_out() {
    reports(Way::AnswerThenCommit, |finding| matches!(finding, Finding::Lost(_)));
}

#[test]
fn a_cursor_committed_before_its_records_is_found_out() {
    reports(Way::CursorBefore, |finding| matches!(finding, Finding::Lost(_)));
}

#[test]
fn a_cursor_committed_after_its_records_is_found_out() {
    reports(Way::CursorAfter, |finding| matches!(finding, Finding::Doubled(_)));
}

/// A creation that was cut is made again, whatever lies there under the temporary name.
#[test]
fn what_a_cut_creation_left_is_swept_away_by_the_next() {
    let disk = CutDisk::default();
    drop(Rig::open(&disk, 100).unwrap());
    let mut rng = Rng(1);
    for at in 0..=disk.position() {
        let directory = tempfile::tempdir().unwrap();
        let left = crate::journal::path(directory.path()).with_extension("redb.new");
        std::fs::write(&left, disk.cut(at, Tear::Sectors, &mut rng)).unwrap();
        let mut rig = Rig::open_in(directory.path(), 100).unwrap();
        assert_eq!(rig.commit(&[Step::Append(append(controller(0), 0, 3))]).unwrap(), [true]);
        drop(rig);
        let seen = Rig::open_in(directory.path(), 100).unwrap().seen().unwrap();
        assert_eq!(seen.entries.len(), 3);
        assert!(!left.exists(), "a part of a journal lies about");
    }
}

/// Otherwise the seed of a failure would be worth nothing.
#[test]
fn the_same_seed_gives_the_same_images() {
    let image = || {
        let work = Workload::run(3, Way::Right);
        let at = work.disk.position() / 2;
        work.disk.cut(at, Tear::Sectors, &mut Rng(1))
    };
    assert!(image() == image(), "two runs of one seed differ");
}
