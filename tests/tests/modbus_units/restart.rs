//! The gateway dies, again and again and wherever it may be, also between a commit and the clearing of its latch, and goes
//! on with the journal that it left.

use std::time::Duration;

use postern_sim::ledger::What;
use postern_tests::random::Random;

use super::card;
use super::rig::{Plan, Plug, Site, counted, shown};
use super::truth::{has_all_cards, has_all_numbers};

const LATCH: u8 = 11;
const SEQUENCE: u8 = 12;
const RING: u8 = 14;

/// How often it dies.
const DEATHS: u64 = 50;

/// The ring has 16.
const MOST_UNREAD: u64 = 14;

/// What a reader's newest number is.
fn newest(site: &Site, unit: u8) -> u64 {
    site.unit(unit).look(|state| state.unit.device().numbers()[0])
}

/// What the journal has of that.
fn kept(site: &Site, unit: u8) -> u64 {
    let cursor = site.report(counted(unit)).and_then(|report| report.cursor);
    cursor.map_or(0, |cursor| cursor.index.0)
}

fn dies(plug: Plug, seed: u64) {
    let units = [(LATCH, "inveo-rfid"), (SEQUENCE, "rfideas-tcp"), (RING, "ring")];
    let (reply, late) = (Duration::from_millis(60), Duration::from_millis(20));
    let mut site = Site::begin(Plan { seed, reply, late, ..Plan::new(plug, &units) });
    let mut random = Random::new(seed);
    let heard = |site: &Site| units.iter().map(|(unit, _)| site.requests(*unit)).sum::<u64>();
    let (mut swipes, mut number) = (0, 1);
    for death in 0..DEATHS {
        // A latch is shown a card only once it gave up the last one; now and then the same.
        let taken = site.told(shown(LATCH), What::CardTaken);
        if taken == swipes {
            number += random.below(3).min(1);
            site.unit(LATCH).swipe(1, card(number)).unwrap();
            swipes += 1;
        }
        site.unit(SEQUENCE).swipe(1, card(1_000 + death)).unwrap();
        // Never so many that some are overwritten before anybody has lived long enough to read them.
        let unread = newest(&site, RING) - kept(&site, RING);
        for swipe in 0..random.below(4).min(MOST_UNREAD.saturating_sub(unread)) {
            site.unit(RING).swipe(1, card(2_000 + death * 4 + swipe)).unwrap();
        }
        let upto = heard(&site) + 1 + random.below(16);
        site.wait("the gateway to ask", |site| heard(site) >= upto);
        site.end_gateway();
        site.start_gateway();
    }
    site.wait("the last card to be taken", |site| {
        site.told(shown(LATCH), What::CardTaken) == swipes
    });
    for (unit, _) in &units[1..] {
        let newest = newest(&site, *unit);
        site.wait(&format!("number {newest} of unit {unit}"), |site| kept(site, *unit) == newest);
    }
    let log = shown(LATCH);
    let cards = has_all_cards(&site.truth(log), &site.log(log));
    assert_eq!(cards.shown, swipes, "{plug:?}");
    assert!(cards.marked > 0, "it never died before a clearing: {cards:?}");
    let log = counted(SEQUENCE);
    let sequence = has_all_numbers(&site.truth(log), &site.log(log)).lives;
    assert_eq!(sequence.iter().map(|(kept, lost)| *kept as u64 + lost).sum::<u64>(), DEATHS);
    let log = counted(RING);
    let ring = has_all_numbers(&site.truth(log), &site.log(log)).lives;
    assert!(ring.iter().all(|(_, lost)| *lost == 0), "the ring had them all: {ring:?}");
    site.end();
}

#[test]
fn a_gateway_that_dies_again_and_again_on_a_serial_line_loses_no_card_and_says_what_may_be_twice() {
    dies(Plug::Pty, 1);
}

#[test]
fn a_gateway_that_dies_again_and_again_before_modbus_tcp_loses_no_card_and_says_what_may_be_twice()
{
    dies(Plug::Tcp, 2);
}

#[test]
fn a_gateway_that_dies_again_and_again_before_a_device_server_loses_no_card_and_says_what_may_be_twice()
 {
    dies(Plug::Server, 3);
}
