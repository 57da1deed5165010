//! Logs of the link protocol: power that fails, logs that are lost or overrun, and a gateway that is killed
//! while it reads them.

use std::time::Duration;

use postern_protocol::transaction::{Continuity, Gap, GapReason, ResetCause};
use postern_protocol::{ControllerId, Index, Kind};
use postern_tests::checker::{ExpectedGap, GapAllowance, Row};
use postern_tests::harness::{Bus, Error, Plug, Side, Site, SiteConfig, Station, wait_until};
use serde_json::json;

/// For whatever the programs do by themselves, on a loaded machine of two cores.
const PATIENCE: Duration = Duration::from_mins(1);

fn of(rows: &[Row], serial: u32) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.controller == ControllerId::link(serial))
}

/// The controller told of it itself.
fn overwritten(serial: u32, life: u64, first: u64, last: u64) -> ExpectedGap {
    let (reason, continuity) = (GapReason::Overwritten, Continuity::Proven);
    let gap = Gap { first: Index(first), last: Some(Index(last)), reason, continuity };
    ExpectedGap { controller: ControllerId::link(serial), life, gap }
}

/// What was left of a life is not known.
fn ended(serial: u32, life: u64, first: u64) -> ExpectedGap {
    let (reason, continuity) = (GapReason::EpochEnded, Continuity::Unproven);
    let gap = Gap { first: Index(first), last: None, reason, continuity };
    ExpectedGap { controller: ControllerId::link(serial), life, gap }
}

#[test]
fn a_power_cut_that_keeps_the_log_costs_nothing_and_one_that_loses_it_is_told() -> Result<(), Error>
{
    let (keeps, loses) = (70_001, 70_002);
    let bus = Bus::new("hall", Plug::Pty, keeps, 2, Station::roomy);
    let mut site = Site::start(SiteConfig::of_lines(31, vec![bus]))?;
    site.generate(40)?;
    site.drained(PATIENCE)?;

    // While it is looked at: the session is gone, the life goes on.
    site.cut_power(keeps, "kept")?;
    site.simulator.generate(keeps, 30)?;
    site.collected(PATIENCE)?;
    // While nobody looks: 30 that nobody read are gone with the log.
    site.stop_gateway()?;
    site.generate(30)?;
    site.cut_power(keeps, "kept")?;
    site.cut_power(loses, "lost")?;
    site.generate(20)?;
    site.gateway.start()?;
    site.drained(PATIENCE)?;

    let gaps = GapAllowance::Exactly(vec![ended(loses, 0, 41)]);
    let finished = site.finish(Side::A, gaps)?;
    assert_eq!(finished.verdict.counts.gaps, 30);
    let evidence = finished.expect_ok();
    let epochs = |serial, life| evidence.epochs[&(ControllerId::link(serial), life)];
    assert!(of(&evidence.active.rows, keeps).all(|row| row.epoch == epochs(keeps, 0)));
    let resets: Vec<_> = of(&evidence.active.rows, loses)
        .filter(|row| matches!(row.kind, Kind::ControllerReset(_)))
        .map(|row| (row.epoch, row.kind))
        .collect();
    let predecessor = epochs(loses, 0);
    let reset = Kind::ControllerReset(ResetCause::LogRestarted { predecessor });
    assert_eq!(resets, [(epochs(loses, 1), reset)]);
    Ok(())
}

/// In the middle of an answer: what was said was not heard, and what was heard was not said to its end.
#[test]
fn power_that_fails_within_answers_loses_what_the_ledger_proves_and_no_more() -> Result<(), Error> {
    let (keeps, loses) = (70_001, 70_002);
    let bus = Bus::new("hall", Plug::Pty, keeps, 3, Station::roomy);
    let mut site = Site::start(SiteConfig::of_lines(32, vec![bus]))?;
    let faults = json!({ "stations": {
        (keeps.to_string()): { "cut": 0.05, "cut_log": "kept" },
        (loses.to_string()): { "cut": 0.03, "cut_log": "lost" },
    }});
    site.misbehave_on_line("hall", &faults)?;
    site.simulator.people(100.0)?;
    site.wait_for_traffic(300)?;
    wait_until("each to lose its power", PATIENCE, || {
        let line = site.simulator.line("hall")?;
        let stations = line["stations"].as_array().into_iter().flatten();
        let cut = stations.filter(|station| station["power_cuts"].as_u64() > Some(1)).count();
        Ok((cut == 2).then_some(()))
    })?;
    site.misbehave_on_line("hall", &json!({}))?;
    // So that the last life of each log is met.
    site.wait_for_traffic(100)?;
    site.generate(1)?;
    site.settle(PATIENCE)?;
    let gaps = site.proven_gaps();
    let finished = site.finish(Side::A, gaps)?;
    assert!(finished.verdict.counts.stored > 200);
    let evidence = finished.expect_ok();
    let epochs = of(&evidence.active.rows, keeps).map(|row| row.epoch);
    assert_eq!(epochs.collect::<std::collections::BTreeSet<_>>().len(), 1);
    Ok(())
}

#[test]
fn a_log_that_overruns_while_the_gateway_is_away_has_exactly_the_gap_that_it_tells()
-> Result<(), Error> {
    let (over, full, met_late, lost) = (70_001, 70_002, 70_003, 70_004);
    let station = |address, serial| Station {
        preload: if serial == met_late { 300 } else { 0 },
        ..Station::small(address, serial)
    };
    let bus = Bus::new("hall", Plug::Pty, over, 4, station);
    let mut site = Site::start(SiteConfig::of_lines(33, vec![bus]))?;
    for serial in [over, full, lost] {
        site.simulator.generate(serial, 50)?;
    }
    site.drained(PATIENCE)?;
    site.stop_gateway()?;
    // 51 to 250, of which the log holds 155 to 250; 51 to 146, all of which it holds; a life that is
    // lost, and of the next one, which begins with the power, 106 to 201.
    site.simulator.generate(over, 200)?;
    site.simulator.generate(full, 96)?;
    site.cut_power(lost, "lost")?;
    site.simulator.generate(lost, 200)?;
    site.gateway.start()?;
    site.drained(PATIENCE)?;

    let before = Gap {
        first: Index(1),
        last: Some(Index(204)),
        reason: GapReason::BeforeFirstContact,
        continuity: Continuity::Unproven,
    };
    let before = ExpectedGap { controller: ControllerId::link(met_late), life: 0, gap: before };
    let gaps = vec![
        overwritten(over, 0, 51, 154),
        before,
        ended(lost, 0, 51),
        overwritten(lost, 1, 1, 105),
    ];
    site.finish(Side::A, GapAllowance::Exactly(gaps))?.expect_ok();
    Ok(())
}

#[test]
fn a_gateway_that_is_killed_while_it_drains_a_line_loses_and_doubles_nothing() -> Result<(), Error>
{
    let bus = Bus::new("hall", Plug::Pty, 70_001, 4, Station::roomy);
    let mut site = Site::prepare(SiteConfig::of_lines(34, vec![bus]))?;
    site.generate(600)?;
    site.gateway.start()?;
    let mut reached = 0;
    for _ in 0..3 {
        // A good piece of the way, and more to come.
        wait_until("the gateway to be in the middle", PATIENCE, || {
            let controllers = site.gateway.controllers()?;
            let read: u64 = controllers.iter().filter_map(|each| Some(each.cursor?.0)).sum();
            Ok((read > reached + 100).then(|| reached = read))
        })?;
        assert!(reached < 2_400, "it was over before the kill");
        site.kill_gateway()?;
        site.restart_gateway()?;
    }
    site.drained(PATIENCE)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert_eq!(evidence.kills.len(), 3);
    Ok(())
}
