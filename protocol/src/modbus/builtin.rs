//! Profiles of devices that are known: what stands in a configuration by name alone.
//!
//! They are TOML, as a person writes them, so that one can be copied and changed. This crate has no parser of
//! that: whoever reads configurations has one.

/// Names and texts, each a [`Profile`](super::profile::Profile).
pub const BUILT_IN: &[(&str, &str)] = &[
    ("inveo-rfid", include_str!("builtin/inveo-rfid.toml")),
    ("rfideas-tcp", include_str!("builtin/rfideas-tcp.toml")),
    ("relay-board", include_str!("builtin/relay-board.toml")),
];
