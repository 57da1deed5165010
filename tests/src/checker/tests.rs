//! A good run that was made up, and every way of falsifying it that the checker must notice.

use postern_protocol::transaction::{Continuity, Gap, GapReason, RawRecord, ResetCause};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Kind, RoleTerm, Seq};
use proptest::prelude::*;

use super::*;
use crate::random::Random;

const JOURNAL: JournalId = JournalId([7; 16]);
/// In the second life of each controller's log these were overwritten before anyone read them.
const LOST: (u64, u64) = (11, 14);
const RECORDS: u64 = 40;

fn controllers() -> Vec<ControllerId> {
    [405_419_896, 303_986_753, 201_020_304].map(ControllerId::uhppote).to_vec()
}

fn epoch(controller: ControllerId, life: u64) -> EpochId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&controller.serial.to_be_bytes());
    id[8..].copy_from_slice(&(life + 1).to_be_bytes());
    EpochId(id)
}

fn record(index: u64, random: &mut Random) -> RawRecord {
    let mut raw = [0; 20];
    raw[..4].copy_from_slice(&u32::try_from(index).unwrap().to_le_bytes());
    raw[4] = 1;
    raw[8..16].copy_from_slice(&random.number().to_le_bytes());
    RawRecord::new(&raw).unwrap()
}

fn gap(first: u64, last: Option<u64>, reason: GapReason) -> Kind {
    let last = last.map(Index);
    Kind::Gap(Gap { first: Index(first), last, reason, continuity: Continuity::Proven })
}

/// Two lives of three controllers, four records overwritten in each second life, read through one
/// journal; server a active at first, b at the end.
#[allow(clippy::too_many_lines, reason = "one run, told from beginning to end")]
fn good_run(seed: u64) -> Evidence {
    let mut random = Random::new(seed);
    let mut ledger = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut push =
        |controller, life, index: Option<u64>, after: Option<u64>, kind, raw: RawRecord| {
            let place = rows.len() + 1;
            rows.push(Row {
                rowid: i64::try_from(place).unwrap(),
                controller,
                epoch: epoch(controller, life),
                index: index.map(Index),
                after: after.map(Index),
                journal: JOURNAL,
                seq: Seq(u64::try_from(place).unwrap()),
                kind,
                digest: index.map(|_| raw.digest()),
                raw,
                role_term: RoleTerm(if place < 100 { 2 } else { 4 }),
                flags: Vec::new(),
            });
        };
    for life in 0..2 {
        if life == 1 {
            for controller in controllers() {
                let event = "log-restarted".to_owned();
                ledger.push(LedgerLine::Restarted { controller, life, event });
                let ended = gap(RECORDS + 1, None, GapReason::EpochEnded);
                push(controller, 0, None, Some(RECORDS), ended, RawRecord::default());
                let cause = ResetCause::LogRestarted { predecessor: epoch(controller, 0) };
                let reset = Kind::ControllerReset(cause);
                push(controller, 1, None, Some(0), reset, RawRecord::default());
            }
        }
        for index in 1..=RECORDS {
            for controller in controllers() {
                let raw = record(index, &mut random);
                let line = LedgerLine::Recorded {
                    controller,
                    life,
                    index: Index(index),
                    raw: raw.clone(),
                };
                ledger.push(line);
                if life == 1 && index == LOST.0 {
                    let lost = gap(LOST.0, Some(LOST.1), GapReason::Overwritten);
                    push(controller, 1, None, Some(LOST.0 - 1), lost, RawRecord::default());
                }
                if life == 0 || !(LOST.0..=LOST.1).contains(&index) {
                    push(controller, life, Some(index), None, Kind::Granted, raw);
                }
            }
        }
    }
    let head = rows.last().unwrap().seq;
    let older = rows[..60].iter().map(|row| Row { role_term: RoleTerm(1), ..row.clone() });
    let standby = StoreView {
        server: "a".into(),
        rows: older.collect(),
        journals: vec![Journal { journal: JOURNAL, stored: Seq(60), holes: Vec::new() }],
    };
    let says = |observer: &str, active: &str, term| ReignSeen {
        observer: observer.into(),
        active: active.into(),
        role_term: RoleTerm(term),
    };
    Evidence {
        ledger,
        active: StoreView {
            server: "b".into(),
            rows,
            journals: vec![Journal { journal: JOURNAL, stored: head, holes: Vec::new() }],
        },
        standby: Some(standby),
        replicated: false,
        kills: vec![
            Kill {
                victim: "gateway, kill 1".into(),
                told: controllers()
                    .into_iter()
                    .map(|controller| Told::Read { controller, told: Index(12), kept: Index(12) })
                    .chain([Told::Forgotten {
                        journal: JOURNAL,
                        forgotten: Seq(50),
                        stored: Seq(60),
                    }])
                    .collect(),
            },
            Kill {
                victim: "server a, kill 1".into(),
                told: vec![Told::Stored { journal: JOURNAL, told: Seq(58), kept: Seq(60) }],
            },
        ],
        reigns: vec![
            says("gateway", "a", 1),
            says("server a", "a", 1),
            says("gateway", "b", 2),
            says("server b", "b", 2),
            says("gateway", "b", 4),
            says("server b", "b", 4),
        ],
        exits: vec![
            Exit { process: "gateway.1".into(), signal: Some(9), sent: Some(9), ..Exit::default() },
            Exit { process: "gateway.2".into(), code: Some(0), sent: Some(15), ..Exit::default() },
        ],
        times: vec![Timing { what: "drained".into(), took_ms: 900, bound_ms: 30_000 }],
        gaps: GapAllowance::Exactly(
            controllers()
                .into_iter()
                .flat_map(|controller| {
                    let expect = |life, first, last: Option<u64>| ExpectedGap {
                        controller,
                        life,
                        first: Index(first),
                        last: last.map(Index),
                    };
                    [expect(0, RECORDS + 1, None), expect(1, LOST.0, Some(LOST.1))]
                })
                .collect(),
        ),
    }
}

/// The same where the servers replicate: both hold everything.
fn good_replicated_run(seed: u64) -> Evidence {
    let run = good_run(seed);
    let standby = StoreView { server: "a".into(), ..run.active.clone() };
    Evidence { replicated: true, standby: Some(standby), ..run }
}

/// The position of a row that `wanted` picks, chosen by `at`.
fn pick(rows: &[Row], at: usize, wanted: impl Fn(&Row) -> bool) -> usize {
    let places: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| wanted(row)).map(|(place, _)| place).collect();
    places[at % places.len()]
}

fn recorded(rows: &[Row], at: usize) -> usize {
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

fn claim_mut(row: &mut Row) -> &mut Gap {
    let Kind::Gap(gap) = &mut row.kind else { panic!("row {} is no gap", row.rowid) };
    gap
}

type Falsify = fn(&mut Evidence, usize);

/// Each with the condition that must notice it.
const FALSIFICATIONS: &[(&str, Condition, Falsify)] = &[
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
        let told = Told::Read { controller, told: Index(13), kept: Index(12) };
        run.kills[0].told.push(told);
    }),
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
];

#[test]
fn a_good_run_passes_with_every_figure_right() {
    let verdict = check(&good_run(1));
    assert!(verdict.is_ok(), "{verdict}");
    let missing = 3 * (LOST.1 - LOST.0 + 1);
    assert_eq!(
        verdict.line(),
        format!(
            "verdict: ok generated=240 stored={} lost=0 doubled=0 reordered=0 gaps={missing}",
            240 - missing
        )
    );
    let not_applicable = |outcome: &Outcome| matches!(outcome, Outcome::NotApplicable(_));
    assert!(not_applicable(&verdict.conditions[&Condition::C4]));
    assert_eq!(verdict.conditions.values().filter(|outcome| not_applicable(outcome)).count(), 1);
}

#[test]
fn a_good_replicated_run_passes_the_comparison_of_servers() {
    let verdict = check(&good_replicated_run(1));
    assert!(verdict.is_ok(), "{verdict}");
    assert!(matches!(verdict.conditions[&Condition::C4], Outcome::Ok(_)));
}

#[test]
fn every_falsification_is_flagged_by_its_condition() {
    for (what, condition, falsify) in FALSIFICATIONS {
        let mut run = good_run(3);
        falsify(&mut run, 17);
        let verdict = check(&run);
        assert!(verdict.failed().contains(condition), "{what}: not by {condition:?}\n{verdict}");
        assert!(verdict.line().starts_with("verdict: failed "), "{what}");
    }
}

#[test]
fn at_least_twelve_kinds_of_falsification_and_every_condition_among_them() {
    assert!(FALSIFICATIONS.len() >= 12);
    let conditions: std::collections::BTreeSet<_> =
        FALSIFICATIONS.iter().map(|(_, condition, _)| *condition).collect();
    assert_eq!(conditions.len(), 9);
}

#[test]
fn a_failed_verdict_names_ten_offenders_and_counts_the_rest() {
    let mut run = good_run(3);
    run.active.rows.retain(|row| row.index.is_none_or(|index| index.0 > 5));
    let verdict = check(&run);
    let Outcome::Failed(findings) = &verdict.conditions[&Condition::C1] else {
        panic!("{verdict}");
    };
    assert_eq!((findings.count, findings.first.len()), (30, MAX_FINDINGS));
    assert_eq!(verdict.counts.lost, 30);
    assert!(findings.first[0].starts_with("lost: uhppote-"), "{}", findings.first[0]);
}

#[test]
fn a_gap_that_covers_what_the_store_also_holds_is_no_fault_by_itself() {
    let mut run = good_run(3);
    run.gaps = GapAllowance::Any;
    let place =
        pick(&run.active.rows, 0, |row| matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. })));
    // From here on the range was filled from elsewhere.
    claim_mut(&mut run.active.rows[place]).last = Some(Index(LOST.1 + 3));
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

#[test]
fn an_empty_run_proves_nothing_and_an_empty_store_has_lost_everything() {
    assert_eq!(check(&Evidence::default()).failed(), [Condition::C7]);
    let verdict = check(&Evidence { ledger: good_run(1).ledger, ..Evidence::default() });
    assert_eq!((verdict.counts.lost, verdict.is_ok()), (240, false));
}

#[test]
fn ledger_lines_and_rows_are_read_as_they_are_written() {
    let lines: Vec<LedgerLine> = parse_lines(concat!(
        r#"{"controller":"uhppote-405419896","life":0,"index":17,"#,
        r#""raw":"1100000001010101a0987c002019080420020706","kind":"swipe","at":"2026-01-01T00:00:00Z"}"#,
        "\n",
        r#"{"controller":"uhppote-405419896","life":1,"event":"log-restarted","at":"2026-01-01T00:00:00Z"}"#,
        "\n"
    ))
    .unwrap();
    assert!(matches!(&lines[0], LedgerLine::Recorded { index: Index(17), life: 0, .. }));
    assert!(matches!(&lines[1], LedgerLine::Restarted { life: 1, .. }));
    let error = parse_lines::<LedgerLine>("{}\n").unwrap_err();
    assert!(error.starts_with("line 1: "), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever it strikes, and whatever the run: a falsification is never missed.
    #[test]
    fn no_falsification_is_missed_at_any_position(
        seed: u64,
        which in 0..FALSIFICATIONS.len(),
        at in 0usize..100_000,
    ) {
        let (what, condition, falsify) = FALSIFICATIONS[which];
        let mut run = good_run(seed);
        prop_assert!(check(&run).is_ok());
        falsify(&mut run, at);
        let verdict = check(&run);
        prop_assert!(
            verdict.failed().contains(&condition), "{}: not by {:?}\n{}", what, condition, verdict
        );
    }
}
