//! What tests of several stores share: a gateway's journal, stores that are given reigns, and
//! everything that a store holds, to be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::transaction::{
    Credential, Door, MAX_ENTRY, Occurred, RawRecord, TimeSource, TimeTrust,
};
use postern_protocol::uplink::{Batch, Bytes, Entry, EpochAlias, Watermark};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, RoleTerm, Seq, Timestamp,
    Transaction,
};
use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use super::change::{Head, Line, LogEntry, Position};
use super::{Audit, Delivery, NoPage, NotApplied, Outcome, Safe, Store};

/// Each table's rows as text.
pub(crate) type Content = BTreeMap<&'static str, Vec<String>>;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const BOARD: ControllerId = ControllerId::uhppote(405_419_896);
pub(crate) const EPOCH: EpochId = EpochId([0xe1; 16]);
pub(crate) const JOURNAL: JournalId = JournalId([7; 16]);

/// A folder in memory where there is one: a test of thousands of commits is not one of the disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// What a controller recorded.
pub(crate) fn record_of(
    controller: ControllerId,
    epoch: EpochId,
    index: u64,
    byte: u8,
) -> Transaction {
    Transaction {
        origin: Origin::Controller { controller, epoch, index: Index(index) },
        kind: Kind::Granted,
        occurred: Occurred {
            at: Some(NOW),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: NOW,
        door: Some(Door(1)),
        direction: None,
        credential: Some(Credential(8_165_536)),
        raw: RawRecord::new(&[byte; 20]).unwrap(),
    }
}

pub(crate) fn record(index: u64, byte: u8) -> Transaction {
    record_of(BOARD, EPOCH, index, byte)
}

/// What a gateway noted.
pub(crate) fn note_of(
    controller: ControllerId,
    epoch: EpochId,
    kind: Kind,
    after: u64,
    at: i64,
) -> Transaction {
    let origin = Origin::Gateway { controller, epoch, after: Index(after) };
    Transaction::noted(origin, kind, Timestamp(NOW.0 + at))
}

pub(crate) fn note(step_s: i64, after: u64) -> Transaction {
    note_of(BOARD, EPOCH, Kind::ClockSet { step_s }, after, step_s)
}

pub(crate) fn bytes(transaction: &Transaction) -> Vec<u8> {
    transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec()
}

/// A gateway's journal. `oldest` is what it still holds.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) id: JournalId,
    pub(crate) gateway: String,
    pub(crate) oldest: u64,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) epochs: Vec<EpochAlias>,
    pub(crate) chains: Vec<Chain>,
}

impl Journal {
    pub(crate) fn new(id: JournalId, gateway: &str) -> Self {
        Self {
            id,
            gateway: gateway.into(),
            oldest: 1,
            entries: Vec::new(),
            epochs: Vec::new(),
            chains: vec![Chain::genesis(id)],
        }
    }

    pub(crate) fn of(transactions: &[Transaction]) -> Self {
        let mut journal = Self::new(JOURNAL, "hall");
        for transaction in transactions {
            journal.push(bytes(transaction));
        }
        journal
    }

    /// The same under another name.
    pub(crate) fn named(&self, id: u8) -> Self {
        let mut journal = Self::new(JournalId([id; 16]), &self.gateway);
        journal.epochs.clone_from(&self.epochs);
        for entry in &self.entries {
            journal.push(entry.clone());
        }
        journal
    }

    pub(crate) fn push(&mut self, entry: Vec<u8>) {
        let chain = self.chains.last().unwrap().link(&entry);
        self.chains.push(chain);
        self.entries.push(entry);
    }

    pub(crate) fn end(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap()
    }

    pub(crate) fn chain(&self, at: u64) -> Chain {
        self.chains[usize::try_from(at).unwrap()]
    }

    pub(crate) fn entry(&self, seq: u64) -> &[u8] {
        &self.entries[usize::try_from(seq - 1).unwrap()]
    }

    pub(crate) fn delivery(&self, first: u64, last: u64, acting: RoleTerm) -> Delivery {
        let entry = |seq| Entry {
            seq: Seq(seq),
            bytes: Bytes(self.entry(seq).to_vec()),
            transaction: None,
        };
        Delivery {
            journal: self.id,
            gateway: self.gateway.clone(),
            batch: Batch {
                role: None,
                oldest: Seq(self.oldest),
                told: None,
                full: 0,
                lasts_s: None,
                chain_before: self.chain(first - 1).hash,
                epochs: self.epochs.clone(),
                entries: (first..=last).map(entry).collect(),
            },
            acting,
            safe: Safe::Known(Seq(0)),
            forced: None,
            now: NOW,
        }
    }
}

/// A server's store with the role term that it stands under.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) path: PathBuf,
    pub(crate) term: RoleTerm,
}

impl Node {
    pub(crate) fn new(folder: &Path, file: &str, server: &str, term: u64) -> Self {
        let (path, term) = (folder.join(file), RoleTerm(term));
        let mut store = Store::create(&path, server).unwrap();
        let why = Audit::at(NOW, "operator", "init", server, "test");
        store.found_role(&signed(), RoleVersion::first(term), &why).unwrap();
        Self { store, path, term }
    }

    /// Stands under another role term from now on.
    pub(crate) fn reign(&mut self, term: RoleTerm) {
        if term == self.term {
            return;
        }
        let (before, after) = (RoleVersion::first(self.term), RoleVersion::first(term));
        let why = Audit::at(NOW, "operator", "role_adopted", "test", "test");
        assert!(self.store.swap_role(before, after, &signed(), &why).unwrap());
        self.term = term;
    }

    /// The process ends and another begins.
    pub(crate) fn crash(&mut self) {
        let server = self.store.name().server;
        self.store = Store::open(&self.path, &server).unwrap();
    }

    pub(crate) fn head(&self) -> Head {
        self.store.head().unwrap()
    }

    pub(crate) fn send(
        &mut self,
        journal: &Journal,
        first: u64,
        last: u64,
    ) -> (Watermark, Outcome) {
        self.store.apply(&journal.delivery(first, last, self.term)).unwrap().unwrap()
    }

    pub(crate) fn send_all(&mut self, journal: &Journal) -> (Watermark, Outcome) {
        self.send(journal, journal.oldest, journal.end())
    }

    /// What follows the end of another store's log, in a page of so many bytes.
    pub(crate) fn page_for(&self, other: &Self, bytes: usize) -> Result<Vec<LogEntry>, NoPage> {
        self.store.log_page(&other.head(), bytes).unwrap()
    }

    pub(crate) fn apply_log(&mut self, entries: &[LogEntry]) -> Result<Head, NotApplied> {
        self.store.apply_log(self.term, entries).unwrap()
    }

    /// Follows another store's log to its end, in pages of so many bytes.
    pub(crate) fn follow(&mut self, active: &Self, bytes: usize) {
        self.reign(active.term);
        loop {
            let page = active.page_for(self, bytes).unwrap();
            if page.is_empty() {
                return;
            }
            self.apply_log(&page).unwrap();
        }
    }

    /// Takes the log back, portion by portion.
    pub(crate) fn undo(&mut self, down_to: Position) {
        while !self.store.undo_log(self.term, down_to).unwrap() {}
    }

    /// Cuts off the beginning of the log.
    pub(crate) fn cut(&mut self, up_to: Position) {
        super::log::cut(&self.store.connection, up_to).unwrap();
    }

    /// Gives the store another id, as a change by force does.
    pub(crate) fn rename(&mut self) {
        self.store.rename(&Store::new_id()).unwrap();
    }

    /// A copy of the store as it is now, under another id, for a server that needs all of it.
    pub(crate) fn full_copy(&self, path: PathBuf, server: &str) -> Self {
        let text = path.to_str().unwrap();
        self.store.connection.execute("VACUUM INTO ?", [text]).unwrap();
        let store = Store::open(&path, server).unwrap();
        let mut copy = Self { store, path, term: self.term };
        copy.rename();
        copy
    }

    /// The holes that are not filled.
    pub(crate) fn open_holes(&self) -> Vec<(JournalId, Seq, Seq)> {
        let sql = "SELECT journal, first, last FROM holes WHERE filled IS NULL ORDER BY id";
        let mut select = self.store.connection.prepare_cached(sql).unwrap();
        let hole = |row: &rusqlite::Row<'_>| {
            let seq = |at| row.get(at).map(i64::unsigned_abs).map(Seq);
            Ok((JournalId(row.get(0)?), seq(1)?, seq(2)?))
        };
        select.query_map([], hole).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// All lines behind a row, at most so many.
    pub(crate) fn lines(&self, after: u64, limit: u64) -> Vec<Line> {
        super::apply::lines(&self.store.connection, after + 1, after + limit).unwrap()
    }

    /// Everything that both servers hold: each table's rows as text.
    pub(crate) fn content(&self) -> Content {
        tables(0).map(|(table, sql)| (table, self.rows(&sql))).into()
    }

    /// The first entry of the log.
    pub(crate) fn log_begins(&self) -> i64 {
        self.count("SELECT coalesce(min(position), 0) FROM log")
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows = Vec::new();
        self.each_row(sql, |values| {
            let mut text = String::new();
            for value in values {
                match value {
                    ValueRef::Null => text.push_str("- "),
                    ValueRef::Integer(number) => write!(text, "{number} ").unwrap(),
                    ValueRef::Real(number) => write!(text, "{number} ").unwrap(),
                    ValueRef::Text(word) => {
                        write!(text, "{:?} ", str::from_utf8(word).unwrap()).unwrap();
                    }
                    ValueRef::Blob(bytes) => {
                        for byte in *bytes {
                            write!(text, "{byte:02x}").unwrap();
                        }
                        text.push(' ');
                    }
                }
            }
            rows.push(text);
        });
        rows
    }

    /// The digest of a listing's rows: of many rows a text takes long.
    fn digest(&self, sql: &str) -> Vec<u8> {
        let mut digest = Sha256::new();
        let mut add = |kind: u8, bytes: &[u8]| {
            digest.update([kind]);
            digest.update(bytes.len().to_be_bytes());
            digest.update(bytes);
        };
        self.each_row(sql, |values| {
            for value in values {
                match value {
                    ValueRef::Null => add(0, &[]),
                    ValueRef::Integer(number) => add(1, &number.to_be_bytes()),
                    ValueRef::Real(number) => add(2, &number.to_be_bytes()),
                    ValueRef::Text(bytes) => add(3, bytes),
                    ValueRef::Blob(bytes) => add(4, bytes),
                }
            }
        });
        digest.finalize().to_vec()
    }

    fn each_row(&self, sql: &str, mut take: impl FnMut(&[ValueRef<'_>])) {
        let mut select = self.store.connection.prepare_cached(sql).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..columns).map(|column| row.get_ref(column).unwrap()).collect();
            take(&values);
        }
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.store.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// What two stores hold alike, of the log from a position on.
fn tables(log_begins: i64) -> [(&'static str, String); 8] {
    [
        ("log", format!("SELECT * FROM log WHERE position >= {log_begins} ORDER BY position")),
        ("journals", "SELECT * FROM journals ORDER BY journal".into()),
        ("holes", "SELECT * FROM holes ORDER BY id".into()),
        ("controllers", "SELECT * FROM controllers ORDER BY controller".into()),
        ("aliases", "SELECT * FROM aliases ORDER BY controller, provisional".into()),
        ("epochs", "SELECT * FROM epochs ORDER BY id".into()),
        ("transactions", "SELECT * FROM transactions ORDER BY id".into()),
        (
            "audit",
            "SELECT position, server, at, actor, event, subject, detail FROM audit
             WHERE position IS NOT NULL ORDER BY id"
                .into(),
        ),
    ]
}

/// Fails with the first row that differs, not with two dumps.
#[track_caller]
pub(crate) fn assert_same(one: &Node, other: &Node) {
    let difference = difference(one, other, 0);
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
}

/// The first row in which two stores differ, their logs compared from a position on.
pub(crate) fn difference(one: &Node, other: &Node, log_begins: i64) -> Option<String> {
    tables(log_begins).into_iter().find_map(|(table, sql)| {
        if one.digest(&sql) == other.digest(&sql) {
            return None;
        }
        let (one, other) = (one.rows(&sql), other.rows(&sql));
        (0..one.len().max(other.len()))
            .find(|at| one.get(*at) != other.get(*at))
            .map(|at| format!("{table}:\n{:?}\n{:?}", one.get(at), other.get(at)))
    })
}

pub(crate) fn signed() -> SignedRole {
    let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
    SignedRole { document: "test".into(), certificate, signature }
}
