//! A backlog of a million: the process that writes it is killed in the midst of it, another opens
//! the journal, appends, and drains.

use std::time::Instant;

use crate::child::{Process, Role};
use crate::disk::Directory;
use crate::measure::ratios;
use crate::report::{Report, short};
use crate::{Extent, Outcome};

/// Entries that nobody has fetched yet.
const BACKLOG: u64 = 1_000_000;

pub(crate) fn measure(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let (mut reopens, mut memory) = (Vec::new(), Vec::new());
    let (mut appends, mut drains) = (Vec::new(), Vec::new());
    for _ in 0..extent.kills {
        // A journal of its own for each, so that every backlog is a million.
        let directory = directory.inner("backlog")?;
        let mut writer = Process::spawn(Role::Fill(BACKLOG), directory.path())?;
        let [append] = writer.told()?;
        writer.kill()?;
        // The page cache is warm, as it is when a service manager restarts what was killed.
        let killed = Instant::now();
        let mut next = Process::spawn(Role::Resume, directory.path())?;
        let [] = next.told()?;
        reopens.push(killed.elapsed().as_secs_f64());
        let [drain, resident] = next.told()?;
        appends.push(append);
        drains.push(drain);
        memory.push(resident);
    }
    let mut row = |key: &str, what: &str, samples: &[f64]| {
        let spread = report.figure(key, samples);
        let quartiles = format!("{} to {}", short(spread.low), short(spread.high));
        [what.to_owned(), short(spread.median), quartiles]
    };
    let rows = [
        row("reopen_1m_s", "SIGKILL to first append, s", &reopens),
        row("backlog_append_per_s", "appended a second, 1,024 a commit", &appends),
        row("drain_per_s", "drained a second, 1,024 a batch", &drains),
        row("drain_vs_append", "drained / appended", &ratios(&drains, &appends)),
        row("resident_mib_1m_backlog", "peak resident while draining, MiB", &memory),
    ];
    report.table("A backlog of a million", ["", "median", "quartiles"], rows);
    Ok(())
}
