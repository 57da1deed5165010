//! What listings show: the JSON of a transaction, a journal, a line of the audit log.

use postern_protocol::{Digest, EpochId, Index, JournalId, RoleTerm, Seq, Timestamp};
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::sequence::{digest, from_sql, id};
use crate::clock::rfc3339;

/// One stored transaction, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its position in this server's store, from 1; the key for paging.
    pub rowid: u64,
    /// The controller; `None` where the entry could not be read.
    pub controller: Option<String>,
    /// The gateway whose journal brought it first.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The life of the controller's log.
    pub epoch: Option<EpochId>,
    /// The controller's own number, of what it recorded.
    pub index: Option<Index>,
    /// The number after which it stands, of what the gateway noted.
    pub after: Option<Index>,
    /// The journal that brought it first.
    pub journal: JournalId,
    /// Its position there.
    pub seq: Seq,
    /// What it was.
    pub kind: serde_json::Value,
    /// When it happened, RFC 3339 UTC.
    pub occurred: Option<String>,
    /// Whose clock.
    pub time_source: Option<String>,
    /// How far it is to be trusted.
    pub time_trust: Option<String>,
    /// When the gateway read it.
    pub received: Option<String>,
    /// When this server stored it.
    pub stored_at: Option<String>,
    /// Whether it was news then.
    pub live: bool,
    /// The door.
    pub door: Option<u8>,
    /// Which way.
    pub direction: Option<String>,
    /// The card. Personal data.
    pub credential: Option<u64>,
    /// The controller's own bytes, hexadecimal; of an unreadable entry, all of it.
    pub raw: String,
    /// The digest by which the record is compared.
    pub digest: Digest,
    /// Under which role term it was stored.
    pub role_term: RoleTerm,
    /// `conflict`, `unreadable`.
    pub flags: Vec<String>,
}

/// One journal as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalItem {
    /// Which.
    pub journal: JournalId,
    /// Whose.
    pub gateway: String,
    /// The highest `seq` held.
    pub stored: Seq,
    /// The chain hash there.
    pub chain: Digest,
    /// The highest `seq` that the gateway may forget.
    pub safe: Seq,
    /// Entries whose transaction was held already.
    pub doubles: u64,
    /// Entries that contradicted what was held.
    pub conflicts: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
    /// What is missing.
    pub holes: Vec<Hole>,
}

/// Entries of a journal that this server never had and the gateway has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditItem {
    /// Its position, for paging.
    pub id: u64,
    /// When, RFC 3339 UTC.
    pub at: Option<String>,
    /// Who.
    pub actor: String,
    /// What happened.
    pub event: String,
    /// To whom or what.
    pub subject: String,
    /// Why, and the particulars.
    pub detail: String,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Stored transactions.
    pub transactions: u64,
    /// Journals ever seen.
    pub journals: u64,
    /// Doubles turned away.
    pub doubles: u64,
    /// Contradictions kept.
    pub conflicts: u64,
    /// Entries kept unread.
    pub unreadable: u64,
    /// Recorded holes.
    pub holes: u64,
}

/// What [`item`] reads, of a transaction `t`.
pub(super) const COLUMNS: &str =
    "t.id, controller, epoch, idx, after, t.journal, seq, kind, occurred,
    time_source, time_trust, received, stored_at, live, door, direction, credential, raw, digest,
    role_term, flags, (SELECT gateway FROM journals WHERE journals.journal = t.journal)";

/// Reads a row of [`COLUMNS`].
pub(super) fn item(row: &Row<'_>) -> Result<Item, StoreError> {
    let failed = || StoreError::sqlite("read a transaction");
    macro_rules! get {
        ($at:expr) => {
            row.get($at).map_err(failed())?
        };
    }
    let number = |at: usize| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.get(at).map_err(failed())?;
        value.map(|value| from_sql("a number", value)).transpose()
    };
    let time = |at: usize| -> Result<Option<String>, StoreError> {
        let value: Option<i64> = row.get(at).map_err(failed())?;
        Ok(value.and_then(|value| rfc3339(Timestamp(value))))
    };
    let epoch: Option<Vec<u8>> = get!(2);
    let (journal, raw, record): (Vec<u8>, Vec<u8>, Vec<u8>) = (get!(5), get!(17), get!(18));
    let kind: String = get!(7);
    let flags: String = get!(20);
    Ok(Item {
        rowid: number(0)?.unwrap_or_default(),
        controller: get!(1),
        gateway: get!(21),
        epoch: epoch.map(|epoch| id("epoch", &epoch).map(EpochId)).transpose()?,
        index: number(3)?.map(Index),
        after: number(4)?.map(Index),
        journal: JournalId(id("journal", &journal)?),
        seq: Seq(number(6)?.unwrap_or_default()),
        kind: serde_json::from_str(&kind)
            .map_err(|_| StoreError::Value { what: "kind", got: kind.clone() })?,
        occurred: time(8)?,
        time_source: get!(9),
        time_trust: get!(10),
        received: time(11)?,
        stored_at: time(12)?,
        live: get!(13),
        door: get!(14),
        direction: get!(15),
        credential: row.get::<_, Option<i64>>(16).map_err(failed())?.map(i64::cast_unsigned),
        raw: hex(&raw),
        digest: digest("digest", &record)?,
        role_term: RoleTerm(number(19)?.unwrap_or_default()),
        flags: flags.split(',').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
    })
}

/// Reads a row of the listing of journals, without its holes.
pub(super) fn journal_item(row: &Row<'_>) -> Result<JournalItem, StoreError> {
    let failed = || StoreError::sqlite("read a journal");
    let number = |at: usize| -> Result<u64, StoreError> {
        from_sql("a number", row.get(at).map_err(failed())?)
    };
    let journal: Vec<u8> = row.get(0).map_err(failed())?;
    let chain: Vec<u8> = row.get(3).map_err(failed())?;
    Ok(JournalItem {
        journal: JournalId(id("journal", &journal)?),
        gateway: row.get(1).map_err(failed())?,
        stored: Seq(number(2)?),
        chain: digest("chain", &chain)?,
        safe: Seq(number(4)?),
        doubles: number(5)?,
        conflicts: number(6)?,
        unreadable: number(7)?,
        holes: Vec::new(),
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
