//! A good run, made up; and each way to falsify it, found.

use postern_protocol::transaction::{Continuity, Credential};
use postern_protocol::{JournalId, RoleTerm, Seq};

use super::*;
use crate::checker::{Evidence, GapAllowance, Journal, ReignSeen, StoreView, Verdict, check};

const LATCH: ControllerId = ControllerId::modbus(80_001);
const SEQUENCE: ControllerId = ControllerId::modbus_reader(80_002, 1);
const RING: ControllerId = ControllerId::modbus_reader(80_103, 1);
/// How often the gateway was started: the second record of the latch is the first of a run.
const STARTS: u64 = 1;
const JOURNAL: JournalId = JournalId([7; 16]);

/// A card of a unit by its number.
fn card(controller: ControllerId, number: u64) -> u64 {
    // The second one at the latch is shown twice in a row.
    let number = if controller == LATCH && number == 3 { 2 } else { number };
    controller.serial * 1_000 + number
}

fn swipes() -> Vec<Swipe> {
    let units = [(1, Shows::Latch, 6, 0), (2, Shows::Sequence, 9, 0), (103, Shows::Ring, 90, 64)];
    let mut swipes = Vec::new();
    for (unit, kind, newest, before) in units {
        for number in 1..=newest {
            let before = number <= before;
            let mut swipe = Swipe { unit, kind, number, card: 0, before, at: None };
            swipe.card = card(swipe.controller(), number);
            swipes.push(swipe);
        }
    }
    swipes
}

fn row(rows: &[Row], controller: ControllerId, index: Option<u64>, kind: Kind) -> Row {
    let place = rows.len() + 1;
    let is_card = matches!(kind, Kind::CardRead { .. });
    let raw = index.map(|_| RawRecord::new(&place.to_be_bytes()).unwrap()).unwrap_or_default();
    Row {
        rowid: i64::try_from(place).unwrap(),
        controller,
        epoch: EpochId([controller.serial as u8; 16]),
        index: index.map(Index),
        after: None,
        journal: JOURNAL,
        seq: Seq(place as u64),
        kind,
        occurred: Some("2026-01-01T00:00:00Z".to_owned()),
        time_source: Some("gateway".to_owned()),
        time_trust: Some("within_50_ms".to_owned()),
        received: None,
        stored_at: None,
        door: is_card.then_some(Door(1)),
        direction: is_card.then_some(Direction::In),
        credential: None,
        digest: index.map(|_| raw.digest()),
        raw,
        role_term: RoleTerm(1),
        flags: Vec::new(),
    }
}

fn gap(first: u64, last: Option<u64>, reason: GapReason) -> Kind {
    let last = last.map(Index);
    Kind::Gap(Gap { first: Index(first), last, reason, continuity: Continuity::Unproven })
}

/// A store: the last card of the latch is there once more, and says so. The sequence lacks two numbers, the ring one that
/// was before.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let reset = Kind::ControllerReset(ResetCause::Reported);
    let restarted =
        Row { time_trust: Some("before".to_owned()), ..row(&rows, LATCH, Some(1), reset) };
    rows.push(restarted);
    let shown = [(1, false), (2, true), (3, false), (4, false), (5, false), (6, false), (6, true)];
    for (index, (number, may_repeat)) in (2..).zip(shown) {
        let read = row(&rows, LATCH, Some(index), Kind::CardRead { may_repeat });
        rows.push(Row { credential: Some(Credential(card(LATCH, number))), ..read });
    }
    let mut counted = |controller, gap_at, gap: Kind, numbers: &[u64]| {
        for number in numbers {
            if *number == gap_at {
                let after = Some(Index(gap_at - 1 - if controller == RING { 1 } else { 2 }));
                rows.push(Row { after, ..row(&rows, controller, None, gap) });
            }
            let read = Kind::CardRead { may_repeat: false };
            let read = row(&rows, controller, Some(*number), read);
            rows.push(Row { credential: Some(Credential(card(controller, *number))), ..read });
        }
    };
    let lost = gap(4, Some(5), GapReason::Overwritten);
    counted(SEQUENCE, 6, lost, &[1, 2, 3, 6, 7, 8, 9]);
    let before = gap(1, Some(1), GapReason::BeforeFirstContact);
    counted(RING, 2, before, &(2..=90).collect::<Vec<_>>());
    rows
}

/// The place of a record, or of a gap.
fn at(rows: &[Row], controller: ControllerId, index: Option<u64>) -> usize {
    let is_it = |row: &Row| row.controller == controller && row.index == index.map(Index);
    rows.iter().position(is_it).unwrap()
}

fn verdict(rows: &[Row], judged: Judged) -> Verdict {
    let journal =
        Journal { journal: JOURNAL, stored: Seq(rows.len() as u64), doubles: 0, holes: Vec::new() };
    let (server, role_term) = ("a".to_owned(), RoleTerm(1));
    let reign = ReignSeen { observer: "gateway".to_owned(), active: server.clone(), role_term };
    check(&Evidence {
        ledger: judged.ledger,
        active: StoreView { server, rows: rows.to_vec(), journals: vec![journal] },
        reigns: vec![reign],
        gaps: GapAllowance::Proven(judged.sizes),
        ..Evidence::default()
    })
}

#[test]
fn a_good_run_is_good_with_every_figure_right() {
    let judged = judge_modbus(&swipes(), &rows(), STARTS);
    assert_eq!(judged.findings, Findings::default());
    assert_eq!((judged.shown, judged.stored, judged.missing), (6 + 9 + 26, 6 + 7 + 26, 0));
    assert_eq!((judged.gaps, judged.lost_in_gaps), (1, 2));
    assert_eq!((judged.marked, judged.repeats), (2, 1));
    let verdict = verdict(&rows(), judged);
    assert!(verdict.is_ok(), "{verdict}");
}

type Falsify = fn(&mut Vec<Row>);

/// What is done to a good run, and the finding that tells of it.
const FALSIFICATIONS: &[(&str, &str, Falsify)] = &[
    ("a number is lost", "lost: modbus-80103.1 number 70", |rows| {
        rows.remove(at(rows, RING, Some(70)));
    }),
    ("the newest is lost", "lost: modbus-80002.1 number 9", |rows| {
        rows.remove(at(rows, SEQUENCE, Some(9)));
    }),
    ("a gap is lost", "lost: modbus-80002.1 number 4", |rows| {
        rows.remove(at(rows, SEQUENCE, None));
    }),
    ("a gap is too short", "lost: modbus-80002.1 number 5", |rows| {
        let place = at(rows, SEQUENCE, None);
        rows[place].kind = gap(4, Some(4), GapReason::Overwritten);
    }),
    ("a gap is too long", "stored and in a gap: modbus-80002.1 number 6", |rows| {
        let place = at(rows, SEQUENCE, None);
        rows[place].kind = gap(4, Some(6), GapReason::Overwritten);
    }),
    ("a gap is claimed twice", "in 2 gaps: modbus-80002.1 number 4", |rows| {
        rows.push(rows[at(rows, SEQUENCE, None)].clone());
    }),
    ("a gap has no end", "a gap without an end", |rows| {
        let place = at(rows, SEQUENCE, None);
        rows[place].kind = gap(4, None, GapReason::Overwritten);
    }),
    ("a gap ends behind the newest", "a gap past the newest", |rows| {
        let kind = gap(91, Some(99), GapReason::Overwritten);
        rows.push(row(rows, RING, None, kind));
    }),
    ("a gap is inside out", "a gap of nothing", |rows| {
        let kind = gap(7, Some(5), GapReason::Overwritten);
        rows.push(row(rows, RING, None, kind));
    }),
    ("a gap ends a life", "a gap for no reason", |rows| {
        let place = at(rows, SEQUENCE, None);
        rows[place].kind = gap(4, Some(5), GapReason::EpochEnded);
    }),
    ("a swipe is said to be older than it is", "not before the first contact", |rows| {
        let place = at(rows, SEQUENCE, None);
        rows[place].kind = gap(4, Some(5), GapReason::BeforeFirstContact);
    }),
    ("a number is doubled", "2 rows of modbus-80103.1 number 70", |rows| {
        let place = at(rows, RING, Some(70));
        rows.insert(place, rows[place].clone());
    }),
    ("what was lost is numbered on", "another card: modbus-80002.1", |rows| {
        rows.remove(at(rows, SEQUENCE, None));
        for (number, index) in (6..=9).zip(4..) {
            let place = at(rows, SEQUENCE, Some(number));
            rows[place].index = Some(Index(index));
        }
    }),
    ("a card is another", "another card: modbus-80103.1", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].credential = Some(Credential(1));
    }),
    ("a card is missing", "another card: modbus-80103.1", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].credential = None;
    }),
    ("a number is made up", "never shown: modbus-80103.1", |rows| {
        let last = rows.last().unwrap().clone();
        rows.push(Row { index: Some(Index(91)), rowid: 999, ..last });
    }),
    ("two change places", "behind what came after it: modbus-80103.1", |rows| {
        let (one, other) = (at(rows, RING, Some(70)), at(rows, RING, Some(71)));
        let rowid = rows[one].rowid;
        rows[one].rowid = rows[other].rowid;
        rows[other].rowid = rowid;
    }),
    ("a log has two names", "a log that never began anew: modbus-80103.1", |rows| {
        for number in 80..=90 {
            let place = at(rows, RING, Some(number));
            rows[place].epoch = EpochId([1; 16]);
        }
    }),
    ("a counter says that it may repeat itself", "no card of a counter", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].kind = Kind::CardRead { may_repeat: true };
    }),
    ("somebody was let in", "no card of a counter", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].kind = Kind::Granted;
    }),
    ("a door is another", "not at door 1, inwards", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].door = Some(Door(2));
    }),
    ("a direction is another", "not at door 1, inwards", |rows| {
        let place = at(rows, LATCH, Some(4));
        rows[place].direction = None;
    }),
    ("a time is trusted", "seen when", |rows| {
        let place = at(rows, LATCH, Some(4));
        rows[place].time_trust = Some("exact".to_owned());
    }),
    ("a time is a device's", "seen when", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].time_source = Some("controller".to_owned());
    }),
    ("a unit is none", "of a unit that showed nothing", |rows| {
        let place = at(rows, RING, Some(70));
        rows[place].controller = ControllerId::modbus(80_103);
    }),
    ("a showing at a latch is lost", "lost: modbus-80001 number 4", |rows| {
        rows.remove(at(rows, LATCH, Some(5)));
        renumber(rows);
    }),
    ("the last ones are lost", "lost: modbus-80001 number 6", |rows| {
        rows.remove(at(rows, LATCH, Some(7)));
        rows.remove(at(rows, LATCH, Some(8)));
    }),
    ("one of two in a row is lost", "lost: 1 of modbus-80001 from 2 on", |rows| {
        rows.remove(at(rows, LATCH, Some(4)));
        renumber(rows);
    }),
    ("a showing is doubled without a word", "doubled without a word: 1 of", |rows| {
        let place = at(rows, LATCH, Some(8));
        rows[place].kind = Kind::CardRead { may_repeat: false };
    }),
    ("a showing may be a repeat of nothing", "may repeat what? 2 records", |rows| {
        let place = at(rows, LATCH, Some(6));
        rows[place].kind = Kind::CardRead { may_repeat: true };
    }),
    ("a repeat comes too late", "behind what came after it: modbus-80001", |rows| {
        let place = at(rows, LATCH, Some(8));
        rows[place].credential = Some(Credential(card(LATCH, 5)));
    }),
    ("a card at a latch is made up", "a card that was never shown", |rows| {
        let place = at(rows, LATCH, Some(8));
        rows[place].credential = Some(Credential(1));
    }),
    ("two at a latch change places", "behind what came after it: modbus-80001", |rows| {
        let (one, other) = (at(rows, LATCH, Some(5)), at(rows, LATCH, Some(6)));
        let credential = rows[one].credential;
        rows[one].credential = rows[other].credential;
        rows[other].credential = credential;
    }),
    ("a number of a latch is left out", "not what a latch shows", |rows| {
        let place = at(rows, LATCH, Some(8));
        rows[place].index = Some(Index(9));
    }),
    ("a latch has a gap", "not what a latch shows", |rows| {
        let kind = gap(7, Some(7), GapReason::Overwritten);
        let place = at(rows, LATCH, Some(8));
        rows[place] = Row { rowid: rows[place].rowid, ..row(rows, LATCH, None, kind) };
    }),
    ("nobody heard of the restart", "said that it had restarted", |rows| {
        rows.remove(at(rows, LATCH, Some(1)));
        renumber(rows);
    }),
];

#[test]
fn every_falsification_is_found() {
    for (what, finding, falsify) in FALSIFICATIONS {
        let mut rows = rows();
        falsify(&mut rows);
        let judged = judge_modbus(&swipes(), &rows, STARTS);
        let found = judged.findings.first.iter().any(|found| found.contains(finding));
        assert!(found, "{what}: {:?}", judged.findings);
    }
}

/// As a collector would that never saw what was taken away.
fn renumber(rows: &mut [Row]) {
    let of_latch = rows.iter_mut().filter(|row| row.controller == LATCH);
    of_latch.zip(1..).for_each(|(row, index)| row.index = Some(Index(index)));
}

/// Of three showings in a row and their records, any of which may be marked: what is lost or doubled.
#[test]
fn showings_in_a_row_are_matched_as_well_as_can_be() {
    for (shown, marks, missing, repeats, findings) in [
        (1, &[false][..], 0, 0, 0),
        (1, &[true], 0, 0, 0),
        (1, &[false, true, true], 0, 2, 0),
        (1, &[true, false], 0, 1, 1),
        (2, &[false, true], 0, 0, 0),
        (2, &[false, true, false], 0, 1, 0),
        (2, &[true, false, true], 0, 1, 0),
        (2, &[false, false, false], 0, 1, 1),
        (2, &[true], 1, 0, 1),
        (3, &[false, true], 1, 0, 1),
    ] {
        let swipe = |number| Swipe {
            unit: 1,
            kind: Shows::Latch,
            number,
            card: 5,
            before: false,
            at: None,
        };
        let swipes: Vec<_> = (1..=shown).map(swipe).collect();
        let mut rows: Vec<Row> = rows().into_iter().take(1).collect();
        for (index, may_repeat) in (2..).zip(marks) {
            let kind = Kind::CardRead { may_repeat: *may_repeat };
            let read = row(&rows, LATCH, Some(index), kind);
            rows.push(Row { credential: Some(Credential(5)), ..read });
        }
        let judged = judge_modbus(&swipes, &rows, STARTS);
        let found = (judged.missing, judged.repeats, judged.findings.count);
        assert_eq!(found, (missing, repeats, findings), "{shown} {marks:?}");
    }
}

/// The checker sees them as any controller's: what is lost is C1, and a gap over what a unit still showed is C7.
#[test]
fn the_checker_finds_the_same_of_the_ledger_in_its_words() {
    use crate::checker::Condition;
    let failed = |rows: &[Row]| verdict(rows, judge_modbus(&swipes(), rows, STARTS)).failed();
    let mut lost = rows();
    lost.remove(at(&lost, RING, Some(70)));
    assert!(failed(&lost).contains(&Condition::C1));
    let mut early = rows();
    let place = at(&early, SEQUENCE, Some(9));
    early[place] = row(&early[..place], SEQUENCE, None, gap(9, Some(9), GapReason::Overwritten));
    early[place].after = Some(Index(8));
    assert_eq!(failed(&early), [Condition::C7], "it was there to be read");
}
