//! The log's edges: where it begins, ends, and is cut off.

use super::super::testing::{BOARD, Journal, NOW, Node, folder, record};
use super::super::{NotApplied, Reassignment, Refused, Returned, Unowned};
use super::*;

fn filled(node: &mut Node, entries: u64) {
    let journal = Journal::of(&(1..=entries).map(|n| record(n, 1)).collect::<Vec<_>>());
    for seq in 1..=entries {
        node.send(&journal, seq, seq);
    }
}

#[test]
fn each_commit_that_changes_something_is_one_entry_and_others_are_none() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    assert_eq!(node.head(), Head::genesis());
    let journal = Journal::of(&[record(1, 1), record(2, 2)]);
    for (first, last, position) in [(1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 2)] {
        node.send(&journal, first, last);
        assert_eq!(node.head().position, position);
    }
    node.reign(RoleTerm(4));
    assert_eq!(node.head().role_term, RoleTerm(1));
    let audit = Audit::at(NOW, "x", "y", "z", "");
    assert!(!node.store.record(RoleTerm(1), &audit).unwrap(), "not under an earlier role term");
    assert_eq!(node.head().position, 2);
    assert!(node.store.record(RoleTerm(4), &audit).unwrap());
    assert_eq!((node.head().position, node.head().role_term), (3, RoleTerm(4)));
    assert_eq!(node.count("SELECT count(*) FROM audit WHERE position = 3"), 1);
}

#[test]
fn nothing_comes_to_the_log_during_a_pause() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    let journal = Journal::of(&[record(1, 1), record(2, 2)]);
    node.send(&journal, 1, 1);
    let before = node.content();
    node.store.pause(Some(tokio::time::Instant::now() + std::time::Duration::from_hours(1)));
    let audit = Audit::at(NOW, "x", "y", "z", "");
    assert!(!node.store.record(RoleTerm(1), &audit).unwrap());
    let refused = node.store.apply(&journal.delivery(2, 2, RoleTerm(1))).unwrap();
    assert_eq!(refused, Err(Refused::Paused));
    let order = Reassignment {
        controller: BOARD,
        to: "gate".into(),
        acting: RoleTerm(1),
        by: "operator".into(),
        now: NOW,
    };
    assert_eq!(node.store.reassign(&order).unwrap(), Err(Unowned::Fenced));
    let merged = node.store.merge(RoleTerm(1), "b", &Returned::default(), NOW);
    assert_eq!(merged.unwrap(), Err(NotApplied::Fenced));
    node.store.alarm(RoleTerm(1), &audit).unwrap();
    assert_eq!(node.content(), before, "an alarm is kept as this server's own");
    assert_eq!(node.count("SELECT count(*) FROM audit WHERE event = 'y'"), 1);
    node.store.pause(None);
    node.send(&journal, 2, 2);
    assert_eq!(node.head().position, 2);
}

#[test]
fn the_log_at_each_position() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    assert_eq!(node.store.head_at(0).unwrap(), Ok(Head::genesis()));
    assert_eq!(node.store.head_at(1).unwrap(), Err(NoPage::Beyond));
    filled(&mut node, 5);
    let heads: Vec<Head> = (0..=5).map(|at| node.store.head_at(at).unwrap().unwrap()).collect();
    assert_eq!((heads[0], heads[5]), (Head::genesis(), node.head()));
    assert!(heads.windows(2).all(|pair| {
        pair[0].position + 1 == pair[1].position && pair[0].chain != pair[1].chain
    }));
    for beyond in [6, i64::MAX.cast_unsigned(), u64::MAX] {
        assert_eq!(node.store.head_at(beyond).unwrap(), Err(NoPage::Beyond));
    }
    node.cut(2);
    for (at, expected) in [(0, Err(NoPage::TooOld)), (1, Err(NoPage::TooOld))] {
        assert_eq!(node.store.head_at(at).unwrap(), expected);
    }
    assert_eq!(node.store.head_at(2).unwrap(), Err(NoPage::TooOld), "its chain is gone");
    for at in 3..=5 {
        assert_eq!(node.store.head_at(at).unwrap(), Ok(heads[usize::try_from(at).unwrap()]));
    }
}

#[test]
fn a_page_continues_only_the_log_that_is_asked_about() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    filled(&mut node, 5);
    let third = node.store.head_at(3).unwrap().unwrap();
    let page = node.store.log_page(&third, usize::MAX).unwrap().unwrap();
    assert_eq!(page.iter().map(|entry| entry.head.position).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(node.store.log_page(&third, 1).unwrap().unwrap().len(), 1, "one in any case");
    assert_eq!(node.store.log_page(&third, 0).unwrap().unwrap().len(), 0);
    assert_eq!(node.store.log_page(&node.head(), 1).unwrap().unwrap(), []);
    let chain = postern_protocol::Digest([9; 32]);
    for differs in [Head { chain, ..third }, Head { role_term: RoleTerm(9), ..third }] {
        assert_eq!(node.store.log_page(&differs, 1).unwrap(), Err(NoPage::Differs));
    }
    let beyond = Head { position: 6, ..node.head() };
    assert_eq!(node.store.log_page(&beyond, 1).unwrap(), Err(NoPage::Beyond));
    node.cut(3);
    assert_eq!(node.store.log_page(&third, 1).unwrap(), Err(NoPage::TooOld));
    assert_eq!(node.store.log_page(&Head::genesis(), 1).unwrap(), Err(NoPage::TooOld));
}

#[test]
fn the_log_keeps_its_newest_entries() {
    assert_eq!(up_to(TRIM_EVERY), None);
    assert_eq!(up_to(KEPT), None, "there is nothing below");
    let first = (KEPT + 1).next_multiple_of(TRIM_EVERY);
    assert_eq!(up_to(first - 1), None);
    assert_eq!(up_to(first), Some(first - KEPT));
    assert_eq!(up_to(first + 1), None);
    assert_eq!(up_to(first + TRIM_EVERY), Some(first + TRIM_EVERY - KEPT));
}
