//! The server's own store beside bare `SQLite`: the same rows into the same tables, in commits of a
//! thousand.
//!
//! The reference is given its values ready: it neither decodes entries, nor looks for doubles, nor links
//! chains. It writes the rows of `transactions`, and nothing else of a batch; a second one writes as well
//! what a commit of ours has beside them, one row of the change log and the journal's mark.

use std::path::Path;
use std::time::{Duration, Instant};

use postern_server::store::{Delivery, Store, StoreHandle};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokio_util::sync::CancellationToken;

use super::Bench;
use super::common::swipe::Journal;
use super::common::{float, founded, say};
use super::report::{Report, quantile};

/// Transactions in a commit.
const COMMIT: usize = 1_000;

pub(crate) fn measure(bench: &Bench, report: &mut Report) {
    let (rounds, commits) = (bench.extent.rounds, bench.extent.commits);
    let dir = bench.directory.inner("reference");
    let path = |name: &str| dir.path().join(name);
    let mut scratch = Scratch::new(&path("scratch.sqlite"));
    drop(founded(&path("ours.sqlite")));
    let ours = {
        let _in = bench.runtime.enter();
        StoreHandle::open(&path("ours.sqlite"), "a", CancellationToken::new()).unwrap()
    };
    let mut bare = Reference::new(&path("bare.sqlite"));
    let mut whole = Reference::new(&path("whole.sqlite"));
    let mut journal = Journal::new(0);
    let (mut took, mut to_bare, mut to_whole) = ([const { Vec::new() }; 3], vec![], vec![]);
    for round in 0..rounds {
        say(&format!("the store beside SQLite: round {} of {rounds}", round + 1));
        let deliveries: Vec<Delivery> = (0..commits).map(|_| journal.delivery(COMMIT)).collect();
        let rows: Vec<Commit> = deliveries.iter().map(|one| scratch.apply(one)).collect();
        let mut times = [Duration::ZERO; 3];
        // Nobody is always first.
        for turn in 0..3 {
            let who = (turn + round) % 3;
            let began = Instant::now();
            match who {
                0 => bench.runtime.block_on(apply(&ours, deliveries.clone())),
                1 => rows.iter().for_each(|commit| bare.insert(commit, false)),
                _ => rows.iter().for_each(|commit| whole.insert(commit, true)),
            }
            times[who] = began.elapsed();
        }
        let [mine, plain, logged] = times.map(|time| time.as_secs_f64());
        to_bare.push(plain / mine);
        to_whole.push(logged / mine);
        let count = float((commits * COMMIT) as u64);
        for (all, time) in took.iter_mut().zip([mine, plain, logged]) {
            all.push(count / time);
        }
    }
    report.put("ingest_vs_sqlite", quantile(&to_bare, 0.5));
    report.put("ingest_vs_sqlite_min", quantile(&to_bare, 0.0));
    report.put("ingest_vs_sqlite_max", quantile(&to_bare, 1.0));
    report.put("ingest_vs_sqlite_rounds", rounds);
    report.put("ingest_vs_sqlite_with_log_row", quantile(&to_whole, 0.5));
    for (name, all) in ["store", "sqlite", "sqlite_with_log_row"].iter().zip(&took) {
        report.put(format!("{name}_alone_per_s"), quantile(all, 0.5));
    }
}

async fn apply(store: &StoreHandle, deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        store.write(move |store| store.apply(&delivery)).await.unwrap().unwrap();
    }
}

/// What one commit wrote.
struct Commit {
    transactions: Vec<Vec<Value>>,
    log: Vec<Value>,
    journal: Vec<Value>,
}

/// A store that is not measured: here the rows are read that the others are to write.
struct Scratch {
    store: Store,
    reader: Connection,
}

impl Scratch {
    fn new(path: &Path) -> Self {
        Self { store: founded(path), reader: Connection::open(path).unwrap() }
    }

    fn apply(&mut self, delivery: &Delivery) -> Commit {
        let before = self.last();
        self.store.apply(delivery).unwrap().unwrap();
        let read = |sql: &str| read(&self.reader, sql);
        Commit {
            transactions: read(&format!(
                "SELECT {TRANSACTION} FROM transactions WHERE id > {before} ORDER BY id"
            )),
            log: read("SELECT * FROM log ORDER BY position DESC LIMIT 1").remove(0),
            journal: read("SELECT * FROM journals").remove(0),
        }
    }

    fn last(&self) -> i64 {
        let sql = "SELECT coalesce(max(id), 0) FROM transactions";
        self.reader.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn read(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut select = connection.prepare_cached(sql).unwrap();
    let columns = select.column_count();
    let rows = select.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

/// The columns that are written; the others are derived.
const TRANSACTION: &str = "id, controller, epoch, idx, after, journal, seq, kind, occurred,
    time_source, time_trust, received, stored_at, live, door, direction, credential, raw, digest,
    entry, role_term, flags";

/// `SQLite` with the store's tables, indexes and durability.
struct Reference(Connection);

impl Reference {
    fn new(path: &Path) -> Self {
        drop(founded(path));
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .unwrap();
        Self(connection)
    }

    fn insert(&mut self, commit: &Commit, with_log: bool) {
        let transaction = self.0.transaction().unwrap();
        let mut insert = transaction
            .prepare_cached(&format!(
                "INSERT INTO transactions ({TRANSACTION}) VALUES (?{})",
                ", ?".repeat(commit.transactions[0].len() - 1)
            ))
            .unwrap();
        for row in &commit.transactions {
            insert.execute(params_from_iter(row)).unwrap();
        }
        drop(insert);
        if with_log {
            for (table, row) in [("log", &commit.log), ("journals", &commit.journal)] {
                let sql = format!(
                    "INSERT OR REPLACE INTO {table} VALUES (?{})",
                    ", ?".repeat(row.len() - 1)
                );
                transaction.prepare_cached(&sql).unwrap().execute(params_from_iter(row)).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}
