use super::*;

fn line(index: u64) -> Line {
    Line::Event(EventLine {
        controller: ControllerId::uhppote(405_419_896),
        life: 0,
        index,
        raw: Raw::new(&[7; 20]).unwrap(),
        kind: Kind::DoorOpened,
        at: "2026-11-23T12:00:00.25Z".parse().unwrap(),
    })
}

fn lines(path: &Path) -> Result<Vec<Line>, LedgerError> {
    let mut lines = Vec::new();
    Ledger::open(path, |line| {
        lines.push(line);
        Ok(())
    })?;
    Ok(lines)
}

#[test]
fn lines_have_the_documented_shape() {
    assert_eq!(
        serde_json::to_string(&line(17)).unwrap(),
        format!(
            r#"{{"controller":"uhppote-405419896","life":0,"index":17,"raw":"{}","kind":"door-opened","at":"2026-11-23T12:00:00.25Z"}}"#,
            "07".repeat(20)
        )
    );
    let restart = Line::Restart(RestartLine {
        controller: ControllerId::uhppote(1),
        life: 1,
        event: Restarted::LogRestarted,
        at: "2026-11-23T12:00:00Z".parse().unwrap(),
    });
    assert_eq!(
        serde_json::to_string(&restart).unwrap(),
        r#"{"controller":"uhppote-1","life":1,"event":"log-restarted","at":"2026-11-23T12:00:00Z"}"#
    );
}

#[test]
fn a_line_can_be_read_by_others_as_soon_as_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(&path, |_| Ok(())).unwrap();
    for index in 1..=3 {
        ledger.keep(&line(index)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count() as u64, index);
    }
    assert_eq!(ledger.lines(), 3);
}

#[test]
fn a_ledger_is_read_back_and_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(&path, |_| Ok(())).unwrap();
    ledger.keep(&line(1)).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&path, |_| Ok(())).unwrap();
    ledger.keep(&line(2)).unwrap();
    assert_eq!(ledger.lines(), 2);
    drop(ledger);
    assert_eq!(lines(&path).unwrap(), [line(1), line(2)]);
}

#[test]
fn an_unfinished_last_line_never_happened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let whole = serde_json::to_string(&line(1)).unwrap() + "\n";
    std::fs::write(&path, format!("{whole}{}", &whole[..40])).unwrap();
    assert_eq!(lines(&path).unwrap(), [line(1)]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
}

#[test]
fn a_line_that_was_never_written_here_is_refused_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let whole = serde_json::to_string(&line(1)).unwrap();
    for bad in ["{}".to_owned(), "x".repeat(10_000), whole.replace("0707", "zz07")] {
        std::fs::write(&path, format!("{whole}\n{bad}\n")).unwrap();
        let error = lines(&path).unwrap_err().to_string();
        assert!(error.contains("ledger.jsonl line 2: "), "{error}");
    }
}

#[test]
fn a_second_simulator_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let first = Ledger::open(&path, |_| Ok(())).unwrap();
    assert!(matches!(lines(&path), Err(LedgerError::InUse { .. })));
    drop(first);
    assert!(lines(&path).is_ok());
}

#[test]
fn after_a_failed_write_nothing_more_is_kept() {
    let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut ledger = Ledger { path: "/dev/full".into(), file, lines: 0, dead: false };
    assert!(matches!(ledger.keep(&line(1)), Err(LedgerError::Io { .. })));
    assert!(matches!(ledger.keep(&line(1)), Err(LedgerError::Dead { .. })));
    assert_eq!(ledger.lines(), 0);
}
