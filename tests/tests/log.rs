//! What a controller's log does on its own: it overflows, it is emptied and begins again.

use std::time::Duration;

use postern_protocol::transaction::{Continuity, Gap, GapReason};
use postern_protocol::{ControllerId, Index};
use postern_tests::checker::{ExpectedGap, GapAllowance};
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig};
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
    let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
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
    let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
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
