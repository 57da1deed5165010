//! One child process: its output goes to files in the scenario's directory, its ready line is
//! waited for, and it does not outlive its handle, whatever becomes of the scenario.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Error, wait_until};
use crate::checker::Exit;

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 12;
/// A command that asks or changes something is over within this, on a loaded machine of two cores.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    sent: Option<i32>,
    // A process that is gone has no memory any more, so it is noted at every look.
    peak_memory_kib: Option<u64>,
    ended: Option<Exit>,
}

/// What a command that ran to its end left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote: data.
    pub stdout: String,
    /// What it wrote: messages.
    pub stderr: String,
}

impl Process {
    /// Starts `command` with its output in `logs/NAME.out` and `logs/NAME.err`.
    pub fn start(command: &mut Command, name: &str, logs: &Path) -> Result<Self, Error> {
        Self::spawn(command.stdin(Stdio::null()), name, logs)
    }

    /// The same with its input, for one that is told things there, and ends with it.
    pub fn start_with_input(
        command: &mut Command,
        name: &str,
        logs: &Path,
    ) -> Result<(Self, ChildStdin), Error> {
        let mut process = Self::spawn(command.stdin(Stdio::piped()), name, logs)?;
        let input = process.child.stdin.take();
        let missing = || Error::Scenario(format!("{name} has no input"));
        Ok((process, input.ok_or_else(missing)?))
    }

    fn spawn(command: &mut Command, name: &str, logs: &Path) -> Result<Self, Error> {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let create = |path: &PathBuf| File::create(path).map_err(Error::file("create", path));
        let child = command
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .map_err(|source| Error::Start { process: name.to_owned(), source })?;
        let name = name.to_owned();
        Ok(Self { name, child, stdout, stderr, sent: None, peak_memory_kib: None, ended: None })
    }

    /// Runs `command` to its end.
    pub fn run(command: &mut Command, name: &str, logs: &Path) -> Result<Output, Error> {
        let mut process = Self::start(command, name, logs)?;
        let exit = process.wait(COMMAND_WITHIN)?;
        Ok(Output { exit, stdout: read(&process.stdout), stderr: read(&process.stderr) })
    }

    /// Waits for the line of JSON with this schema that says that the process is ready.
    pub fn ready<T: DeserializeOwned>(
        &mut self,
        schema: &str,
        within: Duration,
    ) -> Result<T, Error> {
        let what = format!("{} to say that it is ready", self.name);
        wait_until(&what, within, || {
            // The end is looked for first: what was written before it is then read below.
            let ended = self.poll()?.is_some();
            let lines = read(&self.stdout);
            let ready = lines.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line.get("schema")? == schema).then_some(line)
            });
            match ready {
                Some(line) => {
                    let ready = serde_json::from_value(line).map(Some);
                    ready.map_err(Error::unreadable(&self.name))
                }
                None if ended => Err(self.ended_error()),
                None => Ok(None),
            }
        })
        .map_err(|error| self.with_tail(error))
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.poll(), Ok(None))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without warning (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> Result<Exit, Error> {
        self.signal(Signal::KILL)?;
        self.wait(COMMAND_WITHIN)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> Result<Exit, Error> {
        self.signal(Signal::TERM)?;
        self.wait(COMMAND_WITHIN)
    }

    /// Halts it (SIGSTOP): it keeps its connections and answers nobody.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.tell(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self) -> Result<(), Error> {
        self.tell(Signal::CONT)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<Exit>, Error> {
        self.poll()
    }

    /// Waits until it ends.
    pub fn wait(&mut self, within: Duration) -> Result<Exit, Error> {
        let what = format!("{} to end", self.name);
        wait_until(&what, within, || self.poll()).map_err(|error| self.with_tail(error))
    }

    /// The error of a process that should not have ended, or not like this.
    pub fn ended_error(&self) -> Error {
        let how = self.ended.as_ref().map_or_else(|| "nothing yet".to_owned(), how);
        let (process, tail) = (self.name.clone(), self.tail());
        Error::Ended { process, how, tail, log: self.stderr.clone() }
    }

    /// What it wrote as data so far.
    pub fn data(&self) -> String {
        read(&self.stdout)
    }

    /// What it wrote as messages so far.
    pub fn messages(&self) -> String {
        read(&self.stderr)
    }

    /// Sends what is to end it.
    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.tell(signal)?;
        self.sent = Some(signal.as_raw());
        Ok(())
    }

    fn tell(&mut self, signal: Signal) -> Result<(), Error> {
        if self.poll()?.is_some() {
            return Err(self.ended_error());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Our own child that was not waited for: the number cannot be another's. It may have
            // ended since; then there is nobody to tell, and `wait` says how.
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Exit>, Error> {
        if self.ended.is_none() {
            self.peak_memory_kib = peak_memory_kib(self.child.id()).or(self.peak_memory_kib);
            let status = self
                .child
                .try_wait()
                .map_err(|source| Error::Start { process: self.name.clone(), source })?;
            if let Some(status) = status {
                self.ended = Some(self.exit(status));
            }
        }
        Ok(self.ended.clone())
    }

    fn exit(&self, status: ExitStatus) -> Exit {
        let panics = read(&self.stderr);
        let panics = panics.lines().filter(|line| line.contains("panicked at"));
        Exit {
            process: self.name.clone(),
            code: status.code(),
            signal: status.signal(),
            expected: 0,
            sent: self.sent,
            panics: panics.map(str::to_owned).collect(),
            peak_memory_kib: self.peak_memory_kib,
        }
    }

    fn tail(&self) -> String {
        let text = read(&self.stderr);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn with_tail(&self, error: Error) -> Error {
        let Error::Timeout { what, waited, .. } = error else { return error };
        let log = self.stderr.display();
        let last = format!("; the end of its log ({log}):\n{}", self.tail());
        Error::Timeout { what, waited, last }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Nothing to be done about an error, and it only says that it is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Output {
    /// What it wrote, where it ended well.
    pub fn success(self, program: &str) -> Result<String, Error> {
        if self.exit.code == Some(0) {
            return Ok(self.stdout);
        }
        let what = format!("{}: {}", how(&self.exit), self.stderr.trim());
        Err(Error::Answer { program: program.to_owned(), what })
    }
}

fn how(exit: &Exit) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// Not finding a file is not finding anything in it.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The most memory that a process had so far; `None` where the system does not say.
fn peak_memory_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_is_ready_when_it_says_so_and_dead_when_it_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo noise; echo '{\"schema\":\"x.v1\",\"api\":7}'; exec sleep 600";
        let mut process = Process::start(&mut shell(script), "p", dir.path()).unwrap();
        let ready: Value = process.ready("x.v1", Duration::from_secs(10)).unwrap();
        assert_eq!(ready["api"], 7);
        assert!(process.is_running());
        let exit = process.kill().unwrap();
        assert_eq!((exit.code, exit.signal, exit.sent), (None, Some(9), Some(9)));
        assert!(exit.peak_memory_kib.is_some());
        assert!(!process.is_running());
    }

    #[test]
    fn a_process_that_is_halted_does_nothing_until_it_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&mut shell("exec sleep 600"), "p", dir.path()).unwrap();
        let state = |process: &Process| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()
        };
        let wait = |process: &Process, wanted: fn(char) -> bool| {
            wait_until("its state", Duration::from_secs(10), || {
                Ok(wanted(state(process)).then_some(()))
            })
            .unwrap();
        };
        process.pause().unwrap();
        wait(&process, |state| state == 'T');
        process.resume().unwrap();
        wait(&process, |state| state != 'T');
        // One that is halted ends all the same.
        process.pause().unwrap();
        assert_eq!(process.kill().unwrap().signal, Some(9));
    }

    #[test]
    fn an_early_end_is_told_with_the_end_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo 'no such bundle' >&2; exit 10";
        let mut process = Process::start(&mut shell(script), "p", dir.path()).unwrap();
        let error = process.ready::<Value>("x.v1", Duration::from_secs(10)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit code 10") && text.contains("no such bundle"), "{text}");
    }

    #[test]
    fn a_panic_in_a_log_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo \"thread 'main' panicked at src/x.rs:1:2:\" >&2; exit 101";
        let output = Process::run(&mut shell(script), "p", dir.path()).unwrap();
        assert_eq!((output.exit.code, output.exit.panics.len()), (Some(101), 1));
    }

    #[test]
    fn a_handle_that_is_dropped_takes_its_process_along() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(&mut shell("exec sleep 600"), "p", dir.path()).unwrap();
        let pid = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
