//! Bytes and rules of every wire that Postern speaks: no I/O, no clock, no threads.
//!
//! The gateway, the servers and the simulator all depend on this crate and it depends on none of
//! them, so two sides of a wire cannot disagree about it.
//!
//! - [`transaction`]: what happened at a door, its identity and its versioned encoding.
//! - [`uhppote`]: the codec of UHPPOTE UT0311-L0x controllers.
//! - [`link`]: our own link to controllers.
//! - [`modbus`]: what is read from the registers of Modbus devices.
//! - `uplink`: what a gateway and a server say to each other (feature `alloc`).
//! - `role`: the role document and its signature (features `alloc`, `pki`).
//!
//! Nothing in here panics on bytes from outside, and nothing allocates without a named bound.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "pki", feature = "schema"))]
// What `ToSchema` derives names macros of std.
#[cfg_attr(feature = "schema", macro_use)]
extern crate std;

#[cfg(feature = "alloc")]
mod bytes;
pub mod digest;
pub mod id;
pub mod link;
pub mod modbus;
#[cfg(feature = "pki")]
pub mod pki;
#[cfg(feature = "alloc")]
pub mod role;
#[cfg(feature = "schema")]
mod schema;
mod text;
pub mod transaction;
pub mod uhppote;
#[cfg(feature = "alloc")]
pub mod uplink;

pub use digest::{Chain, Digest};
pub use id::{ControllerId, EpochId, Index, JournalId, Protocol, RoleTerm, Seq};
pub use transaction::{Kind, Origin, Timestamp, Transaction};
