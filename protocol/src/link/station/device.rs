//! What firmware provides: its log, its clock, its doors.

use crate::link::event::Stamp;
use crate::link::log::{EventLog, Slot};
use crate::link::message::{DoorState, Flags, Identity, MAX_DOORS, Refusal, Table};

/// How a device is, less its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What its clock reads.
    pub clock: Stamp,
    /// What it wants to be looked at for.
    pub flags: Flags,
    /// The generation of its settings; 0 for none.
    pub settings: u32,
    /// The generation of its cards; 0 for none.
    pub cards: u32,
    /// The highest role term that it ever obeyed; 0 for none.
    pub role_term: u64,
}

/// A device behind a [`super::Station`]. Each call answers at once; what takes longer than the reply window
/// allows is [`Refusal::Busy`].
pub trait Device {
    /// Where the slots of its log are.
    type Slots: AsRef<[Slot]> + AsMut<[Slot]>;

    /// Its log.
    fn log(&mut self) -> &mut EventLog<Self::Slots>;

    /// Who it is.
    fn identity(&self) -> Identity<'_>;

    /// How it is. [`Flags::RESTARTED`] is the station's to add.
    fn condition(&self) -> Condition;

    /// How its doors are, from door 1; how many there are, at most [`MAX_DOORS`].
    fn doors(&self, states: &mut [DoorState; MAX_DOORS]) -> usize;

    /// Sets the clock: the present second, and how many milliseconds of it are over. The log records what
    /// firmware wants it to; the gateway has noted the step before it asked.
    fn set_clock(&mut self, at: Stamp, ms: u16) -> Result<(), Refusal>;

    /// Keeps a role term, durably, before anything is done under it.
    fn keep_role_term(&mut self, role_term: u64) -> Result<(), Refusal>;

    /// Lets somebody through a door once, for so many milliseconds or, where that is 0, as it is set.
    fn open_door(&mut self, door: u8, ms: u16) -> Result<(), Refusal>;

    /// Keeps a page of a generation that is not in effect yet. Page 0 drops what was kept of another.
    fn stage(
        &mut self,
        table: Table,
        generation: u32,
        page: u16,
        bytes: &[u8],
    ) -> Result<(), Refusal>;

    /// Puts the pages that were kept into effect, all at once and durably.
    fn activate(&mut self, table: Table, generation: u32, pages: u16) -> Result<(), Refusal>;

    /// 32 bytes that nobody can guess and that were never used before: the secret half of a handshake. A
    /// device without a true source of randomness must not talk to strangers' lines.
    fn random(&mut self) -> [u8; 32];
}
