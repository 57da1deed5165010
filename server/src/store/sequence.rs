//! Numbers and ids between the protocol and `SQLite`, which counts in signed 64-bit integers.

use postern_protocol::Digest;

use super::StoreError;

/// A number that was checked to fit before; one that does not is an error, never a wrong number.
pub(super) fn to_sql(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Value { what: "a number", got: value.to_string() })
}

/// A number of ours; a negative one means that the file is not what we wrote.
pub(super) fn from_sql(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Value { what, got: value.to_string() })
}

/// A 16-byte id of ours.
pub(super) fn id(what: &'static str, bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| wrong_length(what, bytes))
}

/// A digest of ours.
pub(super) fn digest(what: &'static str, bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes.try_into().map(Digest).map_err(|_| wrong_length(what, bytes))
}

fn wrong_length(what: &'static str, bytes: &[u8]) -> StoreError {
    StoreError::Value { what, got: format!("{} bytes", bytes.len()) }
}
