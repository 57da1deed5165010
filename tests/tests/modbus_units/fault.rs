//! Units that misbehave, each in one way, and all ways at once: whatever they do, no card is made up, none is lost, and
//! what they did is counted by its name.

use std::time::Duration;

use postern_gateway::driver::LineCounters;
use postern_protocol::transaction::Credential;
use postern_protocol::{Kind, Transaction};
use postern_sim::host::line::Disturbance;
use postern_sim::line::Noise;
use postern_sim::modbus::UnitFaults;

use super::rig::{Plan, Plug, Site, counted, shown};
use super::truth::{has_all_cards, has_all_numbers};
use super::{card, show};

/// A latch, a counter beside a card, a ring; all three on one line.
const LATCH: u8 = 11;
const SEQUENCE: u8 = 12;
const RING: u8 = 14;
const UNITS: [(u8, &str); 3] = [(LATCH, "inveo-rfid"), (SEQUENCE, "rfideas-tcp"), (RING, "ring")];

/// How many cards are shown to each.
const CARDS: u64 = 5;

fn plan(plug: Plug) -> Plan {
    // What is lost costs both of these.
    let (reply, late) = (Duration::from_millis(60), Duration::from_millis(80));
    Plan { reply, late, ..Plan::new(plug, &UNITS) }
}

/// All units misbehave like this from now on.
fn misbehave(site: &Site, faults: UnitFaults) {
    for (unit, _) in UNITS {
        site.unit(unit).set_faults(faults).unwrap();
    }
}

/// Of all units' logs together.
fn counters(site: &Site) -> LineCounters {
    let of = [shown(LATCH), counted(SEQUENCE), counted(RING)].map(|log| site.counters(log));
    let sum = |counter: fn(&LineCounters) -> u64| of.iter().map(counter).sum();
    LineCounters {
        requests: sum(|each| each.requests),
        replies: sum(|each| each.replies),
        timeouts: sum(|each| each.timeouts),
        line_errors: sum(|each| each.line_errors),
        bad_length: sum(|each| each.bad_length),
        bad_start: sum(|each| each.bad_start),
        foreign: sum(|each| each.foreign),
        unexpected: sum(|each| each.unexpected),
        repeats: sum(|each| each.repeats),
        broken: sum(|each| each.broken),
        exceptions: sum(|each| each.exceptions),
        unreadable: sum(|each| each.unreadable),
        nonsense: sum(|each| each.nonsense),
        ..LineCounters::default()
    }
}

/// Cards are shown, each once the one before was kept.
fn swipe(site: &Site, numbers: std::ops::Range<u64>) {
    for number in numbers {
        for unit in [SEQUENCE, RING] {
            let before = site.log(counted(unit)).len();
            site.unit(unit).swipe(1, card(number)).unwrap();
            site.kept(counted(unit), before + 1);
        }
        // The same card twice in a row, at times.
        show(site, LATCH, 1, card(number - number % 3 / 2));
    }
}

/// What the journal has is what was shown.
fn is_true(site: &Site, cards: u64) {
    let cards = usize::try_from(cards).unwrap();
    let log = shown(LATCH);
    assert_eq!(has_all_cards(&site.truth(log), &site.log(log)).shown, cards);
    for unit in [SEQUENCE, RING] {
        let log = counted(unit);
        assert_eq!(has_all_numbers(&site.truth(log), &site.log(log)).lives, [(cards, 0)]);
    }
}

/// Cards are shown while all units misbehave, until that is counted by its name, and a few more when they behave again.
/// All that was counted.
fn over(plug: Plug, faults: UnitFaults, is_named: fn(&LineCounters) -> bool) -> LineCounters {
    let site = Site::begin(plan(plug));
    for (unit, _) in UNITS {
        site.asked(unit, 2);
    }
    misbehave(&site, faults);
    swipe(&site, 1..CARDS + 1);
    site.wait("that to be counted", |site| is_named(&counters(site)));
    misbehave(&site, UnitFaults::default());
    swipe(&site, 101..103);
    is_true(&site, CARDS + 2);
    let counters = counters(&site);
    site.end();
    counters
}

/// Not seldom, and not so often that a look of several requests never comes through.
const OFTEN: f64 = 0.25;

/// What is not asked again at once ends a look, and looks that end so come less and less often.
const SELDOM: f64 = 0.08;

over_each!(Pty: on_a_serial_line, Tcp: behind_modbus_tcp; [
    a_unit_that_says_nothing_at_times_loses_and_doubles_no_card,
    a_unit_that_hears_nothing_at_times_loses_and_doubles_no_card,
    a_unit_that_answers_late_at_times_is_never_taken_at_the_wrong_word,
    a_unit_that_refuses_at_times_is_asked_again,
    an_answer_in_another_units_name_is_not_believed,
    an_answer_that_ends_too_early_is_not_believed,
    an_answer_that_goes_on_for_too_long_is_not_believed,
    an_answer_with_more_than_was_asked_for_is_not_believed,
    a_zero_byte_before_an_answer_changes_no_card,
    garbage_instead_of_an_answer_is_not_believed,
    a_connection_that_is_closed_at_times_is_opened_again,
    units_that_misbehave_in_all_ways_at_once_lose_and_double_no_card,
    random_values_are_kept_as_what_was_read_and_hide_no_card,
    a_counter_that_is_wrong_once_is_asked_again_and_nothing_follows_from_it,
]);

fn a_unit_that_says_nothing_at_times_loses_and_doubles_no_card(plug: Plug) {
    let faults = UnitFaults { silent: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.timeouts > 0 && counted.repeats > 0);
}

fn a_unit_that_hears_nothing_at_times_loses_and_doubles_no_card(plug: Plug) {
    let faults = UnitFaults { deaf: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.timeouts > 0 && counted.repeats > 0);
}

fn a_unit_that_answers_late_at_times_is_never_taken_at_the_wrong_word(plug: Plug) {
    let faults = UnitFaults { late: OFTEN, late_ms: 95, ..UnitFaults::default() };
    if plug == Plug::Pty {
        over(plug, faults, |counted| counted.timeouts > 0 && counted.unexpected > 0);
    } else {
        // It comes over a connection that was given up.
        let counters = over(plug, faults, |counted| counted.timeouts > 0);
        assert_eq!(counters.unexpected, 0, "{counters:?}");
    }
}

fn a_unit_that_refuses_at_times_is_asked_again(plug: Plug) {
    let faults = UnitFaults { exception: SELDOM, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.exceptions > 0);
}

fn an_answer_in_another_units_name_is_not_believed(plug: Plug) {
    let faults = UnitFaults { wrong_unit: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.foreign > 0);
}

/// Behind TCP the library finds no answer in it at all.
fn an_answer_that_ends_too_early_is_not_believed(plug: Plug) {
    let faults = UnitFaults { short: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.bad_length + counted.broken > 0);
}

fn an_answer_that_goes_on_for_too_long_is_not_believed(plug: Plug) {
    let faults = UnitFaults { long: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.bad_length + counted.broken > 0);
}

fn an_answer_with_more_than_was_asked_for_is_not_believed(plug: Plug) {
    let faults = UnitFaults { other_count: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| counted.bad_length > 0);
}

/// On a serial line nothing is lost by it. Behind TCP it spoils the header, and with it the connection.
fn a_zero_byte_before_an_answer_changes_no_card(plug: Plug) {
    if plug == Plug::Pty {
        let faults = UnitFaults { zero: 1.0, ..UnitFaults::default() };
        over(plug, faults, |counted| counted.bad_start > 0);
    } else {
        let faults = UnitFaults { zero: OFTEN, ..UnitFaults::default() };
        over(plug, faults, |counted| counted.replies + 5 < counted.requests);
    }
}

fn garbage_instead_of_an_answer_is_not_believed(plug: Plug) {
    let faults = UnitFaults { garbage: OFTEN, ..UnitFaults::default() };
    over(plug, faults, |counted| {
        let LineCounters { broken, timeouts, bad_start, line_errors, .. } = *counted;
        broken + timeouts + bad_start + line_errors > 0
    });
}

/// Without a connection it is silence.
fn a_connection_that_is_closed_at_times_is_opened_again(plug: Plug) {
    let faults = UnitFaults { hang_up: SELDOM, ..UnitFaults::default() };
    if plug == Plug::Tcp {
        over(plug, faults, |counted| counted.line_errors > 0);
    } else {
        over(plug, faults, |counted| counted.timeouts > 0);
    }
}

/// What misbehaves in all ways at once, each seldom.
const MIXED: UnitFaults = UnitFaults {
    requests: None,
    deaf: 0.02,
    silent: 0.03,
    late: 0.04,
    late_ms: 95,
    exception: 0.05,
    exception_code: 0,
    wrong_unit: 0.04,
    short: 0.04,
    long: 0.04,
    other_count: 0.04,
    zero: 0.04,
    garbage: 0.04,
    hang_up: 0.03,
    nonsense: 0.0,
};

fn units_that_misbehave_in_all_ways_at_once_lose_and_double_no_card(plug: Plug) {
    over(plug, MIXED, |counted| counted.replies + 5 < counted.requests);
}

#[test]
fn noise_on_a_serial_line_changes_no_card() {
    let site = Site::begin(plan(Plug::Pty));
    let line = &site.sim().lines()["line"];
    // Few bits of a frame, each of which its checksum shows.
    let noise = Noise { bit_error_rate: 5e-4, ..Noise::default() };
    let quiet = line.disturbance();
    line.disturb(Disturbance { noise, ..quiet.clone() }).unwrap();
    swipe(&site, 1..11);
    site.wait("some damage", |site| {
        let counters = counters(site);
        counters.broken + counters.timeouts > 0
    });
    line.disturb(quiet).unwrap();
    swipe(&site, 101..103);
    is_true(&site, 12);
    site.end();
}

/// The card of an entry is what its registers say, and nothing else: what the wire said is the evidence.
fn is_by_its_registers(entry: &Transaction) {
    let registers = entry.raw.as_slice().last_chunk::<10>().unwrap();
    let wide = registers.iter().fold(0_u128, |wide, byte| wide << 8 | u128::from(*byte));
    if matches!(entry.kind, Kind::CardRead { .. }) {
        assert_eq!(entry.credential.map(|Credential(card)| u128::from(card)), Some(wide));
    } else {
        // Longer than any card's number.
        assert_eq!(entry.kind, Kind::Other { code: 0x102 });
        assert!(wide > u128::from(u64::MAX) && entry.credential.is_none(), "{entry:?}");
    }
}

/// Answers that are in order and whose values are random: nobody can tell. What a latch then shows is kept as it was read,
/// and whatever follows from the lie, no card that is really there is lost.
fn random_values_are_kept_as_what_was_read_and_hide_no_card(plug: Plug) {
    let site = Site::begin(plan(plug));
    let log = shown(LATCH);
    let mut cards = Vec::new();
    for number in 1..=20 {
        let nonsense = UnitFaults { nonsense: 1.0, requests: Some(1), ..UnitFaults::default() };
        let before = site.log(log).len();
        site.unit(LATCH).set_faults(nonsense).unwrap();
        if number % 2 == 0 {
            site.asked(LATCH, 3);
        }
        show(&site, LATCH, 1, card(number));
        cards.push(card(number));
        site.kept(log, before + 1);
    }
    let entries = site.log(log);
    let of_cards =
        |entry: &&Transaction| matches!(entry.kind, Kind::CardRead { .. } | Kind::Other { .. });
    entries.iter().filter(of_cards).for_each(is_by_its_registers);
    // All that were shown, in order, whatever is in between.
    let mut kept = entries.iter().filter_map(|entry| entry.credential);
    for card in cards {
        assert!(kept.any(|kept| kept == Credential(card)), "{plug:?}: {card} is not there");
    }
    site.end();
}

/// A counter that makes no sense once ends no life of the log and makes no gap: it is asked again.
fn a_counter_that_is_wrong_once_is_asked_again_and_nothing_follows_from_it(plug: Plug) {
    let site = Site::begin(plan(plug));
    swipe(&site, 1..3);
    for number in 3..15 {
        for unit in [SEQUENCE, RING] {
            let nonsense = UnitFaults { nonsense: 1.0, requests: Some(1), ..UnitFaults::default() };
            site.unit(unit).set_faults(nonsense).unwrap();
            site.asked(unit, 3);
        }
        swipe(&site, number..number + 1);
    }
    is_true(&site, 14);
    site.end();
}
