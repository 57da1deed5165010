//! Every way of falsifying a good run that the checker must notice.

use postern_protocol::transaction::{
    Continuity, Credential, DenyReason, Direction, Door, Gap, GapReason, RawRecord, ResetCause,
};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Kind, RoleTerm, Seq};

use super::good::{
    JOURNAL, LOST, RECORDS, controllers, epoch, gap, good_replicated_run, place_in, proven, record,
};
use crate::checker::*;
use crate::random::Random;

/// The position of a row that `wanted` picks, chosen by `at`.
pub(super) fn pick(rows: &[Row], at: usize, wanted: impl Fn(&Row) -> bool) -> usize {
    let places: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| wanted(row)).map(|(place, _)| place).collect();
    places[at % places.len()]
}

pub(super) fn recorded(rows: &[Row], at: usize) -> usize {
    pick(rows, at, |row| row.index.is_some())
}

/// The next row of the same controller and epoch that has an index.
fn successor(rows: &[Row], at: usize) -> Option<usize> {
    let row = &rows[at];
    (at + 1..rows.len()).find(|next| {
        let next = &rows[*next];
        (next.controller, next.epoch) == (row.controller, row.epoch) && next.index.is_some()
    })
}

/// Puts a row behind all others, made from the newest record.
fn append(run: &mut Evidence, make: impl FnOnce(Row) -> Row) {
    let rows = &mut run.active.rows;
    let newest = rows.last().unwrap();
    let (rowid, seq) = (newest.rowid + 1, Seq(newest.seq.0 + 1));
    let row = make(Row { rowid, seq, ..newest.clone() });
    rows.push(row);
    run.active.journals[0].stored = seq;
}

/// The same with a row that a later journal brought, which brought nothing else.
pub(super) fn append_by_another_journal(run: &mut Evidence, make: impl FnOnce(Row) -> Row) {
    let journal = JournalId([8; 16]);
    append(run, |row| Row { journal, ..make(row) });
    let journals = &mut run.active.journals;
    journals[0].stored.0 -= 1;
    let stored = run.active.rows.last().unwrap().seq;
    journals.push(Journal { journal, stored, doubles: stored.0 - 1, holes: Vec::new() });
}

/// The same row as a note of the gateway's.
pub(super) fn noted(row: Row, after: u64, kind: Kind) -> Row {
    Row {
        index: None,
        after: Some(Index(after)),
        kind,
        raw: RawRecord::default(),
        door: None,
        direction: None,
        credential: None,
        ..row
    }
}

fn is_restart(row: &Row) -> bool {
    matches!(row.kind, Kind::ControllerReset(ResetCause::LogRestarted { .. }))
}

fn is_closed_gap(row: &Row) -> bool {
    matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
}

/// Moves the second half of a life to another epoch; where that begins.
fn split(run: &mut Evidence, controller: ControllerId, life: u64) -> usize {
    let other = EpochId([9; 16]);
    for row in &mut run.active.rows {
        let behind = row.index.or(row.after).is_some_and(|index| index.0 > 20);
        if behind && (row.controller, row.epoch) == (controller, epoch(controller, life)) {
            row.epoch = other;
        }
    }
    run.active.rows.iter().position(|row| row.epoch == other).unwrap()
}

pub(super) fn claim_mut(row: &mut Row) -> &mut Gap {
    let Kind::Gap(gap) = &mut row.kind else { panic!("row {} is no gap", row.rowid) };
    gap
}

pub(super) type Falsify = fn(&mut Evidence, usize);

/// Each with the condition that must notice it.
pub(super) const FALSIFICATIONS: &[(&str, Condition, Falsify)] = &[
    ("a transaction is dropped", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows.remove(place);
    }),
    ("the last transaction is dropped", Condition::C7, |run, _| {
        run.active.rows.pop();
    }),
    ("a transaction is doubled", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        let rowid = run.active.rows.last().unwrap().rowid + 1;
        let double = Row { rowid, role_term: RoleTerm(4), ..run.active.rows[place].clone() };
        run.active.rows.push(double);
    }),
    ("a transaction is doubled under another epoch", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        let rowid = run.active.rows.last().unwrap().rowid + 1;
        let row = run.active.rows[place].clone();
        let epoch = EpochId([9; 16]);
        run.active.rows.push(Row { rowid, epoch, role_term: RoleTerm(4), ..row });
    }),
    ("two transactions change places", Condition::C2, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            row.index.is_some_and(|index| index.0 < RECORDS && index.0 + 1 != LOST.0)
        });
        let next = successor(&run.active.rows, place).unwrap();
        let rows = &mut run.active.rows;
        (rows[place].rowid, rows[next].rowid) = (rows[next].rowid, rows[place].rowid);
        (rows[place].role_term, rows[next].role_term) =
            (rows[next].role_term, rows[place].role_term);
    }),
    ("the second life stands before the first", Condition::C2, |run, at| {
        let controller = controllers()[at % 3];
        for row in &mut run.active.rows {
            if row.controller == controller && row.epoch == epoch(controller, 0) {
                row.rowid += 10_000;
                row.role_term = RoleTerm(4);
            }
        }
    }),
    ("a gap stands behind what came after it", Condition::C2, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        run.active.rows[place].rowid += 10_000;
    }),
    ("a transaction that never was", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        let rowid = run.active.rows.last().unwrap().rowid + 1;
        let raw = record(RECORDS + 1, &mut Random::new(1));
        let index = Some(Index(RECORDS + 1));
        let row = run.active.rows[place].clone();
        let digest = Some(raw.digest());
        run.active.rows.push(Row { rowid, index, raw, digest, role_term: RoleTerm(4), ..row });
    }),
    ("one bit of a record is another", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        let row = &mut run.active.rows[place];
        let mut raw = row.raw.as_slice().to_vec();
        raw[at % 20] ^= 1 << (at % 8);
        row.raw = RawRecord::new(&raw).unwrap();
        row.digest = Some(row.raw.digest());
    }),
    ("one bit of a record is another (lost as well)", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        let row = &mut run.active.rows[place];
        let mut raw = row.raw.as_slice().to_vec();
        raw[at % 20] ^= 1 << (at % 8);
        row.raw = RawRecord::new(&raw).unwrap();
        row.digest = Some(row.raw.digest());
    }),
    ("a digest of other bytes", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].digest = Some(RawRecord::default().digest());
    }),
    ("a transaction under another index", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].index = Some(Index(RECORDS + 7));
    }),
    ("a transaction of another controller", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        let row = &mut run.active.rows[place];
        let life = u64::from(row.epoch == epoch(row.controller, 1));
        row.controller = controllers().into_iter().find(|id| *id != row.controller).unwrap();
        row.epoch = epoch(row.controller, life);
    }),
    ("a transaction of an unknown controller", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].controller = ControllerId::uhppote(1);
    }),
    ("a transaction under the epoch of another life", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        let row = &mut run.active.rows[place];
        let first = row.epoch == epoch(row.controller, 0);
        row.epoch = epoch(row.controller, u64::from(first));
    }),
    ("a life goes on under a second epoch without a word", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].epoch = EpochId([9; 16]);
    }),
    ("a gap is missing", Condition::C1, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        run.active.rows.remove(place);
    }),
    ("a gap is too narrow", Condition::C1, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        claim_mut(&mut run.active.rows[place]).first = Index(LOST.0 + 1);
    }),
    ("a gap is wider than what was lost", Condition::C7, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        claim_mut(&mut run.active.rows[place]).last = Some(Index(LOST.1 + 1));
    }),
    ("a gap claims what never was", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        claim_mut(&mut run.active.rows[place]).last = Some(Index(RECORDS + 1));
    }),
    ("two gaps overlap on what is missing", Condition::C1, |run, at| {
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        let again = run.active.rows[place].clone();
        run.active.rows.push(again);
    }),
    ("a gap where none is allowed", Condition::C7, |run, _| run.gaps = GapAllowance::None),
    ("a hole in the journal where none is allowed", Condition::C7, |run, _| {
        run.gaps = GapAllowance::None;
        run.active.rows.retain(|row| !matches!(row.kind, Kind::Gap(_)));
        run.ledger.retain(|line| match line {
            LedgerLine::Recorded { life, index, .. } => {
                *life == 0 || !(LOST.0..=LOST.1).contains(&index.0)
            }
            LedgerLine::Restarted { .. } => true,
        });
        run.active.journals[0].holes = vec![Hole { first: Seq(3), last: Seq(4) }];
    }),
    ("the servers differ", Condition::C4, |run, at| {
        *run = good_replicated_run(3);
        let standby = run.standby.as_mut().unwrap();
        let place = recorded(&standby.rows, at);
        standby.rows.remove(place);
    }),
    ("the gateway forgot what it said it had read", Condition::C5, |run, at| {
        let controller = controllers()[at % 3];
        let kept = Some(place_in(controller, 0, 12));
        run.kills[0].told.push(Told::Read { controller, told: place_in(controller, 0, 13), kept });
    }),
    ("the gateway forgot a controller", Condition::C5, |run, at| {
        let controller = controllers()[at % 3];
        let told = place_in(controller, 0, 13);
        run.kills[0].told.push(Told::Read { controller, told, kept: None });
    }),
    ("the gateway forgot the end of a life that was over", Condition::C5, |run, at| {
        let controller = controllers()[at % 3];
        let told = place_in(controller, 0, RECORDS + 1);
        let kept = Some(place_in(controller, 1, 3));
        run.kills[0].told.push(Told::Read { controller, told, kept });
    }),
    ("a gap covers what is stored", Condition::C7, |run, at| {
        run.gaps = proven(20);
        let place = pick(&run.active.rows, at, |row| {
            matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. }))
        });
        claim_mut(&mut run.active.rows[place]).last = Some(Index(LOST.1 + 1));
    }),
    ("a gap covers what the log still held", Condition::C7, |run, _| run.gaps = proven(33)),
    ("a server forgot what it said it had stored", Condition::C5, |run, _| {
        run.kills[1].told = vec![Told::Stored { journal: JOURNAL, told: Seq(61), kept: Seq(60) }];
    }),
    ("the gateway forgot what no server has", Condition::C5, |run, _| {
        let told = Told::Forgotten { journal: JOURNAL, forgotten: Seq(61), stored: Seq(60) };
        run.kills[0].told.push(told);
    }),
    ("two servers hold one role term", Condition::C6, |run, _| {
        run.reigns.push(ReignSeen {
            observer: "server a".into(),
            active: "a".into(),
            role_term: RoleTerm(4),
        });
    }),
    ("two servers stored under one role term", Condition::C6, |run, at| {
        let standby = run.standby.as_mut().unwrap();
        let place = at % standby.rows.len();
        standby.rows[place..].iter_mut().for_each(|row| row.role_term = RoleTerm(2));
    }),
    ("a transaction was stored under a deposed server's term", Condition::C6, |run, at| {
        let place = 1 + at % (run.active.rows.len() - 1);
        run.active.rows[place].role_term = RoleTerm(1);
    }),
    ("a role term falls", Condition::C6, |run, _| {
        run.reigns.push(ReignSeen {
            observer: "gateway".into(),
            active: "b".into(),
            role_term: RoleTerm(2),
        });
    }),
    ("something took too long", Condition::C8, |run, _| run.times[0].took_ms = 30_001),
    ("a panic in a log", Condition::C9, |run, _| {
        run.exits[1].panics = vec!["thread 'main' panicked at src/main.rs:1".into()];
    }),
    ("an exit code that is documented nowhere", Condition::C9, |run, _| {
        run.exits[1].code = Some(101);
    }),
    ("a death by a signal that nobody sent", Condition::C9, |run, _| {
        run.exits[0].signal = Some(6);
    }),
    ("memory without bound", Condition::C9, |run, _| {
        run.exits[1].peak_memory_kib = Some(4 * 1024 * 1024);
    }),
    // What is told of a record besides its bytes.
    ("a swipe that was let through is told as a button", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].kind = Kind::Button;
    }),
    ("a swipe that was let through is told as refused", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].kind = Kind::Denied(DenyReason::Unspecified);
    }),
    ("another card", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        let card = &mut run.active.rows[place].credential;
        *card = card.map(|Credential(number)| Credential(number ^ 1));
    }),
    ("another door", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].door = Some(Door(1));
    }),
    ("the other direction", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].direction = Some(Direction::Out);
    }),
    ("a digest is missing", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].digest = None;
    }),
    // Notes.
    ("a swipe without an index", Condition::C3, |run, _| {
        let raw = record(999, &mut Random::new(9));
        append(run, |row| Row { index: None, after: Some(Index(3)), raw, ..row });
    }),
    ("a reported restart without an index", Condition::C3, |run, _| {
        append(run, |row| noted(row, 3, Kind::ControllerReset(ResetCause::Reported)));
    }),
    ("a note with a card", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, |row| row.index.is_none());
        run.active.rows[place].credential = Some(Credential(1));
    }),
    ("a restart that never was", Condition::C3, |run, _| {
        let cause = ResetCause::LogRestarted { predecessor: EpochId([3; 16]) };
        append(run, |row| Row {
            epoch: epoch(row.controller, 0),
            ..noted(row, 0, Kind::ControllerReset(cause))
        });
    }),
    ("a restart is noted twice", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        let note = run.active.rows[place].clone();
        append(run, |row| Row { rowid: row.rowid, seq: row.seq, role_term: row.role_term, ..note });
    }),
    ("a restart is noted again by another journal", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        let note = run.active.rows[place].clone();
        append_by_another_journal(run, |row| Row {
            rowid: row.rowid,
            seq: row.seq,
            role_term: row.role_term,
            ..note
        });
    }),
    (
        "a later journal claims what is missing behind what came after it",
        Condition::C2,
        |run, at| {
            run.gaps = GapAllowance::Any;
            let place = pick(&run.active.rows, at, is_closed_gap);
            let claim = run.active.rows.remove(place);
            append_by_another_journal(run, |row| Row {
                rowid: row.rowid,
                seq: row.seq,
                role_term: row.role_term,
                ..claim
            });
        },
    ),
    ("a gap is claimed again", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, |row| matches!(row.kind, Kind::Gap(_)));
        let claim = run.active.rows[place].clone();
        append(run, |row| Row { rowid: row.rowid, seq: row.seq, ..claim });
    }),
    ("a restart names the life that it begins", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        let row = &mut run.active.rows[place];
        let cause = ResetCause::LogRestarted { predecessor: row.epoch };
        row.kind = Kind::ControllerReset(cause);
    }),
    ("a restart names a life that nobody knows", Condition::C3, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        let cause = ResetCause::LogRestarted { predecessor: EpochId([3; 16]) };
        run.active.rows[place].kind = Kind::ControllerReset(cause);
    }),
    ("a restart is not noted", Condition::C1, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        run.active.rows.remove(place);
    }),
    ("a restart stands behind the life that it begins", Condition::C2, |run, at| {
        let place = pick(&run.active.rows, at, is_restart);
        run.active.rows[place].rowid += 10_000;
    }),
    ("a note stands elsewhere than it says", Condition::C2, |run, at| {
        let place = pick(&run.active.rows, at, |row| row.index.is_none());
        run.active.rows[place].after = Some(Index(777));
    }),
    // Lives that go on under a second epoch.
    ("a false restart excuses a second epoch", Condition::C3, |run, at| {
        let controller = controllers()[at % 3];
        let first = split(run, controller, 0);
        let cause = ResetCause::LogRestarted { predecessor: epoch(controller, 0) };
        let note = noted(run.active.rows[first].clone(), 0, Kind::ControllerReset(cause));
        run.active.rows.insert(first, note);
    }),
    ("a flag on one record excuses a second epoch", Condition::C1, |run, at| {
        let first = split(run, controllers()[at % 3], 1);
        run.active.rows[first].flags = vec!["conflict".into()];
    }),
    ("any flag excuses a second epoch", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].epoch = EpochId([9; 16]);
        run.active.rows[place].flags = vec!["unreadable".into()];
    }),
    // Positions.
    ("a position is held twice", Condition::C3, |run, at| {
        let place = 1 + at % (run.active.rows.len() - 1);
        run.active.rows[place].seq = run.active.rows[place - 1].seq;
    }),
    ("two transactions change their positions in the journal", Condition::C2, |run, at| {
        let rows = &mut run.active.rows;
        let place = 1 + at % (rows.len() - 1);
        (rows[0].seq, rows[place].seq) = (rows[place].seq, rows[0].seq);
    }),
    ("two rows have one number", Condition::C3, |run, at| {
        let place = 1 + at % (run.active.rows.len() - 1);
        run.active.rows[place].rowid = run.active.rows[place - 1].rowid;
    }),
    ("a transaction came by a journal that nobody knows", Condition::C3, |run, at| {
        let place = at % run.active.rows.len();
        run.active.rows[place].journal = JournalId([1; 16]);
    }),
    ("a server knows no journals", Condition::C3, |run, _| run.active.journals.clear()),
    ("a journal ends before what it brought", Condition::C3, |run, _| {
        run.active.journals[0].stored.0 -= 1;
    }),
    ("a journal is said to be stored further than it is", Condition::C7, |run, _| {
        run.active.journals[0].stored = Seq(99_999);
    }),
    ("a hole in the journal where gaps are expected", Condition::C7, |run, _| {
        run.active.journals[0].holes = vec![Hole { first: Seq(3), last: Seq(4) }];
    }),
    ("a hole in the journal where any gap is allowed", Condition::C7, |run, _| {
        run.gaps = GapAllowance::Any;
        run.active.journals[0].holes = vec![Hole { first: Seq(3), last: Seq(4) }];
    }),
    // Gaps.
    ("an open-ended gap hides the end of a log that goes on", Condition::C3, |run, at| {
        run.gaps = GapAllowance::Any;
        let controller = controllers()[at % 3];
        let hidden = |row: &Row| {
            (row.controller, row.epoch) == (controller, epoch(controller, 1))
                && row.index.is_some_and(|index| index.0 > 20)
        };
        run.active.rows.retain(|row| !hidden(row));
        append(run, |row| Row {
            controller,
            epoch: epoch(controller, 1),
            ..noted(row, 20, gap(21, None, GapReason::EpochEnded))
        });
    }),
    ("open-ended gaps hide a whole controller", Condition::C3, |run, at| {
        run.gaps = GapAllowance::Any;
        let controller = controllers()[at % 3];
        run.active.rows.retain(|row| row.controller != controller);
        for life in 0..2 {
            append(run, |row| Row {
                controller,
                epoch: epoch(controller, life),
                ..noted(row, 0, gap(1, None, GapReason::EpochEnded))
            });
        }
    }),
    ("an open-ended gap over what is stored", Condition::C3, |run, at| {
        run.gaps = GapAllowance::Any;
        let place =
            pick(&run.active.rows, at, |row| matches!(row.kind, Kind::Gap(Gap { last: None, .. })));
        let row = &mut run.active.rows[place];
        row.after = Some(Index(RECORDS - 1));
        claim_mut(row).first = Index(RECORDS);
    }),
    ("a gap over what is stored where none is allowed", Condition::C7, |run, at| {
        run.gaps = GapAllowance::None;
        run.active.rows.retain(|row| row.index.is_some() || is_restart(row));
        run.ledger.retain(|line| match line {
            LedgerLine::Recorded { life, index, .. } => {
                *life == 0 || !(LOST.0..=LOST.1).contains(&index.0)
            }
            LedgerLine::Restarted { .. } => true,
        });
        let first = run.active.rows[0].clone();
        let controller = controllers()[at % 3];
        let claim = gap(1, Some(30), GapReason::Overwritten);
        run.active.rows.insert(
            0,
            Row {
                rowid: 0,
                seq: Seq(0),
                controller,
                epoch: epoch(controller, 0),
                ..noted(first, 0, claim)
            },
        );
    }),
    ("a gap that ends before it begins", Condition::C3, |run, at| {
        run.gaps = GapAllowance::Any;
        let place = pick(&run.active.rows, at, is_closed_gap);
        claim_mut(&mut run.active.rows[place]).last = Some(Index(5));
    }),
    ("a gap has another reason", Condition::C7, |run, at| {
        let place = pick(&run.active.rows, at, is_closed_gap);
        claim_mut(&mut run.active.rows[place]).reason = GapReason::BeforeFirstContact;
    }),
    ("a gap says that its far side is proven", Condition::C7, |run, at| {
        let place = pick(&run.active.rows, at, |row| matches!(row.kind, Kind::Gap(_)));
        claim_mut(&mut run.active.rows[place]).continuity = Continuity::Proven;
    }),
    // The standby.
    ("the standby holds what never was", Condition::C3, |run, at| {
        let standby = run.standby.as_mut().unwrap();
        let place = at % standby.rows.len();
        standby.rows[place].raw = record(77, &mut Random::new(5));
    }),
    ("the standby holds a transaction twice", Condition::C1, |run, at| {
        let standby = run.standby.as_mut().unwrap();
        let double = standby.rows[at % standby.rows.len()].clone();
        standby.rows.push(Row { rowid: 9_999, ..double });
    }),
    ("the standby holds transactions in another order", Condition::C2, |run, at| {
        let rows = &mut run.standby.as_mut().unwrap().rows;
        let place = at % (rows.len() - 3);
        let next = successor(rows, place).unwrap();
        (rows[place].rowid, rows[next].rowid) = (rows[next].rowid, rows[place].rowid);
    }),
    ("the standby holds more than it says", Condition::C3, |run, _| {
        let newest = run.active.rows.last().unwrap().clone();
        let standby = run.standby.as_mut().unwrap();
        standby.rows.push(Row { rowid: 9_999, role_term: RoleTerm(1), ..newest });
    }),
    // Terms and processes.
    ("stored under a term that nobody held", Condition::C6, |run, _| {
        let deposed = run.active.rows.iter_mut().filter(|row| row.role_term == RoleTerm(2));
        deposed.for_each(|row| row.role_term = RoleTerm(3));
    }),
    ("a process ended by itself with a documented code", Condition::C9, |run, _| {
        let process = "gateway.3".into();
        run.exits.push(Exit { process, code: Some(12), ..Exit::default() });
    }),
    ("a process failed when it was asked to end", Condition::C9, |run, _| {
        run.exits[1].code = Some(1);
    }),
    ("a process that should have refused to start did not", Condition::C9, |run, _| {
        run.exits[1].expected = 11;
    }),
];
