//! Devices that speak Modbus: what became of each swipe that they showed.
//!
//! A record of a gateway has the bytes that the gateway made of registers, which the devices' ledger cannot know. So each
//! swipe is looked for here, by what the ledger does know, and the ledger is told in the checker's words with the bytes of
//! what was found: order, gaps, promises, and both servers are judged by that as with any controller.
//!
//! - What counts, a sequence or a ring: each number is stored once, with its card, or lies in one gap.
//! - A latch: the cards in the store are those that it showed, in order. One may stand there again where the record says
//!   that it may be a repeat (`may_repeat`). No card is shown twice but for the one before: so all records of a card
//!   are of showings in a row. And a record may say so only if it is of the card before it, or the first of a run of the
//!   gateway.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{
    Direction, Door, Gap, GapReason, RawRecord, ResetCause, TimeTrust,
};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Protocol};
use serde::Deserialize;

use super::condition::describe;
use super::evidence::{LedgerLine, LogSize, Row};
use super::verdict::Findings;

/// The units' serial numbers are their addresses and this.
const SERIALS: u32 = 80_000;
/// What a ring shows for certain: one record less than it has.
const RING: u64 = 63;

/// How a unit shows cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// One, until it was told that it was read.
    Latch,
    /// The newest, and its number.
    Sequence,
    /// The newest ones, and a number.
    Ring,
}

/// A line of the devices' ledger.
#[derive(Clone, Debug, Deserialize)]
pub struct Swipe {
    /// At which unit.
    pub unit: u8,
    /// How that shows it.
    pub kind: Shows,
    /// The how-manieth of the unit.
    pub number: u64,
    /// Whose card.
    pub card: u64,
    /// Whether it happened before anyone could ask.
    pub before: bool,
    /// When, RFC 3339 UTC.
    pub at: Option<String>,
}

impl Swipe {
    /// The serial number of a unit in the gateway's configuration.
    pub fn serial(unit: u8) -> u32 {
        SERIALS + u32::from(unit)
    }

    /// Under which name it is stored.
    pub fn controller(&self) -> ControllerId {
        let serial = Self::serial(self.unit);
        match self.kind {
            Shows::Latch => ControllerId::modbus(serial),
            Shows::Sequence | Shows::Ring => ControllerId::modbus_reader(serial, 1),
        }
    }
}

/// What became of the swipes.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Swipes that were shown while anyone could ask.
    pub shown: u64,
    /// Of these, what the store holds.
    pub stored: u64,
    /// Gaps of swipes that were shown. Of what nothing was kept before a kill they are before the first contact.
    pub gaps: u64,
    /// Swipes in them.
    pub lost_in_gaps: u64,
    /// Swipes that are neither stored nor in a gap.
    pub missing: u64,
    /// Records of latches that may be repeats, as they say.
    pub marked: u64,
    /// Records of latches that are.
    pub repeats: u64,
    /// What is wrong.
    pub findings: Findings,
    /// The devices' ledger in the checker's words.
    pub ledger: Vec<LedgerLine>,
    /// How much the logs of the units hold, where they have any.
    pub sizes: BTreeMap<ControllerId, LogSize>,
}

/// Looks for each swipe in a store that a gateway filled which was started so often. See the module.
pub fn judge_modbus(swipes: &[Swipe], rows: &[Row], starts: u64) -> Judged {
    let mut units: BTreeMap<ControllerId, Vec<&Swipe>> = BTreeMap::new();
    for swipe in swipes {
        units.entry(swipe.controller()).or_default().push(swipe);
    }
    let mut judged = Judged::default();
    let mut logs: BTreeMap<ControllerId, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.controller.protocol == Protocol::Modbus) {
        logs.entry(row.controller).or_default().push(row);
        if !units.contains_key(&row.controller) {
            judged.findings.push(|| format!("of a unit that showed nothing: {}", describe(row)));
        }
    }
    for (controller, swipes) in units {
        let mut rows = logs.remove(&controller).unwrap_or_default();
        rows.sort_by_key(|row| row.rowid);
        judged.one_life(&rows);
        for row in &rows {
            judged.as_it_was_seen(row);
        }
        match swipes.first().map(|swipe| swipe.kind) {
            Some(Shows::Latch) => judged.latch(controller, &swipes, &rows, starts),
            Some(shows @ (Shows::Sequence | Shows::Ring)) => {
                let capacity = if shows == Shows::Ring { RING } else { 1 };
                judged.sizes.insert(controller, LogSize { capacity, chunk: 1 });
                judged.counted(controller, &swipes, &rows);
            }
            None => {}
        }
    }
    judged
}

impl Judged {
    /// No unit ever began anew, so nothing of it is under a second name; and what it shows is numbered upwards.
    fn one_life(&mut self, rows: &[&Row]) {
        let mut epoch: Option<EpochId> = None;
        let mut newest = Index(0);
        for row in rows {
            if *epoch.get_or_insert(row.epoch) != row.epoch {
                self.findings.push(|| format!("a log that never began anew: {}", describe(row)));
            }
            if let Some(index) = row.index {
                if index <= newest {
                    self.findings.push(|| format!("behind what came after it: {}", describe(row)));
                }
                newest = index.max(newest);
            }
        }
    }

    /// Particulars of a card: where, which way, and when, by the gateway's clock.
    fn as_it_was_seen(&mut self, row: &Row) {
        if row.index.is_none() {
            return;
        }
        let is_card = matches!(row.kind, Kind::CardRead { .. });
        let place = (row.door, row.direction);
        if is_card && place != (Some(Door(1)), Some(Direction::In)) {
            self.findings.push(|| format!("not at door 1, inwards: {}", describe(row)));
        }
        let trust = row.time_trust.as_deref().and_then(|word| word.parse().ok());
        let is_seen = matches!(trust, Some(TimeTrust::Within { .. } | TimeTrust::Before));
        if !is_seen || row.time_source.as_deref() != Some("gateway") || row.occurred.is_none() {
            let (source, trust) = (&row.time_source, &row.time_trust);
            self.findings.push(|| format!("seen when ({source:?}, {trust:?})? {}", describe(row)));
        }
    }

    /// Of a unit that counts.
    fn counted(&mut self, controller: ControllerId, swipes: &[&Swipe], rows: &[&Row]) {
        let numbers: BTreeMap<u64, &Swipe> =
            swipes.iter().map(|swipe| (swipe.number, *swipe)).collect();
        let mut stored: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
        let mut gaps: Vec<Gap> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            match (row.index, row.kind) {
                (Some(index), Kind::CardRead { may_repeat: false }) => {
                    let card = row.credential.map(|card| card.0);
                    match numbers.get(&index.0) {
                        None => self.findings.push(|| format!("never shown: {}", describe(row))),
                        Some(swipe) if card != Some(swipe.card) => {
                            self.findings.push(|| format!("another card: {}", describe(row)));
                        }
                        Some(_) => {}
                    }
                    stored.entry(index.0).or_default().push(row);
                }
                (None, Kind::Gap(gap)) => {
                    let is_first = gap.reason == GapReason::BeforeFirstContact;
                    if is_first && place > 0 {
                        self.findings
                            .push(|| format!("not before the first contact: {}", describe(row)));
                    }
                    let is_lost = |swipe: &Swipe| !swipe.before && covers(&gap, swipe.number);
                    self.gaps += u64::from(swipes.iter().any(|swipe| is_lost(swipe)));
                    if let Some(why) = untrue(&gap, swipes) {
                        self.findings.push(|| format!("{why}: {}", describe(row)));
                    }
                    gaps.push(gap);
                }
                _ => self.findings.push(|| format!("no card of a counter: {}", describe(row))),
            }
        }
        for swipe in swipes {
            let number = swipe.number;
            self.shown += u64::from(!swipe.before);
            let rows = stored.get(&number).map_or(&[][..], Vec::as_slice);
            let claims: Vec<_> = gaps.iter().filter(|gap| covers(gap, number)).collect();
            let name = || format!("{controller} number {number}");
            match (rows.len(), claims.as_slice()) {
                (0, []) => {
                    self.missing += 1;
                    self.findings.push(|| format!("lost: {}", name()));
                }
                (0, [_]) => self.lost_in_gaps += u64::from(!swipe.before),
                (0, several) => {
                    self.findings.push(|| format!("in {} gaps: {}", several.len(), name()));
                }
                (1, []) => self.stored += u64::from(!swipe.before),
                (1, _) => self.findings.push(|| format!("stored and in a gap: {}", name())),
                (many, _) => self.findings.push(|| format!("{many} rows of {}", name())),
            }
            let raw = rows.first().map(|row| row.raw.clone());
            // Bytes that nobody has: the checker finds them missing as well.
            let raw = raw.or_else(|| RawRecord::new(&number.to_be_bytes())).unwrap_or_default();
            let (index, at) = (Index(number), swipe.at.clone());
            self.ledger.push(LedgerLine::Recorded { controller, life: 0, index, raw, at });
        }
    }

    /// Of a latch.
    fn latch(&mut self, controller: ControllerId, swipes: &[&Swipe], rows: &[&Row], starts: u64) {
        let mut cards: Vec<(u64, bool, &Row)> = Vec::new();
        let mut restarts = 0_u64;
        for (place, row) in (1_u64..).zip(rows) {
            let is_next = row.index == Some(Index(place));
            match (row.kind, row.credential) {
                (Kind::CardRead { may_repeat }, Some(card)) if is_next => {
                    self.marked += u64::from(may_repeat);
                    cards.push((card.0, may_repeat, *row));
                }
                (Kind::ControllerReset(ResetCause::Reported), None) if is_next => restarts += 1,
                _ => self.findings.push(|| format!("not what a latch shows: {}", describe(row))),
            }
            if let Some(index) = row.index {
                let (raw, at) = (row.raw.clone(), None);
                self.ledger.push(LedgerLine::Recorded { controller, life: 0, index, raw, at });
            }
        }
        let is_other = |two: &&[(u64, bool, &Row)]| matches!(two, [(one, ..), (other, true, _)] if one != other);
        let first = cards.first().filter(|(_, may_repeat, _)| *may_repeat);
        let anew = count(first) + count(cards.windows(2).filter(is_other));
        if anew > starts {
            self.findings.push(|| {
                format!("may repeat what? {anew} records of {controller} after {starts} starts")
            });
        }
        if restarts == 0 {
            self.findings.push(|| format!("{controller} said that it had restarted"));
        }
        let shown: Vec<_> = swipes.chunk_by(|one, other| one.card == other.card).collect();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, showings) in shown.iter().enumerate() {
            self.shown += count(*showings);
            if let [first, ..] = showings
                && places.insert(first.card, place).is_some()
            {
                let number = first.number;
                self.findings.push(|| format!("{controller} number {number}: shown before"));
            }
        }
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        for records in cards.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some((card, _, row)) = records.first() else { continue };
            let Some(place) = places.get(card).copied() else {
                self.findings.push(|| format!("a card that was never shown: {}", describe(row)));
                continue;
            };
            if seen.range(place..).next().is_some() {
                self.findings.push(|| format!("behind what came after it: {}", describe(row)));
                continue;
            }
            seen.insert(place);
            let showings = shown.get(place).copied().unwrap_or_default();
            self.showings(controller, showings, records);
        }
        for (place, showings) in shown.iter().enumerate() {
            if let ([first, ..], false) = (*showings, seen.contains(&place)) {
                self.missing += count(*showings);
                let number = first.number;
                self.findings.push(|| format!("lost: {controller} number {number}"));
            }
        }
    }

    /// The records of a card against how often it was shown in a row. Each showing has one at least, and the first is
    /// not a repeat of anything; a record too many has to say that it may be one.
    fn showings(
        &mut self,
        controller: ControllerId,
        showings: &[&Swipe],
        records: &[(u64, bool, &Row)],
    ) {
        let [first, ..] = showings else { return };
        let [_, later @ ..] = records else { return };
        let (shown, kept) = (count(showings), count(records));
        let sure = count(later) - count(later.iter().filter(|(_, may_repeat, _)| *may_repeat));
        self.stored += shown.min(kept);
        self.repeats += kept.saturating_sub(shown);
        let number = first.number;
        if kept < shown {
            self.missing += shown - kept;
            self.findings
                .push(|| format!("lost: {} of {controller} from {number} on", shown - kept));
        }
        if sure >= shown {
            self.findings.push(|| {
                let doubled = sure + 1 - shown;
                format!("doubled without a word: {doubled} of {controller} from {number} on")
            });
        }
    }
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u64 {
    items.into_iter().fold(0, |count, _| count + 1)
}

fn covers(gap: &Gap, number: u64) -> bool {
    gap.first.0 <= number && gap.last.is_none_or(|last| number <= last.0)
}

/// Why a gap claims what cannot be.
fn untrue(gap: &Gap, swipes: &[&Swipe]) -> Option<&'static str> {
    let newest = swipes.last().map_or(0, |swipe| swipe.number);
    match (gap.last, gap.reason) {
        (None, _) => Some("a gap without an end in a log that goes on"),
        (Some(last), _) if last.0 > newest => Some("a gap past the newest"),
        (Some(last), _) if last < gap.first => Some("a gap of nothing"),
        (_, GapReason::Overwritten | GapReason::BeforeFirstContact) => None,
        (_, GapReason::EpochEnded | GapReason::Unreadable) => Some("a gap for no reason"),
    }
}

#[cfg(test)]
mod tests;
