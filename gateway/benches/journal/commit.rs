//! One appender that waits for each of its commits: what a commit of so many costs.

use std::time::Instant;

use crate::contender::{self, NAMES};
use crate::disk::{self, Directory};
use crate::limit::Limit;
use crate::load::Load;
use crate::measure::{float, interleave, ratios};
use crate::ours::Ours;
use crate::report::{Report, short};
use crate::subject::Subject;
use crate::{Extent, Outcome};

/// Transactions a commit.
const SIZES: [usize; 5] = [1, 16, 64, 256, 1_024];

/// Commits before the clock starts: tables exist, caches are warm.
const WARM_UP: usize = 20;

pub(crate) fn measure(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let mut rows = Vec::new();
    for size in SIZES {
        rows.push(at_size(size, extent, directory, report)?);
    }
    report.table(
        "One appender that waits: microseconds a commit, and of the limit (1 is as fast as the disk)",
        [
            "a commit",
            "limit",
            "journal",
            "",
            "growing",
            "",
            "one key each",
            "",
            "SQLite ring",
            "/ journal",
            "SQLite",
            "",
            "/ growing",
        ],
        rows,
    );
    two_in_flight(extent, directory, report)?;
    entry_size(report)
}

/// The same with two appends in flight, which is the least that a gateway with two controllers has.
fn two_in_flight(extent: Extent, directory: &Directory, report: &mut Report) -> Outcome<()> {
    let mut rows = Vec::new();
    for size in [64, 256, 1_024] {
        let directory = directory.inner(&format!("two-{size}"))?;
        let mut limit = Limit::create(directory.path())?;
        let ours = Ours::in_service(directory.path())?;
        let (mut limit_load, mut load) = (Load::of(1), Load::of(2));
        let (mut limits, mut times, mut per_commit) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..extent.rounds {
            let batches: Vec<_> =
                (0..extent.commits).map(|_| limit_load.batch(size)).collect::<Outcome<_>>()?;
            let begin = Instant::now();
            batches.into_iter().try_for_each(|batch| limit.commit(batch))?;
            limits.push(begin.elapsed().as_secs_f64());
            let batches: Vec<_> =
                (0..extent.commits).map(|_| load.transactions(size)).collect::<Outcome<_>>()?;
            let (syncs, begin) = (ours.traffic().syncs, Instant::now());
            ours.append_two_at_a_time(batches)?;
            times.push(begin.elapsed().as_secs_f64());
            let syncs = float(ours.traffic().syncs - syncs);
            per_commit.push(float((extent.commits * size) as u64) / syncs);
        }
        let each = report.figure(format!("two_in_flight_{size}_per_commit"), &per_commit).median;
        let ratio =
            report.figure(format!("two_in_flight_{size}_vs_limit"), &ratios(&limits, &times));
        rows.push([size.to_string(), short(each), short(ratio.median)]);
        if size == 64 {
            syncs(extent, &ours, report)?;
        }
        ours.close();
    }
    report.table(
        "Two appends in flight, against one write after the other of the same size",
        ["an append", "transactions a commit", "of the limit"],
        rows,
    );
    Ok(())
}

/// How many syncs a commit takes, counted in the journal's own file.
fn syncs(extent: Extent, ours: &Ours, report: &mut Report) -> Outcome<()> {
    let mut load = Load::of(3);
    let before = ours.traffic().syncs;
    for _ in 0..extent.commits {
        ours.append(load.transactions(1)?)?;
    }
    let syncs = float(ours.traffic().syncs - before) / float(extent.commits as u64);
    report.figure("syncs_per_commit", &[syncs]);
    Ok(())
}

fn at_size(
    size: usize,
    extent: Extent,
    directory: &Directory,
    report: &mut Report,
) -> Outcome<[String; 13]> {
    let directory = directory.inner(&format!("commit-{size}"))?;
    let mut subjects = contender::all(directory.path())?;
    let mut loads: [Load; NAMES.len()] = std::array::from_fn(|_| Load::of(1));
    for (subject, load) in subjects.iter_mut().zip(&mut loads) {
        for _ in 0..WARM_UP {
            subject.commit(load.batch(size)?)?;
        }
    }
    let mut handed = [0; NAMES.len()];
    let times = interleave(extent.rounds, &mut subjects, |which, subject| {
        let load = loads.get_mut(which).ok_or("no load")?;
        let batches = (0..extent.commits).map(|_| load.batch(size)).collect::<Outcome<Vec<_>>>()?;
        let before = disk::written(directory.path())?.handed;
        let begin = Instant::now();
        for batch in batches {
            subject.commit(batch)?;
        }
        let time = begin.elapsed();
        if let Some(handed) = handed.get_mut(which) {
            *handed += disk::written(directory.path())?.handed - before;
        }
        Ok(time.as_secs_f64() * 1e6 / float(extent.commits as u64))
    })?;
    let [limit, journal, growing, one_key, sqlite_ring, sqlite] = &times;
    let commits = float((extent.rounds * extent.commits) as u64);
    for ((name, times), handed) in NAMES.iter().zip(&times).zip(handed) {
        report.figure(format!("{name}_{size}_us"), times);
        report.figure(format!("{name}_{size}_bytes_per_commit"), &[float(handed) / commits]);
    }
    let mut row = |key: &str, of: &[f64], to: &[f64]| {
        short(report.figure(key.replace('N', &size.to_string()), &ratios(of, to)).median)
    };
    let of_limit = [
        row("append_N_vs_limit", limit, journal),
        row("growing_N_vs_limit", limit, growing),
        row("one_key_N_vs_limit", limit, one_key),
        row("sqlite_N_vs_limit", limit, sqlite),
    ];
    // Like with like: ring against ring, and those whose files grow with each other.
    let of_sqlite = row("append_N_vs_sqlite", sqlite_ring, journal);
    let grown_of_sqlite = row("growing_N_vs_sqlite", sqlite, growing);
    row("append_N_vs_one_key", one_key, growing);
    if size == 1 {
        row("lone_vs_fdatasync", journal, limit);
    }
    let us = |name: &str| report.median(&format!("{name}_{size}_us"));
    let [ours, grown, theirs, others] = of_limit;
    Ok([
        size.to_string(),
        us("limit"),
        us("journal"),
        ours,
        us("growing"),
        grown,
        us("one_key"),
        theirs,
        us("sqlite_ring"),
        of_sqlite,
        us("sqlite"),
        others,
        grown_of_sqlite,
    ])
}

fn entry_size(report: &mut Report) -> Outcome<()> {
    let batch = Load::of(1).batch(1_000)?;
    report.figure("entry_bytes", &[float(batch.bytes.len() as u64) / 1_000.0]);
    Ok(())
}
