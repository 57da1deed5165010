//! Exit codes: a contract with init systems and scripts; a number is never given a second meaning.

/// All went well, or it was stopped by a signal as asked.
pub const OK: u8 = 0;
/// The command failed for a reason that has no number of its own; the message says which.
pub const FAILED: u8 = 1;
/// The command line could not be understood.
pub const USAGE: u8 = 2;
/// The data directory or its `server.toml` is not what it should be: a restart will not help.
pub const CONFIGURATION: u8 = 10;
/// Another process runs on this data directory.
pub const LOCKED: u8 = 11;
/// The store failed; a restart checks it again.
pub const STORE: u8 = 12;
/// The listening address could not be bound.
pub const LISTEN: u8 = 13;
/// No server could be reached that could have answered.
pub const UNREACHABLE: u8 = 14;
/// The server refused the command as it fits neither the role document nor the moment.
pub const DENIED: u8 = 15;
