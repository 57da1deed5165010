//! Minutes in which no server fails, and everything is slow: more threads than processors never rest, now and then
//! nothing passes the network for two seconds, and a disk takes a second to make something durable. Whether the
//! role changes all the same.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_tests::harness::{Network, Process, Server, Site, SiteConfig};
use serde_json::Value;

use crate::common::Outcome;
use crate::member::{find, skip};
use crate::report::Report;
use crate::run::{Run, config};
use crate::{Bench, note};

const FULL: Duration = Duration::from_mins(10);
const QUICK: Duration = Duration::from_secs(45);

/// In each such span the network stalls once and a disk is slow once.
const SPAN: Duration = Duration::from_secs(15);
/// When the network stalls in it, for how long, and when a disk is slow.
const STALLED_AFTER: Duration = Duration::from_secs(2);
const STALLED: Duration = Duration::from_secs(2);
const SLOW_AFTER: Duration = Duration::from_secs(9);

/// How long something written is waited for: a server under traffic makes something durable all the time.
const SYNCED_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A second before each first `fsync` of a thread.
const SLOW: [&str; 6] = [
    "-f",
    "-qq",
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    "inject=fsync,fdatasync:delay_enter=1000000:when=1",
];
/// What strace says of each that it made slow.
const DELAYED: &str = "(DELAYED)";

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let quiet = if bench.quick { QUICK } else { FULL };
    let network = Network::make(&Site::HOSTS)?.map(Arc::new);
    let mut strace = find("strace", "strace")?;
    let logs = bench.directory.inner("strace")?;
    let mut run = Run::start(SiteConfig { network: network.clone(), ..config() })?;
    let before = run.terms()?;

    let busy = Busy::start()?;
    let (started, mut stalls, mut slow) = (Instant::now(), 0, 0);
    for span in 0_u32.. {
        let span_begin = started + SPAN * span;
        if span_begin.duration_since(started) >= quiet {
            break;
        }
        if let Some(network) = &network {
            sleep_until(span_begin + STALLED_AFTER);
            network.stall()?;
            thread::sleep(STALLED);
            network.go_on()?;
            stalls += 1;
        }
        if let Some(program) = &strace {
            sleep_until(span_begin + SLOW_AFTER);
            // The voters themselves write nothing while nothing changes.
            let side = if span % 2 == 0 { run.active } else { run.active.other() };
            let server = run.site.server(side);
            match slow_syncs(program, server, logs.path(), span)? {
                Some(count) => slow += count,
                None => strace = None,
            }
        }
        sleep_until(span_begin + SPAN);
        note(&format!("{} of {} s", (SPAN * (span + 1)).as_secs(), quiet.as_secs()))?;
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    busy.stop();
    if strace.is_some() && slow == 0 {
        return Err("strace slowed no sync: what was counted says nothing of slow disks".into());
    }

    let failovers = run.terms()?.difference(&before).count();
    run.finish()?;
    report.remark(format!(
        "{failovers} failovers in {minutes:.1} minutes on busy processors, with {stalls} stalls of the network and \
         {slow} of a disk"
    ));
    report.figure("false_failovers", failovers);
    report.figure("quiet_minutes", minutes);
    report.figure("quiet_network_stalls", network.map_or(Value::Null, |_| stalls.into()));
    report.figure("quiet_slow_syncs", strace.map_or(Value::Null, |_| slow.into()));
    Ok(())
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// Has the disk of a server be slow once, or for each of its threads that write at that moment; how often it was.
/// `None` where strace may not do that.
fn slow_syncs(
    strace: &Path,
    server: &mut Server,
    logs: &Path,
    number: u32,
) -> Outcome<Option<usize>> {
    let said = logs.join(format!("{number}.txt"));
    let mut command = Command::new(strace);
    command.args(SLOW).arg("-o").arg(&said).args(["-p", &server.id()?.to_string()]);
    let mut process = Process::start(&mut command, &format!("strace.{number}"), logs)?;
    let count = || Ok::<_, std::io::Error>(fs::read_to_string(&said)?.matches(DELAYED).count());
    let started = Instant::now();
    while started.elapsed() < SYNCED_WITHIN {
        if process.ended()?.is_some() {
            let what = format!("no disk can be made slow here: {}", process.messages().trim());
            return skip(&what, "run as root, or allow ptrace of other processes");
        }
        if count().is_ok_and(|count| count > 0) {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    process.terminate()?;
    Ok(Some(count()?))
}

/// Threads that never rest, two for each processor.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism()?.get() * 2;
        let spin = || {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..count).map(|_| spin()).collect();
        Ok(Self { stop, threads })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}
