//! Backups of a site's store: made whole or not at all, refused when anything about them changed.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;

use postern_protocol::{RoleTerm, Timestamp};

use super::*;
use crate::clock;
use crate::role::{Belief, State};
use crate::site::{self, First, Second, Site};
use crate::store::backup::Depth;
use crate::store::snapshot::{self, Progress};
use crate::store::{Audit, Store};

struct Fixture {
    root: tempfile::TempDir,
    dir: PathBuf,
    backups: PathBuf,
    who: Who,
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (dir, backups) = (root.path().join("a"), root.path().join("backups"));
        fs::create_dir(&backups).unwrap();
        first(&dir, "north", "main");
        let who = Who { site: "north".into(), group: "main".into(), server: "a".into() };
        let fixture = Self { root, dir, backups, who };
        fixture.note(300);
        fixture
    }

    fn note(&self, lines: usize) {
        let mut store = Store::open(&self.dir.join(site::STORE), "a").unwrap();
        for line in 0..lines {
            store
                .record_here(&Audit::now("test", "noted", &line.to_string(), "something"))
                .unwrap();
        }
    }

    fn make(&self, name: &str) -> Result<Sidecar, BackupError> {
        let place = Place { dir: self.backups.clone(), name: name.to_owned() };
        self.make_at(&place)
    }

    fn make_at(&self, place: &Place) -> Result<Sidecar, BackupError> {
        let store = self.dir.join(site::STORE);
        let take = |to: &Path, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>| {
            snapshot::take(&store, to, watch)
        };
        make(&self.who, &self.dir, place, take, &mut go_on)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.backups.join(name)
    }
}

fn first(dir: &Path, site: &str, group: &str) {
    let first = First { site, group, name: "a", address: "127.0.0.1:7443", listen: None };
    site::init(dir, &first).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_one_private_file_with_a_sidecar_that_it_agrees_with() {
    let fixture = Fixture::new();
    let made = fixture.make("one").unwrap();
    assert_eq!(names(&fixture.backups), ["one", "one.json"]);
    for name in ["one", "one.json"] {
        let permissions = fs::metadata(fixture.path(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
    }
    assert_eq!((made.rows.audit, made.rows.transactions), (301, 0));
    assert_eq!((made.role_term, made.active.as_str()), (RoleTerm(1), "a"));
    for depth in [Depth::Rows, Depth::Indexes] {
        let verified = verify(&fixture.path("one"), depth).unwrap();
        assert_eq!(verified.sidecar, Some(made.clone()));
    }
    assert_eq!(names(&fixture.backups), ["one", "one.json"], "looking leaves nothing behind");
    assert!(matches!(fixture.make("one"), Err(BackupError::Exists { .. })));

    // Where nothing can be written, it can be verified.
    let kept = list(&fixture.backups).unwrap();
    assert_eq!((kept.len(), &kept[0].sidecar), (1, &made));
    fs::remove_file(fixture.path("one.json")).unwrap();
    assert_eq!(verify(&fixture.path("one"), Depth::Rows).unwrap().sidecar, None);
    assert_eq!(list(&fixture.backups).unwrap(), [], "without a sidecar it is none of ours");
}

#[test]
fn a_changed_backup_is_refused_whatever_changed() {
    let fixture = Fixture::new();
    fixture.make("good").unwrap();
    let good = fs::read(fixture.path("good")).unwrap();
    let bad = fixture.path("bad");
    fs::copy(fixture.path("good.json"), fixture.path("bad.json")).unwrap();
    let mut at = 7_usize;
    for _ in 0..48 {
        at = (at * 1_103_515_245 + 12_345) % good.len();
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&bad, &bytes).unwrap();
        let error = verify(&bad, Depth::Rows).unwrap_err();
        assert_eq!(error.exit_code(), exit::STORE, "bit {at}: {error}");
        assert!(error.hint().is_some(), "{error}");
    }
    for length in [0, 1, 99, 100, 4_096, 8_192, good.len() / 2, good.len() - 1] {
        fs::write(&bad, &good[..length]).unwrap();
        let with = verify(&bad, Depth::Rows).unwrap_err();
        let sidecar = fs::read(fixture.path("bad.json")).unwrap();
        fs::remove_file(fixture.path("bad.json")).unwrap();
        let without = verify(&bad, Depth::Rows).unwrap_err();
        fs::write(fixture.path("bad.json"), sidecar).unwrap();
        for error in [with, without] {
            assert!(error.hint().is_some(), "{length} bytes: {error}");
            assert!(error.to_string().contains("bad"), "{error}");
        }
    }
    fs::write(&bad, [&good[..], b"more"].concat()).unwrap();
    assert!(verify(&bad, Depth::Rows).unwrap_err().to_string().contains("longer"));
    fs::write(fixture.path("bad.json"), "{}").unwrap();
    assert!(matches!(verify(&bad, Depth::Rows), Err(BackupError::Sidecar { .. })));
}

#[test]
fn a_store_that_was_not_closed_is_no_backup() {
    let fixture = Fixture::new();
    let _open = Store::open(&fixture.dir.join(site::STORE), "a").unwrap();
    fixture.note(1);
    let error = verify(&fixture.dir.join(site::STORE), Depth::Rows).unwrap_err();
    assert!(error.to_string().contains("not closed"), "{error}");
    assert!(error.hint().unwrap().contains("backup create"));
}

#[test]
fn nothing_is_left_where_no_backup_could_be_made() {
    let fixture = Fixture::new();
    let nowhere = Place { dir: fixture.backups.join("nowhere"), name: "one".into() };
    let error = fixture.make_at(&nowhere).unwrap_err();
    assert!(matches!(error, BackupError::NoDirectory { .. }), "{error}");
    assert!(!nowhere.dir.exists(), "a disk that is not mounted is not made up for");

    let place = Place { dir: fixture.backups.clone(), name: "one".into() };
    let cancelled = make(
        &fixture.who,
        &fixture.dir,
        &place,
        |to, watch| snapshot::take(&fixture.dir.join(site::STORE), to, watch),
        &mut |_| ControlFlow::Break(()),
    );
    assert!(cancelled.is_err());
    assert_eq!(names(&fixture.backups), [""; 0]);

    // What a killed server left is removed; what looks like it and is another's is not.
    let now = clock::now();
    let left = Place::within(&fixture.backups, &fixture.who, now);
    let other = Who { server: "b".into(), ..fixture.who.clone() };
    let others = Place::within(&fixture.backups, &other, now);
    for Place { name, .. } in [&left, &others] {
        fs::write(fixture.path(&format!("{name}.unverified")), "half").unwrap();
    }
    fixture.make("one").unwrap();
    let expected = format!("{}.unverified", others.name);
    assert_eq!(names(&fixture.backups), [expected.as_str(), "one", "one.json"]);
}

#[test]
fn only_our_oldest_go_and_the_newest_stays() {
    let fixture = Fixture::new();
    let at = |hour: i64| Timestamp(1_700_000_000_000 + hour * 3_600_000);
    let mut made = Vec::new();
    for hour in 0..5 {
        let place = Place::within(&fixture.backups, &fixture.who, at(hour));
        let mut sidecar = fixture.make_at(&place).unwrap();
        sidecar.at = clock::rfc3339(at(hour)).unwrap();
        sidecar.write(&place.path()).unwrap();
        made.push(place.name);
    }
    // Another server's, a file without a sidecar, a sidecar that speaks of somebody else's file.
    let other = Who { server: "b".into(), ..fixture.who.clone() };
    let theirs = Place::within(&fixture.backups, &other, at(-5));
    let of = |name: &str| Sidecar::of(&fixture.path(name)).unwrap().unwrap();
    let mut sidecar = of(&made[0]);
    // And one of a store that this server had before.
    let former = Place::within(&fixture.backups, &fixture.who, at(-4));
    fs::copy(fixture.path(&made[0]), former.path()).unwrap();
    sidecar.store = "lost".into();
    sidecar.file.clone_from(&former.name);
    sidecar.at = clock::rfc3339(at(-4)).unwrap();
    sidecar.write(&former.path()).unwrap();
    let mut sidecar = of(&made[0]);
    fs::copy(fixture.path(&made[0]), theirs.path()).unwrap();
    sidecar.who = other;
    sidecar.at = clock::rfc3339(at(-5)).unwrap();
    sidecar.file.clone_from(&theirs.name);
    sidecar.write(&theirs.path()).unwrap();
    fs::write(fixture.path("north-main-a-notes.sqlite"), "precious").unwrap();
    sidecar.who = fixture.who.clone();
    sidecar.file = "../a/store.sqlite".into();
    fs::write(fixture.path("evil.json"), serde_json::to_string(&sidecar).unwrap()).unwrap();

    let gone = prune(&fixture.backups, &of(&made[4]), 2).unwrap();
    let expected: Vec<PathBuf> = made[..3].iter().map(|name| fixture.path(name)).collect();
    assert_eq!(gone, expected);
    let left: Vec<String> =
        list(&fixture.backups).unwrap().into_iter().map(|kept| kept.sidecar.file).collect();
    assert_eq!(left, [theirs.name.clone(), former.name, made[3].clone(), made[4].clone()]);
    assert!(fixture.path("north-main-a-notes.sqlite").exists());
    assert!(fixture.dir.join(site::STORE).exists());

    // Whatever the clock said, the one that was just made is not what goes.
    let gone = prune(&fixture.backups, &of(&made[3]), 1).unwrap();
    assert_eq!(gone, [fixture.path(&made[4])]);
    assert_eq!(prune(&fixture.backups, &of(&made[3]), 1).unwrap(), [""; 0].map(PathBuf::from));
}

fn restored(fixture: &Fixture, from: &str, set_aside: bool) -> Result<Restored, BackupError> {
    restore(&Order { from: &fixture.path(from), dir: &fixture.dir, set_aside })
}

#[test]
fn a_restored_store_is_another_one_that_no_document_names() {
    let fixture = Fixture::new();
    let made = fixture.make("one").unwrap();
    fixture.note(5);
    let before = fs::read(fixture.dir.join(site::STORE)).unwrap();
    let error = restored(&fixture, "one", false).unwrap_err();
    assert!(matches!(error, BackupError::Occupied { .. }), "{error}");
    assert_eq!(fs::read(fixture.dir.join(site::STORE)).unwrap(), before);

    let done = restored(&fixture, "one", true).unwrap();
    let aside = done.set_aside.unwrap();
    assert_eq!(fs::read(&aside).unwrap(), before, "what was there is kept as it was");
    let store = Store::open(&fixture.dir.join(site::STORE), "a").unwrap();
    assert_eq!(store.name().store, done.store);
    assert_ne!(done.store, made.store);
    let lines = store.audit(0, 5_000).unwrap();
    assert_eq!(lines.len(), 302);
    assert_eq!((lines[301].event.as_str(), lines[301].actor.as_str()), ("restore", "operator"));
    assert!(lines[301].detail.contains(&made.store), "{}", lines[301].detail);

    let (signed, term) = store.role().unwrap().unwrap();
    let document = serde_json::from_str(&signed.document).unwrap();
    let belief = Belief::new(store.name(), "main", signed, document).unwrap();
    assert_eq!((term.term, belief.confirmed().state()), (RoleTerm(1), State::SetAside));
    let permissions = fs::metadata(fixture.dir.join(site::STORE)).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
}

/// Role terms never repeat: neither those of after the backup, which nobody here knows, nor those of
/// an earlier restoration of the same backup.
#[test]
fn role_terms_go_on_above_any_that_were_minted_since() {
    let fixture = Fixture::new();
    fixture.make("one").unwrap();
    let floor = || {
        let store = Store::open(&fixture.dir.join(site::STORE), "a").unwrap();
        store.term_floor().unwrap()
    };
    assert_eq!(floor(), RoleTerm(0));
    restored(&fixture, "one", true).unwrap();
    let first = floor();
    assert!(first > RoleTerm(1_000_000));
    let copy = fixture.root.path().join("copy");
    for (seconds, least) in [(0, (1 << 20) + 1), (9_000_000_000, 9_000_000_000)] {
        fs::copy(fixture.path("one"), &copy).unwrap();
        let now = Timestamp(seconds * 1_000);
        Store::adopt(&copy, "a", now, &Audit::at(now, "operator", "restore", "a", "test")).unwrap();
        let store = Store::open(&copy, "a").unwrap();
        assert_eq!(store.term_floor().unwrap(), RoleTerm(least));
    }
}

/// A log that belongs to the lost store would be taken for the restored one's.
#[test]
fn the_log_of_a_lost_store_is_set_aside_with_it() {
    let fixture = Fixture::new();
    fixture.make("one").unwrap();
    let store = fixture.dir.join(site::STORE);
    let log = snapshot::beside(&store, "-wal");
    let open = Store::open(&store, "a").unwrap();
    fixture.note(9);
    let bytes = fs::read(&log).unwrap();
    assert!(!bytes.is_empty());
    drop(open);
    fs::remove_file(&store).unwrap();
    fs::write(&log, &bytes).unwrap();
    assert!(matches!(restored(&fixture, "one", false), Err(BackupError::Occupied { .. })));
    let done = restored(&fixture, "one", true).unwrap();
    assert_eq!(fs::read(done.set_aside.unwrap()).unwrap(), bytes);
    let store = Store::open(&store, "a").unwrap();
    assert_eq!(store.audit(0, 5_000).unwrap().len(), 302);
}

#[test]
fn a_backup_of_another_site_authority_or_group_is_refused() {
    let fixture = Fixture::new();
    fixture.make("one").unwrap();
    for (site, group, expected) in
        [("south", "main", "site"), ("north", "else", "group"), ("north", "main", "authority")]
    {
        let dir = fixture.root.path().join(format!("{site}-{group}"));
        first(&dir, site, group);
        fs::remove_file(dir.join(site::STORE)).unwrap();
        let error = restore(&Order { from: &fixture.path("one"), dir: &dir, set_aside: false });
        let error = error.unwrap_err();
        assert!(
            matches!(error, BackupError::Foreign { what, .. } if what == expected),
            "{expected}: {error}"
        );
        assert!(!dir.join(site::STORE).exists());
    }
    // The other server of the site may take it.
    let b = fixture.root.path().join("b");
    let second = Second { join: &fixture.dir, name: "b", address: "127.0.0.1:7444", listen: None };
    site::join(&b, &second).unwrap();
    let done = restore(&Order { from: &fixture.path("one"), dir: &b, set_aside: true }).unwrap();
    assert_eq!(done.server, "b");
}

#[test]
fn nothing_is_restored_under_a_running_server_or_from_a_bad_file() {
    let fixture = Fixture::new();
    fixture.make("one").unwrap();
    let lock = site::Lock::take(&fixture.dir).unwrap();
    assert_eq!(restored(&fixture, "one", true).unwrap_err().exit_code(), exit::LOCKED);
    drop(lock);
    let mut bytes = fs::read(fixture.path("one")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(fixture.path("one"), bytes).unwrap();
    let before = fs::read(fixture.dir.join(site::STORE)).unwrap();
    assert_eq!(restored(&fixture, "one", true).unwrap_err().exit_code(), exit::STORE);
    assert_eq!(fs::read(fixture.dir.join(site::STORE)).unwrap(), before);
    assert!(!names(&fixture.dir).iter().any(|name| name.contains("restoring")));
    assert!(Site::open(&fixture.dir).is_ok());
}
