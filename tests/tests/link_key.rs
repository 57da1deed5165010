//! Keys of controllers of the link protocol: another one than theirs, and none.

use std::time::Duration;

use postern_protocol::ControllerId;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Bus, Error, Plug, Side, Site, SiteConfig, Station};

/// For whatever the programs do by themselves, on a loaded machine of two cores.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_station_with_another_key_is_not_read_until_it_is_enrolled() -> Result<(), Error> {
    let (odd, others) = (70_002, [70_001, 70_003]);
    let bus = Bus::new("hall", Plug::Pty, 70_001, 3, Station::roomy);
    let mut site = Site::prepare(SiteConfig::of_lines(41, vec![bus]))?;
    let id = ControllerId::link(odd).to_string();
    let has = site.dir.join("keys").join(&id).display().to_string();
    let enrol = |site: &Site, more: &[&str]| {
        let words = [&["controllers", "enrol", &id, "--replace", "--yes"], more].concat();
        site.gateway.command(&words)?.success("postern controllers enrol").map(drop)
    };
    // The controller keeps the key that it was given first.
    enrol(&site, &[])?;
    site.gateway.start()?;
    site.generate(30)?;
    site.collected_of(&others, PATIENCE)?;
    site.health(ControllerId::link(odd), "controller_key", true, PATIENCE)?;
    site.generate(30)?;
    site.collected_of(&others, PATIENCE)?;
    let controllers = site.gateway.controllers()?;
    let read = controllers.iter().find(|each| each.controller == ControllerId::link(odd));
    assert_eq!(read.map(|each| (each.cursor, each.epoch)), Some((None, None)));
    let status = site.gateway.status()?;
    assert!(
        others.iter().all(|serial| {
            status.problem("controller_key", ControllerId::link(*serial)).is_none()
        }),
        "{:?}",
        status.health
    );
    assert!(status.problem("controller_offline", ControllerId::link(odd)).is_none());

    enrol(&site, &["--import", &has])?;
    site.stop_gateway()?;
    site.gateway.start()?;
    site.drained(PATIENCE)?;
    site.health(ControllerId::link(odd), "controller_key", false, PATIENCE)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_station_without_a_key_is_read_and_health_says_so_for_as_long() -> Result<(), Error> {
    let (plain, keyed) = (70_001, 70_002);
    let station =
        |address, serial| Station { plaintext: serial == plain, ..Station::roomy(address, serial) };
    let bus = Bus::new("hall", Plug::Tcp, plain, 2, station);
    let mut site = Site::start(SiteConfig::of_lines(42, vec![bus]))?;
    site.generate(50)?;
    site.drained(PATIENCE)?;
    site.health(ControllerId::link(plain), "controller_plaintext", true, PATIENCE)?;
    site.generate(50)?;
    site.drained(PATIENCE)?;
    let status = site.look()?;
    assert!(status.problem("controller_plaintext", ControllerId::link(plain)).is_some());
    assert!(status.problem("controller_plaintext", ControllerId::link(keyed)).is_none());
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}
