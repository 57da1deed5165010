//! The program as init systems and operators meet it: exit codes, signals, output.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::common::{BOARD, Pair};
use postern_server::exit;

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

/// A server process that is ready, and ends with the test.
struct Server {
    child: Child,
    ready: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = program(&["run", "--json", "--dir", dir.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Self { child, ready }
    }

    fn terminate(mut self) -> u8 {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        u8::try_from(self.child.wait().unwrap().code().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_says_that_it_is_ready_and_ends_cleanly_on_a_signal() {
    let pair = Pair::new();
    let server = Server::start(&pair.a);
    let ready: serde_json::Value = serde_json::from_str(&server.ready).unwrap();
    let expected = serde_json::json!({
        "schema": "postern-server.ready.v1", "server": "a", "address": pair.address("a"),
    });
    assert_eq!(ready, expected);
    assert_eq!(server.terminate(), exit::OK);
}

#[test]
fn a_second_server_on_one_directory_ends_with_its_own_code() {
    let pair = Pair::new();
    let dir = pair.a.to_str().unwrap();
    let server = Server::start(&pair.a);
    let second = run(&["run", "--dir", dir]);
    assert_eq!(code(&second), exit::LOCKED);
    let message = text(&second.stderr);
    assert!(message.contains("another process runs on") && message.contains("hint: "), "{message}");
    assert_eq!(server.terminate(), exit::OK);
    assert_eq!(Server::start(&pair.a).terminate(), exit::OK, "the lock ends with its process");
}

#[test]
fn each_failure_has_its_exit_code_and_a_hint() {
    let pair = Pair::new();
    let dir = pair.a.to_str().unwrap();
    let nowhere = pair.root.path().join("nowhere");
    let again = run(&[
        "init",
        "--dir",
        dir,
        "--site",
        "s",
        "--group",
        "g",
        "--name",
        "a",
        "--address",
        "127.0.0.1:7443",
    ]);
    let stopped = run(&["status", "--dir", dir]);
    let unknown = run(&["query", "--dir", dir, "--server", "z"]);
    let missing = run(&["run", "--dir", nowhere.to_str().unwrap()]);
    let silent = run(&["failover", "--dir", dir, "--to", "b"]);
    for (output, expected) in [
        (again, exit::FAILED),
        (stopped, exit::UNREACHABLE),
        (unknown, exit::USAGE),
        (missing, exit::CONFIGURATION),
        (silent, exit::FAILED),
        (run(&["fly"]), exit::USAGE),
        (run(&["--log", "a=b=c", "status", "--dir", dir]), exit::USAGE),
    ] {
        let message = text(&output.stderr);
        assert_eq!(code(&output), expected, "{message}");
        assert!(message.starts_with("error: "), "{message}");
        assert!(expected == exit::USAGE || message.contains("hint: "), "{message}");
    }
    let port = std::net::TcpListener::bind(pair.address("a")).unwrap();
    let taken = run(&["run", "--dir", dir]);
    drop(port);
    let path = pair.a.join("server.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let listen = format!("listen = \"{}\"", pair.address("a"));
    let foreign = config.replace(&listen, "listen = \"192.0.2.1:7443\"");
    std::fs::write(&path, foreign).unwrap();
    let foreign = run(&["run", "--dir", dir]);
    std::fs::write(&path, config).unwrap();
    for (output, hint) in
        [(taken, "another program uses the port"), (foreign, "this machine has no such address")]
    {
        let message = text(&output.stderr);
        assert_eq!(code(&output), exit::LISTEN, "{message}");
        assert!(message.contains(hint), "{message}");
        assert_eq!(message.matches("os error").count(), 1, "{message}");
    }
    std::fs::write(pair.a.join("store.sqlite"), "not a store").unwrap();
    assert_eq!(code(&run(&["run", "--dir", dir])), exit::STORE);
}

#[test]
fn a_failover_shows_the_state_before_and_after() {
    let pair = Pair::new();
    let dir = pair.a.to_str().unwrap();
    let (a, b) = (Server::start(&pair.a), Server::start(&pair.b));
    let refused = run(&["failover", "--dir", dir, "--to", "b"]);
    assert_eq!(code(&refused), exit::FAILED);
    assert!(text(&refused.stderr).contains("say --yes"));
    let done = run(&["failover", "--dir", dir, "--to", "b", "--yes", "--json"]);
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["schema"], "postern-server.failover.v1");
    assert_eq!((&done["changed"], &done["role_term"]), (&true.into(), &2.into()));
    assert_eq!(done["before"][0]["status"]["state"], "active");
    assert_eq!(done["after"][0]["status"]["state"], "standby");
    assert_eq!(done["after"][1]["status"]["state"], "active");
    assert_eq!(b.terminate(), exit::OK);
    let denied = run(&["failover", "--dir", dir, "--to", "b", "--yes"]);
    assert_eq!(code(&denied), exit::UNREACHABLE, "the target has to be there");
    let denied = run(&["failover", "--dir", dir, "--to", "a", "--yes"]);
    assert_eq!(code(&denied), exit::DENIED);
    assert!(text(&denied.stderr).contains("--force"));
    let status = run(&["status", "--dir", dir, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["servers"][1]["failure"]["code"], "unreachable");
    let forced = run(&["failover", "--dir", dir, "--to", "a", "--force", "--yes"]);
    assert_eq!(code(&forced), exit::OK);
    assert!(text(&forced.stdout).contains("under role term 3"));
    drop(a);
}

#[test]
fn a_controller_is_given_away_by_an_operator_who_agreed() {
    let pair = Pair::new();
    let dir = pair.a.to_str().unwrap();
    let (a, b) = (Server::start(&pair.a), Server::start(&pair.b));
    let reassign = |controller: &str, to: &str, more: &[&str]| {
        run(&[&["reassign", controller, "--to", to, "--dir", dir], more].concat())
    };
    let board = BOARD.to_string();
    let unknown = reassign(&board, "gate", &["--yes"]);
    assert_eq!(code(&unknown), exit::DENIED, "no gateway sent anything of it");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut gateway = pair.gateway("hall");
        gateway.swipe(1);
        assert!(gateway.send(&pair.address("a"), 1, 1).await.status().is_success());
    });

    let unasked = reassign(&board, "gate", &[]);
    assert_eq!(code(&unasked), exit::FAILED);
    assert!(text(&unasked.stderr).contains("say --yes"));
    let before = format!("Controller {board} belongs to gateway hall.\n");
    assert_eq!(text(&unasked.stdout), before);
    assert_eq!(code(&reassign(&board, "Gate", &["--yes"])), exit::USAGE);
    assert_eq!(code(&reassign("board", "gate", &["--yes"])), exit::USAGE);
    let standby = reassign(&board, "gate", &["--yes", "--server", "b"]);
    assert_eq!(code(&standby), exit::DENIED);
    let message = text(&standby.stderr);
    assert!(message.contains("server a is the active one"), "{message}");
    assert!(message.contains("hint: ask the active server"), "{message}");

    let done = reassign(&board, "gate", &["--yes"]);
    assert_eq!(code(&done), exit::OK);
    let after = format!("Controller {board} belongs to gateway gate.\n");
    assert_eq!(text(&done.stdout), format!("{before}{after}"));
    let done = reassign(&board, "hall", &["--yes", "--json"]);
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let expected = serde_json::json!({
        "schema": "postern-server.reassign.v1", "server": "a", "changed": true,
        "controller": board, "from": "gate", "to": "hall",
        "before": {"controller": board, "gateway": "gate"},
        "after": {"controller": board, "gateway": "hall"},
    });
    assert_eq!(done, expected);
    drop((a, b));
}

#[test]
fn every_page_is_read_and_a_reader_may_leave_early() {
    let pair = Pair::new();
    let dir = pair.a.to_str().unwrap();
    let server = Server::start(&pair.a);
    let total = 7_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut gateway = pair.gateway("hall");
        gateway.swipe(total);
        for first in (1..=total).step_by(1_000) {
            let sent = gateway.send(&pair.address("a"), first, first + 999).await;
            assert!(sent.status().is_success());
        }
    });
    let all = run(&["query", "--dir", dir, "--jsonl", "--all"]);
    assert_eq!(code(&all), exit::OK);
    let seqs: Vec<u64> = text(&all.stdout)
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(seqs, (1..=u64::try_from(total).unwrap()).collect::<Vec<_>>());

    let mut child = program(&["query", "--dir", dir, "--all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut head = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut head).unwrap();
    assert!(head.contains("CONTROLLER"), "{head}");
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!((child.wait().unwrap().code(), complaints.as_str()), (Some(0), ""));

    let page = run(&["query", "--dir", dir, "--json", "--limit", "2", "--after", "5"]);
    let page: serde_json::Value = serde_json::from_slice(&page.stdout).unwrap();
    assert_eq!(
        (&page["schema"], &page["next"]),
        (&"postern-server.transactions.v1".into(), &7.into())
    );
    let journals = run(&["journals", "--dir", dir, "--json"]);
    let journals: serde_json::Value = serde_json::from_slice(&journals.stdout).unwrap();
    assert_eq!(
        (&journals["items"][0]["stored"], &journals["server"]),
        (&total.into(), &"a".into())
    );
    drop(server);
}

/// Invariant: what was answered is durable. A server that is killed has it when it comes back.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let pair = Pair::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut gateway = pair.gateway("hall");
    let mut acknowledged = 0;
    for round in 1..=3 {
        let mut server = Server::start(&pair.a);
        gateway.swipe(50);
        runtime.block_on(async {
            for _ in 0..50 {
                acknowledged += 1;
                let sent = gateway.send(&pair.address("a"), acknowledged, acknowledged).await;
                assert!(sent.status().is_success(), "round {round}");
            }
        });
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        // The pool's connections went with it.
        gateway.http = pair.gateway("hall").http;
    }
    let server = Server::start(&pair.a);
    let all = run(&["query", "--dir", pair.a.to_str().unwrap(), "--jsonl", "--all"]);
    assert_eq!(text(&all.stdout).lines().count(), acknowledged);
    drop(server);
}
