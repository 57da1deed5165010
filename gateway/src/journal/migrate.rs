//! From format 1: one table each for segments, cursors, epochs and the rest, values without a seal.
//! Id, positions, chain and watermark stay what they were; the old file is set aside.

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, Digest, JournalId, RoleTerm, Seq};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::format::{Cursor, EpochRecord, META};
use super::options::Options;
use super::rewrite::{Rest, Rewriter};
use super::ring::{Capacity, NOTES};
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
    // The old file stays as it is: it is only looked at.
    let old = file::open_view(path)?;
    let damaged = |what: &str| JournalError::DamagedFormat1 {
        path: path.clone(),
        reason: format!("unreadable {what}"),
    };
    let owner: String = meta(&old, "gateway")?.ok_or_else(|| damaged("owner"))?;
    if owner != options.gateway {
        let (path, gateway) = (path.clone(), options.gateway.clone());
        return Err(JournalError::Foreign { path, owner, gateway });
    }
    let id: JournalId = meta(&old, "journal")?.ok_or_else(|| damaged("id"))?;
    let (head, hash): (Seq, Digest) = meta(&old, "head")?.ok_or_else(|| damaged("head"))?;
    let safe: Seq = meta(&old, "safe")?.ok_or_else(|| damaged("watermark"))?;
    let waiting = head.0.saturating_sub(safe.0);
    if waiting > options.capacity.entries.saturating_add(NOTES.entries) {
        // Bytes are another format's; the limit in entries is the one that can be compared.
        let taken = Capacity { entries: waiting, bytes: 0 };
        return Err(JournalError::TooSmall {
            path: path.clone(),
            held: taken,
            capacity: options.capacity,
        });
    }
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

#[cfg(test)]
mod tests {
    use postern_protocol::transaction::RawRecord;
    use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Timestamp, Transaction};

    use super::super::store::Store;
    use super::super::{Change, Reader};
    use super::*;

    const ID: JournalId = JournalId([7; 16]);
    const CONTROLLER: ControllerId = ControllerId::uhppote(1);
    const EPOCH: EpochId = EpochId([1; 16]);

    fn entry(index: u64) -> Vec<u8> {
        let origin =
            Origin::Controller { controller: CONTROLLER, epoch: EPOCH, index: Index(index) };
        let raw = RawRecord::new(&index.to_be_bytes()).unwrap();
        let transaction =
            Transaction { raw, ..Transaction::noted(origin, Kind::Granted, Timestamp(0)) };
        let mut buffer = [0; postern_protocol::transaction::MAX_ENTRY];
        transaction.encode(&mut buffer).unwrap().to_vec()
    }

    /// A journal as format 1 wrote it: entries 31 to 60 of a ring, the first 40 of them safe. Do not
    /// change what this writes: there are such files.
    fn write_format_1(options: &Options) -> Chain {
        let mut chain = Chain::genesis(ID);
        let database = redb::Database::create(&options.path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut segments = transaction.open_table(SEGMENTS).unwrap();
            for first in (1..=60).step_by(10) {
                let entries: Vec<Vec<u8>> = (first..first + 10).map(entry).collect();
                let before = chain.hash;
                chain = entries.iter().fold(chain, |chain, entry| chain.link(entry));
                let segment = Segment {
                    first: Seq(first),
                    before,
                    after: chain.hash,
                    entries: entries.iter().map(Vec::as_slice).collect(),
                };
                if first > 30 {
                    let value = postcard::to_allocvec(&segment).unwrap();
                    segments.insert(first, value.as_slice()).unwrap();
                }
            }
            let cursor = Cursor { epoch: EPOCH, index: Index(60), anchor: chain.hash };
            let value = postcard::to_allocvec(&cursor).unwrap();
            let mut cursors = transaction.open_table(CURSORS).unwrap();
            cursors.insert("uhppote-1", value.as_slice()).unwrap();
            let epoch = EpochRecord {
                epoch: EPOCH,
                controller: CONTROLLER,
                predecessor: None,
                known_as: Some(EpochId([9; 16])),
            };
            let value = postcard::to_allocvec(&epoch).unwrap();
            let mut epochs = transaction.open_table(EPOCHS).unwrap();
            epochs.insert(EPOCH.0.as_slice(), value.as_slice()).unwrap();
            let mut meta = transaction.open_table(META).unwrap();
            for (name, value) in [
                ("format", postcard::to_allocvec(&1u32).unwrap()),
                ("journal", postcard::to_allocvec(&ID).unwrap()),
                ("gateway", postcard::to_allocvec("hall").unwrap()),
                ("head", postcard::to_allocvec(&(chain.seq, chain.hash)).unwrap()),
                ("safe", postcard::to_allocvec(&Seq(40)).unwrap()),
            ] {
                meta.insert(name, value.as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
        chain
    }

    fn options(directory: &std::path::Path, gateway: &str) -> Options {
        Options {
            path: directory.join("journal.redb"),
            gateway: gateway.to_owned(),
            capacity: Capacity { entries: 1_000, bytes: 1_000_000 },
            syncs_per_second: None,
            reserve: 0,
        }
    }

    #[test]
    fn a_journal_of_format_1_goes_on_in_format_2() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path(), "hall");
        let head = write_format_1(&options);
        let mut store = Store::open(&options).unwrap();
        let state = store.state().clone();
        assert_eq!(
            (state.id, state.head, state.safe(), state.oldest()),
            (ID, head, Seq(40), Seq(31))
        );
        let reader = Reader::new(store.database().clone());
        let batch = reader.batch(Seq(1), 100, 100_000).unwrap().unwrap();
        let entries: Vec<_> = batch.iter().map(|(_, entry)| entry.to_vec()).collect();
        assert_eq!(entries, (31..=60).map(entry).collect::<Vec<_>>());
        assert_eq!(reader.cursors().unwrap()[&CONTROLLER].index, Index(60));
        assert_eq!(reader.epochs().unwrap()[0].known_as, Some(EpochId([9; 16])));
        store.commit(&[Change::Safe(Seq(50))]).unwrap();
        drop((store, reader));
        let store = Store::open(&options).unwrap();
        assert_eq!((store.state().head, store.state().safe()), (head, Seq(50)));
        let aside = std::fs::read_dir(directory.path())
            .unwrap()
            .filter(|file| {
                file.as_ref().unwrap().file_name().to_string_lossy().contains("format1-")
            })
            .count();
        assert_eq!(aside, 1, "the old file was not kept");
    }

    /// Nobody but the version that wrote it can read what is left of it: it must not be taken for empty.
    #[test]
    fn a_damaged_journal_of_format_1_is_not_salvaged_to_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path(), "hall");
        write_format_1(&options);
        let mut bytes = std::fs::read(&options.path).unwrap();
        let whole = bytes.clone();
        let mut refused = 0;
        for page in 1..bytes.len() / 4_096 {
            bytes.clone_from(&whole);
            bytes[page * 4_096 + 5] ^= 4;
            std::fs::write(&options.path, &bytes).unwrap();
            let Err(JournalError::Damaged { reason, .. }) = Store::open(&options) else {
                std::fs::write(&options.path, &whole).unwrap();
                continue;
            };
            let salvaged = super::super::salvage(&options, &reason, "20261124T000000Z");
            assert!(matches!(salvaged, Err(JournalError::DamagedFormat1 { .. })), "{salvaged:?}");
            assert!(std::fs::read(&options.path).unwrap() == bytes, "it was touched");
            refused += 1;
        }
        assert!(refused > 0, "no page was in use");
    }

    #[test]
    fn a_journal_of_format_1_of_another_gateway_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let hall = options(directory.path(), "hall");
        write_format_1(&hall);
        let before = std::fs::read(&hall.path).unwrap();
        let yard = options(directory.path(), "yard");
        assert!(matches!(Store::open(&yard), Err(JournalError::Foreign { .. })));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(std::fs::read(&hall.path).unwrap() == before, "it was written to");
        let small = Options { capacity: Capacity { entries: 0, bytes: 0 }, ..hall.clone() };
        // 20 entries wait, which the room for notes holds.
        assert!(Store::open(&small).is_ok());
    }
}
