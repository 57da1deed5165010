//! A whole controller's side of the link (`docs/protocol.md`) as a C library: one station with a log of 64
//! events, in memory of the caller's.
//!
//! Proves that this side needs neither std nor an allocator: either would be a second panic handler
//! (E0152) or one allocator too few, and this would not build. `link.c` drives it, `protocol/tests/
//! footprint.rs` builds both and measures.
#![no_std]

#[cfg(feature = "std-leaks-in")]
extern crate std;

use core::mem::MaybeUninit;

use postern_protocol::id::EpochId;
use postern_protocol::link::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::{DoorState, Identity, MAX_DOORS, Refusal, Table};
use postern_protocol::link::noise::Psk;
use postern_protocol::link::station::{Access, Condition, Device, Station};

const EVENTS: usize = 64;
const WIRE: usize = 256;

/// What the board has to do itself.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Board {
    random: extern "C" fn(&mut [u8; 32]),
    open_door: extern "C" fn(door: u8, ms: u16),
    /// Keeps a page (false) or puts the pages that were kept into effect (true).
    keep: extern "C" fn(is_all: bool, table: u8, generation: u32, page: u16) -> bool,
}

struct Controller {
    log: EventLog<[Slot; EVENTS]>,
    condition: Condition,
    serial: u32,
    board: Board,
}

/// All that there is.
pub struct Link {
    station: Station<WIRE>,
    controller: Controller,
}

/// What is to be sent; no bytes where nothing is.
#[repr(C)]
pub struct Answer {
    bytes: *const u8,
    length: usize,
}

impl Device for Controller {
    type Slots = [Slot; EVENTS];

    fn log(&mut self) -> &mut EventLog<Self::Slots> {
        &mut self.log
    }

    fn identity(&self) -> Identity<'_> {
        let capacity = u32::try_from(EVENTS).unwrap_or(u32::MAX);
        Identity { serial: self.serial, model: "footprint", firmware: "1", doors: 2, capacity }
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    fn doors(&self, _: &mut [DoorState; MAX_DOORS]) -> usize {
        2
    }

    fn set_clock(&mut self, at: Stamp, _: u16) -> Result<(), Refusal> {
        self.condition.clock = at;
        Ok(())
    }

    fn keep_role_term(&mut self, role_term: u64) -> Result<(), Refusal> {
        self.condition.role_term = role_term;
        Ok(())
    }

    fn open_door(&mut self, door: u8, ms: u16) -> Result<(), Refusal> {
        (self.board.open_door)(door, ms);
        Ok(())
    }

    fn stage(&mut self, table: Table, generation: u32, page: u16, _: &[u8]) -> Result<(), Refusal> {
        let is_kept = (self.board.keep)(false, table as u8, generation, page);
        if is_kept { Ok(()) } else { Err(Refusal::Memory) }
    }

    fn activate(&mut self, table: Table, generation: u32, pages: u16) -> Result<(), Refusal> {
        if !(self.board.keep)(true, table as u8, generation, pages) {
            return Err(Refusal::Memory);
        }
        match table {
            Table::Settings => self.condition.settings = generation,
            Table::Cards => self.condition.cards = generation,
        }
        Ok(())
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        (self.board.random)(&mut bytes);
        bytes
    }
}

/// How many bytes a link takes; and of these its station, and its log.
#[unsafe(no_mangle)]
pub extern "C" fn postern_sizes(station: &mut usize, log: &mut usize) -> usize {
    *station = size_of::<Station<WIRE>>();
    *log = size_of::<EventLog<[Slot; EVENTS]>>();
    size_of::<Link>()
}

/// Powers a station on, with a log that begins its life.
#[unsafe(no_mangle)]
pub extern "C" fn postern_begin(
    link: &mut MaybeUninit<Link>,
    address: u8,
    serial: u32,
    key: &[u8; 32],
    epoch: &[u8; 16],
    board: &Board,
) {
    link.write(Link {
        station: Station::new(address, serial, Access::Keyed(Psk::new(*key))),
        controller: Controller {
            log: EventLog::new([Slot::EMPTY; EVENTS], EpochId(*epoch)),
            condition: Condition::default(),
            serial,
            board: *board,
        },
    });
}

/// Something happened; its index, or 0 where the log does not take it.
#[unsafe(no_mangle)]
pub extern "C" fn postern_event(
    link: &mut Link,
    at: u32,
    code: u8,
    reason: u8,
    place: u8,
    card: u64,
) -> u64 {
    let event = Event {
        at: Stamp(at),
        code: Code(code),
        reason: Reason(reason),
        place: Place(place),
        card,
    };
    let mut buffer = [0; MAX_EVENT];
    link.controller.log.push(event.encode(&mut buffer)).map_or(0, |index| index.0)
}

/// A byte came from the line. What is answered stands in the link, until the next byte.
#[unsafe(no_mangle)]
pub extern "C" fn postern_on_byte(link: &mut Link, byte: u8) -> Answer {
    let bytes = link.station.on_bytes(&[byte], &mut link.controller).unwrap_or_default();
    Answer { bytes: bytes.as_ptr(), length: bytes.len() }
}

#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
