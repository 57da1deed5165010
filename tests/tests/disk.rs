//! A gateway whose disk was replaced: the same certificate, an empty journal.

use std::fs;
use std::time::Duration;

use postern_protocol::Kind;
use postern_protocol::transaction::Continuity;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig};

const WITHIN: Duration = Duration::from_mins(1);

fn replace_disk(site: &Site) -> Result<(), Error> {
    let path = site.gateway.dir.join("data");
    fs::remove_dir_all(&path).map_err(|source| Error::File { action: "remove", path, source })
}

fn boards(site: &Site) -> Vec<u32> {
    site.simulator.addresses.keys().copied().collect()
}

#[test]
fn a_replaced_disk_neither_doubles_what_is_stored_nor_hides_what_is_new() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(31, 2, Board::roomy))?;
    for serial in boards(&site) {
        site.simulator.generate(serial, 200)?;
    }
    site.drained(WITHIN)?;
    let before = site.look()?.journal.id;
    site.stop_gateway()?;
    replace_disk(&site)?;
    for serial in boards(&site) {
        site.simulator.generate(serial, 70)?;
    }
    site.gateway.start()?;
    site.drained(WITHIN)?;
    assert_ne!(site.look()?.journal.id, before);
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_log_that_went_on_meanwhile_leaves_a_gap_of_unproven_continuity() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(32, 2, Board::small))?;
    for serial in boards(&site) {
        site.simulator.generate(serial, 60)?;
    }
    site.drained(WITHIN)?;
    site.stop_gateway()?;
    replace_disk(&site)?;
    let mut missing = 0;
    for serial in boards(&site) {
        site.simulator.generate(serial, 200)?;
        missing += site.simulator.board(serial)?.oldest - 61;
    }
    site.gateway.start()?;
    site.drained(WITHIN)?;

    // The new journal cannot know where the old one ended, so its claim may begin at 1; what is
    // really missing is what the store does not hold.
    let finished = site.finish(Side::A, GapAllowance::Any)?;
    assert_eq!(finished.verdict.counts.gaps, missing, "{}", finished.verdict);
    let evidence = finished.expect_ok();
    let gaps: Vec<_> = evidence
        .active
        .rows
        .iter()
        .filter_map(|row| if let Kind::Gap(gap) = row.kind { Some(gap) } else { None })
        .collect();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.continuity == Continuity::Unproven), "{gaps:?}");
    Ok(())
}

/// Worse still: the log was emptied as well and has come further than the old journal had read.
#[test]
fn a_new_life_that_a_new_journal_meets_is_not_taken_for_the_old_one() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(33, 2, Board::roomy))?;
    for serial in boards(&site) {
        site.simulator.generate(serial, 60)?;
    }
    site.drained(WITHIN)?;
    site.stop_gateway()?;
    replace_disk(&site)?;
    for serial in boards(&site) {
        site.simulator.reset(serial)?;
        site.simulator.generate(serial, 200)?;
    }
    site.gateway.start()?;
    site.drained(WITHIN)?;
    let finished = site.finish(Side::A, GapAllowance::Any)?;
    let counts = finished.verdict.counts;
    assert_eq!((counts.stored, counts.gaps), (520, 0), "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}
