//! Exit codes, for service managers and scripts. Documented in `docs/operations.md`.

/// Everything went well.
pub const OK: u8 = 0;
/// Something else failed; the message says what.
pub const FAILURE: u8 = 1;
/// The command line is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// The configuration is wrong; nothing was started.
pub const CONFIG: u8 = 10;
/// Another process has the journal, or the line that was to be probed.
pub const IN_USE: u8 = 11;
/// The journal cannot be opened, or failed while running: start again, it is checked at every open.
pub const JOURNAL: u8 = 12;
/// The address for pushed events cannot be listened on.
pub const LISTEN: u8 = 13;
/// No gateway is running.
pub const NOT_RUNNING: u8 = 14;
/// A controller does not answer, or refuses.
pub const CONTROLLER: u8 = 15;
/// What was compared is not the same; the comparison itself went well.
pub const DIFFERENT: u8 = 16;
