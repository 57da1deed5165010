//! `postern journal …` and what `postern run` refuses, with the real binary.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use postern_gateway::board::Board;
use postern_gateway::control::{self, Control};
use postern_gateway::journal::{self, Append, Capacity, Cursor, Journal, Options};
use postern_protocol::transaction::{Credential, Occurred, RawRecord};
use postern_protocol::{
    ControllerId, Digest, EpochId, Index, Kind, Origin, Seq, Timestamp, Transaction,
};
use redb::TableDefinition;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CARD: u64 = 8_165_536;
const OWNER: &str = "north/main/hall";
/// 2026-11-24T06:00:00Z, when the first entry was received; each later one a second after it.
const START_MS: i64 = 1_795_500_000_000;

/// One test at a time: a process that another test is just starting has a copy of each open file, the
/// journal's lock included, until it becomes the program.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// A gateway's directory: configuration, bundle, and what is in `data`.
struct Site {
    directory: tempfile::TempDir,
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    fn seqs(&self) -> Vec<u64> {
        let seq = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64();
        self.stdout.lines().map(|line| seq(line).unwrap()).collect()
    }
}

impl Site {
    fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        let bundle = json!({
            "site": "north",
            "group": "main",
            "gateway": "hall",
            "servers": [],
            "authority": "",
            "certificate": "",
            "key": "",
        });
        fs::write(site.at("hall.bundle.json"), bundle.to_string()).unwrap();
        site.configure("data_dir = \"data\"\n");
        fs::create_dir(site.at("data")).unwrap();
        // As every gateway that was here before leaves it.
        fs::write(site.at("data/lock"), "").unwrap();
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.at("data")
    }

    fn file(&self) -> PathBuf {
        journal::path(&self.data())
    }

    fn configure(&self, text: &str) {
        let text = format!("bundle = \"hall.bundle.json\"\n{text}");
        fs::write(self.at("postern.toml"), text).unwrap();
    }

    fn options(&self, gateway: &str) -> Options {
        Options {
            path: self.file(),
            gateway: gateway.to_owned(),
            capacity: Capacity { entries: 1_000_000, bytes: 512 * 1024 * 1024 },
            syncs_per_second: None,
            reserve: 0,
        }
    }

    /// A journal with so many entries, ten a commit, of one of two controllers in turn; still open.
    async fn journal(&self, gateway: &str, entries: u64) -> Journal {
        let journal = Journal::open(&self.options(gateway)).unwrap();
        for first in (1..=entries).step_by(10) {
            let serial = if first % 20 == 1 { 1 } else { 2 };
            journal.append(append(serial, first..first + 10)).await.unwrap();
        }
        journal
    }

    /// The same, closed as a gateway closes it.
    async fn closed_journal(&self, gateway: &str, entries: u64) {
        let journal = self.journal(gateway, entries).await;
        let closed = journal.closed();
        drop(journal);
        closed.await;
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let out = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said { code: out.status.code(), stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if kind.is_file() {
                    let written = entry.metadata().unwrap().modified().unwrap();
                    files.insert(entry.path(), (fs::read(entry.path()).unwrap(), written));
                }
            }
        }
        files
    }

    /// Zeros the page in the middle of those that hold a segment.
    fn damage(&self) {
        let mut bytes = fs::read(self.file()).unwrap();
        let holds = |page: &[u8]| page.windows(4).any(|at| at == [0xD9, b'P', b'J', 2]);
        let pages: Vec<usize> =
            bytes.chunks(4_096).enumerate().filter(|(_, p)| holds(p)).map(|(n, _)| n).collect();
        let page = pages[pages.len() / 2] * 4_096;
        bytes[page..page + 4_096].fill(0);
        fs::write(self.file(), bytes).unwrap();
    }
}

/// Entries whose index is their position in the journal, a second apart.
fn append(serial: u32, seqs: std::ops::Range<u64>) -> Append {
    let (controller, epoch) = (ControllerId::uhppote(serial), EpochId([1; 16]));
    let index = Index(seqs.end - 1);
    let swipe = |seq: u64| {
        let origin = Origin::Controller { controller, epoch, index: Index(seq) };
        let received = Timestamp(START_MS + (i64::try_from(seq).unwrap() - 1) * 1_000);
        Transaction {
            credential: Some(Credential(CARD)),
            // By a clock that is an hour late.
            occurred: Occurred::noted(Timestamp(received.0 - 3_600_000)),
            raw: RawRecord::new(&CARD.to_be_bytes()).unwrap(),
            ..Transaction::noted(origin, Kind::Granted, received)
        }
    };
    let cursor = Cursor { epoch, index, anchor: Digest::default() };
    let transactions = seqs.map(swipe).collect();
    Append { controller, transactions, cursor, opens: None, drops_held: None }
}

/// A daemon's control socket over a journal, without the rest of the daemon.
struct Running {
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(site: &Site, journal: Journal) -> Self {
        let control = Control {
            board: Board::default(),
            journal,
            gateway: "hall".to_owned(),
            group: "main".to_owned(),
            site: "north".to_owned(),
            health: std::sync::Arc::default(),
            orderers: std::sync::Arc::default(),
        };
        let (path, stop) = (control::socket(&site.data()), CancellationToken::new());
        let listener = control::listen(&path).unwrap();
        let server = tokio::spawn({
            let (path, stop) = (path.clone(), stop.clone());
            async move { control::serve(listener, &path, control, stop).await }
        });
        Self { stop, server }
    }

    async fn end(self) {
        self.stop.cancel();
        self.server.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_its_own_message_a_hint_and_an_exit_code_and_is_not_touched() {
    struct Case {
        what: &'static str,
        site: Site,
        arguments: &'static [&'static str],
        part: &'static str,
        code: i32,
    }
    const RUN: &[&str] = &["run"];
    const INFO: &[&str] = &["journal", "info"];
    let _alone = alone().await;
    let mut cases = Vec::new();
    let mut case = |what, site: Site, arguments, part, code| {
        cases.push(Case { what, site, arguments, part, code });
    };
    for arguments in [RUN, INFO] {
        let site = Site::new();
        fs::write(site.file(), "These are the minutes of a meeting.").unwrap();
        case("no journal", site, arguments, "is no journal", 12);

        let site = Site::new();
        site.closed_journal(OWNER, 10).await;
        let store = redb::Database::create(site.file()).unwrap();
        let transaction = store.begin_write().unwrap();
        let meta = TableDefinition::<&str, &[u8]>::new("meta");
        let format = postcard::to_allocvec(&9_u32).unwrap();
        transaction.open_table(meta).unwrap().insert("format", format.as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(store);
        case("a newer format", site, arguments, "has format 9", 12);

        let site = Site::new();
        site.configure("data_dir = \"hall.bundle.json/data\"\n");
        // No directory can be made below a file, not even by root.
        let code = if arguments == RUN { 1 } else { 12 };
        case("a directory that cannot be", site, arguments, "cannot use", code);
    }
    let site = Site::new();
    site.closed_journal("north/main/yard", 10).await;
    case("another gateway's", site, RUN, "belongs to gateway north/main/yard", 12);

    let site = Site::new();
    site.closed_journal(OWNER, 3_000).await;
    site.configure("data_dir = \"data\"\n[journal]\ncapacity_entries = 1000\n");
    case("a small capacity", site, RUN, "more than the configured capacity", 12);

    let site = Site::new();
    site.configure("data_dir = \"missing\"\n");
    case("a missing directory", site, INFO, "there is no journal", 12);

    let damaged: [&'static [&'static str]; 5] = [
        INFO,
        &["journal", "verify"],
        &["journal", "export"],
        &["journal", "salvage"],
        &["journal", "info", "--file", "data/journal.redb"],
    ];
    for arguments in damaged {
        let site = Site::new();
        site.closed_journal(OWNER, 3_000).await;
        site.damage();
        // Salvage says what is wrong, then that nobody agreed.
        let code = if arguments[1] == "salvage" { 1 } else { 12 };
        case("a damaged one", site, arguments, "is damaged: ", code);
    }
    let mut told = BTreeMap::<&str, BTreeSet<String>>::new();
    for Case { what, site, arguments, part, code } in cases {
        let before = site.snapshot();
        let said = site.run(arguments);
        let (about, err) = (format!("{what}, {arguments:?}"), said.stderr);
        assert_eq!(said.code, Some(code), "{about}: {err}");
        assert!(err.contains(part), "{about}: {err}");
        assert_eq!(err.matches("error: ").count(), 1, "{about}: {err}");
        assert_eq!(err.lines().filter(|line| line.starts_with("hint: ")).count(), 1, "{err}");
        assert!(site.snapshot() == before, "{about}: something was touched");
        let error = err.lines().find(|line| line.starts_with("error: ")).unwrap();
        told.entry(what).or_default().insert(error.to_owned());
    }
    let messages: Vec<&String> = told.values().flatten().collect();
    let distinct: BTreeSet<&&String> = messages.iter().collect();
    assert_eq!(distinct.len(), messages.len(), "two kinds of bad input say the same: {told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_a_gateway_has_is_refused_with_11_and_left_alone() {
    let _alone = alone().await;
    let site = Site::new();
    let journal = site.journal(OWNER, 10).await;
    let before = site.snapshot();
    for (arguments, hint) in [
        (&["run"][..], "one gateway runs per data directory"),
        (&["journal", "info"][..], "try again"),
        (&["journal", "verify", "--file", "data/journal.redb"][..], "leave --file out"),
        (&["journal", "salvage", "--yes"][..], "try again"),
    ] {
        let said = site.run(arguments);
        assert_eq!(said.code, Some(11), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains("in use") && said.stderr.contains(hint), "{}", said.stderr);
    }
    assert!(site.snapshot() == before, "something was touched");
    drop(journal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_to_is_named() {
    let _alone = alone().await;
    let site = Site::new();
    let set = |mode| fs::set_permissions(site.data(), fs::Permissions::from_mode(mode)).unwrap();
    fs::remove_file(site.at("data/lock")).unwrap();
    set(0o500);
    if fs::write(site.at("data/probe"), "").is_ok() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: this user may write anywhere");
        return set(0o700);
    }
    let said = site.run(&["run"]);
    set(0o700);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("Permission denied") && said.stderr.contains("hint: "));
}

/// What every export gives, from the file and through the socket alike.
fn exports(site: &Site) {
    let all = site.run(&["journal", "export"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(all.seqs(), (1..=3_000).collect::<Vec<_>>());
    assert!(!all.stdout.contains(&CARD.to_string()) && !all.stdout.contains("00000000007c98a0"));

    let some = site.run(&["journal", "export", "--seq", "40..43", "--show-cards"]);
    assert_eq!(some.seqs(), [40, 41, 42, 43]);
    assert_eq!(some.stdout.matches(&CARD.to_string()).count(), 4);
    assert_eq!(site.run(&["journal", "export", "--seq", "2999.."]).seqs(), [2_999, 3_000]);

    let (from, to) = ("2026-11-24T07:00:30+01:00", "2026-11-24T06:00:33Z");
    let timed = ["journal", "export", "--from", from, "--to", to];
    assert_eq!(site.run(&timed).seqs(), [31, 32, 33], "from counts in, to does not");
    let occurred = ["--from", "2026-11-24T05:00:30Z", "--to", "2026-11-24T05:00:32Z"];
    let by = [&["journal", "export", "--time", "occurred"], &occurred[..]].concat();
    assert_eq!(site.run(&by).seqs(), [31, 32]);

    let of = ["journal", "export", "--controller", "uhppote-2", "--seq", "..35"];
    assert_eq!(site.run(&of).seqs(), (11..=20).chain(31..=35).collect::<Vec<_>>());

    let csv = site.run(&["journal", "export", "--format", "csv", "--seq", "7..8"]).stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[0].starts_with("seq,received,occurred,"), "{csv}");
    let epoch = "01".repeat(16);
    let row = format!(
        "7,2026-11-24T06:00:06Z,2026-11-24T05:00:06Z,gateway,exact,uhppote-1,controller,{epoch},7,granted,,,,*36,"
    );
    assert_eq!(lines[1], row);

    let verified = site.run(&["journal", "verify", "--json"]).json();
    assert_eq!((&verified["ok"], &verified["problem"]), (&json!(true), &Value::Null));
    let counted = json!({ "first": 1, "last": 3_000, "entries": 3_000, "newer": 0 });
    assert_eq!(verified["verified"], counted);

    let info = site.run(&["journal", "info", "--json", "--endurance-tbw", "40"]).json();
    assert_eq!(info["schema"], "postern.journal.info.v1");
    for (key, value) in [
        ("gateway", json!(OWNER)),
        ("format", json!(2)),
        ("head", json!(3_000)),
        ("unsafe_entries", json!(3_000)),
        ("capacity_entries", json!(1_000_000)),
        ("oldest_received", json!("2026-11-24T06:00:00Z")),
        ("newest_received", json!("2026-11-24T06:49:59Z")),
        ("endurance_tbw", json!(40.0)),
    ] {
        assert_eq!(info[key], value, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_says_and_what_the_running_gateway_says_is_the_same() {
    let _alone = alone().await;
    let site = Site::new();
    let journal = site.journal(OWNER, 3_000).await;
    let closed = journal.closed();
    let running = Running::start(&site, journal.clone());
    exports(&site);
    let info = site.run(&["journal", "info", "--json"]).json();
    assert_eq!((&info["running"], &info["entries_written"]), (&json!(true), &json!(3_000)));
    assert_eq!(info["bytes_per_transaction_measured"], true);
    let salvage = site.run(&["journal", "salvage", "--json"]).json();
    assert_eq!(salvage["journal"], "running");

    running.end().await;
    drop(journal);
    closed.await;
    exports(&site);
    let info = site.run(&["journal", "info", "--json"]).json();
    assert_eq!((&info["running"], &info["bytes_written"]), (&json!(false), &Value::Null));
    // A gateway that is down receives nothing: its last rate counts.
    let rate = info["rate_per_s"].as_f64().unwrap();
    assert!((0.99..1.01).contains(&rate), "{rate}");
    let days = info["days_to_full"].as_f64().unwrap();
    assert!((0.0..=997_000.0 / 86_400.0 * 1.01).contains(&days), "{days}");
    let years = 20e12 / (33_000.0 * rate * 86_400.0 * 365.0);
    assert!((info["flash_years"].as_f64().unwrap() - years).abs() < 0.01, "{info}");
    let text = site.run(&["journal", "info"]).stdout;
    assert!(text.lines().all(|line| line.starts_with("file") || line.len() <= 80), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_into_a_file_is_private_whole_and_replaces_nothing_unasked() {
    let _alone = alone().await;
    let site = Site::new();
    site.closed_journal(OWNER, 100).await;
    let out = site.at("out.jsonl");
    let export = ["journal", "export", "-o", "out.jsonl"];
    let said = site.run(&export);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{}", said.stderr);
    let mode = || fs::metadata(&out).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(), fs::read_to_string(&out).unwrap().lines().count()), (0o600, 100));

    fs::write(&out, "mine").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).unwrap();
    let said = site.run(&export);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("it exists") && said.stderr.contains("--force"));
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    let said = site.run(&[&export[..], &["--force", "--seq", "5..6"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!((mode(), fs::read_to_string(&out).unwrap().lines().count()), (0o600, 2));
    let left = fs::read_dir(site.directory.path()).unwrap().map(|file| file.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_an_export_without_complaint() {
    let _alone = alone().await;
    let site = Site::new();
    site.closed_journal(OWNER, 3_000).await;
    let mut export = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["journal", "export"])
        .current_dir(site.directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(export.stdout.take());
    let out = export.wait_with_output().unwrap();
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
}

/// A gateway that is stopped in the middle of an export must not leave something that looks whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_off_fails_and_leaves_no_file() {
    use std::io::{BufRead as _, Write as _};
    let _alone = alone().await;
    let site = Site::new();
    let listener = std::os::unix::net::UnixListener::bind(control::socket(&site.data())).unwrap();
    // A gateway that answers everything and is gone after two entries.
    let gateway = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            std::io::BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            if line.contains("journal_export") {
                let entry = json!({ "seq": 1, "received": "2026-11-24T06:00:00Z" });
                write!(stream, "{entry}\n{entry}\n").unwrap();
                return;
            }
            writeln!(stream, "{}", json!({ "journal": { "head": 100 } })).unwrap();
        }
    });
    let said = site.run(&["journal", "export", "-o", "out.jsonl"]);
    gateway.join().unwrap();
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("not complete") && said.stderr.contains("hint: "));
    let left = fs::read_dir(site.directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("out")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_exported_as_far_as_it_can_be_read_and_salvaged_when_told_to() {
    let _alone = alone().await;
    let site = Site::new();
    site.closed_journal(OWNER, 3_000).await;
    let whole = site.run(&["journal", "salvage", "--json"]);
    assert_eq!((whole.code, &whole.json()["journal"]), (Some(0), &json!("whole")));
    site.damage();
    let damaged = fs::read(site.file()).unwrap();

    let said = site.run(&["journal", "verify", "--json"]);
    assert_eq!(said.code, Some(12));
    assert_eq!(said.json()["ok"], false);
    assert!(said.json()["problem"].is_string());

    let export = site.run(&["journal", "export"]);
    assert_eq!(export.code, Some(12), "nobody may take it for everything");
    let seqs = export.seqs();
    assert!(seqs.is_sorted_by(|a, b| a < b) && seqs.len() > 2_000 && seqs.len() < 3_000);
    assert!(export.stderr.contains(&format!("{} entries up to 3000 can be read", seqs.len())));

    let refused = site.run(&["journal", "salvage"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert!(fs::read(site.file()).unwrap() == damaged);

    let done = site.run(&["journal", "salvage", "--yes", "--json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let report = done.json()["salvages"][0].clone();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(count("entries") + count("held"), seqs.len() as u64);
    assert_eq!(count("missing"), 3_000 - seqs.len() as u64);
    let aside = report["aside"].as_str().unwrap().to_owned();
    assert!(fs::read(site.at(&aside)).unwrap() == damaged, "the evidence was changed");

    assert_eq!(site.run(&["journal", "verify"]).code, Some(0));
    let info = site.run(&["journal", "info", "--json"]).json();
    assert_eq!(info["set_aside"][0]["kind"], "damaged");
    assert_eq!(info["salvages"][0]["missing"], report["missing"]);
    let again = site.run(&["journal", "export", "--file", &aside]);
    assert_eq!((again.code, again.seqs()), (Some(12), seqs));
    assert_eq!(site.run(&["journal", "salvage", "--json"]).json()["journal"], "whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ring_gave_up_is_not_exported_and_the_rest_is() {
    let _alone = alone().await;
    let site = Site::new();
    let options =
        Options { capacity: Capacity { entries: 1_000, bytes: 1_000_000 }, ..site.options(OWNER) };
    let journal = Journal::open(&options).unwrap();
    for first in (1..=5_000).step_by(10) {
        journal.append(append(1, first..first + 10)).await.unwrap();
        journal.raise_safe(Seq(first));
    }
    let oldest = journal.state().borrow().oldest().0;
    assert!(oldest > 3_000, "{oldest}");
    let running = Running::start(&site, journal.clone());
    let said = site.run(&["journal", "export"]);
    assert_eq!(said.seqs(), (oldest..=5_000).collect::<Vec<_>>());
    let verified = site.run(&["journal", "verify", "--json"]).json();
    assert_eq!(verified["verified"]["first"], oldest);
    running.end().await;
}
