//! The gateway's Modbus driver and our simulated units, which were written apart: what the ledger says was shown is what the
//! journal has.
//!
//! - `fault`: what misbehaves.
//! - `rig`: a line of units and a gateway, in this process.
//! - `truth`: judges the journal by the ledger.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs)]

/// Each sentence over each way to be connected, as a test of its own.
macro_rules! over_each {
    ($($plug:ident: $connected:ident),+; $sentences:tt) => {
        $(mod $connected { over_each!(@ $plug $sentences); })+
    };
    (@ $plug:ident [$($sentence:ident),+ $(,)?]) => {
        $(
            #[test]
            fn $sentence() {
                super::$sentence(super::Plug::$plug);
            }
        )+
    };
}

mod fault;
mod full;
mod late;
mod many;
mod restart;
mod rig;
mod truth;

use std::time::Duration;

use postern_protocol::Kind;
use postern_sim::ledger::What;
use tokio::time::Instant;

use rig::{Plan, Plug, Site, counted, shown};
use truth::{has_all_numbers, is_all};

/// A card that each of these formats can show.
fn card(number: u64) -> u64 {
    8_100_000 + number
}

/// Somebody shows a card to a latch, and another time only once the gateway has taken it.
fn show(site: &Site, unit: u8, reader: u8, card: u64) {
    let before = site.told(shown(unit), What::CardTaken);
    site.unit(unit).swipe(reader, card).unwrap();
    site.wait("a card to be taken", |site| site.told(shown(unit), What::CardTaken) > before);
}

/// Cards, a button, a door that is opened with leave, held, closed, opened by force, and a restart.
fn live_at(site: &Site, unit: u8) {
    let log = shown(unit);
    let device = site.unit(unit);
    let more = |act: &dyn Fn(), entries: usize| {
        let before = site.log(log).len();
        act();
        site.kept(log, before + entries);
    };
    site.kept(log, 1);
    for number in [1, 2, 2, 3] {
        show(site, unit, 1, card(number));
    }
    more(&|| drop(device.press(1, true).unwrap()), 1);
    // Opened, and held.
    more(&|| drop(device.open_door(1, true).unwrap()), 2);
    more(&|| drop(device.open_door(1, false).unwrap()), 1);
    device.press(1, false).unwrap();
    site.asked(unit, 4);
    device.release(1, true).unwrap();
    site.asked(unit, 4);
    more(&|| drop(device.open_door(1, true).unwrap()), 1);
    more(&|| drop(device.open_door(1, false).unwrap()), 1);
    device.release(1, false).unwrap();
    site.asked(unit, 4);
    let locked = Instant::now();
    site.wait("the grant to be over", |_| locked.elapsed() > Duration::from_millis(1_200));
    more(&|| drop(device.open_door(1, true).unwrap()), 1);
    more(&|| drop(device.open_door(1, false).unwrap()), 1);
    more(&|| drop(device.restart().unwrap()), 1);
    show(site, unit, 1, card(4));

    let entries = site.log(log);
    is_all(&site.truth(log), &entries, true);
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    let doors: Vec<_> = kinds
        .into_iter()
        .filter(|kind| {
            matches!(kind, Kind::DoorOpened | Kind::DoorForced | Kind::DoorHeld | Kind::DoorClosed)
        })
        .collect();
    assert_eq!(
        doors,
        [
            Kind::DoorOpened,
            Kind::DoorHeld,
            Kind::DoorClosed,
            Kind::DoorOpened,
            Kind::DoorClosed,
            Kind::DoorForced,
            Kind::DoorClosed
        ]
    );
}

/// The four doors of a board.
fn doors_at(site: &Site, unit: u8) {
    let log = shown(unit);
    site.asked(unit, 4);
    for (open, upto) in [(true, 4), (false, 8)] {
        for door in 1..=4 {
            site.unit(unit).open_door(door, open).unwrap();
        }
        site.kept(log, upto);
    }
    is_all(&site.truth(log), &site.log(log), false);
}

/// A reader that counts: one by one, several at once, a restart. Answers with what each life has.
fn count_at(site: &Site, unit: u8, at_once: u64) -> Vec<(usize, u64)> {
    let log = counted(unit);
    let device = site.unit(unit);
    let swipe = |number| drop(device.swipe(1, card(number)).unwrap());
    let upto = |index| {
        let what = format!("number {index} of {log}");
        site.wait(&what, |site| {
            let report = site.report(log);
            report.and_then(|report| report.cursor).is_some_and(|cursor| cursor.index.0 == index)
        });
    };
    site.asked(unit, 2);
    for number in 1..=5 {
        swipe(number);
        upto(number);
    }
    (6..=5 + at_once).for_each(swipe);
    upto(5 + at_once);
    device.restart().unwrap();
    site.asked(unit, 6);
    for number in 1..=3 {
        swipe(100 + number);
        upto(number);
    }
    has_all_numbers(&site.truth(log), &site.log(log)).lives
}

fn everything_over(plug: Plug) {
    let units = [(11, "inveo-rfid"), (12, "rfideas-tcp"), (13, "relay-board"), (14, "ring")];
    // No answer comes so late, on a machine that does other things too: whoever is not watched forces no door.
    let reply = Duration::from_secs(1);
    let site = Site::begin(Plan { reply, ..Plan::new(plug, &units) });
    live_at(&site, 11);
    doors_at(&site, 13);
    let sequence = count_at(&site, 12, 3);
    assert_eq!(sequence[1], (3, 0));
    // Between two of the three at once there may be a look, and of two lives each is whole.
    assert!((6..=8).contains(&sequence[0].0) && sequence[0].0 as u64 + sequence[0].1 == 8);
    let ring = count_at(&site, 14, 30);
    assert_eq!(ring[1], (3, 0));
    assert!(ring[0].0 >= 5 + 15 && ring[0].0 as u64 + ring[0].1 == 35, "{ring:?}");
    site.end();
}

#[test]
fn all_that_units_on_a_serial_line_show_is_in_the_journal_as_it_was_and_when() {
    everything_over(Plug::Pty);
}

#[test]
fn all_that_units_behind_modbus_tcp_show_is_in_the_journal_as_it_was_and_when() {
    everything_over(Plug::Tcp);
}

#[test]
fn all_that_units_behind_a_device_server_show_is_in_the_journal_as_it_was_and_when() {
    everything_over(Plug::Server);
}
