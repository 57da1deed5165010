//! Copies under a writer that never pauses: each is the store at one commit, or not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::params;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::{Audit, Store, StoreHandle};

/// A store with a table of its own, whose content after each commit follows from a seed.
struct Subject {
    dir: tempfile::TempDir,
    seed: u64,
}

/// Rows of the table. Each fills most of a page, so that commits write here and there in the file.
const CELLS: u64 = 1_200;

/// A small generator: the same seed gives the same commits.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What a commit writes: cells with their new values.
fn changes(seed: u64, commit: u64) -> Vec<(u64, u64)> {
    let mut dice = Dice(seed ^ (commit + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..=dice.roll(8)).map(|_| (dice.roll(CELLS), dice.roll(1 << 40))).collect()
}

impl Subject {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let subject = Self { dir, seed };
        drop(Store::create(&subject.path(), "a").unwrap());
        let connection = subject.writer();
        connection
            .execute_batch(
                "CREATE TABLE cell (id INTEGER PRIMARY KEY, value INTEGER, filler BLOB);
                 CREATE INDEX by_value ON cell (value);
                 CREATE TABLE done (only INTEGER PRIMARY KEY, commits INTEGER);
                 INSERT INTO done VALUES (1, 0);",
            )
            .unwrap();
        let mut cells = String::from("BEGIN;");
        for id in 0..CELLS {
            write!(cells, "INSERT INTO cell VALUES ({id}, 0, zeroblob(3500));").unwrap();
        }
        connection.execute_batch(&(cells + "COMMIT;")).unwrap();
        subject
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store.sqlite")
    }

    fn writer(&self) -> Connection {
        schema::connect(&self.path(), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
    }

    fn commit(&self, connection: &Connection, number: u64) {
        let transaction = connection.unchecked_transaction().unwrap();
        for (id, value) in changes(self.seed, number) {
            let sql = "UPDATE cell SET value = ? WHERE id = ?";
            let bound = params![value.cast_signed(), id.cast_signed()];
            transaction.prepare_cached(sql).unwrap().execute(bound).unwrap();
        }
        let sql = "UPDATE done SET commits = ?";
        let bound = [(number + 1).cast_signed()];
        transaction.prepare_cached(sql).unwrap().execute(bound).unwrap();
        transaction.commit().unwrap();
    }

    /// Checks that a copy is whole and is the store after some commit; returns which.
    fn check(&self, copy: &Path) -> u64 {
        let mode = fs::metadata(copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let connection =
            Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let text =
            |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("PRAGMA integrity_check"), "ok");
        assert_eq!(text("PRAGMA journal_mode"), "delete");
        let commits: i64 =
            connection.query_row("SELECT commits FROM done", [], |row| row.get(0)).unwrap();
        let commits = commits.unsigned_abs();
        let mut expected: BTreeMap<u64, u64> = (0..CELLS).map(|id| (id, 0)).collect();
        for number in 0..commits {
            expected.extend(changes(self.seed, number));
        }
        let mut select = connection.prepare("SELECT id, value FROM cell").unwrap();
        let cells: BTreeMap<u64, u64> = select
            .query_map([], |row| {
                let (id, value): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((id.unsigned_abs(), value.unsigned_abs()))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(cells, expected, "after commit {commits}");
        commits
    }

    /// Runs `copies` while another connection commits without pause.
    fn under_writes(&self, copies: impl FnOnce(&AtomicU64)) {
        let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let connection = self.writer();
                // The log begins anew as often as it can: that is when a copy might go wrong.
                connection.pragma_update(None, "wal_autocheckpoint", 4).unwrap();
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    self.commit(&connection, number);
                    commits.store(number + 1, Ordering::Release);
                }
            });
            let _stop = Stop(&stop);
            copies(&commits);
        });
    }
}

/// Stops the writer also where a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn wait_for(commits: &AtomicU64, at_least: u64) {
    while commits.load(Ordering::Acquire) < at_least {
        std::thread::yield_now();
    }
}

#[test]
fn a_copy_under_writes_is_the_store_at_one_commit() {
    for seed in 1..=4 {
        let subject = Subject::new(seed);
        subject.under_writes(|commits| {
            for round in 0..6 {
                let copy = subject.dir.path().join(format!("copy-{round}"));
                let before = commits.load(Ordering::Acquire);
                // The writer commits between any two steps, in some rounds many times.
                let step = |_: Progress| {
                    let now = commits.load(Ordering::Acquire);
                    wait_for(commits, now + 1 + 8 * (round % 3));
                    ControlFlow::Continue(())
                };
                let made = take(&subject.path(), &copy, &mut { step }).unwrap();
                assert_eq!(made.bytes, fs::metadata(&copy).unwrap().len());
                let at = subject.check(&copy);
                // Of the beginning, however long it took.
                assert!((before..=commits.load(Ordering::Acquire)).contains(&at));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_begins_anew_after_a_copy_that_held_it_back() {
    let subject = Subject::new(7);
    let (path, copy) = (subject.path(), subject.dir.path().join("copy"));
    let handle = StoreHandle::open(&path, "a", CancellationToken::new()).unwrap();
    let stop = CancellationToken::new();
    let (writing, stopped) = (handle.clone(), stop.clone());
    let detail = "x".repeat(1 << 18);
    let writer = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            let line = Audit::now("test", "noted", "something", &detail);
            writing.write(move |store| store.record_here(&line)).await.unwrap();
        }
    });
    let log = beside(&path, "-wal");
    let is_grown = move || fs::metadata(&log).unwrap().len() > LOG_LONG;
    let made = handle.snapshot(copy.clone(), move |progress| {
        assert!(progress.done <= progress.total);
        while !is_grown() {
            std::thread::yield_now();
        }
        ControlFlow::Continue(())
    });
    assert!(made.await.unwrap().log > LOG_LONG);
    // The writer goes on, and the log is as short as it ever is under one that does not pause.
    let looker = subject.writer();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let pages = || {
        let sql = "PRAGMA wal_checkpoint(NOOP)";
        looker.query_row(sql, [], |row| row.get::<_, i64>(1)).unwrap()
    };
    while pages() > 4 * REST {
        assert!(tokio::time::Instant::now() < deadline, "{} pages", pages());
        tokio::task::yield_now().await;
    }
    stop.cancel();
    writer.await.unwrap();
    subject.check(&copy);
}

#[test]
fn a_copy_gives_up_before_the_log_grows_beyond_its_limit_and_the_next_is_made() {
    const LIMIT: Option<u64> = Some(16 << 20);
    let subject = Subject::new(8);
    let copy = subject.dir.path().join("copy");
    subject.under_writes(|commits| {
        let result = take_within(&subject.path(), &copy, LIMIT, &mut |_| {
            wait_for(commits, commits.load(Ordering::Acquire) + 200);
            ControlFlow::Continue(())
        });
        let error = result.unwrap_err();
        assert!(matches!(error, SnapshotError::LogTooLong { .. }), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(names(subject.dir.path()).iter().find(|name| name.starts_with("copy")), None);
        // The log is as long as before: a server's does not become shorter.
        let log = fs::metadata(beside(&subject.path(), "-wal")).unwrap().len();
        assert!(Some(log) > LIMIT, "{log}");
        take_within(&subject.path(), &copy, LIMIT, &mut |_| ControlFlow::Continue(())).unwrap();
    });
    subject.check(&copy);
    assert_eq!(names(subject.dir.path()), ["copy", "store.sqlite"]);
}

#[test]
fn a_cancelled_copy_leaves_nothing_behind_and_an_unfinished_one_is_in_nobodys_way() {
    let subject = Subject::new(9);
    let copy = subject.dir.path().join("copy");
    let mut looks = 0;
    let cancelled = take(&subject.path(), &copy, &mut |_| {
        looks += 1;
        if looks == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(cancelled, Err(SnapshotError::Cancelled)));
    assert_eq!(names(subject.dir.path()), ["store.sqlite"]);

    fs::write(beside(&copy, UNFINISHED), "of a process that was killed").unwrap();
    take(&subject.path(), &copy, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(names(subject.dir.path()), ["copy", "store.sqlite"]);
    let again = take(&subject.path(), &copy, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(again, Err(SnapshotError::Exists { .. })));
    assert_eq!(subject.check(&copy), 0);
}

#[test]
fn what_is_no_store_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (other, copy) = (dir.path().join("other"), dir.path().join("copy"));
    let mut go_on = |_: Progress| ControlFlow::Continue(());
    assert!(take(&other, &copy, &mut go_on).is_err(), "it is not there");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let error = take(&other, &copy, &mut go_on).unwrap_err();
    assert!(matches!(error, SnapshotError::Store(StoreError::NotAStore { .. })), "{error}");
    assert_eq!(names(dir.path()), ["other"]);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}
