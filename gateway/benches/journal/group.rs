//! Appenders in flight: each appends one transaction, waits until it is durable, and again. A journal
//! with group commit keeps them all with one sync; whoever has none has a sync for each.

use std::time::Duration;

use crate::contender;
use crate::disk::Directory;
use crate::measure::{interleave, rate, ratios};
use crate::report::{Report, short};
use crate::{Extent, Outcome};

/// How many appenders.
const APPENDERS: [u32; 3] = [1, 8, 64];

/// How long each subject is let run in a round.
const SLICE: Duration = Duration::from_millis(150);

pub(crate) fn measure(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let directory = directory.inner("group")?;
    let mut subjects = contender::all(directory.path())?;
    let mut rows = Vec::new();
    let mut lone = Vec::new();
    for appenders in APPENDERS {
        let rates = interleave(extent.rounds, &mut subjects, |_, subject| {
            let kept = subject.concurrently(appenders, SLICE)?;
            Ok(rate(kept.transactions, kept.time))
        })?;
        let [limit, journal, _, one_key, _, sqlite] = rates;
        if lone.is_empty() {
            // What the goal speaks of: one raw write and sync after the other.
            lone.clone_from(&limit);
        }
        let mut figure = |key: String, samples: &[f64]| short(report.figure(key, samples).median);
        rows.push([
            appenders.to_string(),
            figure(format!("limit_group_{appenders}_per_s"), &limit),
            figure(format!("group_{appenders}_per_s"), &journal),
            figure(format!("group_{appenders}_vs_fdatasync"), &ratios(&journal, &lone)),
            figure(format!("one_key_group_{appenders}_per_s"), &one_key),
            figure(format!("sqlite_group_{appenders}_per_s"), &sqlite),
        ]);
    }
    report.table(
        "Appenders in flight: transactions a second; the journal also as times the raw fdatasync rate",
        ["appenders", "raw, in turns", "journal", "", "one key each", "SQLite"],
        rows,
    );
    Ok(())
}
