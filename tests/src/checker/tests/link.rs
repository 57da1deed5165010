//! Logs of the link protocol: their lives have names, their indices never wrap.

use postern_protocol::link::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use postern_protocol::transaction::{
    Continuity, Direction, Door, Gap, GapReason, RawRecord, ResetCause,
};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Protocol};

use super::falsification::{Falsify, claim_mut, pick, recorded};
use super::good::{LOST, RECORDS, card_of, controllers, epoch, gap, good_run};
use crate::checker::*;

/// As far behind the last index of a UHPPOTE board as the records of a life reach over it.
const FAR: u64 = 4_294_967_294 - 20;

/// The controller of the link protocol with the number of a board.
fn on_link(board: ControllerId) -> ControllerId {
    ControllerId { protocol: Protocol::Link, ..board }
}

/// The good run of controllers of the link protocol, whose indices begin behind `shift`.
fn good_link_run(shift: u64) -> Evidence {
    let mut run = good_run(3);
    for line in &mut run.ledger {
        match line {
            LedgerLine::Recorded { controller, index, raw, .. } => {
                *controller = on_link(*controller);
                index.0 += shift;
                *raw = event_of(*index, raw);
            }
            LedgerLine::Restarted { controller, .. } => {
                *controller = on_link(*controller);
            }
        }
    }
    let stores = std::iter::once(&mut run.active).chain(&mut run.standby);
    for row in stores.flat_map(|store| &mut store.rows) {
        row.controller = on_link(row.controller);
        if let Some(index) = &mut row.index {
            index.0 += shift;
            row.raw = event_of(*index, &row.raw);
            row.digest = Some(row.raw.digest());
        }
        let is_restart = matches!(row.kind, Kind::ControllerReset(_));
        row.after = row.after.map(|after| if is_restart { after } else { Index(after.0 + shift) });
        if let Kind::Gap(gap) = &mut row.kind {
            *gap = moved(*gap, shift);
        }
    }
    let GapAllowance::Exactly(expected) = &mut run.gaps else { panic!("{:?}", run.gaps) };
    for each in expected {
        each.controller = on_link(each.controller);
        each.gap = moved(each.gap, shift);
    }
    // What was promised is no matter of the protocol.
    run.kills.clear();
    for board in controllers() {
        let controller = on_link(board);
        run.epochs.extend((0..2).map(|life| ((controller, life), epoch(board, life))));
    }
    run
}

/// The controller itself tells what it has overwritten.
fn moved(gap: Gap, shift: u64) -> Gap {
    let by = |index: Index| Index(index.0 + shift);
    let is_told = gap.reason == GapReason::Overwritten;
    let continuity = if is_told { Continuity::Proven } else { gap.continuity };
    Gap { first: by(gap.first), last: gap.last.map(by), continuity, ..gap }
}

/// The swipe of a board's record, as a controller of the link protocol records it.
fn event_of(index: Index, record: &RawRecord) -> RawRecord {
    let event = Event {
        at: Stamp(1),
        code: Code::GRANTED,
        reason: Reason(0),
        place: Place::new(Some(Door(2)), Some(Direction::In)),
        card: card_of(record).0,
    };
    let raw = [&index.0.to_le_bytes()[..], event.encode(&mut [0; MAX_EVENT])].concat();
    RawRecord::new(&raw).unwrap()
}

fn proven_by_a_log_of(capacity: u64) -> GapAllowance {
    let size = LogSize { capacity, chunk: 1 };
    let of = |board: ControllerId| (on_link(board), size);
    GapAllowance::Proven(controllers().into_iter().map(of).collect())
}

fn is_overwritten(row: &Row) -> bool {
    matches!(row.kind, Kind::Gap(Gap { reason: GapReason::Overwritten, .. }))
}

const FALSIFICATIONS: &[(&str, Condition, Falsify)] = &[
    ("a record under another index than its bytes have", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].index = Some(Index(RECORDS + 7));
    }),
    ("one bit of a record is another", Condition::C3, |run, at| {
        let place = recorded(&run.active.rows, at);
        let mut raw = run.active.rows[place].raw.as_slice().to_vec();
        raw[at % 8] ^= 1;
        run.active.rows[place].raw = RawRecord::new(&raw).unwrap();
    }),
    ("another door", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].door = Some(Door(1));
    }),
    ("another card", Condition::C1, |run, at| {
        let place = recorded(&run.active.rows, at);
        run.active.rows[place].credential = None;
    }),
    ("a life under a name that the gateway made up", Condition::C1, |run, at| {
        let of = controllers()[at % 3];
        let (given, made_up) = (epoch(of, 1), EpochId([9; 16]));
        run.active.rows.iter_mut().filter(|row| row.epoch == given).for_each(|row| {
            row.epoch = made_up;
        });
    }),
    ("a life goes on under a second name behind an unproven gap", Condition::C1, |run, at| {
        let of = controllers()[at % 3];
        let given = epoch(of, 1);
        for row in run.active.rows.iter_mut().filter(|row| row.epoch == given) {
            if is_overwritten(row) {
                claim_mut(row).continuity = Continuity::Unproven;
            }
            if row.index.is_some_and(|index| index.0 > LOST.1) {
                row.epoch = EpochId([9; 16]);
            }
        }
    }),
    ("both lives under one name", Condition::C1, |run, at| {
        let of = controllers()[at % 3];
        let (first, second) = (epoch(of, 0), epoch(of, 1));
        run.active.rows.retain(|row| {
            row.epoch != second
                || !matches!(row.kind, Kind::ControllerReset(ResetCause::LogRestarted { .. }))
        });
        run.active.rows.iter_mut().filter(|row| row.epoch == second).for_each(|row| {
            row.epoch = first;
        });
    }),
    ("a gap that proves less than the controller told", Condition::C7, |run, at| {
        run.gaps = proven_by_a_log_of(26);
        let place = pick(&run.active.rows, at, is_overwritten);
        claim_mut(&mut run.active.rows[place]).continuity = Continuity::Unproven;
    }),
    ("a gap of one more than was overwritten", Condition::C7, |run, _| {
        // 40 records in a log of 27: 13 are gone, and the gap ends with the 14th.
        run.gaps = proven_by_a_log_of(27);
    }),
];

#[test]
fn a_good_run_of_named_logs_passes_however_far_they_count() {
    for shift in [0, FAR, u64::from(u32::MAX), 1 << 40] {
        let verdict = check(&good_link_run(shift));
        assert!(verdict.is_ok(), "{shift}\n{verdict}");
    }
    let run = Evidence { gaps: proven_by_a_log_of(26), ..good_link_run(0) };
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

#[test]
fn every_falsification_of_named_logs_is_flagged_by_its_condition() {
    for (what, condition, falsify) in FALSIFICATIONS {
        for at in [0, 17, 40] {
            let mut run = good_link_run(0);
            falsify(&mut run, at);
            let verdict = check(&run);
            assert!(
                verdict.failed().contains(condition),
                "{what}: not by {condition:?}\n{verdict}"
            );
        }
    }
}

/// A board that does not name its lives cannot prove what lies behind a gap.
#[test]
fn a_gap_of_a_board_never_has_a_proven_far_side() {
    let mut run = Evidence { gaps: GapAllowance::Any, ..good_run(3) };
    assert!(check(&run).is_ok());
    let place = pick(&run.active.rows, 0, is_overwritten);
    run.active.rows[place].kind = gap(LOST.0, Some(LOST.1), GapReason::Overwritten);
    claim_mut(&mut run.active.rows[place]).continuity = Continuity::Proven;
    assert_eq!(check(&run).failed(), [Condition::C3]);
}
