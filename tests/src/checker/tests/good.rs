//! A good run that was made up.

use std::collections::BTreeMap;

use postern_protocol::transaction::{
    Continuity, Credential, Direction, Door, Gap, GapReason, RawRecord, ResetCause,
};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Kind, RoleTerm, Seq};

use crate::checker::*;
use crate::random::Random;

pub(super) const JOURNAL: JournalId = JournalId([7; 16]);
/// In the second life of each controller's log these were overwritten before anyone read them.
pub(super) const LOST: (u64, u64) = (11, 14);
pub(super) const RECORDS: u64 = 40;

pub(super) fn controllers() -> Vec<ControllerId> {
    [405_419_896, 303_986_753, 201_020_304].map(ControllerId::uhppote).to_vec()
}

pub(super) fn epoch(controller: ControllerId, life: u64) -> EpochId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&controller.serial.to_be_bytes());
    id[8..].copy_from_slice(&(life + 1).to_be_bytes());
    EpochId(id)
}

pub(super) fn place_in(controller: ControllerId, life: u64, index: u64) -> Position {
    Position { epoch: epoch(controller, life), index: Index(index) }
}

pub(super) fn record(index: u64, random: &mut Random) -> RawRecord {
    let mut raw = [0; 20];
    raw[..4].copy_from_slice(&u32::try_from(index).unwrap().to_le_bytes());
    // A granted swipe at door 2, inwards, on 2026-01-01; the card is anybody's.
    raw[4..8].copy_from_slice(&[1, 1, 2, 1]);
    raw[8..12].copy_from_slice(&card(random).to_le_bytes());
    raw[12..20].copy_from_slice(&[0x20, 0x26, 0x01, 0x01, 0x12, 0x00, 0x00, 1]);
    RawRecord::new(&raw).unwrap()
}

/// Any but 0, which is no card.
fn card(random: &mut Random) -> u32 {
    1 + u32::try_from(random.below(u64::from(u32::MAX))).unwrap()
}

pub(super) fn card_of(raw: &RawRecord) -> Credential {
    let card: [u8; 4] = raw.as_slice()[8..12].try_into().unwrap();
    Credential(u64::from(u32::from_le_bytes(card)))
}

pub(super) fn gap(first: u64, last: Option<u64>, reason: GapReason) -> Kind {
    let last = last.map(Index);
    Kind::Gap(Gap { first: Index(first), last, reason, continuity: Continuity::Unproven })
}

/// Two lives of three controllers, four records overwritten in each second life, read through one
/// journal; server a active at first, b at the end.
#[allow(clippy::too_many_lines, reason = "one run, told from beginning to end")]
pub(super) fn good_run(seed: u64) -> Evidence {
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
                occurred: None,
                time_source: None,
                time_trust: None,
                received: None,
                stored_at: None,
                door: index.map(|_| Door(2)),
                direction: index.map(|_| Direction::In),
                credential: index.map(|_| card_of(&raw)),
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
                    at: None,
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
        journals: vec![Journal {
            journal: JOURNAL,
            stored: Seq(60),
            doubles: 0,
            holes: Vec::new(),
        }],
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
            journals: vec![Journal {
                journal: JOURNAL,
                stored: head,
                doubles: 0,
                holes: Vec::new(),
            }],
        },
        standby: Some(standby),
        replicated: false,
        kills: vec![
            Kill {
                victim: "gateway, kill 1".into(),
                told: controllers()
                    .into_iter()
                    .map(|controller| Told::Read {
                        controller,
                        told: place_in(controller, 0, 12),
                        kept: Some(place_in(controller, 0, 12)),
                    })
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
        epochs: BTreeMap::new(),
        times: vec![Timing { what: "drained".into(), took_ms: 900, bound_ms: 30_000 }],
        gaps: GapAllowance::Exactly(
            controllers()
                .into_iter()
                .flat_map(|controller| {
                    let expect = |life, kind| {
                        let Kind::Gap(gap) = kind else { panic!("{kind:?} is no gap") };
                        ExpectedGap { controller, life, gap }
                    };
                    [
                        expect(0, gap(RECORDS + 1, None, GapReason::EpochEnded)),
                        expect(1, gap(LOST.0, Some(LOST.1), GapReason::Overwritten)),
                    ]
                })
                .collect(),
        ),
    }
}

/// The same where the servers replicate: both hold everything.
pub(super) fn good_replicated_run(seed: u64) -> Evidence {
    let run = good_run(seed);
    let standby = StoreView { server: "a".into(), ..run.active.clone() };
    Evidence { replicated: true, standby: Some(standby), ..run }
}

/// All logs hold this many records.
pub(super) fn proven(capacity: u64) -> GapAllowance {
    let size = LogSize { capacity, chunk: 7 };
    GapAllowance::Proven(controllers().into_iter().map(|controller| (controller, size)).collect())
}
