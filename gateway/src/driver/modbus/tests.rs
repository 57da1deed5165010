//! The driver against a device whose registers are a table, together with the collector's machine.
//!
//! - `rig`: the device, and what stands for the journal.
//! - `sequence`, `ring`: what a device counts.
//! - `property`: any sequence of what can happen to it.

mod property;
mod regression;
mod rig;
mod ring;
mod sequence;

use std::time::Duration;

use super::*;
use crate::driver::Then;
use rig::{FIRST, How, Rig};
