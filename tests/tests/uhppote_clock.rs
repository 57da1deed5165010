//! Boards count local wall time, drift, and forget it with their battery: what is shown, alarmed, set and
//! left alone, and what becomes of records that have no time.

use std::time::Duration;

use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::message::request::SetTime;
use postern_protocol::{ControllerId, Kind};
use postern_tests::checker::{GapAllowance, Row};
use postern_tests::harness::{
    Board, Clocks, Configuration, Error, Health, Host, Side, Site, SiteConfig, wait_until,
};
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);
/// Boards count whole seconds, and a look takes its time.
const ABOUT: i64 = 2;

/// Two boards whose clocks may, or may not, be set; each has a record, so that notes have a place.
fn site(seed: u64, set: bool) -> Result<(Site, [u32; 2]), Error> {
    let mut site = Site::prepare(SiteConfig::new(seed, 2, Board::roomy))?;
    let clocks = Some(Clocks { set, limit_s: 10 });
    let configuration = site.configuration();
    site.gateway.configure(&Configuration { clocks, ..configuration })?;
    site.generate(1)?;
    site.gateway.start()?;
    site.drained(WITHIN)?;
    let boards = site.boards();
    let [wrong, right] = boards[..] else { panic!("two boards") };
    Ok((site, [wrong, right]))
}

fn skew(site: &Site, serial: u32) -> Result<Option<i64>, Error> {
    let id = ControllerId::uhppote(serial);
    let lines = site.gateway.controllers()?;
    let line = lines.into_iter().find(|line| line.controller == id);
    Ok(line.and_then(|line| line.clock?.skew_s))
}

fn problem(site: &Site, code: &str, serial: u32) -> Result<Health, Error> {
    let id = ControllerId::uhppote(serial);
    wait_until(&format!("{code} of {id}"), WITHIN, || {
        Ok(site.gateway.status()?.problem(code, id).cloned())
    })
}

fn sets(rows: &[Row], serial: u32) -> Vec<i64> {
    let of = rows.iter().filter(|row| row.controller == ControllerId::uhppote(serial));
    of.filter_map(|row| if let Kind::ClockSet { step_s } = row.kind { Some(step_s) } else { None })
        .collect()
}

fn is_about(value: Option<i64>, wanted: i64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() <= ABOUT)
}

#[test]
fn a_clock_that_is_off_is_shown_and_alarmed_and_left_alone_where_it_may_not_be_set()
-> Result<(), Error> {
    let (site, [wrong, right]) = site(71, false)?;
    site.simulator.clock(wrong, &json!({ "offset_s": -300 }))?;
    let found = problem(&site, "controller_clock_off", wrong)?;
    assert!(found.message.contains("s slow"), "{found:?}");
    assert!(is_about(skew(&site, wrong)?, -300), "{:?}", skew(&site, wrong));
    assert!(is_about(skew(&site, right)?, 0), "{:?}", skew(&site, right));
    let status = site.gateway.status()?;
    assert!(status.problem("controller_clock_off", ControllerId::uhppote(right)).is_none());

    site.simulator.clock(wrong, &json!({ "offset_s": 0 }))?;
    wait_until("the alarm to go", WITHIN, || {
        Ok((!site.gateway.status()?.has("controller_clock_off")).then_some(()))
    })?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert!(sets(&evidence.active.rows, wrong).is_empty());
    Ok(())
}

#[test]
fn a_clock_that_is_off_is_set_where_that_is_allowed_and_the_store_says_by_how_much()
-> Result<(), Error> {
    let (site, [wrong, right]) = site(72, true)?;
    site.simulator.clock(wrong, &json!({ "offset_s": 600 }))?;
    wait_until("the clock to be set", WITHIN, || {
        let is_wrong = is_about(skew(&site, wrong)?, 600);
        Ok((!is_wrong && is_about(skew(&site, wrong)?, 0)).then_some(()))
    })?;
    site.generate(3)?;
    site.drained(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    let steps = sets(&evidence.active.rows, wrong);
    assert!(steps.len() == 1 && is_about(steps.first().copied(), -600), "{steps:?}");
    assert!(sets(&evidence.active.rows, right).is_empty());
    Ok(())
}

/// Where the kernel does not call the gateway's clock synchronised, a server of the site has to vouch for it.
#[test]
fn a_clock_is_set_only_once_something_vouches_for_the_gateways_own() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(76, 1, Board::roomy))?;
    let clocks = Some(Clocks { set: true, limit_s: 10 });
    let configuration = site.configuration();
    site.gateway.configure(&Configuration { clocks, ..configuration })?;
    site.generate(1)?;
    for side in Side::BOTH {
        site.link(side).cut();
    }
    site.gateway.start()?;
    site.collected(WITHIN)?;
    let [serial] = site.boards()[..] else { panic!("one board") };
    site.simulator.clock(serial, &json!({ "offset_s": 600 }))?;
    let said = site.gateway.command(&["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    if status["clock"]["known"] != "kernel" {
        let found = problem(&site, "gateway_clock_unproven", serial)?;
        assert!(found.message.contains("s fast"), "{found:?}");
        assert!(is_about(skew(&site, serial)?, 600), "{:?}", skew(&site, serial));
    }
    for side in Side::BOTH {
        site.link(side).open()?;
    }
    wait_until("the clock to be set", WITHIN, || {
        Ok(is_about(skew(&site, serial)?, 0).then_some(()))
    })?;
    site.generate(1)?;
    site.drained(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    let steps = sets(&evidence.active.rows, serial);
    assert!(steps.len() == 1 && is_about(steps.first().copied(), -600), "{steps:?}");
    Ok(())
}

/// Schedules open and lock doors.
#[test]
fn a_step_above_an_hour_is_left_to_an_operator() -> Result<(), Error> {
    let (site, [wrong, _]) = site(73, true)?;
    site.simulator.clock(wrong, &json!({ "offset_s": 7_200 }))?;
    let found = problem(&site, "controller_clock_step", wrong)?;
    assert!(found.message.contains("operator"), "{found:?}");
    // A record more, so that there was another look.
    site.generate(1)?;
    site.drained(WITHIN)?;
    assert!(is_about(skew(&site, wrong)?, 7_200), "{:?}", skew(&site, wrong));

    let set = |more: &[&str]| {
        let serial = wrong.to_string();
        let command = ["controllers", "clock", &serial, "--set", "--yes"];
        site.gateway.command(&[&command[..], more].concat())
    };
    // Without the operator's word for it, nothing is done, and it says with which word it would be.
    let refused = set(&["--trust-gateway-clock"])?;
    assert!(refused.success("postern controllers clock --set").is_err());
    assert!(is_about(skew(&site, wrong)?, 7_200), "{:?}", skew(&site, wrong));
    set(&["--trust-gateway-clock", "--any-step"])?.success("postern controllers clock --set")?;
    wait_until("the clock to be right", WITHIN, || {
        Ok(is_about(skew(&site, wrong)?, 0).then_some(()))
    })?;
    site.generate(1)?;
    site.drained(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    let steps = sets(&evidence.active.rows, wrong);
    assert!(steps.len() == 1 && is_about(steps.first().copied(), -7_200), "{steps:?}");
    Ok(())
}

/// What a board says is the time when summer time ends, an hour that there is twice.
#[test]
fn the_hour_that_there_is_twice_is_told_apart_by_order_or_marked() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(75, 2, Board::roomy))?;
    let [both, one] = site.boards()[..] else { panic!("two boards") };
    let host = Host::new()?;
    let swipe_at = |site: &Site, serial: u32, wall: &str| {
        let datetime = wall.parse().expect("a time");
        let request = Request::SetTime(SetTime { controller: serial, datetime });
        host.ask(site.simulator.addresses[&serial], &request)?;
        site.simulator.generate(serial, 1)
    };
    // A wall clock in Berlin: at 03:00 it became 02:00 again.
    for wall in ["2025-10-26 01:40:00", "2025-10-26 02:50:00", "2025-10-26 02:10:00"] {
        swipe_at(&site, both, wall)?;
    }
    swipe_at(&site, one, "2025-10-26 02:30:00")?;
    site.gateway.start()?;
    site.drained(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    let told = |serial| -> Vec<(String, String)> {
        let id = ControllerId::uhppote(serial);
        let rows = evidence.active.rows.iter();
        let rows = rows.filter(move |row| row.controller == id && row.index.is_some());
        let minute = |row: &Row| {
            let occurred = row.occurred.clone().unwrap_or_default();
            (occurred.get(..16).unwrap_or_default().to_owned(), row.time_trust.clone())
        };
        rows.map(minute).map(|(at, trust)| (at, trust.unwrap_or_default())).collect()
    };
    let pair = |at: &str, trust: &str| (at.to_owned(), trust.to_owned());
    let expected = ["2025-10-25T23:40", "2025-10-26T00:50", "2025-10-26T01:10"];
    assert_eq!(told(both), expected.map(|at| pair(at, "exact")));
    assert_eq!(told(one), [pair("2025-10-26T00:30", "ambiguous")]);
    Ok(())
}

#[test]
fn a_clock_that_was_never_set_gives_records_without_a_time_and_none_is_guessed() -> Result<(), Error>
{
    let (site, [wrong, right]) = site(74, true)?;
    site.simulator.clock(wrong, &json!({ "unset": true }))?;
    assert_eq!(site.simulator.board(wrong)?.clock, "");
    site.generate(4)?;
    site.drained(WITHIN)?;
    problem(&site, "controller_clock_step", wrong)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    let of = |serial| {
        let id = ControllerId::uhppote(serial);
        let rows = evidence.active.rows.iter().filter(move |row| row.controller == id);
        rows.filter(|row| row.index.is_some_and(|index| index.0 > 1))
    };
    assert_eq!((of(wrong).count(), of(right).count()), (4, 4));
    for row in of(wrong) {
        assert_eq!((&row.occurred, row.time_trust.as_deref()), (&None, Some("absent")), "{row:?}");
    }
    assert!(of(right).all(|row| row.occurred.is_some()));
    assert!(sets(&evidence.active.rows, wrong).is_empty());
    Ok(())
}
