//! Real processes on loopback: built, started, watched, killed, and asked for evidence.
//!
//! Who writes a scenario uses [`Site`]: a simulator with its boards, two servers and a gateway in
//! one directory. Everything below it can be used by itself.
//!
//! - [`Binaries`]: builds the programs under test with cargo, so that none is ever stale.
//! - [`Process`]: one child; its output goes to files; it does not outlive its handle.
//! - [`wait_until`]: the one way to wait, for a level and with a deadline.
//! - [`Link`]: the wire between the gateway and a server, to be cut, slowed down, and made long.
//! - [`Network`]: a network namespace for each host, and what goes wrong between them.
//! - [`Disk`]: a file system that can run full.
//! - [`Ports`]: addresses that must be known before a server starts.
//! - [`Simulator`], [`Server`], [`Gateway`]: the programs and what they answer.
//! - [`Claims`]: who says that it is active, for as long as a scenario runs.
//! - [`Configuration`]: the gateway's file.
//! - [`Bus`]: a line with controllers of the link protocol.
//! - [`ModbusDevices`]: somebody else's devices that speak Modbus, and their lines.
//! - [`Host`]: somebody else who talks to the boards.
//!
//! Everything is blocking: a scenario is a story told in order, and nothing in it is concurrent
//! but the processes themselves.

mod binary;
mod bus;
mod cargo;
mod claim;
mod configuration;
mod disk;
mod error;
mod finished;
mod gateway;
mod host;
mod http;
mod link;
mod modbus;
mod namespace;
mod port;
mod process;
mod server;
mod side;
mod simulator;
mod site;
mod skip;
mod wait;

pub use binary::Binaries;
pub use bus::{Bus, Plug, Station, Wired};
pub use claim::{Claim, Claims, overlap};
pub use configuration::{Clocks, Configuration, Line, Transport};
pub use disk::Disk;
pub use error::Error;
pub use finished::Finished;
pub use gateway::{
    ClockStatus, ControllerStatus, Gateway, GatewayStatus, Health, LineCounters, LinkStatus,
};
pub use host::{Host, forged_push};
pub use link::{Distance, Link};
pub use modbus::{ModbusDevices, ModbusLines, ModbusPlan};
pub use namespace::{Fault, Namespace, Network};
pub use port::Ports;
pub use process::{Output, Process};
pub use server::{Began, Following, LogEnd, OtherVoter, RoleStatus, Server, Voters};
pub use side::Side;
pub use simulator::{Board, BoardStatus, Simulator, SimulatorStatus};
pub use site::{Site, SiteConfig};
pub use wait::{Interrupt, wait_every, wait_until};
