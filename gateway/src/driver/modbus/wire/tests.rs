//! The line against a peer that says what it is told to.
//!
//! - `late`: what is never taken for an answer, since it came too late, or unasked.
//! - `answer`: what is an answer and what is none.
//! - `property`: any bytes.

mod answer;
mod late;
mod property;
mod rig;

use std::time::Duration;

use postern_protocol::modbus::register::Table;
use tokio::time::Instant;

use super::*;
use rig::{Over, PATIENT, Peer, UNIT, both, one, registers, rtu, words};
