//! What the demo shows while it runs: plain lines, the same on a terminal, in a pipe and in a log.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{GatewayStatus, SimulatorStatus};

/// Often enough to see a backlog move, seldom enough to read along.
const EVERY: Duration = Duration::from_secs(1);

/// Writes progress, each line with the seconds since the start.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    shown: Option<Instant>,
    to_stderr: bool,
    dir: Option<PathBuf>,
}

impl Progress {
    /// To stdout, or to stderr where stdout is for data alone.
    pub fn new(to_stderr: bool) -> Self {
        Self { started: Instant::now(), shown: None, to_stderr, dir: None }
    }

    /// Where everything is, once it is somewhere.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    pub(super) fn note_dir(&mut self, dir: &Path) {
        self.dir = Some(dir.to_owned());
        self.step(&format!("everything is in {}", dir.display()));
    }

    /// Something happens.
    pub fn step(&mut self, what: &str) {
        self.line(&format!("==> {what}"));
    }

    /// Whether it is time to show again how things stand.
    pub(super) fn is_due(&self) -> bool {
        self.shown.is_none_or(|shown| shown.elapsed() >= EVERY)
    }

    /// How things stand.
    pub(super) fn standing(&mut self, gateway: &GatewayStatus, boards: &SimulatorStatus) {
        self.shown = Some(Instant::now());
        let uplink = &gateway.uplink;
        let generated: u64 = boards.controllers.iter().map(|board| board.generated).sum();
        let number = |number: Option<u64>| number.map_or("?".to_owned(), |n| n.to_string());
        self.line(&format!(
            "    active {}  role term {}  generated {generated:>6}  stored {:>6}  backlog {:>6}",
            uplink.active.as_deref().unwrap_or("?"),
            number(uplink.role_term.map(|term| term.0)),
            number(uplink.stored.map(|stored| stored.0)),
            number(uplink.backlog),
        ));
    }

    fn line(&mut self, text: &str) {
        let elapsed = self.started.elapsed().as_secs_f32();
        // Nobody needs progress so much that its loss (a closed pipe) would end the run.
        let _ = if self.to_stderr {
            writeln!(anstream::stderr(), "[{elapsed:5.1} s] {text}")
        } else {
            writeln!(anstream::stdout(), "[{elapsed:5.1} s] {text}")
        };
    }
}
