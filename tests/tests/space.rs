//! A disk that really runs full: held back in time, or in the middle of a commit.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Disk, Error, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(1);
const MIB: u64 = 1024 * 1024;

/// A site whose gateway keeps its data on a disk of its own; `None` where there can be none.
fn site_on_a_disk(config: SiteConfig, bytes: u64) -> Result<Option<(Site, Disk)>, Error> {
    let site = Site::prepare(config)?;
    let Some(disk) = Disk::mount(bytes, &site.dir, &site.dir.join("logs"))? else {
        site.remove()?;
        return Ok(None);
    };
    let path = site.gateway.data();
    symlink(&disk.root, &path).map_err(failed("make", &path))?;
    Ok(Some((site, disk)))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

fn requests(site: &Site) -> Result<Vec<u64>, Error> {
    Ok(site.gateway.controllers()?.iter().map(|line| line.line.requests).collect())
}

#[test]
fn a_full_disk_stops_the_reading_delivers_what_there_is_and_goes_on_by_itself() -> Result<(), Error>
{
    let config = SiteConfig::new(71, 2, Board::roomy);
    let Some((mut site, disk)) = site_on_a_disk(config, 24 * MIB)? else { return Ok(()) };
    site.gateway.start()?;
    site.generate(50)?;
    site.drained(WITHIN)?;
    site.stop_servers()?;
    site.generate(200)?;
    site.collected(WITHIN)?;

    disk.leave(MIB)?;
    site.generate(100)?;
    let full = wait_until("the disk to be full and both boards paused", WITHIN, || {
        let paused = site.gateway.controllers()?.iter().all(|line| line.state == "paused");
        let status = site.gateway.status()?;
        Ok((paused && status.has("disk_full")).then_some(status))
    })?;
    assert_eq!(full.journal.full.as_deref(), Some("disk"));
    assert!(full.has("controller_paused") && !full.has("journal_full"), "{full:?}");

    // The way to the servers stays open: settling, role documents and `safe` need no new room.
    let asked = requests(&site)?;
    site.restart_servers()?;
    let sent = wait_until("what was there to be delivered and safe", WITHIN, || {
        let status = site.gateway.status()?;
        Ok((status.journal.safe == full.journal.head).then_some(status))
    })?;
    assert!(sent.has("disk_full"), "{sent:?}");
    assert_eq!(sent.journal.head, full.journal.head);
    assert_eq!(requests(&site)?, asked, "a board was read although there is no room");

    disk.clear()?;
    site.drained(WITHIN)?;
    assert!(!site.gateway.status()?.has("disk_full"));
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_journal_that_cannot_be_made_for_want_of_room_leaves_nothing_and_says_so() -> Result<(), Error>
{
    let config = SiteConfig::new(72, 1, Board::roomy);
    let Some((mut site, disk)) = site_on_a_disk(config, 24 * MIB)? else { return Ok(()) };
    disk.leave(0)?;
    let mut process = site.gateway.spawn()?;
    let exit = process.wait(WITHIN)?;
    let messages = process.messages();
    assert_eq!(exit.code, Some(12), "{messages}");
    assert!(messages.contains("No space left") && messages.contains("hint: "), "{messages}");
    site.note_exit(exit, 12);
    let data = site.gateway.data();
    let left: Vec<PathBuf> = fs::read_dir(&data)
        .map_err(failed("list", &data))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("journal"))
        .collect();
    assert!(left.is_empty(), "half a journal was left: {left:?}");

    disk.clear()?;
    site.gateway.start()?;
    site.generate(100)?;
    site.drained(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The gateway looks for room before every commit, so that no write fails for want of it. Here the look
/// is deceived: the file lies on another disk than its directory.
#[test]
fn a_write_that_fails_on_a_full_disk_ends_the_gateway_with_12_and_costs_nothing()
-> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(73, 4, Board::roomy))?;
    let Some(disk) = Disk::mount(24 * MIB, &site.dir, &site.dir.join("logs"))? else {
        return site.remove();
    };
    site.gateway.start()?;
    site.generate(50)?;
    site.drained(WITHIN)?;
    site.stop_gateway()?;
    let (path, there) = (site.gateway.journal(), disk.root.join("journal.redb"));
    let moved = fs::copy(&path, &there).and_then(|_| fs::remove_file(&path));
    moved.and_then(|()| symlink(&there, &path)).map_err(failed("move", &path))?;

    site.gateway.start()?;
    site.generate(200)?;
    site.collected(WITHIN)?;
    site.note_promises()?;
    disk.leave(0)?;
    site.generate(2_000)?;
    // It is started again as by a service manager, and finds the disk as full as before.
    for start in 1..=2 {
        // The fewer commits a loaded machine makes of them, the more of them fit into pages that are free.
        let end = wait_until("a write to fail", WITHIN, || {
            let ended = site.gateway.ended()?;
            if ended.is_none() {
                site.generate(50)?;
            }
            Ok(ended)
        })?;
        let (exit, messages) = end;
        assert_eq!(exit.code, Some(12), "{messages}");
        let is_told =
            ["journal_dead", "No space left", "hint: "].map(|word| messages.contains(word));
        assert_eq!(is_told, [true; 3], "{messages}");
        site.note_exit(exit, 12);
        if start == 1 {
            site.gateway.start()?;
        }
    }
    disk.clear()?;
    site.restart_gateway()?;
    site.drained(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert!(evidence.kills.iter().any(|kill| kill.told.len() > 4), "nothing was promised");
    Ok(())
}
