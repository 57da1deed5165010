//! What a device is like: which of its registers mean what, as its configuration says.
//!
//! A [`Profile`] is what a person writes. [`Profile::check`] says everything that is wrong with it at once, and
//! otherwise what one look at the device reads ([`Plan`]).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::card::{Align, First, Format, Layout, MAX_REGISTERS};
use super::counter::{Ring, RingError};
use super::door::Rules;
use super::register::{Block, BlockError, Extent, MAX_REQUESTS, Table, TooMany, plan};
use crate::transaction::Direction;

/// The most readers, and the most doors, of a device.
pub const MAX_PARTS: usize = 16;

/// The longest times of a door, in milliseconds: a change that lasts, a grant, and a door that is held.
pub const MAX_DEBOUNCE_MS: u64 = 10_000;
/// See [`MAX_DEBOUNCE_MS`].
pub const MAX_GRANT_MS: u64 = 600_000;
/// See [`MAX_DEBOUNCE_MS`].
pub const MAX_HELD_MS: u64 = 86_400_000;

/// A place in one of a device's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which table.
    pub table: Table,
    /// The address, from 0.
    pub address: u16,
}

impl Place {
    /// By itself.
    pub const fn block(self) -> Block {
        Block::one(self.table, self.address)
    }
}

/// A place that says yes or no. In a register everything but 0 is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Which table.
    pub table: Table,
    /// The address, from 0.
    pub address: u16,
    /// Which value says yes.
    #[serde(default = "yes")]
    pub when: bool,
}

const fn yes() -> bool {
    true
}

impl Flag {
    /// By itself.
    pub const fn block(self) -> Block {
        Block::one(self.table, self.address)
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The make and model, for people.
    pub model: String,
    /// How many addresses that mean nothing may be read along, so that one request reads what lies on both sides.
    #[serde(default)]
    pub gap: u16,
    /// Says that the device has restarted.
    #[serde(default)]
    pub restarted: Option<Flag>,
    /// Its readers.
    #[serde(default)]
    pub readers: Vec<Reader>,
    /// Its doors.
    #[serde(default)]
    pub doors: Vec<DoorPoints>,
}

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// At which door.
    pub door: u8,
    /// Which way whoever swipes there goes.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// How it shows that somebody swiped.
    pub events: Events,
    /// Where the card is. In a ring the address counts from the beginning of a record, and the table is the ring's.
    pub card: Card,
}

/// How a device shows events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Events {
    /// It keeps one card, and a flag that is to be cleared: two swipes between two looks are one.
    Latch {
        /// Says that there is a card that nobody has read.
        flag: Flag,
        /// What is written to the flag's place to clear it.
        #[serde(default)]
        clear: u16,
    },
    /// It keeps one card, and counts.
    Sequence {
        /// The number of the newest, of 16 bits.
        counter: Place,
    },
    /// It keeps some, and counts.
    Ring {
        /// The number of the newest, of 16 bits, from 1.
        counter: Place,
        /// The first register of the ring.
        first: u16,
        /// How many records it has.
        records: u16,
        /// How many registers each.
        words: u16,
        /// In which table.
        table: Table,
    },
}

/// Where a card number is, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// In which table.
    #[serde(default = "holding")]
    pub table: Table,
    /// The first register.
    pub address: u16,
    /// How many.
    pub count: u16,
    /// Where it says how many bits the card has. Not in a ring.
    #[serde(default)]
    pub bits: Option<Place>,
    /// Which register comes first.
    #[serde(default)]
    pub words: First,
    /// Which byte of a register does.
    #[serde(default)]
    pub bytes: First,
    /// At which end the bits are.
    #[serde(default)]
    pub align: Align,
    /// What they mean.
    pub format: Format,
}

const fn holding() -> Table {
    Table::HoldingRegister
}

impl Card {
    /// Its registers; `None` in a ring, or where there are no such registers.
    pub const fn block(&self) -> Option<Block> {
        match Block::new(self.table, self.address, self.count) {
            Ok(block) => Some(block),
            Err(_) => None,
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        self.block().into_iter().chain(self.bits.map(Place::block))
    }

    /// How it is read.
    pub const fn layout(&self) -> Layout {
        let Self { words, bytes, align, format, .. } = *self;
        Layout { words, bytes, align, format }
    }
}

/// What a door has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorPoints {
    /// Which door.
    pub door: u8,
    /// Says that it is open.
    #[serde(default)]
    pub contact: Option<Flag>,
    /// Says that it may be opened.
    #[serde(default)]
    pub relay: Option<Flag>,
    /// Says that the button to get out is pressed.
    #[serde(default)]
    pub button: Option<Flag>,
    /// For how long a change has to last until it counts, in milliseconds.
    #[serde(default = "debounce_default_ms")]
    pub debounce_ms: u64,
    /// For how long the relay or the button let somebody open the door, after they have gone off again.
    #[serde(default = "grant_default_ms")]
    pub grant_ms: u64,
    /// After how long an open door is held open too long; never, where it stands nowhere.
    #[serde(default)]
    pub held_ms: Option<u64>,
}

const fn debounce_default_ms() -> u64 {
    50
}

const fn grant_default_ms() -> u64 {
    5_000
}

impl DoorPoints {
    /// How the door is judged. Forced is only what a relay would have shown otherwise.
    pub const fn rules(&self) -> Rules {
        let Self { debounce_ms, grant_ms, held_ms, relay, .. } = *self;
        Rules { debounce_ms, grant_ms, held_ms, forced: relay.is_some() }
    }
}

/// One of the logs that a device's registers show. Each is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Latches, doors and restarts: nothing of it has a number.
    Shown,
    /// A reader that counts, by its number from 1.
    Reader(u8),
}

/// What one look at a device reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The requests, each for what is of one moment.
    pub requests: heapless::Vec<Block, MAX_REQUESTS>,
}

impl Plan {
    fn of(blocks: &[Block], gap: u16) -> Result<Self, TooMany> {
        Ok(Self { requests: plan(blocks, gap)? })
    }
}

/// Where in a profile something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As a whole.
    Profile,
    /// The reader with this number, from 1.
    Reader(usize),
    /// The door of this number.
    Door(u8),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile => f.write_str("the profile"),
            Self::Reader(number) => write!(f, "reader {number}"),
            Self::Door(number) => write!(f, "door {number}"),
        }
    }
}

/// Something that is wrong with a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub part: Part,
    /// What.
    pub what: Wrong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.what)
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has neither readers nor doors.
    Nothing,
    /// It has more readers or doors than [`MAX_PARTS`].
    TooMany,
    /// Doors count from 1.
    NoDoor,
    /// The door stands there twice.
    Twice,
    /// A door without a contact, a relay and a button.
    Bare,
    /// A card is in registers, not in bits.
    CardInBits,
    /// A card has no registers, or more than can be kept.
    CardLength,
    /// There are no such registers.
    CardPlace(BlockError),
    /// The card is not within a record of the ring.
    CardOutside,
    /// A record of the ring is longer than can be kept.
    RecordLength,
    /// A time of a door is longer than makes sense.
    Times,
    /// A ring has no place that says how many bits a card has.
    BitsInRing,
    /// A counter, or a number of bits, is in registers.
    CounterInBits,
    /// The flag of a latch cannot be written.
    ReadOnly,
    /// What clears a coil is 0 or 1.
    Clear,
    /// What clears the flag says that there is a card.
    ClearsNothing,
    /// There is no such ring.
    Ring(RingError),
    /// These two mean the same register.
    Overlap(Extent, Extent),
    /// It takes too many requests.
    Requests(TooMany),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("it has neither readers nor doors"),
            Self::TooMany => write!(f, "it has more than {MAX_PARTS} readers, or doors"),
            Self::NoDoor => f.write_str("doors count from 1"),
            Self::Twice => f.write_str("it stands there twice"),
            Self::Bare => f.write_str("it has no contact, no relay and no button"),
            Self::CardInBits => f.write_str("a card is in registers: input_register or holding_register"),
            Self::CardLength => write!(f, "a card has 1 to {MAX_REGISTERS} registers"),
            Self::CardPlace(error) => write!(f, "the card's registers: {error}"),
            Self::CardOutside => f.write_str("its card is not within a record of the ring"),
            Self::RecordLength => write!(f, "a record of its ring has {MAX_REGISTERS} registers at most"),
            Self::Times => write!(
                f,
                "its times are {MAX_DEBOUNCE_MS} ms (debounce), {MAX_GRANT_MS} ms (grant) and {MAX_HELD_MS} ms (held) at most"
            ),
            Self::BitsInRing => f.write_str("a ring's cards have as many bits as their format: leave `bits` out"),
            Self::CounterInBits => {
                f.write_str("a counter, or a number of bits, is in registers: input_register or holding_register")
            }
            Self::ReadOnly => {
                f.write_str("its flag cannot be cleared there: it has to be a coil or a holding_register")
            }
            Self::Clear => f.write_str("what clears a coil is 0 or 1"),
            Self::ClearsNothing => f.write_str("what is written to clear its flag is what says that there is a card"),
            Self::Ring(error) => write!(f, "its ring: {error}"),
            Self::Overlap(one, other) => write!(f, "{one} and {other} mean the same"),
            Self::Requests(error) => error.fmt(f),
        }
    }
}

/// Problems, and what is read, as they are found.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    /// Whose each is: what belongs to two parts is a mistake.
    blocks: Vec<(Part, Block)>,
    rings: Vec<(Part, Extent)>,
}

impl Findings {
    fn wrong(&mut self, part: Part, what: Wrong) {
        self.problems.push(Problem { part, what });
    }

    fn read(&mut self, part: Part, block: Block) {
        self.blocks.push((part, block));
    }
}

impl Profile {
    /// What one look at the device reads; rings are read besides, as far as their counter says.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self) -> Result<Plan, Vec<Problem>> {
        let mut found = Findings::default();
        if self.readers.is_empty() && self.doors.is_empty() {
            found.wrong(Part::Profile, Wrong::Nothing);
        }
        if self.readers.len() > MAX_PARTS || self.doors.len() > MAX_PARTS {
            found.wrong(Part::Profile, Wrong::TooMany);
            return Err(found.problems);
        }
        if let Some(restarted) = self.restarted {
            found.read(Part::Profile, restarted.block());
        }
        for (number, reader) in self.readers.iter().enumerate() {
            reader.check(Part::Reader(number + 1), &mut found);
        }
        for (place, door) in self.doors.iter().enumerate() {
            let part = Part::Door(door.door);
            let before = self.doors.iter().take(place);
            if before.clone().any(|other| other.door == door.door) {
                found.wrong(part, Wrong::Twice);
            }
            door.check(part, &mut found);
        }
        // Each is planned by itself: without what another one reads in between it may take more requests.
        for source in self.sources() {
            if let Err(error) = self.look(source) {
                found.wrong(Part::Profile, Wrong::Requests(error));
            }
        }
        overlaps(&mut found);
        let blocks: Vec<Block> = found.blocks.iter().map(|(_, block)| *block).collect();
        match Plan::of(&blocks, self.gap) {
            Ok(plan) if found.problems.is_empty() => Ok(plan),
            Ok(_) => Err(found.problems),
            Err(error) => {
                found.wrong(Part::Profile, Wrong::Requests(error));
                Err(found.problems)
            }
        }
    }
}

impl Profile {
    /// The logs that it shows.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        let is_latch = |reader: &Reader| matches!(reader.events, Events::Latch { .. });
        let shown =
            self.restarted.is_some() || !self.doors.is_empty() || self.readers.iter().any(is_latch);
        // Not more than `MAX_PARTS`.
        let readers = (1..=u8::MAX).zip(&self.readers);
        let counting = readers.filter(move |(_, reader)| !is_latch(reader));
        shown
            .then_some(Source::Shown)
            .into_iter()
            .chain(counting.map(|(number, _)| Source::Reader(number)))
    }

    /// A reader by its number from 1.
    pub fn reader(&self, number: u8) -> Option<&Reader> {
        self.readers.get(usize::from(number).checked_sub(1)?)
    }

    /// What one look for this log reads. The card of a latch is read once its flag is seen, and a ring's records as far
    /// as its counter says.
    ///
    /// # Errors
    /// Where it takes too many requests; not of a profile that was checked.
    pub fn look(&self, source: Source) -> Result<Plan, TooMany> {
        let blocks: Vec<Block> = match source {
            Source::Shown => {
                let flags = self.readers.iter().filter_map(|reader| match reader.events {
                    Events::Latch { flag, .. } => Some(flag),
                    Events::Sequence { .. } | Events::Ring { .. } => None,
                });
                let points =
                    self.doors.iter().flat_map(|door| [door.contact, door.relay, door.button]);
                let all = self.restarted.into_iter().chain(flags).chain(points.flatten());
                all.map(Flag::block).collect()
            }
            Source::Reader(number) => match self.reader(number) {
                Some(reader) => match reader.events {
                    Events::Sequence { counter } => {
                        reader.card.blocks().chain([counter.block()]).collect()
                    }
                    Events::Ring { counter, .. } => [counter.block()].into(),
                    Events::Latch { .. } => Vec::new(),
                },
                None => Vec::new(),
            },
        };
        Plan::of(&blocks, self.gap)
    }

    /// What is read of the card of a latch once its flag is seen.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn card(&self, reader: &Reader) -> Result<Plan, TooMany> {
        let blocks: Vec<Block> = reader.card.blocks().collect();
        Plan::of(&blocks, self.gap)
    }
}

impl Reader {
    /// The ring that it keeps its records in.
    pub fn ring(&self) -> Option<Ring> {
        match self.events {
            Events::Ring { first, records, words, table, .. } => {
                Ring::new(table, first, records, words).ok()
            }
            Events::Latch { .. } | Events::Sequence { .. } => None,
        }
    }

    fn check(&self, part: Part, found: &mut Findings) {
        if self.door == 0 {
            found.wrong(part, Wrong::NoDoor);
        }
        let Card { table, address, count, bits, .. } = self.card;
        if table.is_bits() {
            found.wrong(part, Wrong::CardInBits);
        }
        if count == 0 || usize::from(count) > MAX_REGISTERS {
            found.wrong(part, Wrong::CardLength);
            return;
        }
        if let Some(bits) = bits {
            if bits.table.is_bits() {
                found.wrong(part, Wrong::CounterInBits);
            }
            found.read(part, bits.block());
        }
        match self.events {
            Events::Latch { flag, clear } => {
                match flag.table {
                    Table::DiscreteInput | Table::InputRegister => {
                        found.wrong(part, Wrong::ReadOnly);
                    }
                    Table::Coil if clear > 1 => found.wrong(part, Wrong::Clear),
                    Table::Coil | Table::HoldingRegister if (clear != 0) == flag.when => {
                        found.wrong(part, Wrong::ClearsNothing);
                    }
                    Table::Coil | Table::HoldingRegister => {}
                }
                found.read(part, flag.block());
            }
            Events::Sequence { counter } => Self::counter(part, counter, found),
            Events::Ring { counter, first, records, words, table } => {
                Self::counter(part, counter, found);
                if bits.is_some() {
                    found.wrong(part, Wrong::BitsInRing);
                }
                if usize::from(words) > MAX_REGISTERS {
                    found.wrong(part, Wrong::RecordLength);
                }
                if address.checked_add(count).is_none_or(|end| end > words) {
                    found.wrong(part, Wrong::CardOutside);
                }
                match Ring::new(table, first, records, words) {
                    Ok(ring) => found.rings.push((part, ring.extent())),
                    Err(error) => found.wrong(part, Wrong::Ring(error)),
                }
                return;
            }
        }
        match Block::new(table, address, count) {
            Ok(block) => found.read(part, block),
            Err(error) => found.wrong(part, Wrong::CardPlace(error)),
        }
    }

    fn counter(part: Part, counter: Place, found: &mut Findings) {
        if counter.table.is_bits() {
            found.wrong(part, Wrong::CounterInBits);
        }
        found.read(part, counter.block());
    }
}

impl DoorPoints {
    fn check(&self, part: Part, found: &mut Findings) {
        if self.door == 0 {
            found.wrong(part, Wrong::NoDoor);
        }
        let points = [self.contact, self.relay, self.button];
        if points.iter().all(Option::is_none) {
            found.wrong(part, Wrong::Bare);
        }
        let most = [
            (self.debounce_ms, MAX_DEBOUNCE_MS),
            (self.grant_ms, MAX_GRANT_MS),
            (self.held_ms.unwrap_or(0), MAX_HELD_MS),
        ];
        if most.into_iter().any(|(time, most)| time > most) {
            found.wrong(part, Wrong::Times);
        }
        for point in points.into_iter().flatten() {
            found.read(part, point.block());
        }
    }
}

/// Whatever means two things.
fn overlaps(found: &mut Findings) {
    let blocks = found.blocks.iter().map(|(part, block)| (*part, block.extent()));
    let all: Vec<(Part, Extent)> = blocks.chain(found.rings.iter().copied()).collect();
    for (place, (part, extent)) in all.iter().enumerate() {
        let before = all.iter().take(place);
        for (_, other) in before.filter(|(_, other)| other.overlaps(*extent)) {
            found.problems.push(Problem { part: *part, what: Wrong::Overlap(*other, *extent) });
        }
    }
}

#[cfg(test)]
mod tests;
