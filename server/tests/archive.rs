//! The reading commands as operators run them: on a server, and on a file with no server at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use crate::common::{Pair, swipe_at};
use postern_server::{exit, serve};
use serde_json::Value;

/// 2026-10-25T00:30:00Z: half past two in Berlin, for the first time that night.
const TWICE: i64 = 1_792_888_200_000;
const HOUR: i64 = 3_600_000;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-server"));
    command.args(args).env_remove("RUST_LOG").env("TZ", "UTC").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = run(args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&text(args)).unwrap()
}

fn refused(args: &[&str]) -> (u8, String) {
    let output = run(args);
    let code = u8::try_from(output.status.code().unwrap()).unwrap();
    (code, String::from_utf8(output.stderr).unwrap())
}

/// Every file of a directory, with its bytes and the time of its last change.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), (fs::read(&path).unwrap(), changed))
        })
        .collect()
}

/// An answer without who gave it.
fn without_origin(text: &str) -> String {
    let Ok(Value::Object(mut answer)) = serde_json::from_str(text) else { return text.to_owned() };
    answer.retain(|name, _| !["server", "archive", "store"].contains(&name.as_str()));
    Value::Object(answer).to_string()
}

/// Commands block: they run beside the server's own threads.
async fn beside<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn fill(pair: &Pair) {
    let mut gateway = pair.gateway("hall");
    for n in 0..4 {
        gateway.record(&swipe_at(TWICE + n * HOUR, 1, 8_165_536));
    }
    assert!(gateway.send(&pair.address("a"), 1, 4).await.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_its_file_give_the_same_answers_and_the_file_is_left_alone() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    fill(&pair).await;
    let dir = pair.a.clone();
    beside(move || {
        let (dir, store) = (dir.to_str().unwrap(), dir.join("store.sqlite"));
        let store = store.to_str().unwrap();
        let commands = [
            &["query", "--json", "--card", "8165536"][..],
            &["query", "--json", "--limit", "2", "--from", "2026-10-25T03:00+02:00"],
            &["query", "--card", "8165536", "--limit", "2"],
            &["query", "--all"],
            &["query", "--all", "--jsonl"],
            &["journals"],
            &["journals", "--json"],
            &["audit"],
            &["audit", "--json"],
            &["late", "--over", "1s"],
            &["late", "--json", "--over", "1s", "--from", "2026-10-25"],
            &["export", "--format", "csv", "--show-cards"],
        ];
        let asked = commands.map(|command| text(&[command, &["--dir", dir]].concat()));
        let before = everything(Path::new(dir));
        assert!(before.keys().any(|path| path.to_string_lossy().ends_with("-wal")));
        let read = commands.map(|command| text(&[&["archive", "open", store], command].concat()));
        let after = everything(Path::new(dir));
        assert!(before.keys().eq(after.keys()), "nothing was added, not even the log's index");
        for (path, was) in before {
            assert!(after[&path] == was, "{} was written", path.display());
        }
        for (asked, read) in asked.iter().zip(&read) {
            assert_eq!(without_origin(asked), without_origin(read));
        }
        assert!(read[0].contains(&format!("\"archive\":\"{store}\"")), "{}", read[0]);
        assert!(asked[0].contains("\"server\":\"a\""), "{}", asked[0]);
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_and_write_the_sites_time() {
    let pair = Pair::new();
    let config = pair.a.join("server.toml");
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(&config, plain.replacen("\n[[members]]", "zone = \"Mars/Olympus\"\n[[members]]", 1))
        .unwrap();
    let dir = pair.a.to_str().unwrap();
    let (code, message) = refused(&["query", "--dir", dir]);
    assert_eq!(code, exit::CONFIGURATION);
    assert!(message.contains("is no time zone such as Europe/Berlin"), "{message}");
    fs::write(&config, plain.replacen("\n[[members]]", "zone = \"Europe/Berlin\"\n[[members]]", 1))
        .unwrap();
    let running = serve::start(&pair.a).await.unwrap();
    fill(&pair).await;
    let dir = dir.to_owned();
    beside(move || {
        let found =
            |more: &[&str]| text(&[&["query", "--order", "oldest", "--dir", &dir], more].concat());
        let all = found(&[]);
        assert!(all.contains("2026-10-25T02:30:00.000+02:00"), "{all}");
        assert!(all.contains("2026-10-25T02:30:00.000+01:00"), "{all}");
        assert!(all.contains("4 transactions, times of Europe/Berlin."), "{all}");
        // Half past two is twice; a span takes in both, an offset says which.
        let span = |from: &str, to: &str| found(&["--from", from, "--to", to]);
        assert!(span("2026-10-25T02:30", "2026-10-25T02:31").contains("2 transactions"));
        let once = span("2026-10-25T02:30+01:00", "2026-10-25T02:31");
        assert!(once.contains("1 transactions") && once.contains("02:30:00.000+01:00"), "{once}");
        assert!(span("2026-10-25", "2026-10-26").contains("4 transactions"));
        let kathmandu = found(&["--zone", "Asia/Kathmandu", "--limit", "1"]);
        assert!(kathmandu.contains("2026-10-25T06:15:00.000+05:45"), "{kathmandu}");
        assert!(kathmandu.contains("more with --cursor "), "{kathmandu}");
        let json = json(&["query", "--json", "--order", "oldest", "--dir", &dir]);
        assert_eq!(json["items"][0]["occurred"], "2026-10-25T00:30:00.000Z");

        let ago = text(&["query", "--from", "-100000d", "--limit", "1", "--dir", &dir]);
        let (_, command) = ago.split_once("more with ").unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let ["--from", from, "--cursor", cursor, ..] = words[..] else { panic!("{ago}") };
        let next = ["query", "--from", from, "--limit", "1", "--cursor", cursor, "--dir", &dir];
        assert!(text(&next).contains("02:30:00.000+01:00") || text(&next).contains("03:30"));
        for (question, says) in [
            (&["--from", "yesterday"][..], "write 2026-11-28, 2026-11-28T10:00"),
            (&["--from", "-1h", "--to", "-2h"], "--from is not before --to"),
            (&["--from", "2026-11-28", "--to", "2026-11-28"], "end at the date of the next"),
            (&["--kind", "enterd"], "granted"),
            (&["--zone", "Berlin"], "Europe/Berlin"),
            (&["--live", "--backfill"], "cannot be used with"),
            (&["--cursor", "&all=1"], "not one that was handed out"),
            (&["--after", "3", "--order", "newest"], "cannot be used with"),
        ] {
            let (code, message) = refused(&[&["query", "--dir", &dir], question].concat());
            assert_eq!(code, exit::USAGE, "{message}");
            assert!(message.contains(says), "{message}");
        }
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_appears_whole_for_its_owner_alone_and_hides_cards_unless_told() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    fill(&pair).await;
    let (dir, out) = (pair.a.clone(), pair.root.path().join("out"));
    fs::create_dir(&out).unwrap();
    let (dir_of, out_of) = (dir.clone(), out.clone());
    beside(move || {
        let file = out.join("all.csv");
        let (dir, path) = (dir.to_str().unwrap(), file.to_str().unwrap());
        let export =
            |more: &[&str]| run(&[&["export", "--dir", dir, "--out", path], more].concat());
        let done = export(&["--format", "csv"]);
        assert!(done.status.success() && done.stdout.is_empty());
        assert!(String::from_utf8_lossy(&done.stderr).contains("wrote 4 transactions"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let masked = fs::read_to_string(&file).unwrap();
        assert!(masked.contains(",*36,") && !masked.contains("8165536"), "{masked}");
        assert_eq!(csv::Reader::from_reader(masked.as_bytes()).into_records().count(), 4);

        let again = export(&["--format", "csv"]);
        assert_eq!(again.status.code(), Some(i32::from(exit::FAILED)));
        assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
        assert_eq!(fs::read_to_string(&file).unwrap(), masked);
        assert!(export(&["--format", "csv", "--show-cards", "--force"]).status.success());
        assert!(fs::read_to_string(&file).unwrap().contains(",8165536,"));
        // A question that fails leaves what was there, and no part of an export.
        let failed = export(&["--force", "--from", "-1h", "--to", "-2h"]);
        assert_eq!(failed.status.code(), Some(i32::from(exit::USAGE)));
        assert!(fs::read_to_string(&file).unwrap().contains(",8165536,"));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing but the export");

        let lines = text(&["export", "--dir", dir, "--out", "-"]);
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!((&lines[0]["credential"], &lines[0]["raw"]), (&"*36".into(), &Value::Null));
        let lines = text(&["export", "--dir", dir, "--show-cards", "--card", "8165536"]);
        let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&line["credential"], &line["seq"]), (&8_165_536.into(), &1.into()));
    })
    .await;
    running.stop().await;
    // A server that goes away leaves no part of an export, and what was there.
    let path = out_of.join("all.csv");
    let question = ["export", "--dir", dir_of.to_str().unwrap(), "--force", "--out"];
    let (code, _) = refused(&[&question[..], &[path.to_str().unwrap()]].concat());
    assert_eq!(code, exit::UNREACHABLE);
    let left: Vec<_> = fs::read_dir(&out_of).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [path]);
}

#[test]
fn a_file_that_is_no_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, nowhere) = (dir.path().join("text"), dir.path().join("nowhere"));
    fs::write(&path, "not a store").unwrap();
    for (path, says) in [(&path, "is no store of this product"), (&nowhere, "there is no file")] {
        let question = ["archive", "open", path.to_str().unwrap(), "query"];
        let (code, message) = refused(&question);
        assert_eq!(code, exit::CONFIGURATION);
        assert!(message.contains(says) && message.contains("hint: "), "{message}");
    }
}
