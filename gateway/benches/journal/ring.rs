//! The ring at work: many times its capacity is appended while a reader follows and raises `safe`.
//! What matters is that the file stays as long as it was when the ring was full.

use std::time::{Duration, Instant};

use crate::disk::Directory;
use crate::load::Load;
use crate::measure::{float, rate};
use crate::ours::{Handle, Ours, Settings};
use crate::report::{Report, short};
use crate::{Extent, Outcome};

/// Entries that the ring holds.
const CAPACITY: u64 = 100_000;

/// Entries of a commit.
const COMMIT: usize = 1_024;

/// Entries that the reader copies out at a time, as the uplink does.
const BATCH: usize = 1_024;

/// Entries between two looks at the file, of which the table shows ten.
const LOOK: u64 = CAPACITY;

pub(crate) fn measure(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let directory = directory.inner("ring")?;
    let settings = Settings { entries: Some(CAPACITY), ..Settings::default() };
    let ours = Ours::open(directory.path(), settings)?;
    let runtime = ours.runtime();
    let reader = runtime.spawn(follow(ours.handle(), extent.ring_entries));
    let journal = ours.handle();
    let mut load = Load::of(1);
    let mut sizes = Vec::new();
    let (mut appended, mut appending) = (0, Duration::ZERO);
    let begin = Instant::now();
    while appended < extent.ring_entries {
        let transactions = load.transactions(COMMIT)?;
        let waiting = Instant::now();
        runtime.block_on(journal.append(transactions))?;
        appending += waiting.elapsed();
        appended += COMMIT as u64;
        if appended / LOOK > sizes.len() as u64 {
            sizes.push(ours.file_size()?);
        }
    }
    runtime.block_on(reader)??;
    let whole = begin.elapsed();
    drop(journal);
    sizes.push(ours.file_size()?);
    // Full twice over: every block of it was used, freed and used again.
    let first = *sizes.get(1).ok_or("the run is too short")?;
    let (last, most) = (sizes.last().copied().unwrap_or(first), sizes.iter().copied().max());
    report.figure("ring_file_growth", &[float(last) / float(first)]);
    report.figure("ring_file_mib", &[mib(last)]);
    report.figure("ring_file_most_mib", &[mib(most.unwrap_or(last))]);
    report.figure("ring_rate_per_s", &[rate(appended, whole)]);
    report.figure("ring_append_rate_per_s", &[rate(appended, appending)]);
    let step = sizes.len().div_ceil(10);
    let shown = sizes.iter().enumerate().step_by(step);
    report.table(
        format!(
            "{} through a ring of {CAPACITY}, 1,024 a commit, a reader at work: {} a second",
            appended,
            short(rate(appended, whole)),
        ),
        ["after", "file, MiB"],
        shown.map(|(look, size)| [((look as u64 + 1) * LOOK).to_string(), short(mib(*size))]),
    );
    ours.close();
    Ok(())
}

/// Reads everything once, in order, and raises `safe` behind it.
async fn follow(journal: Handle, until: u64) -> Outcome<()> {
    let mut read = 0;
    while read < until {
        journal.above(read).await?;
        let got = journal.read(read + 1, BATCH)?;
        if got == 0 {
            return Err("the journal gave nothing below its head".into());
        }
        read += got;
        journal.raise_safe(read);
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    float(bytes) / 1_048_576.0
}
