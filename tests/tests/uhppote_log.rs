//! What a board's log does: it overflows, is emptied and begins again, while the gateway is away and in
//! the middle of its reading; another board takes its place; its index wraps.

use std::time::Duration;

use postern_protocol::transaction::{Continuity, Gap, GapReason};
use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::field::Magic;
use postern_protocol::uhppote::message::request::RestoreDefaults;
use postern_protocol::{ControllerId, Index, Kind};
use postern_tests::checker::{ExpectedGap, GapAllowance};
use postern_tests::harness::{Board, Error, Host, Side, Site, SiteConfig, wait_until};
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);

/// These boards number no epochs, so nothing ever proves what lies behind a gap.
fn gap(first: u64, last: Option<u64>, reason: GapReason) -> Gap {
    let (first, last) = (Index(first), last.map(Index));
    Gap { first, last, reason, continuity: Continuity::Unproven }
}

#[test]
fn what_was_overwritten_before_the_first_contact_is_one_exact_gap() -> Result<(), Error> {
    let board = |serial| Board { preload: 300, ..Board::small(serial) };
    let mut site = Site::prepare(SiteConfig::new(21, 2, board))?;
    let mut expected = Vec::new();
    for board in site.simulator.status()?.controllers {
        assert!(board.oldest > 200, "the log did not overflow: {board:?}");
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(board.serial),
            life: 0,
            gap: gap(1, Some(board.oldest - 1), GapReason::BeforeFirstContact),
        });
    }
    let missing: u64 = expected.iter().filter_map(|expected| expected.gap.count()).sum();

    site.gateway.start()?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    assert_eq!(finished.verdict.counts.gaps, missing, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// A log that was emptied and has overtaken the cursor since looks like one that merely went on.
/// Only the record at the cursor tells.
#[test]
fn a_new_life_that_has_overtaken_the_cursor_is_read_from_its_beginning() -> Result<(), Error> {
    let site = Site::start(SiteConfig::new(22, 2, Board::roomy))?;
    let boards = site.boards();
    for serial in &boards {
        site.simulator.generate(*serial, 50)?;
    }
    site.drained(WITHIN)?;

    let mut expected = Vec::new();
    for serial in &boards {
        site.simulator.faults(*serial, &json!({ "deaf": true }))?;
        site.simulator.reset(*serial)?;
        site.simulator.generate(*serial, 80)?;
        let board = site.simulator.board(*serial)?;
        assert_eq!((board.life, board.newest), (1, 80), "{board:?}");
        site.simulator.faults(*serial, &json!({}))?;
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(*serial),
            life: 0,
            gap: gap(51, None, GapReason::EpochEnded),
        });
    }
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (260, 0), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

#[test]
fn what_a_log_overwrote_while_the_gateway_was_down_is_one_exact_gap() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(23, 2, Board::small))?;
    let boards = site.boards();
    for serial in &boards {
        site.simulator.generate(*serial, 40)?;
    }
    site.drained(WITHIN)?;
    site.kill_gateway()?;
    let mut expected = Vec::new();
    for serial in &boards {
        site.simulator.generate(*serial, 200)?;
        let oldest = site.simulator.board(*serial)?.oldest;
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(*serial),
            life: 0,
            gap: gap(41, Some(oldest - 1), GapReason::Overwritten),
        });
    }
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::Exactly(expected))?.expect_ok();
    Ok(())
}

/// The oldest record is overwritten between two reads, and with it more than was read.
#[test]
fn a_chunk_that_is_overwritten_in_mid_read_is_one_exact_gap() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(24, 2, Board::small))?;
    let mut expected = Vec::new();
    for serial in site.boards() {
        site.simulator.generate(serial, 90)?;
        // When record 40 is asked for, 48 more are recorded: there is room for six.
        site.simulator.trap(serial, 40, &json!({ "generate": 48 }))?;
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(serial),
            life: 0,
            gap: gap(40, Some(64), GapReason::Overwritten),
        });
    }
    site.gateway.start()?;
    site.drained(WITHIN)?;
    for serial in site.boards() {
        let board = site.simulator.board(serial)?;
        assert_eq!((board.oldest, board.newest), (65, 138), "the trap did not spring: {board:?}");
    }
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (2 * 113, 2 * 25), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// One life gave the first records of a pull and another would give the rest: nothing of it counts, and
/// what the old life held past the cursor is one gap.
#[test]
fn a_log_that_is_emptied_in_mid_read_is_two_lives_and_one_exact_gap() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(25, 2, Board::roomy))?;
    site.generate(10)?;
    site.drained(WITHIN)?;
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "deaf": true }))?;
        site.simulator.generate(serial, 40)?;
        site.simulator.trap(serial, 30, &json!("reset"))?;
        site.misbehave(serial, &json!({}))?;
        wait_until("the log to be emptied in mid-read", WITHIN, || {
            Ok((site.simulator.board(serial)?.life == 1).then_some(()))
        })?;
    }
    // Past the cursor of the old life, so that the index alone would not tell.
    site.generate(25)?;
    site.drained(WITHIN)?;
    let gaps = site.proven_gaps();
    let finished = site.finish(Side::A, gaps)?;
    let counts = finished.verdict.counts;
    assert_eq!(counts.generated, 2 * 75);
    assert!(counts.stored >= 2 * 35 && counts.gaps >= 2 * 21, "{}", finished.verdict);
    let evidence = finished.expect_ok();
    let ended = evidence.active.rows.iter().filter(|row| {
        matches!(row.kind, Kind::Gap(Gap { last: None, reason: GapReason::EpochEnded, .. }))
    });
    assert_eq!(ended.count(), 2, "one for each log");
    Ok(())
}

/// Tools of today compare indices: after that the loop never runs again.
#[test]
fn defaults_that_another_host_restores_begin_a_new_life_and_nothing_stalls() -> Result<(), Error> {
    let site = Site::start(SiteConfig::new(26, 2, Board::roomy))?;
    site.generate(50)?;
    site.drained(WITHIN)?;
    let host = Host::new()?;
    let mut expected = Vec::new();
    for (serial, address) in &site.simulator.addresses {
        let request = RestoreDefaults { controller: *serial, magic: Magic };
        host.ask(*address, &Request::RestoreDefaults(request))?;
        assert_eq!(site.simulator.board(*serial)?.newest, 0, "its log is not empty");
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(*serial),
            life: 0,
            gap: gap(51, None, GapReason::EpochEnded),
        });
    }
    site.generate(7)?;
    site.drained(WITHIN)?;
    site.generate(60)?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (2 * 117, 0), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// The newest index of the new board is below the cursor, or past it, and the gateway was there or was not.
#[test]
fn another_board_under_the_same_serial_number_begins_a_new_life() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(27, 4, Board::roomy))?;
    let boards = site.boards();
    site.generate(50)?;
    site.drained(WITHIN)?;
    let mut expected = Vec::new();
    for (number, (serial, preload)) in boards.iter().zip([20, 80, 20, 80]).enumerate() {
        if number == 2 {
            site.kill_gateway()?;
        }
        site.simulator.replace(*serial, preload)?;
        let board = site.simulator.board(*serial)?;
        assert_eq!((board.life, board.newest), (1, u64::from(preload)), "{board:?}");
        expected.push(ExpectedGap {
            controller: ControllerId::uhppote(*serial),
            life: 0,
            gap: gap(51, None, GapReason::EpochEnded),
        });
    }
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (2 * 70 + 2 * 130, 0), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// 4294967295 asks for the newest record, so behind 4294967294 a board begins at 1 again; the same life
/// goes on, and so does our count.
#[test]
fn behind_the_last_index_of_32_bits_the_same_life_goes_on() -> Result<(), Error> {
    const LAST: u32 = u32::MAX - 1;
    let board = |serial| Board { first_index: LAST - 29, ..Board::roomy(serial) };
    let mut site = Site::start(SiteConfig::new(28, 4, board))?;
    let expected = site.boards().into_iter().map(|serial| ExpectedGap {
        controller: ControllerId::uhppote(serial),
        life: 0,
        gap: gap(1, Some(u64::from(LAST) - 30), GapReason::BeforeFirstContact),
    });
    let expected = expected.collect();
    // Up to ten before the wrap; over it, in one pull; on, with a gateway that was killed.
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.kill_gateway()?;
    site.generate(20)?;
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    for serial in site.boards() {
        assert_eq!(site.simulator.board(serial)?.newest, 30);
    }
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (4 * 60, 0), "{}", finished.verdict);
    let evidence = finished.expect_ok();
    let newest = evidence.active.rows.iter().filter_map(|row| row.index).max();
    assert_eq!(newest, Some(Index(u64::from(LAST) + 30)));
    Ok(())
}

/// A zeroed record in the middle of a log looks like its end, and once was taken for it: the board looked
/// well while everything behind was overwritten unread.
#[test]
fn a_record_that_a_board_denies_is_one_exact_gap_and_what_follows_is_read() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(29, 2, Board::roomy))?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    let mut expected = Vec::new();
    for serial in site.boards() {
        site.misbehave(serial, &json!({ "deny": 30 }))?;
        let controller = ControllerId::uhppote(serial);
        let gap = gap(30, Some(30), GapReason::Unreadable);
        expected.push(ExpectedGap { controller, life: 0, gap });
    }
    site.generate(20)?;
    for serial in site.boards() {
        let id = ControllerId::uhppote(serial);
        wait_until("the dispute to be named", WITHIN, || {
            Ok(site.gateway.status()?.problem("controller_disputed", id).cloned())
        })?;
    }
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (78, 2), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}

/// A log that began and ended while the gateway was down lies in the gap that closes the one before.
#[test]
fn a_life_of_a_log_that_nobody_saw_lies_in_the_gap_before_the_next() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(30, 2, Board::roomy))?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.kill_gateway()?;
    let mut expected = Vec::new();
    for serial in site.boards() {
        site.simulator.reset(serial)?;
        site.simulator.generate(serial, 30)?;
        site.simulator.replace(serial, 10)?;
        let controller = ControllerId::uhppote(serial);
        let gap = gap(21, None, GapReason::EpochEnded);
        expected.push(ExpectedGap { controller, life: 0, gap });
    }
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Exactly(expected))?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (60, 60), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}
