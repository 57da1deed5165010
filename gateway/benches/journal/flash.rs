//! What a sustained 20 transactions a second cost the medium in the flash profile: four syncs a
//! second at most, so that about five transactions share the pages of a commit.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::disk::{self, Directory, Written};
use crate::load::Load;
use crate::measure::float;
use crate::ours::{Ours, Settings};
use crate::report::{Report, short};
use crate::{Extent, Outcome};

/// Transactions a second.
const RATE: u64 = 20;

/// A page of the cache; the least that a sync writes of a file.
const PAGE: u64 = 4_096;

pub(crate) fn measure(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let directory = directory.inner("flash")?;
    let ours = Ours::open(directory.path(), Settings { flash: true, ..Settings::default() })?;
    // Not counted: the first seconds, in which the ceiling is not yet reached.
    sustain(&ours, 2 * RATE)?;
    let (before, traffic_before) = (disk::written(directory.path())?, ours.traffic());
    let count = extent.flash_seconds * RATE;
    sustain(&ours, count)?;
    let (after, traffic) = (disk::written(directory.path())?, ours.traffic());
    let syncs = traffic.syncs - traffic_before.syncs;
    let of = |what: fn(&Written) -> u64| float(what(&after) - what(&before));
    // The journal writes whole pages, and before each sync a few hundred bytes in the file's first
    // page: that page is counted whole.
    let pages = float(traffic.bytes - traffic_before.bytes + syncs * PAGE);
    let each = |bytes: f64| bytes / float(count);
    let samples = vec![each(pages); usize::try_from(syncs)?.max(1)];
    report.figure("bytes_per_transaction_at_20", &samples);
    report.figure("dirtied_per_transaction_at_20", &[each(of(|written| written.dirtied))]);
    let device = match (before.device, after.device) {
        (Some(before), Some(after)) => each(float(after - before)),
        _ => f64::NAN,
    };
    report.figure("device_bytes_per_transaction_at_20", &[device]);
    report.figure("syncs_per_s_at_20", &[float(syncs) / float(extent.flash_seconds)]);
    let row = |what: &str, bytes: f64| [what.to_owned(), short(bytes / 1_024.0)];
    report.table(
        format!("{RATE} transactions a second in the flash profile, {count} of them: KiB each"),
        ["counted as", "KiB"],
        [
            row("pages that the journal wrote", each(pages)),
            row("page cache made dirty by this process", each(of(|written| written.dirtied))),
            row("given to the device by the whole machine", device),
        ],
    );
    ours.close();
    Ok(())
}

/// Appends `count` transactions at the rate; each is a collector's that waits for it.
fn sustain(ours: &Ours, count: u64) -> Outcome<()> {
    ours.runtime().block_on(async {
        let mut tick = interval(Duration::from_secs(1) / u32::try_from(RATE)?);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut load, mut waiting) = (Load::of(1), JoinSet::new());
        for _ in 0..count {
            tick.tick().await;
            let (journal, transactions) = (ours.handle(), load.transactions(1)?);
            waiting.spawn(async move { journal.append(transactions).await });
        }
        while let Some(appended) = waiting.join_next().await {
            appended??;
        }
        Ok(())
    })
}
