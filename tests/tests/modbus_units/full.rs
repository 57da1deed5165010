//! A journal that is full for a while: what a latch shows stays there, and what was read and could not be kept comes later.

use postern_gateway::collector::Stage;
use postern_gateway::journal::{Append, Cursor, EpochRecord};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Seq, Timestamp, Transaction};
use postern_sim::ledger::What;

use super::rig::{Plan, Plug, Site, counted, shown};
use super::truth::{has_all_cards, has_all_numbers, is_all};
use super::{card, show};

/// The smallest that there is.
const ENTRIES: u64 = 1_000;

/// Somebody else fills the journal, so that there is no room for anything more. `filled` counts his entries.
fn fill(site: &Site, filled: &mut u64) {
    let unsafe_entries = site.journal().state().borrow().unsafe_entries();
    let (controller, epoch) = (ControllerId::uhppote(1), EpochId([7; 16]));
    let entry = |index| {
        let origin = Origin::Controller { controller, epoch, index: Index(index) };
        Transaction::noted(origin, Kind::Granted, Timestamp(0))
    };
    let last = *filled + ENTRIES - unsafe_entries;
    let transactions: Vec<_> = (*filled + 1..=last).map(entry).collect();
    let anchor = entry(last).record_digest();
    let opens = EpochRecord { epoch, controller, predecessor: None, known_as: Some(epoch) };
    let append = Append {
        controller,
        transactions,
        cursor: Cursor { epoch, index: Index(last), anchor },
        opens: (*filled == 0).then_some(opens),
        drops_held: None,
    };
    site.append(append);
    *filled = last;
}

/// A server has everything by now.
fn deliver(site: &Site) {
    let head = site.journal().state().borrow().head.seq;
    // What it has is read before it is given up.
    site.log(shown(11));
    site.journal().raise_safe(head);
    site.wait("room in the journal", |site| {
        let state = site.journal().state();
        let state = state.borrow();
        state.ring.full.is_none() && state.safe() >= Seq(head.0.min(state.head.seq.0))
    });
}

fn pauses(site: &Site, log: ControllerId) {
    site.wait(&format!("{log} to pause"), |site| {
        site.report(log).is_some_and(|report| report.stage == Stage::Paused)
    });
}

#[test]
fn while_the_journal_is_full_a_latch_keeps_its_card_and_what_was_seen_is_kept_later_and_once() {
    for plug in [Plug::Pty, Plug::Tcp] {
        let units = [(11, "inveo-rfid"), (12, "rfideas-tcp"), (14, "ring")];
        let site = Site::begin(Plan { entries: ENTRIES, ..Plan::new(plug, &units) });
        let (latch, sequence, ring) = (shown(11), counted(12), counted(14));
        let mut filled = 0;
        site.kept(latch, 1);
        show(&site, 11, 1, card(1));

        // A card: it is read, and stays where it is.
        fill(&site, &mut filled);
        let taken = site.told(latch, What::CardTaken);
        site.unit(11).swipe(1, card(2)).unwrap();
        pauses(&site, latch);
        assert_eq!(site.told(latch, What::CardTaken), taken, "it was cleared before it was kept");
        deliver(&site);
        site.wait("the card to be taken", |site| site.told(latch, What::CardTaken) > taken);

        // Whoever counts has another card by then.
        for (unit, log) in [(12, sequence), (14, ring)] {
            fill(&site, &mut filled);
            site.unit(unit).swipe(1, card(1)).unwrap();
            pauses(&site, log);
            site.unit(unit).swipe(1, card(2)).unwrap();
            deliver(&site);
            site.kept(log, 2);
        }

        // A door: it is seen to open, and closed while nobody looks.
        fill(&site, &mut filled);
        site.unit(11).open_door(1, true).unwrap();
        pauses(&site, latch);
        site.unit(11).open_door(1, false).unwrap();
        deliver(&site);
        site.wait("the door to be closed", |site| {
            site.log(latch).last().is_some_and(|entry| entry.kind == Kind::DoorClosed)
        });
        show(&site, 11, 1, card(3));
        let (lines, entries) = (site.truth(latch), site.log(latch));
        is_all(&lines, &entries, true);
        assert_eq!(has_all_cards(&lines, &entries).marked, 0);
        for log in [sequence, ring] {
            let numbers = has_all_numbers(&site.truth(log), &site.log(log));
            assert_eq!(numbers.lives, [(2, 0)], "{plug:?} {log}");
        }
        site.end();
    }
}
