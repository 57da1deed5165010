//! Processes of their own: what is killed, and what comes back after it. This program starts itself
//! with a hidden argument; parent and child speak in lines.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::measure::{float, rate};
use crate::ours::{Ours, Settings};
use crate::{Outcome, disk};

/// Makes this program a child; a role and a directory follow.
pub(crate) const ARGUMENT: &str = "--child";

/// Entries of a commit, and of a batch that is read.
const COMMIT: usize = 1_024;
const BATCH: usize = 1_024;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes a backlog of so many entries, says at what rate, and goes on until it is killed.
    Fill(u64),
    /// Opens the journal, appends one entry, says so; drains it all, and says at what rate and with
    /// how much memory.
    Resume,
}

/// In the child.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    match arguments {
        [role, directory, count] if role == "fill" => fill(Path::new(directory), count.parse()?),
        [role, directory] if role == "resume" => resume(Path::new(directory)),
        _ => Err("this argument is for the benchmark's own use".into()),
    }
}

fn fill(directory: &Path, count: u64) -> Outcome<()> {
    let ours = Ours::open(directory, Settings::default())?;
    let (journal, mut load) = (ours.handle(), Load::of(1));
    let (mut filled, mut time) = (0, Duration::ZERO);
    while filled < count {
        let transactions = load.transactions(COMMIT)?;
        let begin = Instant::now();
        ours.runtime().block_on(journal.append(transactions))?;
        time += begin.elapsed();
        filled += COMMIT as u64;
    }
    say(&[rate(filled, time)])?;
    loop {
        ours.runtime().block_on(journal.append(load.transactions(COMMIT)?))?;
    }
}

fn resume(directory: &Path) -> Outcome<()> {
    let ours = Ours::open(directory, Settings::default())?;
    ours.runtime().block_on(ours.handle().append(Load::of(2).transactions(1)?))?;
    say(&[])?;
    let (journal, begin) = (ours.handle(), Instant::now());
    let mut read = 0;
    while read < journal.head() {
        read += journal.read(read + 1, BATCH)?;
    }
    say(&[rate(read, begin.elapsed()), float(disk::peak_resident_kib()?) / 1_024.0])
}

fn say(figures: &[f64]) -> Outcome<()> {
    let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", figures.join(" "))?;
    Ok(out.flush()?)
}

/// In the parent: a child, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn spawn(role: Role, directory: &Path) -> Outcome<Self> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg(ARGUMENT);
        match role {
            Role::Fill(count) => command.arg("fill").arg(directory).arg(count.to_string()),
            Role::Resume => command.arg("resume").arg(directory),
        };
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("the child has no output")?);
        Ok(Self { child, lines })
    }

    /// Waits for the child's next line.
    pub(crate) fn told<const N: usize>(&mut self) -> Outcome<[f64; N]> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err("the child ended early".into());
        }
        let figures: Vec<f64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        figures.try_into().map_err(|_| "the child said something else".into())
    }

    /// SIGKILL, now.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
