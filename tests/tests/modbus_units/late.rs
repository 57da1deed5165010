//! RTU has nothing that says which request an answer is to: whoever is late must not be taken for somebody else, nor for
//! himself at another question.

use std::time::Duration;

use postern_protocol::transaction::{Credential, Door};
use postern_protocol::{Kind, Transaction};
use postern_sim::ledger::What;
use postern_sim::modbus::UnitFaults;

use super::rig::{Plan, Plug, Site, shown};
use super::truth::has_all_cards;
use super::{card, show};

const REPLY: Duration = Duration::from_millis(60);
const LATE: Duration = Duration::from_millis(80);

fn plan(plug: Plug, units: &[(u8, &'static str)]) -> Plan {
    Plan { reply: REPLY, late: LATE, ..Plan::new(plug, units) }
}

/// Behind the time-out, and before the last moment at which an answer may come.
fn late(probability: f64, ms: u64) -> UnitFaults {
    assert!((60..140).contains(&ms));
    UnitFaults { late: probability, late_ms: ms, ..UnitFaults::default() }
}

/// Which door each card was read at.
fn cards(entries: &[Transaction]) -> Vec<(u64, u8)> {
    let read = |entry: &Transaction| match (entry.kind, entry.credential, entry.door) {
        (Kind::CardRead { .. }, Some(Credential(card)), Some(Door(door))) => Some((card, door)),
        _ => None,
    };
    entries.iter().filter_map(read).collect()
}

over_each!(Pty: on_a_serial_line, Server: behind_a_device_server; [
    a_unit_that_is_always_late_is_never_taken_for_its_neighbour,
    a_late_answer_is_not_taken_for_that_to_another_question,
]);

fn a_unit_that_is_always_late_is_never_taken_for_its_neighbour(plug: Plug) {
    let site = Site::begin(plan(plug, &[(21, "words"), (22, "words")]));
    for unit in [21, 22] {
        site.asked(unit, 4);
    }
    for (taken, number, late_ms) in [(1, 1, 65), (2, 2, 90), (3, 3, 120)] {
        site.unit(21).set_faults(late(1.0, late_ms)).unwrap();
        site.unit(21).swipe(1, card(100 + number)).unwrap();
        // The neighbour has the same registers with other values, and a card at the other reader.
        show(&site, 22, 2, card(200 + number));
        site.asked(21, 2);
        show(&site, 22, 2, card(300 + number));
        site.unit(21).set_faults(UnitFaults::default()).unwrap();
        site.wait("the late one's card", |site| {
            cards(&site.log(shown(21))).contains(&(card(100 + number), 1))
        });
        site.wait("it to be taken", |site| site.told(shown(21), What::CardTaken) == taken);
    }
    let unexpected = site.counters(shown(21)).unexpected + site.counters(shown(22)).unexpected;
    assert!(unexpected > 0, "nothing came late");
    for unit in [21, 22] {
        let (lines, entries) = (site.truth(shown(unit)), site.log(shown(unit)));
        let door = unit - 20;
        assert!(cards(&entries).iter().all(|(_, at)| *at == door), "unit {unit}: {entries:?}");
        has_all_cards(&lines, &entries);
    }
    site.end();
}

/// Its two readers have blocks of one shape: an answer of one that is late looks like an answer of the other.
fn a_late_answer_is_not_taken_for_that_to_another_question(plug: Plug) {
    let site = Site::begin(plan(plug, &[(21, "words")]));
    let log = shown(21);
    // What stands in the registers of each, whatever comes.
    show(&site, 21, 1, card(100));
    show(&site, 21, 2, card(200));
    for number in 1..=6 {
        site.unit(21).set_faults(late(0.3, 65 + number * 11)).unwrap();
        show(&site, 21, 1, card(100 + number));
        show(&site, 21, 2, card(200 + number));
    }
    site.unit(21).set_faults(UnitFaults::default()).unwrap();
    show(&site, 21, 1, card(107));
    let entries = site.log(log);
    assert!(site.counters(log).unexpected > 0, "nothing came late");
    let wrong = cards(&entries)
        .into_iter()
        .find(|(number, door)| *door != if *number < card(200) { 1 } else { 2 });
    assert_eq!(wrong, None, "{plug:?}: {entries:?}");
    assert_eq!(has_all_cards(&site.truth(log), &entries).shown, 15);
    site.end();
}
