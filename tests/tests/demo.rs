//! `cargo demo`, in short: what scripts rely on.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments).output().expect("the demo can be started")
}

#[test]
fn the_last_line_is_the_verdict_and_the_exit_code_agrees() {
    let output = demo(&["--controllers", "4", "--seconds", "2", "--seed", "7"]);
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let last = stdout.lines().last().unwrap_or_default();
    let mut words = last.split(' ');
    assert_eq!((words.next(), words.next()), (Some("verdict:"), Some("ok")), "{last}");
    let figures: Vec<(&str, u64)> = words
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let [("generated", generated), ("stored", stored), rest @ ..] = &figures[..] else {
        panic!("{last}");
    };
    assert!(*generated > 300 && generated == stored, "{last}");
    assert_eq!(rest, [("lost", 0), ("doubled", 0), ("reordered", 0), ("gaps", 0)], "{last}");
    let told = [
        "4 controllers and 4 on a serial line",
        "SIGKILL to server a in mid-upload",
        "role term 2",
        "SIGKILL to the gateway",
    ];
    for told in told {
        assert!(stdout.contains(told), "it does not show {told:?}:\n{stdout}");
    }
}

#[test]
fn a_directory_with_an_earlier_run_is_refused_with_a_hint_and_not_touched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join("logs")).expect("a directory");
    let path = dir.path().display().to_string();
    let output = demo(&["--keep", &path]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("holds an earlier run; name another directory"), "{stderr}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 1);
}
