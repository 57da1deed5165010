//! A full log, read from its first event to its last by whoever asks.

use std::time::Instant;

use crate::apart::Apart;
use crate::bare::{self, Wire};
use crate::common::measure::{rate, ratios};
use crate::common::report::{Report, short};
use crate::gateway::Gateway;
use crate::simulator::{Board, Simulator};
use crate::{Bench, Outcome};

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let events = bench.extent.events;
    let directory = bench.directory.inner("backfill")?;
    let start = || Simulator::start(&bench.simulator, &directory.path().join("sim"), 1, events);
    let (simulator, _apart) = Apart::start(start)?;
    let board = simulator.board()?;
    let mut rows = Vec::new();
    for (name, wire) in [("udp", Wire::Udp), ("tcp", Wire::Tcp)] {
        rows.push(over(bench, name, wire, board, report)?);
    }
    report.table(
        format!(
            "Back-fill of {events} events from one board, which has a processor of its own: events a second"
        ),
        ["over", "bare loop", "gateway, durable", "/ loop", "PyPI uhppoted", "gateway / it"],
        rows,
    );
    Ok(())
}

fn over(
    bench: &Bench,
    name: &str,
    wire: Wire,
    board: Board,
    report: &mut Report,
) -> Outcome<[String; 6]> {
    let (events, mut loops, mut ours, mut peers) =
        (bench.extent.events, Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and does not count.
    for round in 0..=bench.extent.rounds {
        // Half of the loop before the gateway and half behind it, for whatever else the machine does.
        let before = bare::read(board, wire, 1, events / 2)?;
        let collected = collect(bench, wire, board)?;
        let looped = before + bare::read(board, wire, events / 2 + 1, events)?;
        let peer = bench.peer.as_ref();
        let peer = peer.map(|peer| peer.read(board, wire, bench.extent.peer_events)).transpose()?;
        if round > 0 {
            loops.push(rate(events.into(), looped));
            ours.push(rate(events.into(), collected));
            peers.extend(peer);
        }
    }
    let key = |what: &str| format!("backfill_{name}_{what}");
    let looped = report.figure(key("loop_events_per_s"), &loops);
    let collected = report.figure(key("events_per_s"), &ours);
    let of = report.figure(key("vs_loop"), &ratios(&ours, &loops));
    let (peer, times) = if peers.is_empty() {
        ("–".to_owned(), "–".to_owned())
    } else {
        let peer = report.figure(key("uhppoted_events_per_s"), &peers);
        let times = report.figure(key("vs_uhppoted"), &ratios(&ours, &peers));
        (short(peer.median), short(times.median))
    };
    let [looped, collected, of] = [looped, collected, of].map(|spread| short(spread.median));
    Ok([name.to_uppercase(), looped, collected, of, peer, times])
}

/// From the start of collecting into an empty journal until the last event is durable.
fn collect(bench: &Bench, wire: Wire, board: Board) -> Outcome<std::time::Duration> {
    let directory = bench.directory.inner("backfill-journal")?;
    let mut gateway = Gateway::open(directory.path())?;
    let begin = Instant::now();
    gateway.collect(&[board], wire);
    let durable = gateway.read_to(&[board], bench.extent.events)?;
    gateway.close();
    Ok(durable - begin)
}
