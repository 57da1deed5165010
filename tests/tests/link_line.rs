//! Lines of the link protocol that are bad, shared with those who misbehave, or gone for a while.
#![allow(
    clippy::disallowed_methods,
    reason = "how long real processes take is measured on the real clock"
)]

use std::time::{Duration, Instant};

use postern_protocol::ControllerId;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Bus, Error, Plug, Side, Site, SiteConfig, Station, wait_until};
use serde_json::{Value, json};

/// For whatever the programs do by themselves, on a loaded machine of two cores.
const PATIENCE: Duration = Duration::from_mins(1);

fn counted(line: &Value, name: &str) -> u64 {
    line["counters"][name].as_u64().unwrap_or_default()
}

#[test]
fn swipes_on_noisy_lines_arrive_exactly_once() -> Result<(), Error> {
    let buses = vec![
        Bus::new("hall", Plug::Pty, 70_001, 4, Station::roomy),
        Bus::new("yard", Plug::Tcp, 80_001, 2, Station::roomy),
    ];
    let mut site = Site::start(SiteConfig::of_lines(21, buses))?;
    let noise = json!({ "noise": { "bit_error_rate": 1e-4 } });
    for line in ["hall", "yard"] {
        site.misbehave_on_line(line, &noise)?;
    }
    site.simulator.people(250.0)?;
    site.wait_for_traffic(1_000)?;
    wait_until("noise on both lines", PATIENCE, || {
        let flipped = |name| Ok(counted(&site.simulator.line(name)?, "bit_errors"));
        let both: [u64; 2] = [flipped("hall")?, flipped("yard")?];
        Ok(both.iter().all(|flipped| *flipped > 12).then_some(()))
    })?;
    site.settle(PATIENCE)?;
    let controllers = site.gateway.controllers()?;
    let repeats: u64 = controllers.iter().map(|each| each.line.repeats).sum();
    assert!(repeats > 0, "nothing had to be said twice: {controllers:?}");
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert_eq!(evidence.epochs.len(), 6);
    Ok(())
}

/// Who says nothing costs its neighbours a wait now and then, who says too much a repeat.
#[test]
fn a_deaf_a_slow_and_a_babbling_station_keep_nobody_from_being_served() -> Result<(), Error> {
    let (well, deaf, slow, babbling, last) = (70_001, 70_002, 70_003, 70_004, 70_005);
    let bus =
        Bus { echo: true, reply_ms: 60, ..Bus::new("hall", Plug::Pty, well, 5, Station::roomy) };
    let mut site = Site::start(SiteConfig::of_lines(22, vec![bus]))?;
    site.generate(20)?;
    site.drained(PATIENCE)?;

    let faults = json!({ "stations": {
        (deaf.to_string()): { "deaf": 1.0 },
        // Beyond what it may take: what it says then meets what is said to others.
        (slow.to_string()): { "slow": 0.3, "slow_ms": 90 },
        (babbling.to_string()): { "babble_every_ms": 250, "babble_bytes": 12 },
    }});
    site.misbehave_on_line("hall", &faults)?;
    site.health(ControllerId::link(deaf), "controller_offline", true, PATIENCE)?;
    for _ in 0..5 {
        site.generate(20)?;
        let swiped = Instant::now();
        site.collected_of(&[well, slow, babbling, last], PATIENCE)?;
        site.note_time("all but the deaf one read:", swiped, Duration::from_secs(20));
    }
    let line = site.simulator.line("hall")?;
    let of = |serial: u32| {
        let mut stations = line["stations"].as_array().into_iter().flatten();
        stations.find(|station| station["serial"] == serial).cloned().unwrap_or_default()
    };
    assert!(of(deaf)["missed"].as_u64() > Some(0), "{line}");
    assert!(of(babbling)["babbles"].as_u64() > Some(0), "{line}");
    assert!(site.simulator.board(deaf)?.generated > 100);

    site.misbehave_on_line("hall", &json!({}))?;
    site.health(ControllerId::link(deaf), "controller_offline", false, PATIENCE)?;
    site.drained(PATIENCE)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_device_that_vanishes_and_comes_back_is_read_again_by_itself() -> Result<(), Error> {
    let buses = vec![
        Bus::new("hall", Plug::Pty, 70_001, 3, Station::roomy),
        Bus::new("yard", Plug::Tcp, 80_001, 1, Station::roomy),
    ];
    let mut site = Site::start(SiteConfig::of_lines(23, buses))?;
    site.generate(50)?;
    site.collected(PATIENCE)?;

    site.stop_simulator()?;
    let all: Vec<ControllerId> = site.stations().map(ControllerId::link).collect();
    for controller in &all {
        site.health(*controller, "controller_offline", true, PATIENCE)?;
    }
    site.simulator.restart()?;
    site.generate(50)?;
    site.drained(PATIENCE)?;
    for controller in &all {
        site.health(*controller, "controller_offline", false, PATIENCE)?;
    }
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert_eq!(evidence.epochs.len(), 4, "each log is still in its first life");
    Ok(())
}
