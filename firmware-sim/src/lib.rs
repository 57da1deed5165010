//! Simulated door controllers: UHPPOTE boards with the logs, the wire and the faults of real ones,
//! controllers of the link protocol on serial lines, and readers and door controllers that speak Modbus.
//!
//! - [`controller`], [`ring`], [`clock`], [`record`]: a board; pure.
//! - [`link`]: a controller of the link protocol; pure.
//! - [`modbus`]: a Modbus device, which is what its profile says; pure.
//! - [`people`], [`fault`], [`random`]: what chance decides; pure and seeded.
//! - [`trap`]: what happens to a board in the middle of being read; pure.
//! - [`ledger`]: the ground truth of a run.
//! - [`host`]: sockets and tasks.
//! - [`mod@line`]: a serial line with stations; the wire is pure, a thread gives it real time.
//! - [`api`] and [`client`]: the control API on loopback, both ends.
//! - [`config`], [`cli`]: what people write.
//!
//! The invariant that makes the simulator worth having: an event is in the ledger before any wire
//! can tell of it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod controller;
pub mod fault;
pub mod host;
pub mod ledger;
pub mod line;
pub mod link;
pub mod modbus;
pub mod people;
pub mod random;
pub mod record;
pub mod ring;
pub mod trap;
