//! The file as it is written: tables and keys, with the places that messages point at.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::bus::BusSection;
use super::modbus::{LineSection, Profiles};
use crate::driver::uhppote::Transport;

/// The whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) bundle: PathBuf,
    pub(super) data_dir: PathBuf,
    #[serde(default)]
    pub(super) journal: JournalSection,
    #[serde(default)]
    pub(super) clock: ClockSection,
    #[serde(default)]
    pub(super) uhppote: UhppoteSection,
    #[serde(default)]
    pub(super) controller: Vec<ControllerSection>,
    #[serde(default)]
    pub(super) bus: Vec<BusSection>,
    #[serde(default)]
    pub(super) profile: Profiles,
    #[serde(default)]
    pub(super) modbus: Vec<LineSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JournalSection {
    pub(super) capacity_entries: Spanned<u64>,
    pub(super) capacity_mb: Spanned<u64>,
    pub(super) profile: Profile,
    pub(super) syncs_per_second: Option<Spanned<u32>>,
}

impl Default for JournalSection {
    fn default() -> Self {
        // 120 hours at 20 transactions a second are 8.6 million. A transaction takes 120 bytes where
        // many share a commit, 250 where each has its own.
        Self {
            capacity_entries: Spanned::new(0..0, 1_000_000),
            capacity_mb: Spanned::new(0..0, 512),
            profile: Profile::Disk,
            syncs_per_second: None,
        }
    }
}

/// What the journal lies on.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Profile {
    /// As many syncs as there is work for.
    Disk,
    /// Flash memory wears with every sync: at most four a second, while controllers hold their own.
    Flash,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClockSection {
    pub(super) set: bool,
    pub(super) limit_s: Spanned<u64>,
}

impl Default for ClockSection {
    fn default() -> Self {
        Self { set: false, limit_s: Spanned::new(0..0, 10) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UhppoteSection {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControllerSection {
    pub(super) serial: Spanned<u32>,
    pub(super) address: Spanned<String>,
    #[serde(default = "udp")]
    pub(super) transport: Transport,
    pub(super) zone: Spanned<String>,
    #[serde(default)]
    pub(super) poll_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) quiet_poll_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) timeout_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) in_flight: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) set_clock: Option<bool>,
}

fn udp() -> Transport {
    Transport::Udp
}
