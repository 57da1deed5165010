//! What a gateway asks and a station answers (`docs/protocol.md` §4), in postcard.
//!
//! The order of variants and fields is wire format: add at the end, never in between.

use serde::{Deserialize, Serialize};

use super::event::{MAX_EVENT, Stamp};
use crate::id::EpochId;

/// The most bytes of the text of a model or a firmware version.
pub const MAX_TEXT: usize = 24;

/// The most doors whose state one answer tells.
pub const MAX_DOORS: usize = 16;

/// What a gateway says first, in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest version that the gateway speaks.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

/// What a station answers to it, in clear. Nothing of it is to be relied upon but through the handshake,
/// which covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// The oldest version that the station speaks.
    pub min: u8,
    /// The newest.
    pub max: u8,
    /// The controller's serial number, not 0.
    pub serial: u32,
    /// The longest frame on the line that it takes and sends, in bytes with delimiters; at least
    /// [`super::frame::MIN_WIRE`].
    pub wire: u16,
    /// Whether it has a key, and so talks in secured sessions only.
    pub is_keyed: bool,
}

/// How a session begins: the first byte of the body of [`super::frame::Kind::Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// Behind this follows a message of `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`.
    Noise {
        /// The version that will be spoken.
        version: u8,
    },
    /// In clear. The answer is this again, and behind it a [`Welcome`].
    Plain {
        /// The version that will be spoken.
        version: u8,
        /// A number that the gateway thought of, so that a late answer is not taken for this one's.
        token: u32,
    },
}

/// The payload of the answer to an opening: which life of the log the session is about. The session ends
/// with that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Which life of the log.
    pub epoch: EpochId,
    /// The oldest index that it holds; one more than the newest where it holds none.
    pub oldest: u64,
    /// The newest; 0 where there never was one.
    pub newest: u64,
}

/// What binds a handshake to one gateway's idea of one station: the prologue of Noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prologue {
    name: [u8; 12],
    /// The station's address.
    pub address: u8,
    /// What the station said, as the gateway heard it.
    pub present: Present,
    /// The version that was chosen.
    pub version: u8,
}

/// The longest encoded [`Prologue`].
pub const MAX_PROLOGUE: usize = 32;

impl Prologue {
    /// The prologue of a handshake.
    pub const fn new(address: u8, present: Present, version: u8) -> Self {
        Self { name: *b"postern-link", address, present, version }
    }

    /// Its bytes.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MAX_PROLOGUE]) -> &'a [u8] {
        // 25 bytes at most: fits.
        postcard::to_slice(self, buffer).map_or(&[], |bytes| &*bytes)
    }
}

/// Which pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Table {
    /// Settings of doors and of the controller.
    Settings,
    /// Cards.
    Cards,
}

/// What a gateway asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Events behind what is committed; answered by [`Reply::Events`].
    Poll {
        /// The highest index of this life of the log that the gateway has durably; 0 for none. The station
        /// will not be asked for it again.
        committed: u64,
        /// How many behind it the gateway has read already without having them durably yet.
        skip: u64,
        /// How many bytes of events the answer may have.
        room: u16,
    },
    /// Who are you? Answered by [`Reply::Identity`].
    Identify,
    /// How are you? Answered by [`Reply::Status`].
    Status,
    /// How are the doors? Answered by [`Reply::Doors`].
    Doors,
    /// Set the clock. Answered by [`Reply::Done`].
    SetTime {
        /// The present second.
        at: Stamp,
        /// How much of it is over, in milliseconds.
        ms: u16,
    },
    /// One page of a new generation of a table. The pages come in order; with the last one all of them take
    /// effect at once. Answered by [`Reply::Staged`].
    Page {
        /// Under which role term the server that ordered it reigns.
        role_term: u64,
        /// Which table.
        table: Table,
        /// The generation that these pages make up; above the present one.
        generation: u32,
        /// Which page, from 0.
        page: u16,
        /// How many pages there are, at least 1.
        pages: u16,
        /// The page; its contents are between server and controller.
        bytes: &'a [u8],
    },
    /// Let somebody through once. Answered by [`Reply::Done`].
    OpenDoor {
        /// Under which role term the server that ordered it reigns.
        role_term: u64,
        /// Which door, from 1.
        door: u8,
        /// For how long, in milliseconds; 0 for what the door is set to.
        ms: u16,
    },
}

impl Request<'_> {
    /// Whether asking twice is no more than asking once. What is not is never sent again once nobody knows
    /// whether it arrived.
    pub fn is_idempotent(&self) -> bool {
        match self {
            // Pages are numbered.
            Self::Poll { .. } | Self::Identify | Self::Status | Self::Doors | Self::Page { .. } => {
                true
            }
            // A clock would be set to a time that is over.
            Self::SetTime { .. } | Self::OpenDoor { .. } => false,
        }
    }
}

/// What a controller says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity<'a> {
    /// The controller's serial number.
    pub serial: u32,
    /// Make and model, at most [`MAX_TEXT`] bytes.
    pub model: &'a str,
    /// The version of its firmware, at most [`MAX_TEXT`] bytes.
    pub firmware: &'a str,
    /// How many doors it has.
    pub doors: u8,
    /// How many events its log holds.
    pub capacity: u32,
}

/// Something that a controller wants to be looked at for. Bits of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// Its clock was never set, or lost its time.
    pub const CLOCK_UNSET: u8 = 1;
    /// Case or wiring is tampered with at present.
    pub const TAMPER: u8 = 2;
    /// It runs from its battery.
    pub const ON_BATTERY: u8 = 4;
    /// Its memory fails: events may not survive a power cut.
    pub const MEMORY: u8 = 8;
    /// It restarted since it was asked for its status last.
    pub const RESTARTED: u8 = 16;

    /// Whether this bit is set.
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// How a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What its clock reads.
    pub clock: Stamp,
    /// The oldest index in its log; one more than the newest where it is empty.
    pub oldest: u64,
    /// The highest that a gateway said to have durably, since power on.
    pub committed: u64,
    /// The newest; 0 where there never was one.
    pub newest: u64,
    /// How many events were overwritten that nobody had said to have, since power on.
    pub overwritten: u64,
    /// What it wants to be looked at for.
    pub flags: Flags,
    /// The generation of its settings; 0 for none.
    pub settings: u32,
    /// The generation of its cards; 0 for none.
    pub cards: u32,
    /// The highest role term that it ever obeyed; 0 for none.
    pub role_term: u64,
}

/// How a door is. Bits of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DoorState(pub u8);

impl DoorState {
    /// The door stands open.
    pub const OPEN: u8 = 1;
    /// Its lock is released.
    pub const UNLOCKED: u8 = 2;
    /// It was opened by force and has not been closed since.
    pub const FORCED: u8 = 4;
    /// It stands open too long.
    pub const HELD: u8 = 8;
    /// The request-to-exit button is pressed.
    pub const BUTTON: u8 = 16;
}

/// Why a station does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It does not know this request.
    Unknown,
    /// It knows it, and its fields make no sense.
    Malformed,
    /// There is no session, or no more. (In clear: begin anew.)
    NoSession,
    /// The opening was not made with this station's key. (In clear.)
    Key,
    /// It speaks no such version. (In clear.)
    Version,
    /// It has a key and does not talk in clear, or has none and cannot talk otherwise. (In clear.)
    Security,
    /// More is said to be committed, or asked for, than its log ever held: another life is meant.
    Index,
    /// The role term is below one that it obeyed already.
    RoleTerm {
        /// That one.
        highest: u64,
    },
    /// The generation is not above the present one.
    Generation {
        /// The present one.
        present: u32,
    },
    /// Another page is next.
    Page {
        /// That one.
        next: u16,
    },
    /// There is no such door.
    Door,
    /// Its memory is full or fails.
    Memory,
    /// Not now.
    Busy,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown => f.write_str("it does not know this request"),
            Self::Malformed => f.write_str("it finds the request malformed"),
            Self::NoSession => f.write_str("it has no session"),
            Self::Key => f.write_str("it has another key"),
            Self::Version => f.write_str("it speaks no version that we do"),
            Self::Security => f.write_str("one side has a key and the other has none"),
            Self::Index => f.write_str("its log never held that index"),
            Self::RoleTerm { highest } => write!(f, "it obeyed role term {highest} already"),
            Self::Generation { present } => write!(f, "it has generation {present} already"),
            Self::Page { next } => write!(f, "it wants page {next} next"),
            Self::Door => f.write_str("it has no such door"),
            Self::Memory => f.write_str("its memory is full or fails"),
            Self::Busy => f.write_str("it is busy"),
        }
    }
}

/// What a station answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// Events; behind this follow their [`runs`].
    Events {
        /// How many of those that were asked for are overwritten: the first event that follows has the
        /// index `committed + skip + 1 + lost`.
        lost: u64,
        /// How many there are in the log behind those that follow, at most [`u32::MAX`].
        behind: u32,
        /// What it wants to be looked at for.
        flags: Flags,
    },
    /// Who it is.
    #[serde(borrow)]
    Identity(Identity<'a>),
    /// How it is.
    Status(Status),
    /// How its doors are: a byte for each, from door 1.
    Doors(&'a [u8]),
    /// It was done.
    Done,
    /// The page is kept; the next one is this, or all of them took effect where it is the number of pages.
    Staged {
        /// Which is next.
        next: u16,
    },
    /// It was not done.
    Refused(Refusal),
}

/// Appends a message to `buffer` at `at`; how long all is now.
pub(super) fn put<T: Serialize>(message: &T, buffer: &mut [u8], at: usize) -> Option<usize> {
    let used = postcard::to_slice(message, buffer.get_mut(at..)?).ok()?.len();
    at.checked_add(used)
}

/// Events of a page, in a row: runs of up to 8 events of one length, each with one byte before it: how
/// many, less one, in the high three bits; their length, 1 to 31, in the low five.
pub mod runs {
    use super::MAX_EVENT;

    const MOST: usize = 8;
    const LENGTH: u8 = 0x1f;

    /// Writes events until no more fit.
    #[derive(Debug)]
    pub struct Writer<'a> {
        buffer: &'a mut [u8],
        used: usize,
        /// Where the run that grows has its first byte, and how many events it has.
        run: Option<(usize, usize, usize)>,
    }

    impl<'a> Writer<'a> {
        /// Writes into this.
        pub fn new(buffer: &'a mut [u8]) -> Self {
            Self { buffer, used: 0, run: None }
        }

        /// Adds an event; false where there is no room for it, or it is none.
        pub fn push(&mut self, event: &[u8]) -> bool {
            let length = event.len();
            if !(1..=MAX_EVENT).contains(&length) {
                return false;
            }
            let grows = self.run.filter(|(_, count, each)| *each == length && *count < MOST);
            let (head, count, at) = match grows {
                Some((head, count, _)) => (head, count, self.used),
                None => (self.used, 0, self.used + 1),
            };
            let Some(place) = self.buffer.get_mut(at..at + length) else { return false };
            place.copy_from_slice(event);
            let Some(head_byte) = self.buffer.get_mut(head) else { return false };
            // Both fit their bits: seven at most, and MAX_EVENT at most.
            let (more, each) =
                (u8::try_from(count).unwrap_or(0), u8::try_from(length).unwrap_or(0));
            *head_byte = more << 5 | each;
            self.run = Some((head, count + 1, length));
            self.used = at + length;
            true
        }

        /// How many bytes were written.
        pub fn length(&self) -> usize {
            self.used
        }
    }

    /// The events of a page. Ends early where the bytes are broken; see [`Reader::is_whole`].
    #[derive(Clone, Debug)]
    pub struct Reader<'a> {
        rest: &'a [u8],
        left: u8,
        length: u8,
    }

    impl<'a> Reader<'a> {
        /// Reads this.
        pub fn new(bytes: &'a [u8]) -> Self {
            Self { rest: bytes, left: 0, length: 0 }
        }

        /// Whether all was read and nothing is left over.
        pub fn is_whole(mut self) -> bool {
            (&mut self).for_each(drop);
            self.rest.is_empty() && self.left == 0
        }
    }

    impl<'a> Iterator for Reader<'a> {
        type Item = &'a [u8];

        fn next(&mut self) -> Option<&'a [u8]> {
            if self.left == 0 {
                let (head, rest) = self.rest.split_first()?;
                if head & LENGTH == 0 {
                    return None;
                }
                (self.left, self.length, self.rest) = ((head >> 5) + 1, head & LENGTH, rest);
            }
            let (event, rest) = self.rest.split_at_checked(usize::from(self.length))?;
            (self.rest, self.left) = (rest, self.left - 1);
            Some(event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn pages_read_back_as_they_were_written(
            events in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=MAX_EVENT), 0..60),
            room in 0usize..900,
        ) {
            let mut buffer = std::vec![0u8; room];
            let mut writer = runs::Writer::new(&mut buffer);
            let taken: Vec<&Vec<u8>> = events.iter().take_while(|event| writer.push(event)).collect();
            let used = writer.length();
            let read: Vec<&[u8]> = runs::Reader::new(&buffer[..used]).collect();
            prop_assert_eq!(&read, &taken);
            prop_assert!(runs::Reader::new(&buffer[..used]).is_whole());
            // Only where the next one really has no room.
            if let Some(next) = events.get(taken.len()) {
                prop_assert!(used + 1 + next.len() > room || used + next.len() > room);
            }
        }

        #[test]
        fn broken_pages_end_and_say_so(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let count = runs::Reader::new(&bytes).count();
            prop_assert!(count <= bytes.len());
            let length: usize = runs::Reader::new(&bytes).map(<[u8]>::len).sum();
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn eight_events_of_one_length_cost_one_byte_together() {
        let mut buffer = [0u8; 1_000];
        let mut writer = runs::Writer::new(&mut buffer);
        (0..16).for_each(|_| assert!(writer.push(&[7; 12])));
        assert_eq!(writer.length(), 16 * 12 + 2);
        assert!(writer.push(&[7; 12]));
        assert_eq!(writer.length(), 17 * 12 + 3);
        assert_eq!((buffer[0], buffer[97]), (0xec, 0xec));
    }

    #[test]
    fn a_prologue_fits() {
        let present =
            Present { min: 255, max: 255, serial: u32::MAX, wire: u16::MAX, is_keyed: true };
        let mut buffer = [0; MAX_PROLOGUE];
        assert_eq!(Prologue::new(126, present, 255).encode(&mut buffer).len(), 25);
    }
}
