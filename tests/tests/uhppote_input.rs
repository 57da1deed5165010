//! What is wrong with a board or its configuration is named, with what to do, and the others go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use postern_protocol::ControllerId;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{
    Board, Configuration, Error, Health, Host, Line, Side, Site, SiteConfig, forged_push,
    wait_until,
};
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);

fn problem(site: &Site, code: &str, serial: u32) -> Result<Health, Error> {
    let id = ControllerId::uhppote(serial);
    wait_until(&format!("{code} of {id}"), WITHIN, || {
        Ok(site.gateway.status()?.problem(code, id).cloned())
    })
}

/// A board ignores what is meant for another one, so a mistyped number looks like a dead board.
#[test]
fn a_wrong_serial_number_is_named_with_the_right_one_and_the_others_go_on() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(81, 4, Board::roomy))?;
    let boards = site.boards();
    let mut configuration = site.configuration();
    // One over UDP, one over TCP.
    for line in configuration.controllers.iter_mut().take(2) {
        line.serial += 100;
    }
    site.gateway.configure(&configuration)?;
    site.gateway.start()?;
    for serial in &boards[..2] {
        let found = problem(&site, "controller_wrong_serial", serial + 100)?;
        assert!(found.message.contains(&serial.to_string()), "{found:?}");
    }
    for serial in &boards[2..] {
        site.simulator.generate(*serial, 50)?;
    }
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 100, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// What the old board told stays; the new one is another controller, and is named until it is configured.
#[test]
fn a_board_that_was_exchanged_for_another_one_is_named_and_read_once_it_is_configured()
-> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(85, 2, Board::roomy))?;
    let both = site.configuration();
    let [old, new] = both.controllers[..] else { panic!("two boards") };
    let alone = |line| Configuration { controllers: vec![line], ..both.clone() };
    site.gateway.configure(&alone(old))?;
    site.gateway.start()?;
    site.simulator.generate(old.serial, 30)?;
    let read = |site: &Site, serial, upto| {
        let id = ControllerId::uhppote(serial);
        wait_until("a board to be read", WITHIN, || {
            let lines = site.gateway.controllers()?;
            let line = lines.into_iter().find(|line| line.controller == id);
            Ok(line.and_then(|line| line.cursor).filter(|cursor| cursor.0 == upto))
        })
    };
    read(&site, old.serial, 30)?;

    // The wire that led to the old board leads to the new one.
    site.stop_gateway()?;
    site.simulator.generate(new.serial, 40)?;
    let line = |serial| Line { serial, address: new.address, transport: new.transport, ..old };
    site.gateway.configure(&alone(line(old.serial)))?;
    site.gateway.start()?;
    let found = problem(&site, "controller_wrong_serial", old.serial)?;
    assert!(found.message.contains(&new.serial.to_string()), "{found:?}");
    read(&site, old.serial, 30)?;

    site.stop_gateway()?;
    site.gateway.configure(&alone(line(new.serial)))?;
    site.gateway.start()?;
    read(&site, new.serial, 40)?;
    wait_until("everything to be delivered", WITHIN, || {
        Ok((site.gateway.status()?.uplink.backlog == Some(0)).then_some(()))
    })?;
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 70, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

#[test]
fn a_board_that_answers_from_another_address_is_named_and_not_believed() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(82, 3, Board::roomy))?;
    let boards = site.boards();
    site.generate(10)?;
    site.drained(WITHIN)?;
    site.misbehave(boards[0], &json!({ "elsewhere": true }))?;
    site.generate(10)?;
    let found = problem(&site, "controller_elsewhere", boards[0])?;
    let configured = site.simulator.addresses[&boards[0]];
    let named = |word: &str| word.parse().ok().filter(|address| *address != configured);
    let from: Option<SocketAddr> = found.message.split([' ', ';', ',']).find_map(named);
    assert_eq!(from.map(|from| from.ip()), Some(configured.ip()), "{found:?}");
    wait_until("the others to be read", WITHIN, || {
        let lines = site.gateway.controllers()?;
        let read = lines.iter().filter(|line| line.cursor.is_some_and(|cursor| cursor.0 == 20));
        Ok((read.count() == 2).then_some(()))
    })?;
    site.misbehave(boards[0], &json!({}))?;
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_second_board_with_the_same_serial_number_is_named_when_it_pushes() -> Result<(), Error> {
    let config = SiteConfig { pushes: true, ..SiteConfig::new(83, 2, Board::roomy) };
    let site = Site::start(config)?;
    let boards = site.boards();
    site.generate(10)?;
    site.drained(WITHIN)?;
    assert!(!site.gateway.status()?.has("controller_duplicate"));
    let gateway = site.pushes_to().expect("a site whose boards push");
    let address = Ipv4Addr::new(127, 0, 0, 9);
    Host::at(address)?.send(gateway, &forged_push(boards[0], 3))?;
    let found = problem(&site, "controller_duplicate", boards[0])?;
    assert!(found.message.contains(&address.to_string()), "{found:?}");
    site.generate(10)?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 40, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

#[test]
fn an_unknown_firmware_is_named_and_read_all_the_same() -> Result<(), Error> {
    let board = |serial| {
        let firmware = if serial % 2 == 0 { "9.01" } else { "8.92" };
        Board { firmware, ..Board::roomy(serial) }
    };
    let site = Site::start(SiteConfig::new(84, 2, board))?;
    let boards = site.boards();
    site.generate(10)?;
    site.drained(WITHIN)?;
    let (known, unknown) = (boards[0], boards[1]);
    let found = problem(&site, "controller_firmware_unknown", unknown)?;
    assert!(found.message.contains("9.01"), "{found:?}");
    let status = site.gateway.status()?;
    let of_known = status.problem("controller_firmware_unknown", ControllerId::uhppote(known));
    assert!(of_known.is_none(), "{of_known:?}");
    let lines = site.gateway.controllers()?;
    let firmware: Vec<_> = lines.iter().filter_map(|line| line.firmware.as_deref()).collect();
    assert_eq!(firmware, ["v8.92", "v9.01"]);
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 20, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}
