//! The role document: which server of each failover group is active, under which role term.
//!
//! Servers change it (by one pure function of theirs), sign it and hand it out; gateways obey the
//! highest they have seen and show it to every server they talk to. The signature is checked
//! against the site's certificate authority (`pki`), so a bare number proves nothing.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::id::RoleTerm;
use crate::transaction::Timestamp;

#[cfg(feature = "pki")]
mod signature;
#[cfg(feature = "pki")]
pub use signature::SignatureError;

/// The longest role document: one entry per failover group of a site, a few hundred bytes each.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// The role document of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDocument {
    /// Of which site.
    pub site: String,
    /// Each failover group by its name.
    pub groups: BTreeMap<String, GroupRole>,
}

/// Who is active for one failover group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRole {
    /// The name of the active server.
    pub active: String,
    /// The number of its reign.
    pub role_term: RoleTerm,
    /// The stores that are in sync, named by server and store.
    pub in_sync: Vec<StoreName>,
    /// How many in-sync stores must hold a transaction before a gateway may forget it.
    pub copies: u8,
    /// How the pair is run.
    pub mode: Mode,
    /// Since when, by the active server's clock.
    pub since: Timestamp,
}

/// A store: a server's name alone is not enough, since its disk may have been replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreName {
    /// The server.
    pub server: String,
    /// The id that was made with its store.
    pub store: String,
}

/// How a pair is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The role changes by an operator's hand alone.
    Manual,
}

/// A role document as it travels: its exact text, who signed it, and the signature over the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRole {
    /// The JSON text of a [`RoleDocument`]; the signature covers these bytes.
    pub document: String,
    /// The signing server's certificate, DER.
    pub certificate: Bytes,
    /// ECDSA P-256 with SHA-256 over [`SIGNATURE_DOMAIN`] and the text, ASN.1.
    pub signature: Bytes,
}

/// What stands before the text under a signature, so that it can mean nothing else.
pub const SIGNATURE_DOMAIN: &str = "postern role document\0";
