//! From format 1: one table each for segments, cursors, epochs and the rest, values without a seal.
//! Id, positions, chain and watermark stay what they were; the old file is set aside.

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, Digest, JournalId, RoleTerm, Seq};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::backend::Traffic;
use super::format::{Cursor, EpochRecord, META};
use super::rewrite::{Rest, Rewriter};
use super::store::Options;
use super::{JournalError, file};
use crate::clock;

/// The number of that format.
pub(super) const FORMAT_1: u32 = 1;

const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
const CURSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("cursors");
const EPOCHS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("epochs");

/// A segment of format 1: its chain is its checksum.
#[derive(Serialize, Deserialize)]
struct Segment<'a> {
    first: Seq,
    before: Digest,
    after: Digest,
    #[serde(borrow)]
    entries: Vec<&'a [u8]>,
}

/// Rewrites the journal in the present format.
pub(super) fn from_format_1(options: &Options) -> Result<(), JournalError> {
    let path = &options.path;
    let old = file::open(path, &std::sync::Arc::new(Traffic::default()))?;
    let damaged = |what: &str| file::damaged(path, &format!("format 1: unreadable {what}"));
    let owner: String = meta(&old, "gateway")?.ok_or_else(|| damaged("owner"))?;
    if owner != options.gateway {
        let (path, gateway) = (path.clone(), options.gateway.clone());
        return Err(JournalError::Foreign { path, owner, gateway });
    }
    let id: JournalId = meta(&old, "journal")?.ok_or_else(|| damaged("id"))?;
    let (head, hash): (Seq, Digest) = meta(&old, "head")?.ok_or_else(|| damaged("head"))?;
    let safe: Seq = meta(&old, "safe")?.ok_or_else(|| damaged("watermark"))?;
    let new = Options { path: path.with_extension("migrated.redb"), ..options.clone() };
    file::create(&new, id, |database| {
        let transaction = old.begin_read()?;
        let segments = transaction.open_table(SEGMENTS)?;
        let start = match segments.first()? {
            Some((first, value)) => {
                let segment =
                    decode::<Segment<'_>>(value.value()).ok_or_else(|| damaged("segment"))?;
                Chain { seq: Seq(first.value()).previous(), hash: segment.before }
            }
            None => Chain { seq: head, hash },
        };
        let mut writer = Rewriter::new(database, id, start);
        let mut chain = start;
        for row in segments.range::<u64>(..)? {
            let (first, value) = row?;
            let segment = decode::<Segment<'_>>(value.value()).ok_or_else(|| damaged("segment"))?;
            for entry in &segment.entries {
                chain = chain.link(entry);
                writer.entry(entry)?;
            }
            if first.value() != segment.first.0 || chain.hash != segment.after {
                return Err(damaged("segment"));
            }
        }
        if chain != (Chain { seq: head, hash }) {
            return Err(damaged("head"));
        }
        let mut rest = Rest { safe, role: role(&old)?, ..Rest::default() };
        for row in transaction.open_table(CURSORS)?.range::<&str>(..)? {
            let (controller, cursor) = row?;
            let controller = controller.value().parse().map_err(|_| damaged("cursor"))?;
            let cursor: Cursor = decode(cursor.value()).ok_or_else(|| damaged("cursor"))?;
            rest.cursors.insert(controller, cursor);
        }
        for row in transaction.open_table(EPOCHS)?.range::<&[u8]>(..)? {
            let epoch: EpochRecord = decode(row?.1.value()).ok_or_else(|| damaged("epoch"))?;
            rest.epochs.push(epoch);
        }
        writer.finish(start.seq.next(), &rest).map(|_| ())
    })?;
    drop(old);
    let aside = file::aside(path, "format1", &clock::stamp());
    file::replace(path, &new.path, &aside)?;
    tracing::info!(aside = %aside.display(), "journal migrated from format 1; the old file was set aside");
    Ok(())
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

fn meta<T: DeserializeOwned>(database: &Database, name: &str) -> Result<Option<T>, JournalError> {
    let table = database.begin_read()?.open_table(META)?;
    let value = table.get(name)?;
    Ok(value.and_then(|value| postcard::from_bytes(value.value()).ok()))
}

fn role(database: &Database) -> Result<Option<(RoleTerm, SignedRole)>, JournalError> {
    let Some(term) = meta(database, "role_term")? else { return Ok(None) };
    let table = database.begin_read()?.open_table(META)?;
    let Some(text) = table.get("role")? else { return Ok(None) };
    Ok(serde_json::from_slice(text.value()).ok().map(|role| (term, role)))
}
