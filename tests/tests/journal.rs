//! The journal's file steps back, is cloned, rots and runs full. The long runs of the same are `soak`'s.

use std::path::Path;
use std::time::Duration;

use postern_protocol::ControllerId;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{
    Board, BoardStatus, Error, Gateway, Side, Site, SiteConfig, wait_until,
};
use postern_tests::scenario::{self, Effect};

const WITHIN: Duration = Duration::from_mins(1);

#[test]
fn a_flipped_bit_in_the_last_commit_hides_and_doubles_nothing() -> Result<(), Error> {
    let run = scenario::journal_steps_back(4, 51, &mut |_| {})?;
    let harmed = run.count(Effect::Forked) + run.count(Effect::Salvaged);
    assert!(harmed > 0, "no flip did any harm: {run}");
    run.finished.expect_ok();
    Ok(())
}

#[test]
fn what_a_damaged_journal_lost_is_read_again_or_told_and_the_rest_is_kept() -> Result<(), Error> {
    let run = scenario::journal_rot(5, 52, Board::small, &mut |_| {})?;
    assert!(run.count(Effect::Salvaged) > 0, "no damage did any harm: {run}");
    run.finished.expect_ok();
    Ok(())
}

#[test]
fn a_damaged_journal_loses_nothing_that_its_controllers_still_hold() -> Result<(), Error> {
    let run = scenario::journal_rot(5, 53, Board::roomy, &mut |_| {})?;
    assert!(run.count(Effect::Salvaged) > 0, "no damage did any harm: {run}");
    run.finished.expect_ok();
    Ok(())
}

#[test]
fn a_writing_process_that_is_killed_keeps_what_it_acknowledged_in_order() -> Result<(), Error> {
    let soak = Path::new(env!("CARGO_BIN_EXE_soak"));
    let kills = scenario::journal_kills(soak, 8, 56, &mut |_| {})?;
    assert!(kills.findings.is_empty(), "{kills}: {:?}", kills.findings);
    assert!(kills.acknowledged > 1_000 && kills.oldest.0 > 1, "too little happened: {kills}");
    Ok(())
}

/// Two boxes with the same certificate and the same past, which both read the same boards and deliver to
/// the same servers. Nothing tells them apart but the entries that each appends.
#[test]
fn a_journal_cloned_to_a_second_box_is_noticed_while_both_run() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(54, 4, Board::roomy))?;
    site.generate(80)?;
    site.drained(WITHIN)?;
    let before = site.look()?.journal.id;
    let mut twin = site.gateway.clone_into(&site.dir.join("twin"))?;
    twin.start()?;
    site.simulator.people(200.0)?;
    // While a gateway changes its journal it does not answer.
    let went_on = |gateway: &Gateway| gateway.status().is_ok_and(|now| now.journal.id != before);
    wait_until("one of them to take a new journal id", WITHIN, || {
        Ok((went_on(&site.gateway) || went_on(&twin)).then_some(()))
    })?;
    site.wait_for_traffic(400)?;
    site.simulator.people(0.0)?;
    site.recovered(WITHIN)?;
    wait_until("the twin to have delivered everything", WITHIN, || {
        let all = site.simulator.status()?.controllers;
        let is_read = twin.controllers().is_ok_and(|lines| {
            lines.iter().all(|line| {
                let is_it = |b: &&_| line.controller == board_id(b);
                let newest = all.iter().find(is_it).map(|board| board.newest);
                newest == line.cursor.map(|cursor| cursor.0)
            })
        });
        let is_sent = twin.status().is_ok_and(|now| now.uplink.backlog == Some(0));
        Ok((is_read && is_sent).then_some(()))
    })?;
    let exit = twin.stop()?;
    site.note_exit(exit, 0);
    let forked = site.gateway.set_aside("forked")?.len() + twin.set_aside("forked")?.len();
    assert!((1..=2).contains(&forked), "{forked} journals were set aside");
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert!(finished.evidence.active.journals.len() > 1, "one journal brought everything");
    finished.expect_ok();
    Ok(())
}

fn board_id(board: &BoardStatus) -> ControllerId {
    ControllerId::uhppote(board.serial)
}

/// How often each board was asked so far.
fn requests(site: &Site) -> Result<Vec<u64>, Error> {
    Ok(site.gateway.controllers()?.iter().map(|line| line.line.requests).collect())
}

fn link_to_b_is(site: &Site, link: &str) -> Result<(), Error> {
    wait_until(&format!("the link to server b to be {link}"), WITHIN, || {
        let servers = site.gateway.status()?.uplink.servers;
        Ok(servers.iter().any(|server| server.name == "b" && server.link == link).then_some(()))
    })
}

#[test]
fn a_full_journal_leaves_the_rest_to_the_controllers_and_goes_on_by_itself() -> Result<(), Error> {
    let config = SiteConfig { capacity_entries: 1_000, ..SiteConfig::new(55, 2, Board::roomy) };
    let mut site = Site::start(config)?;
    site.generate(50)?;
    site.drained(WITHIN)?;
    site.stop_servers()?;
    site.generate(420)?;
    site.collected(WITHIN)?;
    let filling = site.gateway.status()?;
    assert!(filling.has("journal_filling") && !filling.has("journal_full"), "{filling:?}");
    assert_eq!(filling.journal.full, None);

    site.generate(400)?;
    let full = wait_until("the journal to be full and both boards paused", WITHIN, || {
        let paused = site.gateway.controllers()?.iter().all(|line| line.state == "paused");
        let status = site.gateway.status()?;
        Ok((paused && status.has("journal_full")).then_some(status))
    })?;
    assert!(full.has("controller_paused") && !full.has("journal_filling"), "{full:?}");
    assert_eq!(full.journal.full.as_deref(), Some("entries"));
    assert!((800..=1_000).contains(&full.journal.unsafe_entries), "{full:?}");

    // While a link comes and goes, which takes longer than many polls would, nobody asks a board and
    // nothing is appended or given up.
    let asked = requests(&site)?;
    site.generate(100)?;
    site.restart_server(Side::B)?;
    link_to_b_is(&site, "ok")?;
    site.stop_server(Side::B)?;
    wait_until("the gateway to miss server b", WITHIN, || {
        Ok(site.gateway.status()?.has("server_unreachable").then_some(()))
    })?;
    assert_eq!(requests(&site)?, asked, "a board was read although the journal is full");
    let still = site.gateway.status()?.journal;
    assert_eq!((still.head, still.safe), (full.journal.head, full.journal.safe));

    site.restart_servers()?;
    site.drained(WITHIN)?;
    let after = site.gateway.status()?;
    assert!(!after.has("journal_full") && !after.has("controller_paused"), "{after:?}");
    let finished = site.finish(Side::A, GapAllowance::None)?;
    assert_eq!(finished.verdict.counts.stored, 2 * 970, "{}", finished.verdict);
    finished.expect_ok();
    Ok(())
}
