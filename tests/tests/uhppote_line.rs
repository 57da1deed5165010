//! The way to a board and others on it: what is lost, late, doubled, out of order, forged, pushed or from
//! another host never moves a cursor and is never stored; a dead board costs the others nothing.

use std::time::Duration;

use postern_protocol::uhppote::message::request::SetEventIndex;
use postern_protocol::uhppote::{Request, field::Magic};
use postern_protocol::{ControllerId, Index};
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{
    Board, ControllerStatus, Error, Host, Side, Site, SiteConfig, Transport, forged_push,
    wait_until,
};
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);

/// Far above any time that a test waits for anything: what happens sooner was not the poll's doing.
const NO_POLL_MS: u64 = 60_000;

/// Where the type stands in a record, and the types that stand for no record.
const TYPE: usize = 4;
const SENTINELS: [u8; 2] = [0, 0xff];

fn status(site: &Site, serial: u32) -> Result<ControllerStatus, Error> {
    let id = ControllerId::uhppote(serial);
    let mut lines = site.gateway.controllers()?.into_iter();
    lines
        .find(|line| line.controller == id)
        .ok_or_else(|| Error::Scenario(format!("the gateway does not know controller {serial}")))
}

/// The boards whose datagrams can be late: a connection has one request and one reply.
fn over_udp(site: &Site) -> Vec<u32> {
    let lines = site.configuration().controllers.into_iter();
    lines.filter(|line| line.transport == Transport::Udp).map(|line| line.serial).collect()
}

fn wait_for(site: &Site, serial: u32, state: &str) -> Result<ControllerStatus, Error> {
    wait_until(&format!("controller {serial} to be {state}"), WITHIN, || {
        let line = status(site, serial)?;
        Ok((line.state == state).then_some(line))
    })
}

#[test]
fn sentinel_records_are_never_stored() -> Result<(), Error> {
    // Past the newest at each look; overwritten where the gateway was away; late ones of both kinds.
    let mut site = Site::start(SiteConfig::new(61, 2, Board::small))?;
    site.generate(40)?;
    site.drained(WITHIN)?;
    site.kill_gateway()?;
    site.generate(200)?;
    for serial in over_udp(&site) {
        site.misbehave(serial, &json!({ "stale": 0.05, "duplicate": 0.3, "reorder": 0.05 }))?;
    }
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    site.generate(1)?;
    site.drained(WITHIN)?;
    let gaps = site.proven_gaps();
    let evidence = site.finish(Side::A, gaps)?.expect_ok();
    let mut types = evidence.active.rows.iter().filter_map(|row| row.raw.as_slice().get(TYPE));
    assert!(types.all(|kind| !SENTINELS.contains(kind)));
    Ok(())
}

#[test]
fn a_reply_that_never_comes_moves_no_cursor() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(62, 4, Board::roomy))?;
    let boards = site.boards();
    site.generate(20)?;
    site.drained(WITHIN)?;
    let faults = [
        json!({ "lose": 1.0 }),
        json!({ "drop": 1.0 }),
        json!({ "reset": 1.0 }),
        json!({ "deaf": true }),
    ];
    for (serial, faults) in boards.iter().zip(&faults) {
        site.misbehave(*serial, faults)?;
    }
    site.generate(20)?;
    for serial in &boards {
        let line = wait_for(&site, *serial, "offline")?;
        assert_eq!(line.cursor, Some(Index(20)), "{line:?}");
    }
    for serial in &boards {
        site.misbehave(*serial, &json!({}))?;
    }
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// A reply that comes when nobody waits for it any more must not be taken for the next one.
#[test]
fn a_reply_that_comes_after_its_time_out_moves_no_cursor() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(69, 2, Board::roomy))?;
    let mut configuration = site.configuration();
    for line in &mut configuration.controllers {
        line.timeout_ms = 300;
    }
    site.gateway.configure(&configuration)?;
    site.gateway.start()?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "delay_ms": 450 }))?;
    }
    site.generate(20)?;
    for serial in site.boards() {
        let line = wait_for(&site, serial, "offline")?;
        assert_eq!(line.cursor, Some(Index(20)), "{line:?}");
        assert!(line.line.timeouts > 0, "{line:?}");
        site.misbehave(serial, &json!({}))?;
    }
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The same reply, but of a board with another serial number and with another card in it.
#[test]
fn a_foreign_reply_moves_no_cursor_and_is_never_stored() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(70, 4, Board::roomy))?;
    for serial in site.boards() {
        // Over a connection it is the only reply that the gateway looks at.
        site.misbehave(serial, &json!({ "foreign": 0.3 }))?;
    }
    site.generate(100)?;
    wait_until("foreign replies to be refused", WITHIN, || {
        let lines = site.gateway.controllers()?;
        Ok(lines.iter().all(|line| line.line.foreign >= 5).then_some(()))
    })?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({}))?;
    }
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// There is no request identifier: what comes late is told from what was asked for by its fields alone.
#[test]
fn replies_that_are_late_doubled_and_out_of_order_move_no_cursor() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(63, 4, Board::roomy))?;
    for serial in over_udp(&site) {
        let faults = json!({
            "lose": 0.05, "drop": 0.05, "duplicate": 0.3, "stale": 0.05, "reorder": 0.05,
        });
        site.misbehave(serial, &faults)?;
    }
    site.simulator.people(40.0)?;
    site.wait_for_traffic(300)?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({}))?;
    }
    site.settle(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The index on the board is one for all hosts and protects nothing: ours is in the journal.
#[test]
fn another_host_that_moves_the_index_on_the_board_changes_nothing() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(64, 2, Board::roomy))?;
    let host = Host::new()?;
    let mut moved = 0;
    for round in 1..=10_u32 {
        site.generate(20)?;
        for (serial, address) in &site.simulator.addresses {
            // Forth and back, past what the gateway has read and behind it.
            for index in [round * 20, 0, round, round * 20 - 1] {
                let set = SetEventIndex { controller: *serial, index, magic: Magic };
                host.ask(*address, &Request::SetEventIndex(set))?;
                moved += u64::from(site.simulator.board(*serial)?.event_index == u64::from(index));
            }
        }
        if round == 5 {
            site.kill_gateway()?;
            site.restart_gateway()?;
        }
    }
    assert_eq!(moved, 80, "the other host did not move what it wanted to");
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// A site whose boards push, and whose gateway looks by itself so seldom that nobody would wait for it.
fn pushing(seed: u64) -> Result<Site, Error> {
    let board = |serial| {
        // Every second one begins its events with another byte.
        let firmware = if serial % 2 == 0 { "6.62" } else { "8.92" };
        Board { firmware, ..Board::roomy(serial) }
    };
    let mut site = Site::prepare(SiteConfig { pushes: true, ..SiteConfig::new(seed, 2, board) })?;
    let mut configuration = site.configuration();
    for line in &mut configuration.controllers {
        (line.poll_ms, line.quiet_poll_ms) = (NO_POLL_MS, NO_POLL_MS);
    }
    site.gateway.configure(&configuration)?;
    // A first contact needs a record; the looks after it are the pushes' doing.
    site.generate(1)?;
    site.gateway.start()?;
    site.drained(WITHIN)?;
    Ok(site)
}

#[test]
fn a_push_of_either_first_byte_wakes_the_pull_and_its_double_is_dropped() -> Result<(), Error> {
    let mut site = pushing(65)?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "duplicate_push": 1.0 }))?;
    }
    for _ in 0..5 {
        site.generate(1)?;
        // Long before a poll would have come.
        site.drained(Duration::from_millis(NO_POLL_MS / 3))?;
    }
    for serial in site.boards() {
        wait_until("every push and its double to be counted", WITHIN, || {
            Ok((status(&site, serial)?.line.pushes >= 10).then_some(()))
        })?;
    }
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 12, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

#[test]
fn a_forged_push_wakes_the_pull_and_is_never_stored() -> Result<(), Error> {
    let site = pushing(66)?;
    let gateway = site.pushes_to().expect("a site whose boards push");
    let host = Host::new()?;
    for serial in site.boards() {
        let asked = status(&site, serial)?.line.requests;
        // What never was, what was already, and what cannot be.
        for index in [2, 7, 1, 0, u32::MAX] {
            host.send(gateway, &forged_push(serial, index))?;
        }
        wait_until("the board to be asked because of it", WITHIN / 3, || {
            let line = status(&site, serial)?;
            Ok((line.line.pushes >= 5 && line.line.requests > asked).then_some(()))
        })?;
        assert_eq!(status(&site, serial)?.cursor, Some(Index(1)));
    }
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 2, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

#[test]
fn lost_pushes_cost_a_poll_and_nothing_else() -> Result<(), Error> {
    let mut site =
        Site::start(SiteConfig { pushes: true, ..SiteConfig::new(67, 2, Board::roomy) })?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "drop_push": 1.0 }))?;
    }
    for _ in 0..3 {
        site.generate(5)?;
        site.drained(WITHIN)?;
    }
    for serial in site.boards() {
        let board = site.simulator.board(serial)?;
        assert_eq!((board.pushes, board.pushes_lost), (0, 15), "{board:?}");
        assert_eq!(status(&site, serial)?.line.pushes, 0);
    }
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The pushes after the first are lost: what finds their records is the pace that the first one set.
#[test]
fn after_a_push_a_board_is_looked_at_more_often_for_a_while() -> Result<(), Error> {
    let mut site = pushing(60)?;
    let mut configuration = site.configuration();
    for line in &mut configuration.controllers {
        (line.poll_ms, line.quiet_poll_ms) = (50, NO_POLL_MS);
    }
    site.stop_gateway()?;
    site.gateway.configure(&configuration)?;
    site.gateway.start()?;
    let online = |serial| wait_for(&site, serial, "online").map(drop);
    site.boards().into_iter().try_for_each(online)?;
    site.generate(1)?;
    site.drained(WITHIN / 3)?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "mute_push": true }))?;
    }
    for _ in 0..3 {
        site.generate(1)?;
        // A third of what the quiet pace would cost.
        site.drained(Duration::from_millis(NO_POLL_MS / 3))?;
    }
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_dead_controller_among_eight_costs_the_others_nothing() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(68, 8, Board::roomy))?;
    let boards = site.boards();
    let (dead, alive) = boards.split_first().expect("eight boards");
    let swipe = |site: &Site, newest: u64| {
        alive.iter().try_for_each(|serial| site.simulator.generate(*serial, 200))?;
        wait_until("the seven others to be read", WITHIN / 3, || {
            let lines = site.gateway.controllers()?;
            let read = |serial: &u32| {
                let id = ControllerId::uhppote(*serial);
                lines.iter().any(|line| line.controller == id && line.cursor == Some(Index(newest)))
            };
            Ok(alive.iter().all(read).then_some(()))
        })
    };
    swipe(&site, 200)?;
    site.misbehave(*dead, &json!({ "deaf": true }))?;
    site.simulator.generate(*dead, 10)?;
    wait_for(&site, *dead, "offline")?;
    // A dead board that held the others up would cost each of their 600 reads its time-outs.
    for round in 2..=4 {
        swipe(&site, round * 200)?;
    }
    assert_eq!(status(&site, *dead)?.cursor, None);
    site.misbehave(*dead, &json!({}))?;
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}
