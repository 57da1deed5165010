//! Judges what a journal has of a unit by what the ledger says that it showed.

use postern_protocol::transaction::{Credential, Door, ResetCause, TimeSource, TimeTrust};
use postern_protocol::{EpochId, Kind, Origin, Transaction};
use postern_sim::ledger::{ModbusLine, Source, What};

/// What rounding to milliseconds may cost, on two clocks that are one.
const ROUNDING_MS: i64 = 2;

/// What is to be in a journal of something that a unit showed; `None` of what is none of its events.
fn is_kept_as(line: &ModbusLine, entry: &Transaction) -> Option<bool> {
    let is = match line.what {
        What::CardRead => {
            matches!(entry.kind, Kind::CardRead { .. }) && entry.credential == line.card
        }
        What::Opened => matches!(entry.kind, Kind::DoorOpened | Kind::DoorForced),
        What::Closed => entry.kind == Kind::DoorClosed,
        What::Pressed => entry.kind == Kind::Button,
        What::Started => entry.kind == Kind::ControllerReset(ResetCause::Reported),
        What::CardLost | What::CardTaken | What::Released | What::Locked | What::LetGo => {
            return None;
        }
    };
    let door = match line.source {
        Source::Door(door) => Some(Door(door)),
        // Reader 1 is at door 1, and so on, in all of these profiles.
        Source::Reader(reader) => Some(Door(reader)),
        Source::Device => None,
    };
    Some(is && entry.door == door)
}

/// The promise of a time: it happened then, or not longer before than is said.
pub(super) fn is_timed(line: &ModbusLine, entry: &Transaction) {
    let (truth, occurred) = (line.at.as_millisecond(), entry.occurred);
    assert_eq!(occurred.source, TimeSource::Gateway);
    let at = occurred.at.expect("the gateway has a clock").0;
    assert!(truth <= at + ROUNDING_MS, "{truth} is after {at}: {line:?} {entry:?}");
    match occurred.trust {
        TimeTrust::Before => {}
        TimeTrust::Within { ms } => {
            let earliest = at - i64::from(ms);
            assert!(
                earliest <= truth + ROUNDING_MS,
                "{truth} is before {earliest}: {line:?} {entry:?}"
            );
        }
        other @ (TimeTrust::Exact
        | TimeTrust::Ambiguous
        | TimeTrust::Skipped
        | TimeTrust::Absent) => panic!("nobody knows that exactly: {other:?}"),
    }
    assert!(at <= entry.received.0 + ROUNDING_MS, "{entry:?} is of the future");
}

/// All that a unit showed without a number, in order, each once and with its time; of what was held, that it is where a
/// door was open. `has_flag`: it says when it has restarted.
pub(super) fn is_all(lines: &[ModbusLine], entries: &[Transaction], has_flag: bool) {
    let happened = |line: &&ModbusLine| match line.what {
        What::Started => has_flag,
        What::CardRead | What::Opened | What::Closed | What::Pressed => true,
        What::CardLost | What::CardTaken | What::Released | What::Locked | What::LetGo => false,
    };
    let lines: Vec<_> = lines.iter().filter(happened).collect();
    let mut open = [false; 256];
    let mut rest = lines.iter();
    for entry in entries {
        let door = entry.door.map_or(0, |Door(door)| usize::from(door));
        if entry.kind == Kind::DoorHeld {
            assert!(open[door], "{entry:?} and the door was not open");
            continue;
        }
        let line = rest.next().unwrap_or_else(|| panic!("{entry:?} was never shown"));
        assert_eq!(is_kept_as(line, entry), Some(true), "{line:?} became {entry:?}");
        is_timed(line, entry);
        if matches!(entry.kind, Kind::DoorOpened | Kind::DoorForced | Kind::DoorClosed) {
            open[door] = entry.kind != Kind::DoorClosed;
        }
    }
    assert_eq!(rest.next(), None, "this is not in the journal");
}

/// How many cards of a latch there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cards {
    pub(super) shown: usize,
    /// Entries that may be of the same showing as the one before.
    pub(super) marked: usize,
}

/// A card in a row of the same.
struct Run<T> {
    card: Credential,
    all: Vec<T>,
}

fn runs<T>(cards: impl Iterator<Item = (Credential, T)>) -> Vec<Run<T>> {
    let mut runs: Vec<Run<T>> = Vec::new();
    for (card, each) in cards {
        match runs.last_mut() {
            Some(run) if run.card == card => run.all.push(each),
            Some(_) | None => runs.push(Run { card, all: vec![each] }),
        }
    }
    runs
}

/// Every card that a latch showed is there, in order, and once, but for those that say that they may be a repeat. None of
/// them was overwritten.
pub(super) fn has_all_cards<'a>(lines: &[ModbusLine], entries: &'a [Transaction]) -> Cards {
    assert!(lines.iter().all(|line| line.what != What::CardLost), "a card was overwritten");
    let lines = lines.iter().filter(|line| line.what == What::CardRead);
    let shown = runs(lines.map(|line| (line.card.unwrap(), line)));
    let entry = |entry: &'a Transaction| {
        let Transaction { kind: Kind::CardRead { may_repeat }, credential, .. } = entry else {
            return None;
        };
        Some(((*credential)?, (*may_repeat, entry)))
    };
    let kept = runs(entries.iter().filter_map(entry));
    let cards = |runs: &mut dyn Iterator<Item = Credential>| runs.collect::<Vec<_>>();
    let left = cards(&mut shown.iter().map(|run| run.card));
    let right = cards(&mut kept.iter().map(|run| run.card));
    assert_eq!(left, right, "what was shown, and what the journal has");
    let mut counts = Cards::default();
    for (shown, kept) in shown.iter().zip(&kept) {
        let marked = kept.all.iter().filter(|(may_repeat, _)| *may_repeat).count();
        let (least, most) = (kept.all.len() - marked, kept.all.len());
        assert!(
            (least..=most).contains(&shown.all.len()),
            "{:?} was shown {} times, and is kept {most} times, {marked} of them marked",
            shown.card,
            shown.all.len(),
        );
        if shown.all.len() == most {
            shown.all.iter().zip(&kept.all).for_each(|(line, (_, entry))| is_timed(line, entry));
        }
        counts.shown += shown.all.len();
        counts.marked += marked;
    }
    counts
}

/// What a journal has of a reader that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Of each life: the records, and the numbers that gaps say are lost.
    pub(super) lives: Vec<(usize, u64)>,
}

/// Each life that the device had is an epoch; each number of it is there once: as its card, with its time, or in a gap.
pub(super) fn has_all_numbers(lines: &[ModbusLine], entries: &[Transaction]) -> Numbers {
    let mut epochs: Vec<(EpochId, Vec<&Transaction>)> = Vec::new();
    for entry in entries {
        let (Origin::Controller { epoch, .. } | Origin::Gateway { epoch, .. }) = entry.origin;
        match epochs.last_mut() {
            Some((last, all)) if *last == epoch => all.push(entry),
            Some(_) | None => epochs.push((epoch, vec![entry])),
        }
    }
    let all = runs(lines.iter().map(|line| (Credential(line.life), line)));
    let counts = |run: &&Run<&ModbusLine>| run.all.iter().any(|line| line.number.is_some());
    let shown: Vec<_> = all.iter().filter(counts).collect();
    assert_eq!(epochs.len(), shown.len(), "epochs, and lives: {entries:?}");
    let mut numbers = Numbers::default();
    for (at, ((_, entries), life)) in epochs.iter().zip(&shown).enumerate() {
        let shown = |number| life.all.iter().find(|line| line.number == Some(number));
        let (mut next, mut records, mut lost) = (1, 0, 0);
        for entry in entries {
            match (entry.origin, entry.kind) {
                (Origin::Controller { index, .. }, Kind::CardRead { may_repeat: false }) => {
                    assert_eq!(index.0, next, "{entry:?}");
                    let line = shown(next).unwrap_or_else(|| panic!("{entry:?} was never shown"));
                    assert_eq!(entry.credential, line.card, "number {next}");
                    let registers = line.raw.expect("registers");
                    let raw = entry.raw.as_slice();
                    assert!(raw.ends_with(registers.as_slice()), "number {next}");
                    is_timed(line, entry);
                    (next, records) = (next + 1, records + 1);
                }
                (Origin::Gateway { .. }, Kind::Gap(gap)) if gap.last.is_none() => {
                    assert!(at + 1 < epochs.len(), "this life is not over: {gap:?}");
                }
                (Origin::Gateway { .. }, Kind::Gap(gap)) => {
                    assert_eq!(gap.first.0, next, "{gap:?}");
                    lost += gap.count().unwrap();
                    next = gap.last.unwrap().0 + 1;
                }
                (
                    Origin::Gateway { .. },
                    Kind::ControllerReset(ResetCause::LogRestarted { .. }),
                ) => {
                    assert_eq!((next, at > 0), (1, true), "{entry:?}");
                }
                _ => panic!("what is {entry:?}"),
            }
        }
        if at + 1 == epochs.len() {
            assert_eq!(shown(next), None, "this is not in the journal");
        }
        numbers.lives.push((records, lost));
    }
    numbers
}
