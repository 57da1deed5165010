//! What happened at a door: the one record that every part of Postern carries, and its encoding.
//!
//! A transaction is either what a controller recorded ([`Origin::Controller`]) or what the gateway
//! noted about a controller's log ([`Origin::Gateway`]: a gap, a restart, a clock that was set).
//! Its encoding is a version byte and a postcard body, at most [`MAX_ENTRY`] bytes; the hash chain
//! of the journal covers exactly these bytes and a server keeps them as they came.

// Named by what `ToSchema` derives.
#[cfg(feature = "schema")]
use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ControllerId, EpochId, Index, Protocol};
use crate::text::{ParseError, write_hex};

mod kind;
mod time;

pub use kind::{AlarmKind, Continuity, DenyReason, Gap, GapReason, Kind, ResetCause};
pub use time::{Occurred, TimeSource, TimeTrust, Timestamp};

/// The longest encoded transaction: the longest raw record and every field at its widest come to
/// 196 bytes; the rest is room for later versions.
pub const MAX_ENTRY: usize = 256;

/// The longest raw record that a driver may hand in: one UHPPOTE frame. An event of ours is shorter.
pub const MAX_RAW: usize = 64;

/// Versions of the encoding that this build reads and writes.
///
/// Policy: a field or kind is only ever added, at the end, under a new version; a reader keeps
/// what it cannot read as bytes. Nothing is ever given a second meaning.
pub mod version {
    /// The oldest version that is read.
    pub const MIN: u8 = 1;
    /// The newest one that is read and written. 2 has cards that were read, times of looks and Modbus. What an older one
    /// can say is written in that, so that older readers understand it.
    pub const CURRENT: u8 = 2;
}

/// A door of a controller, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Door(pub u8);

/// Which way somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the secured side.
    In,
    /// Out of it.
    Out,
}

/// A card number as the controller reported it. Personal data: `Debug` and `Display` show the last
/// two digits at most, so that it cannot reach a log by accident.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(pub u64);

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*{:02}", self.0 % 100)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The controller's own bytes of the record, for evidence and for comparison. They hold the card
/// number, so `Debug` shows the length alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawRecord(heapless::Vec<u8, MAX_RAW>);

impl RawRecord {
    /// The bytes, or `None` where there are more than [`MAX_RAW`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        heapless::Vec::from_slice(bytes).ok().map(Self)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The digest by which this record is known again.
    pub fn digest(&self) -> Digest {
        Digest::of("postern record", &[&self.0])
    }
}

impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

impl Serialize for RawRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&Hex(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RawRecord {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(crate::text::FromText::<Self>::new());
        }
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Self::new(bytes).ok_or_else(|| serde::de::Error::custom("raw record too long"))
    }
}

impl core::str::FromStr for RawRecord {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { expected: "at most 64 bytes of hexadecimal" };
        let mut out = heapless::Vec::new();
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(error);
        }
        for pair in digits.chunks_exact(2) {
            let pair = core::str::from_utf8(pair).map_err(|_| error)?;
            let byte = u8::from_str_radix(pair, 16).map_err(|_| error)?;
            out.push(byte).map_err(|_| error)?;
        }
        Ok(Self(out))
    }
}

/// Who numbered the transaction, and where it stands in the controller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The controller recorded it: (controller, epoch, index) is its identity.
    Controller {
        /// Whose log.
        controller: ControllerId,
        /// Which life of that log.
        epoch: EpochId,
        /// Its number there.
        index: Index,
    },
    /// The gateway noted it: (journal, seq) is its identity; here is its place in the log.
    Gateway {
        /// Whose log it is about.
        controller: ControllerId,
        /// Which life of that log.
        epoch: EpochId,
        /// The index after which it stands.
        after: Index,
    },
}

impl Origin {
    /// The controller whose log this is about.
    pub fn controller(&self) -> ControllerId {
        match *self {
            Self::Controller { controller, .. } | Self::Gateway { controller, .. } => controller,
        }
    }

    /// The life of the log.
    pub fn epoch(&self) -> EpochId {
        match *self {
            Self::Controller { epoch, .. } | Self::Gateway { epoch, .. } => epoch,
        }
    }
}

/// One thing that happened at a door, or one thing that the gateway noted about a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Transaction {
    /// Who numbered it, and where it stands.
    pub origin: Origin,
    /// What it was.
    pub kind: Kind,
    /// When it happened, by whose clock, and how far that is to be trusted.
    pub occurred: Occurred,
    /// When the gateway read or noted it, by the gateway's clock.
    pub received: Timestamp,
    /// At which door.
    pub door: Option<Door>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Whose card.
    pub credential: Option<Credential>,
    /// The controller's own bytes; empty for what the gateway noted.
    pub raw: RawRecord,
}

impl Transaction {
    /// What the gateway itself notes about a log.
    pub fn noted(origin: Origin, kind: Kind, now: Timestamp) -> Self {
        Self {
            origin,
            kind,
            occurred: Occurred::noted(now),
            received: now,
            door: None,
            direction: None,
            credential: None,
            raw: RawRecord::default(),
        }
    }

    /// The digest of what is compared: the controller's record alone. For what the gateway noted,
    /// of its place and kind. Receive time and live or backfill lie outside.
    pub fn record_digest(&self) -> Digest {
        match self.origin {
            Origin::Controller { .. } => self.raw.digest(),
            Origin::Gateway { .. } => {
                let mut buffer = [0u8; MAX_ENTRY];
                match postcard::to_slice(&(&self.origin, &self.kind), &mut buffer) {
                    Ok(bytes) => Digest::of("postern note", &[bytes]),
                    // `MAX_ENTRY` holds every transaction, so a part of one as well.
                    Err(_) => Digest::default(),
                }
            }
        }
    }

    /// The oldest version of the encoding that can say this.
    fn version(&self) -> u8 {
        let controller = match self.origin.controller().protocol {
            Protocol::Uhppote | Protocol::Link => 1,
            Protocol::Modbus => 2,
        };
        self.kind.version().max(self.occurred.trust.version()).max(controller)
    }

    /// Encodes into `buffer` and returns the part of it that was used.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MAX_ENTRY]) -> Result<&'a [u8], EncodeError> {
        let [version, body @ ..] = buffer;
        *version = self.version();
        let length = postcard::to_slice(self, body).map_err(|_| EncodeError)?.len();
        buffer.get(..=length).ok_or(EncodeError)
    }

    /// Decodes what [`Transaction::encode`] made. Never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (&version, body) = bytes.split_first().ok_or(DecodeError::Malformed)?;
        if version > version::CURRENT {
            return Err(DecodeError::Newer { version });
        }
        if version < version::MIN || bytes.len() > MAX_ENTRY {
            return Err(DecodeError::Malformed);
        }
        match postcard::take_from_bytes::<Self>(body) {
            // One transaction has one encoding.
            Ok((transaction, [])) if transaction.version() == version => Ok(transaction),
            Ok(_) | Err(_) => Err(DecodeError::Malformed),
        }
    }
}

/// A transaction longer than [`MAX_ENTRY`]: only a new field that forgot the limit can cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction longer than {MAX_ENTRY} bytes")
    }
}

impl core::error::Error for EncodeError {}

/// Why bytes are not a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by a newer version; the bytes are to be kept as they are.
    Newer {
        /// The version they name.
        version: u8,
    },
    /// Not a transaction at all.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { version } => write!(
                f,
                "transaction encoded in version {version}, this build reads up to {}",
                version::CURRENT
            ),
            Self::Malformed => f.write_str("not an encoded transaction"),
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests;
