//! Logs of other kinds, as further drivers bring them: one that names its epoch on each page, and one
//! that can be read only once. The collector is the same.

use postern_protocol::Digest;

use super::*;

const NAMED: LogKind = LogKind::Named { continuity: Continuity::Proven };

/// A gap by its ends.
type Missing = (u64, u64, Continuity);

/// What came of a run: records by (epoch, index), gaps by their ends.
fn told(stored: &[Transaction]) -> (Vec<(EpochId, u64)>, Vec<Missing>) {
    let record = |each: &Transaction| match each.origin {
        Origin::Controller { epoch, index, .. } => Some((epoch, index.0)),
        Origin::Gateway { .. } => None,
    };
    let gap = |each: &Transaction| match each.kind {
        Kind::Gap(Gap { first, last: Some(last), continuity, .. }) => {
            Some((first.0, last.0, continuity))
        }
        _ => None,
    };
    (stored.iter().filter_map(record).collect(), stored.iter().filter_map(gap).collect())
}

/// A controller that names its epochs and says itself what it has lost.
struct Named {
    epoch: EpochId,
    oldest: u64,
    next: u64,
    committed: Option<u64>,
    /// What was committed last.
    durable: Option<(EpochId, u64)>,
    /// Every exchange.
    asked: Vec<&'static str>,
    /// When it was asked how it is.
    looks: Vec<Duration>,
}

fn epoch(number: u8) -> EpochId {
    EpochId([number; 16])
}

impl Named {
    fn of(epoch: EpochId, oldest: u64, next: u64) -> Self {
        Self {
            epoch,
            oldest,
            next,
            committed: None,
            durable: None,
            asked: Vec::new(),
            looks: Vec::new(),
        }
    }

    fn run(&mut self, machine: &mut Machine, mut now: Instant) -> Vec<Transaction> {
        let (mut stored, began) = (Vec::new(), now);
        for _ in 0..200 {
            let passed = i64::try_from((now - began).as_millis()).unwrap();
            let at = Now { utc: Timestamp(passed), ..at(now) };
            let action = machine.action(at);
            match action {
                Action::Identify => self.asked.push("identify"),
                Action::Status => {
                    self.asked.push("status");
                    self.looks.push(now - began);
                }
                Action::FindBounds => self.asked.push("bounds"),
                Action::Fetch(_) => self.asked.push("fetch"),
                _ => {}
            }
            match action {
                Action::Wait { until } => now = until,
                Action::Identify => machine.on_identity(Ok(identity()), at),
                Action::Status => machine.on_status(Ok(Status::default()), at.utc, at),
                Action::FindBounds => {
                    let (oldest, newest) = (Index(self.oldest), Index(self.next - 1));
                    let bounds = Bounds { epoch: Some(self.epoch), oldest, newest };
                    machine.on_bounds(Ok((self.oldest < self.next).then_some(bounds)), at);
                }
                Action::Fetch(span) => {
                    self.committed = span.committed.map(|(index, _)| index.0);
                    let of_this_life = self.durable.filter(|(epoch, _)| span.epoch == Some(*epoch));
                    assert_eq!(self.committed, of_this_life.map(|(_, index)| index));
                    let from = span.from.0.max(self.oldest);
                    let upto = self.next.min(from + 5);
                    let record = |index| Log::new(100, 1).record(index);
                    let records: Vec<_> = (from..upto).map(record).collect();
                    let then = if upto >= self.next { Then::Absent } else { Then::More };
                    let page = Page { epoch: Some(self.epoch), records, then };
                    machine.on_page(Ok(page), at);
                }
                Action::Commit(append) => {
                    self.durable = Some((append.cursor.epoch, append.cursor.index.0));
                    stored.extend(append.transactions);
                    machine.on_commit(Ok(()), at);
                }
                other => panic!("{other:?}"),
            }
        }
        stored
    }
}

impl Log {
    fn record(&self, index: u64) -> Record {
        let log = Self { first: index, next: index + 1, ..self.clone() };
        log.find(Index(index)).unwrap()
    }
}

#[test]
fn a_log_that_names_its_epoch_is_never_read_twice_and_its_restarts_are_its_own() {
    let now = Instant::now();
    let mut machine = machine(NAMED, None, 0, now);
    let mut board = Named::of(epoch(7), 3, 12);
    let (records, gaps) = told(&board.run(&mut machine, now));
    assert_eq!(records, (3..12).map(|index| (epoch(7), index)).collect::<Vec<_>>());
    assert_eq!(gaps, [(1, 2, Continuity::Unproven)]);
    assert_eq!(board.committed, Some(11), "it is told what is durable");

    // It overwrote some: the controller says so, and nothing else could have happened.
    (board.oldest, board.next) = (20, 25);
    let (records, gaps) = told(&board.run(&mut machine, now));
    assert_eq!(records.len(), 5);
    assert_eq!(gaps, [(12, 19, Continuity::Proven)]);

    // It began anew, and has overtaken us since.
    (board.epoch, board.oldest, board.next) = (epoch(8), 1, 40);
    let stored = board.run(&mut machine, now);
    let (records, _) = told(&stored);
    assert_eq!(records, (1..40).map(|index| (epoch(8), index)).collect::<Vec<_>>());
    let restarted = Kind::ControllerReset(ResetCause::LogRestarted { predecessor: epoch(7) });
    assert!(stored.iter().any(|each| each.kind == restarted));
    assert_eq!(machine.report().contradictions, 0);
}

/// A log that was lost and had overrun before anybody looked: what it overwrote of its new life was told
/// with the name of that life, and stood in the store as if it might be of any.
#[test]
fn what_a_named_log_overwrote_before_its_new_life_was_met_is_of_that_life() {
    let now = Instant::now();
    let mut machine = machine(NAMED, None, 0, now);
    let mut board = Named::of(epoch(7), 1, 12);
    board.run(&mut machine, now);
    (board.epoch, board.oldest, board.next) = (epoch(8), 6, 9);
    let (records, gaps) = told(&board.run(&mut machine, now));
    assert_eq!(records, [6, 7, 8].map(|index| (epoch(8), index)));
    assert!(gaps.contains(&(1, 5, Continuity::Proven)), "{gaps:?}");
}

/// On a shared line every exchange that is not needed is somebody else's delay.
#[test]
fn a_quiet_look_at_a_log_that_names_its_epoch_is_one_exchange() {
    let now = Instant::now();
    let mut machine = machine(NAMED, None, 0, now);
    let mut board = Named::of(epoch(7), 1, 3);
    board.run(&mut machine, now);
    let of = |what: &str| board.asked.iter().filter(|asked| **asked == what).count();
    assert_eq!(board.asked[..4], ["identify", "status", "bounds", "fetch"]);
    // Two seconds between looks, ten between questions for the clock.
    assert!(of("status") > 5 && of("fetch") >= 4 * of("status"), "{:?}", board.asked);
    assert_eq!((of("identify"), of("bounds")), (1, 1));
}

/// An index of the life before, acknowledged in the next one, would throw away what nobody has read.
#[test]
fn nothing_of_another_life_is_acknowledged() {
    let now = Instant::now();
    let mut machine = machine(NAMED, None, 0, now);
    let mut board = Named::of(epoch(7), 1, 30);
    board.run(&mut machine, now);
    assert_eq!(board.committed, Some(29));
    (board.epoch, board.next) = (epoch(8), 60);
    board.run(&mut machine, now);
    assert_eq!(board.committed, Some(59), "each read was compared on the way");
    assert_eq!(board.durable, Some((epoch(8), 59)));
}

#[test]
fn a_source_that_can_be_read_only_once_is_numbered_by_us_and_told_what_is_durable() {
    let now = Instant::now();
    let mut machine = machine(LogKind::Volatile, None, 0, now);
    // It shows one at a time and forgets it when it is known to be durable. Before the fourth it says
    // that two were lost.
    let (mut shown, mut stored, mut clock) = (0, Vec::new(), now);
    for _ in 0..200 {
        let at = at(clock);
        match machine.action(at) {
            Action::Wait { until } => clock = until,
            Action::Identify => machine.on_identity(Ok(identity()), at),
            Action::Status => machine.on_status(Ok(Status::default()), at.utc, at),
            Action::Fetch(span) if shown < 6 => {
                let durable = span.committed.map_or(0, |(index, _)| index.0);
                assert_eq!(span.from.0, durable + 1, "the one before is durable by now");
                let lost = u64::from(shown == 3) * 2;
                shown += 1;
                let records = vec![Log::new(100, 1).record(span.from.0 + lost)];
                machine.on_page(Ok(Page { epoch: None, records, then: Then::More }), at);
            }
            Action::Fetch(_) => {
                let page = Page { epoch: None, records: Vec::new(), then: Then::Absent };
                machine.on_page(Ok(page), at);
            }
            Action::Commit(append) => {
                stored.extend(append.transactions);
                machine.on_commit(Ok(()), at);
            }
            other => panic!("{other:?}"),
        }
    }
    let (records, gaps) = told(&stored);
    let indices: Vec<_> = records.iter().map(|(_, index)| *index).collect();
    assert_eq!(indices, [1, 2, 3, 6, 7, 8]);
    assert_eq!(gaps, [(4, 5, Continuity::Proven)]);
}

#[test]
fn a_damaged_answer_costs_no_back_off_and_a_second_one_in_a_row_does() {
    let began = Instant::now();
    let mut machine = machine(NAMED, None, 0, began);
    Named::of(epoch(7), 1, 12).run(&mut machine, began);
    // Later than whatever it waits for.
    let mut now = at(began + Duration::from_mins(10));
    let damaged = || Err(DriverError::Damaged);
    assert!(matches!(machine.action(now), Action::Status));
    machine.on_status(Ok(Status::default()), now.utc, now);
    for index in 12..15 {
        assert!(matches!(machine.action(now), Action::Fetch(_)));
        machine.on_page(damaged(), now);
        assert!(matches!(machine.action(now), Action::Fetch(_)), "it goes on, without a greeting");
        let records = vec![Log::new(100, 1).record(index)];
        let page = Page { epoch: Some(epoch(7)), records, then: Then::Absent };
        machine.on_page(Ok(page), now);
        assert!(matches!(machine.action(now), Action::Commit(_)));
        machine.on_commit(Ok(()), now);
        let Action::Wait { until } = machine.action(now) else { panic!("it rests") };
        let passed = until - now.monotonic;
        now.utc.0 += i64::try_from(passed.as_millis()).unwrap();
        now.monotonic = until;
    }
    for _ in 0..2 {
        assert!(matches!(machine.action(now), Action::Fetch(_)));
        machine.on_page(damaged(), now);
    }
    let Action::Wait { until } = machine.action(now) else { panic!("nobody waits") };
    assert!(until >= now.monotonic + settings().poll);
    assert!(matches!(machine.action(at(until)), Action::Identify));
}

#[test]
fn controllers_that_were_met_together_are_not_asked_how_they_are_together() {
    let now = Instant::now();
    let looks: std::collections::BTreeSet<Duration> = (0..32)
        .map(|serial| {
            let controller = ControllerId::link(70_000 + serial);
            let mint = Box::new(|| epoch(1));
            let of = NAMED;
            let mut machine = Machine::new(controller, of, None, settings(), mint, at(now));
            let mut board = Named::of(epoch(7), 1, 2);
            board.run(&mut machine, now);
            board.looks[1]
        })
        .collect();
    // They rest for up to two seconds between their looks.
    assert!(
        looks.len() >= 2 && looks.iter().all(|look| *look <= Duration::from_secs(12)),
        "{looks:?}"
    );
}

/// A log that was cleared and has recorded nothing yet is no dispute: nothing contradicts anything.
#[test]
fn a_log_that_names_its_epoch_and_was_emptied_is_quiet_until_its_first_record() {
    let now = Instant::now();
    let mut machine = machine(NAMED, None, 0, now);
    let mut board = Named::of(epoch(7), 1, 3);
    board.run(&mut machine, now);
    (board.epoch, board.oldest, board.next) = (epoch(8), 1, 1);
    let records = told(&board.run(&mut machine, now)).0;
    assert_eq!(records, []);
    assert_eq!((machine.report().stage, machine.report().contradictions), (Stage::Online, 0));
    (board.epoch, board.oldest, board.next) = (epoch(8), 1, 3);
    let records = told(&board.run(&mut machine, now)).0;
    assert_eq!(records, [(epoch(8), 1), (epoch(8), 2)]);
}

/// A counter that the driver reads says how many were lost, and nothing of what happened meanwhile.
#[test]
fn what_lies_behind_a_gap_is_proven_only_where_the_controller_names_its_log() {
    let now = Instant::now();
    let mut machine = machine(LogKind::Named { continuity: Continuity::Unproven }, None, 0, now);
    let mut board = Named::of(epoch(7), 1, 12);
    board.run(&mut machine, now);
    (board.oldest, board.next) = (20, 25);
    let (_, gaps) = told(&board.run(&mut machine, now));
    assert_eq!(gaps, [(12, 19, Continuity::Unproven)]);
}

/// Regression: the first look counted as a backlog, of which one is read in each round. On a line of thirty units each had to
/// wait for as many rounds as there were units before it, and whoever showed a card there had gone.
#[test]
fn the_first_look_at_a_log_that_can_be_read_only_once_is_no_backlog() {
    let now = Instant::now();
    let cursor = Cursor { epoch: epoch(7), index: Index(1), anchor: Digest::of("a record", &[]) };
    for (kind, is_backlog) in [(LogKind::Volatile, false), (NAMED, true)] {
        let mut machine = machine(kind, Some(cursor), 0, now);
        for _ in 0..3 {
            match machine.action(at(now)) {
                Action::Identify => machine.on_identity(Ok(identity()), at(now)),
                Action::Status => machine.on_status(Ok(Status::default()), Timestamp(0), at(now)),
                Action::Fetch(_) => assert_eq!(machine.is_draining(), is_backlog, "{kind:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(machine.reads_next());
    }
}
