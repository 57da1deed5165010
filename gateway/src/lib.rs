//! The site gateway: reads door controllers, keeps every transaction in a durable journal, and
//! delivers it exactly once to whichever server is active.
//!
//! The way of a transaction: [`driver`] reads it → [`collector`] puts it in order → [`journal`]
//! commits it → [`uplink`] sends it. `daemon` holds these together, `control` lets the command line
//! ask a running daemon, `keys` holds the secrets that controllers share with us, `cli` is what people type. Arrows point one way: drivers and uplink know the
//! journal, the journal knows neither, the command line talks to the control socket only.
#![cfg_attr(test, allow(clippy::wildcard_enum_match_arm, clippy::unnecessary_wraps))]

pub mod board;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod control;
pub mod daemon;
pub mod driver;
pub mod exit;
pub mod health;
pub mod journal;
pub mod keys;
pub mod uplink;
