//! A journal that steps back: an older copy of the file is put in its place. The server notices by the
//! chain hash, the gateway goes on under a new journal id, nothing is doubled and nothing is hidden.

use std::fs;
use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(1);

fn copy(site: &Site, from: &str, to: &str) -> Result<(), Error> {
    let data = site.gateway.dir.join("data");
    let path = data.join(from);
    fs::copy(&path, data.join(to)).map(drop).map_err(|source| Error::File {
        action: "copy",
        path,
        source,
    })
}

fn generate(site: &Site, count: u64) -> Result<(), Error> {
    let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
    boards.into_iter().try_for_each(|serial| site.simulator.generate(serial, count))
}

#[test]
fn a_journal_put_back_to_an_older_state_is_noticed_and_goes_on_under_a_new_id() -> Result<(), Error>
{
    let mut site = Site::start(SiteConfig::new(33, 2, Board::roomy))?;
    generate(&site, 120)?;
    site.drained(WITHIN)?;
    site.stop_gateway()?;
    copy(&site, "journal.redb", "older")?;

    site.gateway.start()?;
    generate(&site, 90)?;
    site.drained(WITHIN)?;
    let before = site.look()?.journal.id;
    site.stop_gateway()?;
    copy(&site, "older", "journal.redb")?;

    generate(&site, 40)?;
    site.gateway.start()?;
    // While the file is changed nobody answers on the control socket.
    wait_until("the gateway goes on under a new journal id", WITHIN, || {
        let status = site.gateway.status().ok();
        Ok(status.filter(|status| status.journal.id != before))
    })?;
    site.drained(WITHIN)?;
    let data = site.gateway.dir.join("data");
    let aside = fs::read_dir(&data)
        .map_err(|source| Error::File { action: "list", path: data, source })?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("journal.forked-"))
        .count();
    assert_eq!(aside, 1, "the contradicted file was not set aside");
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The restart is met again, and noted again.
#[test]
fn a_journal_put_back_to_before_a_restart_doubles_neither_records_nor_notes() -> Result<(), Error> {
    let board = |serial| Board { preload: 300, ..Board::small(serial) };
    let mut site = Site::start(SiteConfig::new(34, 1, board))?;
    site.drained(WITHIN)?;
    site.stop_gateway()?;
    copy(&site, "journal.redb", "older")?;

    site.gateway.start()?;
    let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
    boards.into_iter().try_for_each(|serial| site.simulator.reset(serial))?;
    generate(&site, 20)?;
    site.drained(WITHIN)?;
    let before = site.look()?.journal.id;
    site.stop_gateway()?;
    copy(&site, "older", "journal.redb")?;

    site.gateway.start()?;
    wait_until("the gateway goes on under a new journal id", WITHIN, || {
        let status = site.gateway.status().ok();
        Ok(status.filter(|status| status.journal.id != before))
    })?;
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::Any)?.expect_ok();
    Ok(())
}
