//! Door controllers and readers that speak Modbus: what a profile says of a device's registers, and what follows
//! from what was read of them. The protocol itself is tokio-modbus's matter.
//!
//! There is no common door profile, so a device is described by its configuration:
//!
//! - [`register`]: where something is, and how what is wanted becomes few requests.
//! - [`card`]: a card number from registers: orders of words and bytes, and Wiegand's formats.
//! - [`counter`]: events that a device counts, with 16 bits or in a ring of registers.
//! - `profile`: what a person writes of a device, and what is wrong with that (feature `alloc`).
//! - [`builtin`]: profiles that need not be written.
//! - [`serial`]: what frames have on a serial line besides what they say.
//! - [`door`]: transactions from what a contact, a relay and a button are seen to do.
//!
//! Sources: the Modbus application protocol specification 1.1b3 (tables, addresses and limits of a request); the
//! maps of two readers, an Inveo RFID and an rf IDEAS; the common Wiegand formats of 26, 34 and 37 bits.
//!
//! Invariant 4 is at stake here: what was lost between two looks is counted where the device shows it, and
//! nothing is ever made up: what makes no sense is no transaction.

pub mod builtin;
pub mod card;
pub mod counter;
pub mod door;
#[cfg(feature = "alloc")]
pub mod profile;
pub mod register;
pub mod serial;
