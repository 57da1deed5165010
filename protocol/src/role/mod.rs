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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoleDocument {
    /// Of which site.
    pub site: String,
    /// Each failover group by its name.
    pub groups: BTreeMap<String, GroupRole>,
    /// What holds over all groups.
    #[serde(default)]
    pub limits: Limits,
}

/// What holds over all groups of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// How many groups may be away from their preferred server by automatic failover at once;
    /// `None` for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_failovers: Option<u8>,
}

/// Who is active for one failover group.
///
/// Documents are compared by [`version`](Self::version): the holder of a role term alone changes
/// the document within its reign, so that two with one version are one document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupRole {
    /// The name of the active server.
    pub active: String,
    /// The number of its reign.
    pub role_term: RoleTerm,
    /// How often the active server has changed the rest of this since its reign began.
    #[serde(default)]
    pub revision: u64,
    /// The stores that are in sync, named by server and store.
    pub in_sync: Vec<StoreName>,
    /// How many in-sync stores must hold a transaction before a gateway may forget it.
    pub copies: u8,
    /// How many there are to be once there are as many stores in sync.
    #[serde(default = "one")]
    pub copies_wanted: u8,
    /// How the group is run.
    pub mode: Mode,
    /// What the active server does when gateways run full while too few stores are in sync.
    #[serde(default)]
    pub when_full: WhenFull,
    /// The server that is to be active where there is a choice; `None` where they are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<String>,
    /// How long after an automatic failover there is no other, in milliseconds, before it doubles:
    /// see [`effective_dwell_ms`](Self::effective_dwell_ms).
    #[serde(default)]
    pub dwell_ms: u64,
    /// How many automatic failovers, each for the active server's silence, have followed one another
    /// soon.
    #[serde(default, skip_serializing_if = "none_yet")]
    pub flaps: u8,
    /// Since when another server than the preferred one is active, by the clock of whoever made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<Timestamp>,
    /// How long another server than the preferred one may be active before that is alarmed, in
    /// milliseconds; `None` for no alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_alarm_ms: Option<u64>,
    /// Whether somebody works on the servers, so that the role does not change by itself.
    #[serde(default)]
    pub maintenance: bool,
    /// How this reign began.
    #[serde(default)]
    pub began: Began,
    /// The last reign that began by force: what was safe before it need not be held since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<RoleTerm>,
    /// When, by the clock of whoever wrote it.
    pub since: Timestamp,
}

const fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn none_yet(flaps: &u8) -> bool {
    *flaps == 0
}

/// The dwell time that a group is founded with: several times what a failover takes with the slowest
/// timing, so that the first one has come to an end before a second one is thought of.
const DEFAULT_DWELL_MS: u64 = 30_000;

/// How often the dwell time doubles at most: with the default one it is then 32 minutes, which an
/// operator who was woken up can wait for, or cut short.
const MOST_DOUBLINGS: u8 = 6;

impl GroupRole {
    /// The group as it begins: one server with an empty store, by whose clock it is `since`.
    pub fn founded(store: StoreName, role_term: RoleTerm, since: Timestamp) -> Self {
        Self {
            active: store.server.clone(),
            role_term,
            revision: 0,
            in_sync: Vec::from([store]),
            copies: 1,
            copies_wanted: 2,
            mode: Mode::Manual,
            when_full: WhenFull::Lower,
            preferred: None,
            dwell_ms: DEFAULT_DWELL_MS,
            flaps: 0,
            away_since: None,
            away_alarm_ms: None,
            maintenance: false,
            began: Began::Founded,
            forced: None,
            since,
        }
    }

    /// How long after the last automatic failover there is no other, in milliseconds: it doubles
    /// with each that followed the one before it soon.
    pub fn effective_dwell_ms(&self) -> u64 {
        let doubled = 1_u64 << self.flaps.min(MOST_DOUBLINGS);
        self.dwell_ms.saturating_mul(doubled)
    }

    /// Whether another server than the preferred one is active.
    pub fn is_away(&self) -> bool {
        self.preferred.as_ref().is_some_and(|preferred| *preferred != self.active)
    }

    /// What documents are compared by: the higher one is obeyed.
    pub const fn version(&self) -> RoleVersion {
        RoleVersion { term: self.role_term, revision: self.revision }
    }
}

/// The version of a group's part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleVersion {
    /// The reign.
    pub term: RoleTerm,
    /// How often the document was changed within it.
    pub revision: u64,
}

impl RoleVersion {
    /// The version with which a reign begins.
    pub const fn first(term: RoleTerm) -> Self {
        Self { term, revision: 0 }
    }
}

/// A store: a server's name alone is not enough, since its disk may have been replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StoreName {
    /// The server.
    pub server: String,
    /// The id that was made with its store.
    pub store: String,
}

/// How a group is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The role changes by an operator's hand alone.
    Manual,
    /// A failover is proposed by itself and carried out once an operator confirms it.
    Confirmed,
    /// A failover is carried out by itself.
    Automatic,
}

/// What to do when a gateway's journal runs full and too few stores are in sync to empty it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Be content with the stores there are, and alarm.
    #[default]
    Lower,
    /// Let the gateway stop reading; the controllers' own logs hold what happens.
    Hold,
}

/// How a reign began. A server that begins again after its process had ended, under a new role
/// term, leaves this as it was: nothing of what follows from it is forgotten by a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Began {
    /// With the site.
    #[default]
    Founded,
    /// The active server handed over.
    Switchover,
    /// An in-sync server took over by an operator's order.
    Failover,
    /// An in-sync server took over by itself.
    Automatic,
    /// An operator made a server active that may lack what others held.
    Force,
}

/// A role document as it travels: its exact text, who signed it, and the signature over the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
