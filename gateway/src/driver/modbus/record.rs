//! Records from what was read, in Postern's words, and the bytes that are kept of each.
//!
//! The bytes of a record (`docs/drivers/modbus.md`) are the gateway's making, since a device has none: what was read, and
//! before it what makes them another record's where nothing else would. A log is known again by these bytes:
//!
//! - of what the device numbers they are the same whenever it is read: its number and its registers;
//! - of what nobody numbers they are never the same twice: a number for each run of the gateway, and one for each record
//!   of that run. Two openings of a door are two records, whatever else became of a journal.

use postern_protocol::modbus::card::{CardError, Layout};
use postern_protocol::modbus::door::What;
use postern_protocol::transaction::{
    Credential, Direction, Door, Occurred, RawRecord, ResetCause, Timestamp,
};
use postern_protocol::{Index, Kind};

use crate::driver::Record;

/// The layout of the bytes.
const LAYOUT: u8 = 1;

/// What kind of thing a record is, in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Latch = 1,
    Opened = 2,
    Forced = 3,
    Closed = 4,
    Held = 5,
    Button = 6,
    Restarted = 7,
    Sequence = 8,
    Ring = 9,
}

/// Cards whose registers cannot be read are [`Kind::Other`] with this and why.
const UNREADABLE: u32 = 0x100;

/// When something was seen: by the gateway's clock, and how long after the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The moment.
    pub(crate) at: Timestamp,
    /// Milliseconds since the look before; `None` where there was none.
    pub(crate) since_ms: Option<u64>,
}

impl Seen {
    fn occurred(self) -> Occurred {
        Occurred::seen(self.at, self.since_ms)
    }
}

/// What a reader showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// The reader's number, from 1.
    pub(crate) reader: u8,
    /// At which door.
    pub(crate) door: u8,
    /// Which way.
    pub(crate) direction: Option<Direction>,
    /// What its registers mean.
    pub(crate) layout: Layout,
    /// How many bits it says that the card has.
    pub(crate) bits: Option<u16>,
    /// Its registers.
    pub(crate) words: &'a [u16],
}

impl Shown<'_> {
    pub(crate) fn card(&self) -> Result<Credential, CardError> {
        self.layout.read(self.words, self.bits)
    }

    /// The record of what was shown. A card that cannot be read is kept as its registers.
    fn record(&self, index: Index, head: &[u8], may_repeat: bool, seen: Seen) -> Record {
        let card = self.card();
        let kind = match card {
            Ok(_) => Kind::CardRead { may_repeat },
            Err(error) => Kind::Other { code: UNREADABLE + why(error) },
        };
        Record {
            index,
            kind,
            occurred: seen.occurred(),
            or_at: None,
            door: Some(Door(self.door)),
            direction: self.direction,
            credential: card.ok(),
            raw: raw(head, self.bits.as_slice(), self.words),
        }
    }
}

fn why(error: CardError) -> u32 {
    match error {
        CardError::Empty => 1,
        CardError::TooLong => 2,
        CardError::Bits { .. } => 3,
        CardError::Outside => 4,
        CardError::Parity => 5,
    }
}

/// The head, how many bits the card has where that was read, and the registers, the high byte of each first. A checked
/// profile has no more registers than fit.
fn raw(head: &[u8], bits: &[u16], words: &[u16]) -> RawRecord {
    let registers = bits.iter().chain(words).flat_map(|word| word.to_be_bytes());
    let bytes: Vec<u8> = head.iter().copied().chain(registers).collect();
    RawRecord::new(&bytes).unwrap_or_default()
}

/// The record of what a reader showed under a number of its own. Its bytes are the same whenever it is read.
pub(crate) fn counted(shown: &Shown<'_>, index: Index, is_ring: bool, seen: Seen) -> Record {
    let tag = if is_ring { Tag::Ring } else { Tag::Sequence };
    let [.., high, low] = index.0.to_be_bytes();
    let has_bits = u8::from(shown.bits.is_some());
    shown.record(index, &[LAYOUT, tag as u8, shown.reader, has_bits, high, low], false, seen)
}

/// Makes the bytes of records that nobody numbers.
#[derive(Debug)]
pub(crate) struct Scribe {
    run: u32,
    count: u32,
}

impl Scribe {
    /// For one run of the gateway: a random number.
    pub(crate) const fn new(run: u32) -> Self {
        Self { run, count: 0 }
    }

    fn head(&mut self, tag: Tag, place: u8, more: u8) -> [u8; 12] {
        self.count = self.count.wrapping_add(1);
        let mut head = [LAYOUT, tag as u8, place, more, 0, 0, 0, 0, 0, 0, 0, 0];
        let names = self.run.to_be_bytes().into_iter().chain(self.count.to_be_bytes());
        head.iter_mut().skip(4).zip(names).for_each(|(byte, name)| *byte = name);
        head
    }

    /// What a latch showed. The collector numbers it.
    pub(crate) fn latch(&mut self, shown: &Shown<'_>, may_repeat: bool, seen: Seen) -> Record {
        let head = self.head(Tag::Latch, shown.reader, u8::from(shown.bits.is_some()));
        shown.record(Index(0), &head, may_repeat, seen)
    }

    /// What a door did.
    pub(crate) fn door(&mut self, door: u8, what: What, seen: Seen) -> Record {
        let (tag, kind) = match what {
            What::Opened => (Tag::Opened, Kind::DoorOpened),
            What::Forced => (Tag::Forced, Kind::DoorForced),
            What::Closed => (Tag::Closed, Kind::DoorClosed),
            What::Held => (Tag::Held, Kind::DoorHeld),
            What::Button => (Tag::Button, Kind::Button),
        };
        let head = self.head(tag, door, 0);
        Self::plain(kind, Some(Door(door)), &head, seen)
    }

    /// The device says that it has restarted.
    pub(crate) fn restarted(&mut self, seen: Seen) -> Record {
        let head = self.head(Tag::Restarted, 0, 0);
        Self::plain(Kind::ControllerReset(ResetCause::Reported), None, &head, seen)
    }

    fn plain(kind: Kind, door: Option<Door>, head: &[u8], seen: Seen) -> Record {
        Record {
            index: Index(0),
            kind,
            occurred: seen.occurred(),
            or_at: None,
            door,
            direction: None,
            credential: None,
            raw: raw(head, &[], &[]),
        }
    }
}
