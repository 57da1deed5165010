//! What a returning server brings: once, by identity, before or after its gateway sends the same.

use postern_protocol::Kind;
use postern_protocol::transaction::version;
use postern_protocol::uplink::{Bytes, MAX_SEQ};

use super::super::apply::conflict_epoch;
use super::super::testing::{
    BOARD, EPOCH, JOURNAL, Journal, NOW, Node, assert_same, bytes, folder, note, record, record_of,
};
use super::*;

/// Everything that a store holds of its journals, as it would bring it.
fn brought(node: &Node) -> Returned {
    let entries = node.store.log_behind(0, usize::MAX).unwrap();
    let mut returned = Returned::default();
    for entry in entries {
        returned.lines.extend(entry.lines);
        returned.aliases.extend(entry.change.aliases);
        returned.audit.extend(entry.change.audit);
    }
    returned.journals = node
        .store
        .journals()
        .unwrap()
        .into_iter()
        .map(|item| ReturnedJournal {
            journal: item.journal,
            gateway: item.gateway,
            holds: Some((item.stored, item.holes)),
        })
        .collect();
    returned
}

struct Pair {
    folder: tempfile::TempDir,
    active: Node,
    deposed: Node,
}

fn pair() -> Pair {
    let folder = folder();
    let active = Node::new(folder.path(), "a", "a", 2);
    let deposed = Node::new(folder.path(), "b", "b", 1);
    Pair { folder, active, deposed }
}

impl Pair {
    fn merge(&mut self, returned: &Returned) -> Merged {
        self.active.store.merge(self.active.term, "b", returned, NOW).unwrap().unwrap().0
    }

    fn rows(&self) -> i64 {
        self.active.count("SELECT count(*) FROM transactions")
    }
}

fn holes(node: &Node) -> Vec<String> {
    node.rows("SELECT first, last FROM holes WHERE filled IS NULL ORDER BY id")
}

#[test]
fn what_is_brought_twice_is_stored_once_and_the_second_time_leaves_no_trace() {
    let mut pair = pair();
    let mut journal = Journal::of(&[record(1, 1), note(5, 1), record(2, 2)]);
    journal.push(vec![version::CURRENT + 1, 7]);
    let mut other = journal.named(8);
    other.push(bytes(&record(1, 0x66)));
    pair.deposed.send_all(&journal);
    pair.deposed.send_all(&other);
    let returned = brought(&pair.deposed);
    assert_eq!(pair.merge(&returned), Merged { stored: 6, doubles: 0, filled: 0 });
    let before = pair.active.content();
    assert_eq!(pair.merge(&returned), Merged { stored: 0, doubles: 6, filled: 0 });
    assert_eq!(pair.active.content(), before);
    // Whoever stands by has the same.
    let mut standby = Node::new(pair.folder.path(), "c", "c", 2);
    standby.follow(&pair.active, 300);
    assert_same(&standby, &pair.active);
}

/// Nor is it a double: every place of the journal is filled by what belongs there. It was counted as one, and
/// the journal's rows, doubles and holes came to more than it had.
#[test]
fn a_gateway_that_sends_what_was_brought_before_stores_nothing_twice() {
    let mut pair = pair();
    let mut journal = Journal::of(&[record(1, 1), note(5, 1), record(2, 2), note(5, 2)]);
    journal.push(vec![version::CURRENT + 1, 7]);
    pair.deposed.send_all(&journal);
    let returned = brought(&pair.deposed);
    pair.merge(&returned);
    let (watermark, outcome) = pair.active.send_all(&journal);
    assert_eq!((watermark.stored, outcome.stored, outcome.doubles), (Seq(5), 0, 0));
    assert_eq!(pair.rows(), 5);
}

/// Regression: nothing said whose a journal is that was brought ahead of its gateway, so that a note in
/// it was not known again once the gateway brought it by a new journal.
#[test]
fn a_gateway_that_lost_the_journal_that_was_brought_stores_no_note_twice() {
    let mut pair = pair();
    let journal = Journal::of(&[record(1, 1), note(5, 1)]);
    pair.deposed.send_all(&journal);
    pair.merge(&brought(&pair.deposed));
    let (_, outcome) = pair.active.send_all(&journal.named(9));
    assert_eq!((outcome.stored, outcome.doubles), (0, 2));
    let thief = Journal { gateway: "gate".into(), ..journal };
    let refused = pair.active.store.apply(&thief.delivery(1, 1, RoleTerm(2))).unwrap();
    assert!(refused.is_err(), "whose it is was brought with it");
}

#[test]
fn other_bytes_at_the_same_place_are_kept_beside_each_other() {
    for merged_first in [true, false] {
        let mut pair = pair();
        let common = [record(1, 1)];
        let (mut theirs, mut ours) = (Journal::of(&common), Journal::of(&common));
        for (journal, byte) in [(&mut theirs, 1), (&mut ours, 2)] {
            journal.push(bytes(&note(i64::from(byte), 1)));
            journal.push(vec![version::CURRENT + 1, byte]);
            journal.push(bytes(&record(u64::from(byte) + 1, byte)));
        }
        pair.deposed.send_all(&theirs);
        let returned = brought(&pair.deposed);
        if merged_first {
            pair.merge(&returned);
            pair.active.send_all(&ours);
        } else {
            pair.active.send_all(&ours);
            pair.merge(&returned);
        }
        assert_eq!(pair.rows(), 7, "one record is common, three are each one's own");
        let before = pair.active.content();
        assert_eq!(pair.merge(&returned).stored, 0);
        let (_, outcome) = pair.active.send(&ours, 2, 4);
        assert_eq!((outcome.stored, pair.active.content() == before), (0, true));
        let journals = pair.active.store.journals().unwrap();
        assert_eq!(journals.len(), 4, "each branch is a journal, and known");
        assert!(journals.iter().all(|item| item.gateway == "hall"));
    }
}

/// Regression: a branch's journal was nobody's, so that a server that brought a line of it first made
/// the controller its own, and the gateway was refused for ever.
#[test]
fn a_controller_never_comes_to_belong_to_a_server() {
    let mut pair = pair();
    pair.deposed.send_all(&Journal::of(&[record(1, 1)]));
    let returned = Returned { journals: Vec::new(), ..brought(&pair.deposed) };
    assert_eq!(pair.merge(&returned).stored, 1);
    assert_eq!(pair.active.count("SELECT count(*) FROM controllers"), 0);
    pair.active.send_all(&Journal::of(&[record(1, 1), record(2, 2)]));
    assert_eq!(pair.active.rows("SELECT gateway FROM controllers"), ["\"hall\" "]);
    assert_eq!(pair.rows(), 2);
}

/// Regression: a gateway that came after the server that held what it had forgotten was said to have a
/// hole, and nothing ever filled it.
#[test]
fn what_was_brought_before_its_gateway_came_is_no_hole() {
    for (brought_up_to, whole) in [(6, true), (5, false)] {
        let mut pair = pair();
        let journal = Journal::of(&(1..=9).map(|n| record(n, 1)).collect::<Vec<_>>());
        pair.active.send(&journal, 1, 2);
        pair.deposed.send(&journal, 1, brought_up_to);
        pair.merge(&brought(&pair.deposed));
        let late = Journal { oldest: 7, ..journal };
        let (watermark, outcome) = pair.active.send(&late, 7, 9);
        assert_eq!((watermark.stored, outcome.hole), (Seq(9), !whole));
        assert_eq!(holes(&pair.active).is_empty(), whole);
    }
}

#[test]
fn a_hole_is_filled_only_by_all_of_it() {
    let journal = Journal::of(&(1..=20).map(|n| record(n, 1)).collect::<Vec<_>>());
    let hole = |first: u64, last: u64| Hole { first: Seq(first), last: Seq(last) };
    for (stored, theirs, filled) in [
        (10, vec![], 1),
        (20, vec![], 1),
        (9, vec![], 0),
        (0, vec![], 0),
        (20, vec![hole(1, 4), hole(11, 12)], 1),
        (20, vec![hole(4, 5)], 0),
        (20, vec![hole(10, 11)], 0),
        (20, vec![hole(7, 7)], 0),
        (20, vec![hole(1, 20)], 0),
    ] {
        let mut pair = pair();
        pair.active.send(&journal, 1, 4);
        let late = Journal { oldest: 11, ..journal.clone() };
        assert!(pair.active.send(&late, 11, 15).1.hole);
        assert_eq!(holes(&pair.active), ["5 10 "]);
        pair.deposed.send(&journal, 1, 12);
        let mut returned = brought(&pair.deposed);
        for item in &mut returned.journals {
            item.holds = None;
        }
        assert_eq!(pair.merge(&returned).filled, 0, "not before all lines are there");
        let journals = vec![ReturnedJournal {
            journal: JOURNAL,
            gateway: "hall".into(),
            holds: Some((Seq(stored), theirs.clone())),
        }];
        let held = Returned { journals, ..Returned::default() };
        assert_eq!(pair.merge(&held).filled, filled, "{stored} {theirs:?}");
        assert_eq!(holes(&pair.active).len(), usize::from(filled == 0));
        let shown = pair.active.store.journals().unwrap().remove(0).holes;
        assert_eq!(shown.len(), usize::from(filled == 0), "what is filled is not missing");
        assert_eq!(pair.merge(&held).filled, 0, "once");
        assert_eq!(pair.rows(), 15);
    }
}

#[test]
fn lines_of_the_audit_log_come_once_and_keep_who_wrote_them() {
    let mut pair = pair();
    let audit = Audit::at(NOW, "operator", "role_forced", "b", "test");
    assert!(pair.deposed.store.record(RoleTerm(1), &audit).unwrap());
    let returned = brought(&pair.deposed);
    for _ in 0..2 {
        pair.merge(&returned);
        let lines = "SELECT server, event FROM audit WHERE position IS NOT NULL";
        assert_eq!(pair.active.rows(lines), ["\"b\" \"role_forced\" "]);
    }
}

#[test]
fn a_contradiction_is_kept_under_the_same_epoch_on_whichever_server_it_is_found() {
    let other = record(1, 0x66);
    let own = conflict_epoch(EPOCH, other.record_digest());
    for held_at_active in [true, false] {
        let mut pair = pair();
        pair.deposed.send_all(&Journal::of(&[record(1, 1)]));
        pair.deposed.send_all(&Journal::of(std::slice::from_ref(&other)).named(8));
        if held_at_active {
            pair.active.send_all(&Journal::of(&[record(1, 1)]));
        }
        pair.merge(&brought(&pair.deposed));
        let conflicts = "SELECT epoch FROM transactions WHERE flags = 'conflict'";
        let expected = u128::from_be_bytes(own.0);
        assert_eq!(pair.active.rows(conflicts), [format!("{expected:032x} ")]);
        assert_eq!(pair.rows(), 2);
    }
}

/// Regression: a record that contradicts says nothing of what its provisional epoch was found to be.
/// Brought before any other of that epoch it fixed the epoch as it stood, and all that came after it
/// was stored a second time.
#[test]
fn what_an_epoch_was_found_to_be_is_brought_before_its_records() {
    let mut pair = pair();
    let provisional = EpochId([2; 16]);
    let first = Journal::of(&[record(1, 1), record(2, 2)]);
    let mut again = Journal::new(JournalId([8; 16]), "hall");
    again.epochs = vec![EpochAlias { controller: BOARD, provisional, epoch: EPOCH }];
    for (index, byte) in [(1, 0x66), (2, 2), (3, 3)] {
        again.push(bytes(&record_of(BOARD, provisional, index, byte)));
    }
    pair.active.send_all(&first);
    pair.deposed.send_all(&first);
    pair.deposed.send(&again, 1, 1);
    pair.merge(&brought(&pair.deposed));
    let (_, outcome) = pair.active.send_all(&again);
    assert_eq!((outcome.stored, outcome.doubles), (1, 1));
    assert_eq!(pair.rows(), 4);
    let alarms = "SELECT count(*) FROM audit WHERE event = 'alias_contradicted'";
    assert_eq!(pair.active.count(alarms), 0);
}

/// Regression: each line, and each time it was brought, left an alarm.
#[test]
fn two_opinions_on_an_epoch_are_told_once() {
    let mut pair = pair();
    let provisional = EpochId([2; 16]);
    let journal = |epoch: u8, id: u8| {
        let mut journal = Journal::new(JournalId([id; 16]), "hall");
        let epoch = EpochId([epoch; 16]);
        journal.epochs = vec![EpochAlias { controller: BOARD, provisional, epoch }];
        for index in 1..=9 {
            journal.push(bytes(&record_of(BOARD, provisional, index, 1)));
        }
        journal
    };
    pair.active.send_all(&journal(0xa1, 8));
    pair.deposed.send_all(&journal(0xb1, 8));
    for _ in 0..3 {
        assert_eq!(pair.merge(&brought(&pair.deposed)).stored, 0, "it stays as it is here");
    }
    let alarms = "SELECT count(*) FROM audit WHERE event = 'alias_contradicted'";
    assert_eq!(pair.active.count(alarms), 1);
}

#[test]
fn nothing_is_merged_under_another_role_term_or_during_a_pause() {
    let mut pair = pair();
    pair.deposed.send_all(&Journal::of(&[record(1, 1)]));
    let returned = brought(&pair.deposed);
    let store = &mut pair.active.store;
    assert_eq!(store.merge(RoleTerm(1), "b", &returned, NOW).unwrap(), Err(NotApplied::Fenced));
    assert_eq!(store.merge(RoleTerm(3), "b", &returned, NOW).unwrap(), Err(NotApplied::Fenced));
    assert_eq!(pair.active.head(), Head::genesis());
}

/// Invariant 10: nothing that a peer brings stops the store, now or when it is read.
#[test]
fn what_cannot_be_is_refused_whole() {
    const ABSURD: u64 = u64::MAX;
    let mut pair = pair();
    let journal = Journal::of(&(1..=9).map(|n| record(n, 1)).collect::<Vec<_>>());
    pair.deposed.send_all(&journal);
    let good = brought(&pair.deposed);
    let mut bad: Vec<(&str, Returned)> = Vec::new();
    let mut with = |what, change: &dyn Fn(&mut Returned)| {
        let mut returned = good.clone();
        change(&mut returned);
        bad.push((what, returned));
    };
    with("seq 0", &|returned| returned.lines[3].seq = Seq(0));
    with("an absurd seq", &|returned| returned.lines[3].seq = Seq(ABSURD));
    with("a negative seq", &|returned| returned.lines[3].seq = MAX_SEQ.next());
    with("an absurd term", &|returned| returned.lines[3].role_term = RoleTerm(ABSURD));
    with("an absurd row", &|returned| returned.lines[3].id = ABSURD);
    with("no JSON", &|returned| returned.lines[3].kind = "{".into());
    with("an empty entry", &|returned| returned.lines[3].entry = Bytes(Vec::new()));
    with("a long entry", &|returned| returned.lines[3].entry = Bytes(vec![1; 300]));
    with("absurd stored", &|returned| returned.journals[0].holds = Some((Seq(ABSURD), Vec::new())));
    for (first, last) in [(0, 1), (2, 1), (1, ABSURD), (ABSURD, ABSURD)] {
        with("an absurd hole", &|returned| {
            let hole = Hole { first: Seq(first), last: Seq(last) };
            returned.journals[0].holds = Some((Seq(9), vec![hole]));
        });
    }
    with("too many lines", &|returned| {
        let line = returned.lines[0].clone();
        let seqs = 1..=u64::try_from(MAX_LINES).unwrap() + 1;
        returned.lines = seqs.map(|seq| Line { seq: Seq(seq), ..line.clone() }).collect();
    });
    with("too many journals", &|returned| {
        returned.journals = vec![returned.journals[0].clone(); MAX_BROUGHT + 1];
    });
    with("too many aliases", &|returned| {
        returned.aliases = vec![returned.aliases[0]; MAX_BROUGHT + 1];
    });
    for (what, returned) in &bad {
        let merged = pair.active.store.merge(RoleTerm(2), "b", returned, NOW);
        assert!(matches!(merged, Ok(Err(NotApplied::Absurd(_)))), "{what}: {merged:?}");
        assert_eq!(pair.active.head(), Head::genesis(), "{what}");
    }
    assert_eq!(pair.merge(&good).stored, 9);
}

/// What a line says beside its entry is not believed where it can be known from the entry.
#[test]
fn a_line_that_lies_about_its_entry_is_stored_as_its_entry_is() {
    let mut pair = pair();
    pair.deposed.send_all(&Journal::of(&[record(1, 1), record(2, 2)]));
    let mut returned = brought(&pair.deposed);
    let lie = &mut returned.lines[0];
    lie.kind = "\"alarm\"".into();
    lie.flags = "conflict".into();
    lie.stored_at = Timestamp(i64::MIN);
    lie.id = 77;
    returned.lines[1].stored_at = Timestamp(i64::MAX);
    pair.merge(&returned);
    let items = pair.active.store.transactions(0, 10, None).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].kind, serde_json::to_value(Kind::Granted).unwrap());
    assert!(items[0].flags.is_empty() && items[0].stored_at.is_none());
    assert_eq!((items[0].rowid, items[0].epoch), (1, Some(EPOCH)));
}
