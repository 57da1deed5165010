//! Backup and restoration as operators meet them, with processes that really run.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::{Gateway, Pair, until};
use postern_protocol::Seq;
use postern_protocol::uplink::Watermark;
use postern_server::store::snapshot::{self, SnapshotError};
use postern_server::{exit, site};
use serde_json::{Value, json};

/// Set where every test has to run.
const REQUIRE: &str = "POSTERN_REQUIRE";

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-server"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

fn code(output: &Output) -> u8 {
    u8::try_from(output.status.code().unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that must succeed says as JSON.
fn ask(args: &[&str]) -> Value {
    let output = run(&[args, &["--json"]].concat());
    assert_eq!(code(&output), exit::OK, "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn words(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server process that is ready, and ends with the test.
struct Server(Child);

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = program(&["run", "--json", "--dir", words(dir)])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        Self(child)
    }

    fn terminate(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(i32::from(exit::OK)));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server's status as it says it itself.
fn status(dir: &Path, server: &str) -> Value {
    let all = ask(&["status", "--dir", words(dir), "--server", server]);
    all["servers"][0]["status"].clone()
}

fn events(dir: &Path) -> Vec<String> {
    let page = ask(&["audit", "--dir", words(dir), "--limit", "5000"]);
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect()
}

/// Every stored transaction: journal, `seq`, digest.
fn transactions(dir: &Path) -> Vec<(String, u64, String)> {
    let page = ask(&["query", "--dir", words(dir), "--all"]);
    let rows = page["items"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("journal"), row["seq"].as_u64().unwrap(), text("digest"))
        })
        .collect()
}

async fn deliver(pair: &Pair, gateway: &mut Gateway, to: &str, count: usize) -> Watermark {
    let first = gateway.entries.len() + 1;
    gateway.swipe(count);
    let last = gateway.entries.len();
    let answer = gateway.send(&pair.address(to), first, last).await;
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.json().await.unwrap()
}

fn plan(dir: &Path, table: &str) {
    let path = dir.join(site::CONFIG);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    write!(file, "\n[backup]\n{table}\n").unwrap();
}

/// The drill: a backup by the running server, everything lost, and back on another machine.
#[tokio::test]
async fn a_lost_server_comes_back_from_its_small_files_and_a_backup() {
    let pair = Pair::first_alone();
    let a = Server::start(&pair.a);
    let mut gateway = pair.gateway("hall");
    deliver(&pair, &mut gateway, "a", 60).await;
    let backup = pair.root.path().join("a.sqlite");
    let made = ask(&["backup", "create", "--dir", words(&pair.a), "--out", words(&backup)]);
    assert_eq!(made["schema"], "postern-server.backup-create.v1");
    assert_eq!(made["backup"]["rows"]["transactions"], 60);
    let held = transactions(&pair.a);
    assert_eq!(events(&pair.a), ["init", "backup"]);
    // What comes later is only at the gateway.
    deliver(&pair, &mut gateway, "a", 5).await;
    let lost = status(&pair.a, "a")["store"].clone();
    a.terminate();

    // Another machine: what was kept of the data directory, without the store.
    let dir = pair.root.path().join("again");
    fs::create_dir(&dir).unwrap();
    for file in fs::read_dir(&pair.a).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("store") && name != site::LOCK {
            fs::copy(pair.a.join(&name), dir.join(&name)).unwrap();
        }
    }
    let whole = ask(&["backup", "verify", words(&backup)]);
    assert_eq!(whole["content_sha256"], made["backup"]["content_sha256"]);
    let done = ask(&["restore", "--from", words(&backup), "--dir", words(&dir)]);
    assert_eq!((done["server"].as_str(), done["set_aside"].as_str()), (Some("a"), None));

    let a = Server::start(&dir);
    // Connections to the former process are gone.
    gateway.http = pair.gateway("hall").http;
    let now = status(&dir, "a");
    assert_eq!(
        (now["state"].as_str(), now["counts"]["transactions"].as_u64()),
        (Some("set_aside"), Some(60))
    );
    assert_ne!(now["store"], lost);
    assert_eq!(transactions(&dir), held);
    assert_eq!(gateway.send(&pair.address("a"), 61, 65).await.status(), 503, "it does not reign");
    let refused = run(&["failover", "--to", "a", "--dir", words(&dir), "--yes"]);
    assert_eq!(code(&refused), exit::DENIED);
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));

    let forced = ask(&["failover", "--to", "a", "--dir", words(&dir), "--yes", "--force"]);
    assert_eq!((forced["changed"].as_bool(), forced["active"].as_str()), (Some(true), Some("a")));
    // The former store may have minted more terms than the backup knew of.
    assert!(forced["role_term"].as_u64().unwrap() > 1_000_000);
    let stored: Watermark = gateway.send(&pair.address("a"), 61, 65).await.json().await.unwrap();
    assert_eq!(stored.stored, Seq(65));
    assert_eq!(transactions(&dir)[..60], held);
    assert_eq!(events(&dir), ["init", "restore", "role_forced"]);
    a.terminate();
}

/// What a backup says of the role is old: the restored server asks its peer before it believes it.
#[tokio::test]
async fn a_restored_server_stands_by_where_another_reigns() {
    let pair = Pair::new();
    let mut gateway = pair.gateway("hall");
    let backup = pair.root.path().join("a.sqlite");
    {
        let _a = Server::start(&pair.a);
        deliver(&pair, &mut gateway, "a", 10).await;
    }
    // With no server running, the file itself is copied.
    ask(&["backup", "create", "--dir", words(&pair.a), "--out", words(&backup)]);
    let b = Server::start(&pair.b);
    ask(&["failover", "--to", "b", "--dir", words(&pair.b), "--yes", "--force"]);

    let refused = run(&["restore", "--from", words(&backup), "--dir", words(&pair.a)]);
    assert_eq!(code(&refused), exit::FAILED);
    assert!(text(&refused.stderr).contains("--set-aside"), "{}", text(&refused.stderr));
    let unsure = ["restore", "--from", words(&backup), "--dir", words(&pair.a), "--set-aside"];
    let unasked = run(&unsure);
    assert!(text(&unasked.stderr).contains("--yes"), "nobody was there to be asked");
    let done = ask(&[&unsure[..], &["--yes"]].concat());
    assert!(Path::new(done["set_aside"].as_str().unwrap()).exists());

    let a = Server::start(&pair.a);
    let now = status(&pair.a, "a");
    assert_eq!((now["state"].as_str(), now["active"].as_str()), (Some("standby"), Some("b")));
    assert_eq!(now["role_term"], 2);
    assert_eq!(status(&pair.b, "b")["state"], "active");
    // An orderly change back is no matter of force; its term is above all that there can have been.
    let back = ask(&["failover", "--to", "a", "--dir", words(&pair.a), "--yes"]);
    assert!(back["role_term"].as_u64().unwrap() > 1_000_000);
    assert_eq!(status(&pair.b, "b")["state"], "standby");
    a.terminate();
    b.terminate();
}

#[tokio::test]
async fn a_running_server_makes_backups_by_itself_and_keeps_as_many_as_it_is_told() {
    let pair = Pair::first_alone();
    let backups = pair.root.path().join("backups");
    fs::create_dir(&backups).unwrap();
    fs::write(backups.join("north-main-a-precious.sqlite"), "not ours").unwrap();
    plan(&pair.a, &format!("dir = {:?}\nevery = \"1s\"\nkeep = 2", words(&backups)));
    let a = Server::start(&pair.a);
    let mut gateway = pair.gateway("hall");
    deliver(&pair, &mut gateway, "a", 7).await;
    until("a backup holds what was delivered", async || {
        status(&pair.a, "a")["backup"]["last"]["transactions"] == 7
    })
    .await;
    until("old ones go", async || events(&pair.a).iter().any(|event| event == "backup_removed"))
        .await;
    let listed = ask(&["backup", "list", "--dir", words(&pair.a)]);
    let listed = listed["backups"].as_array().unwrap();
    assert!((1..=3).contains(&listed.len()), "two, and one more while the oldest goes");
    let now = status(&pair.a, "a")["backup"].clone();
    assert_eq!(
        (&now["keep"], &now["every_s"], &now["overdue"]),
        (&json!(2), &json!(1), &json!(false))
    );
    assert!(now["last"]["file"].as_str().unwrap().starts_with("north-main-a-"));
    let shown = text(&run(&["status", "--dir", words(&pair.a)]).stdout);
    assert!(shown.contains("Server a: the last backup is"), "{shown}");
    assert!(backups.join("north-main-a-precious.sqlite").exists());

    // An operator's own goes elsewhere and does not count as one of these.
    let out = pair.root.path().join("own.sqlite");
    until("no other backup is in the way", async || {
        let args = ["backup", "create", "--dir", words(&pair.a), "--out", words(&out)];
        code(&run(&args)) == exit::OK
    })
    .await;
    a.terminate();

    // What is in the directory is known after a restart.
    let path = pair.a.join(site::CONFIG);
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("every = \"1s\"", "every = \"30d\"")).unwrap();
    let a = Server::start(&pair.a);
    until("it knows of its backups", async || !status(&pair.a, "a")["backup"]["last"].is_null())
        .await;
    a.terminate();
}

#[tokio::test]
async fn a_backup_directory_that_is_not_there_is_said_and_stops_nothing() {
    let pair = Pair::first_alone();
    let nowhere = pair.root.path().join("not-mounted");
    plan(&pair.a, &format!("dir = {:?}\nevery = \"1s\"", words(&nowhere)));
    let a = Server::start(&pair.a);
    until("it is overdue", async || status(&pair.a, "a")["backup"]["overdue"] == true).await;
    let shown = text(&run(&["status", "--dir", words(&pair.a)]).stdout);
    assert!(shown.contains("WARNING: server a makes a backup every"), "{shown}");
    assert!(shown.contains("is no directory"), "{shown}");
    assert!(events(&pair.a).contains(&"backup_failed".to_owned()));
    let output = run(&["backup", "create", "--dir", words(&pair.a)]);
    assert_ne!(code(&output), exit::OK);
    assert!(text(&output.stderr).contains("hint: "), "{}", text(&output.stderr));
    let mut gateway = pair.gateway("hall");
    deliver(&pair, &mut gateway, "a", 3).await;
    // Once it is mounted, all is well by itself.
    fs::create_dir(&nowhere).unwrap();
    until("it is made up for", async || {
        let backup = status(&pair.a, "a")["backup"].clone();
        backup["overdue"] == false && backup["failure"].is_null()
    })
    .await;
    a.terminate();
}

#[test]
fn commands_say_what_is_wrong() {
    let pair = Pair::first_alone();
    let dir = words(&pair.a);
    let (out, other) = (pair.root.path().join("one"), pair.root.path().join("no"));
    ask(&["backup", "create", "--dir", dir, "--out", words(&out)]);
    let whole = fs::read(&out).unwrap();
    fs::write(&other, &whole[..whole.len() / 2]).unwrap();
    for (args, expected) in [
        (vec!["backup", "create", "--dir", dir], exit::FAILED),
        (vec!["backup", "create", "--dir", dir, "--out", words(&out)], exit::FAILED),
        (vec!["backup", "list", "--dir", dir], exit::FAILED),
        (vec!["backup", "verify", words(&other)], exit::STORE),
        (vec!["backup", "verify", "/nowhere/at/all"], exit::FAILED),
        (vec!["backup", "verify", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], exit::STORE),
        (
            vec!["restore", "--dir", dir, "--from", words(&other), "--set-aside", "--yes"],
            exit::STORE,
        ),
        (vec!["restore", "--dir", "/nowhere", "--from", words(&out)], exit::CONFIGURATION),
    ] {
        let output = run(&args);
        let message = text(&output.stderr);
        assert_eq!(code(&output), expected, "{args:?}: {message}");
        assert!(message.contains("error: ") && message.contains("hint: "), "{args:?}: {message}");
    }
    let listed = ask(&["backup", "list", "--dir", dir, "--in", words(pair.root.path())]);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    let output = run(&["backup", "verify", "--full", words(&out)]);
    assert!(text(&output.stdout).contains("It is what its sidecar says"));
}

/// Runs a command where `point` is a small file system of its own, which is gone with it. `None` where
/// this machine does not let us, said on stderr.
fn with_disk(size: &str, point: &Path, command: &[&str]) -> Option<Child> {
    fs::create_dir_all(point).unwrap();
    let script = "mount -t tmpfs -o size=\"$1\",mode=0700 tmpfs \"$2\" && echo mounted && \
                  shift 2 && exec \"$@\"";
    for namespaces in ["-rm", "-m"] {
        let held = Command::new("unshare")
            .args([namespaces, "sh", "-c", script, "sh", size])
            .arg(point)
            .args(command)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = held else { continue };
        let mut mounted = [0; 8];
        if child.stdout.as_mut().unwrap().read_exact(&mut mounted).is_ok() {
            return Some(child);
        }
        let _ = child.wait();
    }
    assert_ne!(std::env::var(REQUIRE).as_deref(), Ok("1"), "no file system of its own");
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: a full file system cannot be made here; {REQUIRE}=1 makes this a failure"
    );
    None
}

/// Where a process sees a path.
fn seen_by(child: &Child, path: &Path) -> PathBuf {
    let root = Path::new("/proc").join(child.id().to_string()).join("root");
    root.join(path.strip_prefix("/").unwrap())
}

#[tokio::test]
async fn a_full_backup_disk_is_said_leaves_nothing_half_and_stops_nothing() {
    let pair = Pair::first_alone();
    let point = pair.root.path().join("disk");
    plan(&pair.a, &format!("dir = {:?}\nevery = \"1s\"", words(&point)));
    let store = pair.a.join(site::STORE);
    let room = fs::metadata(&store).unwrap().len() / 2;
    let program = env!("CARGO_BIN_EXE_postern-server");
    let command = [program, "run", "--json", "--dir", words(&pair.a)];
    let Some(mut child) = with_disk("1m", &point, &command) else { return };
    let disk = seen_by(&child, &point);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; usize::try_from((1 << 20) - room).unwrap()]).unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let a = Server(child);
    let mut gateway = pair.gateway("hall");
    until("it fails", async || !status(&pair.a, "a")["backup"]["failure"].is_null()).await;
    assert!(events(&pair.a).contains(&"backup_failed".to_owned()));
    deliver(&pair, &mut gateway, "a", 40).await;
    let failure = status(&pair.a, "a")["backup"]["failure"].clone();
    assert!(failure.as_str().unwrap().contains("room"), "{failure}");
    let half = |name: &str| name.contains(".un") || name == "store.sqlite";
    let names = fs::read_dir(&disk).unwrap();
    let names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| half(name)), "{names:?}");

    fs::remove_file(&ballast).unwrap();
    until("there is room again", async || {
        status(&pair.a, "a")["backup"]["last"]["transactions"] == 40
    })
    .await;
    a.terminate();
}

/// The copy itself, where nobody looked for room before.
#[test]
fn a_copy_that_finds_its_disk_full_is_not_there() {
    const INSIDE: &str = "POSTERN_TEST_SMALL_DISK";
    if let Some(point) = std::env::var_os(INSIDE) {
        let (point, outside) = (PathBuf::from(&point), tempfile::tempdir().unwrap());
        let store = outside.path().join(site::STORE);
        drop(postern_server::store::Store::create(&store, "a").unwrap());
        fs::write(point.join("ballast"), vec![1; 32 << 10]).unwrap();
        let to = point.join("copy");
        let error = snapshot::take(&store, &to, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("full")), "{error:?}");
        assert!(matches!(error, SnapshotError::Io { .. }));
        assert_eq!(fs::read_dir(&point).unwrap().count(), 1, "the ballast alone");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (point, program) = (root.path().join("disk"), std::env::current_exe().unwrap());
    let inside = format!("{INSIDE}={}", words(&point));
    let test = "backup::a_copy_that_finds_its_disk_full_is_not_there";
    let command = ["env", &inside, words(&program), "--exact", test, "--nocapture"];
    let Some(child) = with_disk("64k", &point, &command) else { return };
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("1 passed"));
}
