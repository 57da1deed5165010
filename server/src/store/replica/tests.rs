//! The other server's log: applied as it stands, refused whole where it is not what it was, and taken
//! back without a trace.

use postern_protocol::transaction::{Gap, ResetCause, version};
use postern_protocol::uplink::EpochAlias;
use postern_protocol::{Digest, EpochId, Index, JournalId, Kind, Seq, Timestamp};

use super::super::change::{AuditLine, Line};
use super::super::testing::{
    BOARD, Content, EPOCH, JOURNAL, Journal, NOW, Node, assert_same, bytes, folder, note, note_of,
    record, record_of,
};
use super::super::{Audit, Reassignment, Returned, ReturnedJournal};
use super::*;

/// A store into which every kind of change came, one commit each; with what it held before each.
#[expect(clippy::too_many_lines, reason = "one step for each kind")]
pub(super) fn every_kind(folder: &std::path::Path) -> (Node, Vec<Content>) {
    let mut node = Node::new(folder, "a", "a", 1);
    let mut held = Vec::new();
    let mut step = |node: &mut Node, change: &mut dyn FnMut(&mut Node)| {
        held.push(node.content());
        change(node);
        let position = u64::try_from(held.len()).unwrap();
        assert_eq!(node.head().position, position, "each step is one entry");
    };
    let (provisional, second) = (EpochId([2; 16]), EpochId([0xe2; 16]));
    let mut journal = Journal::of(&[record(1, 1), record(2, 2)]);
    // A new journal, controller and epoch.
    step(&mut node, &mut |node| _ = node.send(&journal, 1, 1));
    step(&mut node, &mut |node| _ = node.send(&journal, 2, 2));
    // An alias, a restart, a gap, a note.
    journal.epochs = vec![EpochAlias { controller: BOARD, provisional, epoch: EPOCH }];
    let restart = Kind::ControllerReset(ResetCause::LogRestarted { predecessor: provisional });
    for transaction in [
        record_of(BOARD, provisional, 3, 3),
        note_of(BOARD, second, restart, 0, 0),
        record_of(BOARD, second, 1, 1),
        note(5, 3),
    ] {
        journal.push(bytes(&transaction));
    }
    step(&mut node, &mut |node| _ = node.send(&journal, 3, 6));
    // A conflict and something unreadable.
    let mut other = journal.named(8);
    other.push(bytes(&record(1, 0x66)));
    other.push(vec![version::CURRENT + 1, 1, 2, 3]);
    step(&mut node, &mut |node| {
        let (_, outcome) = node.send_all(&other);
        assert_eq!((outcome.conflicts, outcome.unreadable, outcome.doubles), (1, 1, 6));
    });
    // A hole, and what fills it.
    for index in 4..=9 {
        journal.push(bytes(&record(index, 1)));
    }
    journal.oldest = 9;
    step(&mut node, &mut |node| assert!(node.send(&journal, 9, 10).1.hole));
    let filling = Returned {
        lines: lines_of(&journal, 7, 8),
        journals: vec![ReturnedJournal {
            journal: JOURNAL,
            gateway: "hall".into(),
            holds: Some((Seq(8), Vec::new())),
        }],
        ..Returned::default()
    };
    step(&mut node, &mut |node| {
        let (merged, _) = node.store.merge(node.term, "b", &filling, NOW).unwrap().unwrap();
        assert_eq!((merged.stored, merged.filled), (2, 1));
    });
    // A controller that is given away.
    let order = Reassignment {
        controller: BOARD,
        to: "gate".into(),
        acting: RoleTerm(1),
        by: "operator".into(),
        now: NOW,
    };
    step(&mut node, &mut |node| _ = node.store.reassign(&order).unwrap().unwrap());
    step(&mut node, &mut |node| {
        let back = Reassignment { to: "hall".into(), ..order.clone() };
        node.store.reassign(&back).unwrap().unwrap();
    });
    // Another reign; a line of the audit log alone; a journal that is brought ahead of its gateway.
    node.reign(RoleTerm(4));
    let audit = Audit::at(NOW, "operator", "role_taken", "a", "test");
    step(&mut node, &mut |node| assert!(node.store.record(node.term, &audit).unwrap()));
    let ahead = Returned {
        lines: lines_of(&journal.named(9), 11, 12),
        journals: vec![ReturnedJournal {
            journal: JournalId([9; 16]),
            gateway: "hall".into(),
            holds: None,
        }],
        aliases: vec![EpochAlias {
            controller: BOARD,
            provisional: EpochId([3; 16]),
            epoch: EPOCH,
        }],
        audit: vec![AuditLine {
            server: "b".into(),
            at: NOW,
            actor: "operator".into(),
            event: "role_forced".into(),
            subject: "b".into(),
            detail: "test".into(),
        }],
    };
    step(&mut node, &mut |node| {
        node.store.merge(node.term, "b", &ahead, NOW).unwrap().unwrap();
    });
    // Its place in that journal is taken by other bytes.
    let mut branched = journal.named(9);
    branched.entries.truncate(10);
    let mut fresh = Journal::new(JournalId([9; 16]), "hall");
    for entry in &branched.entries {
        fresh.push(entry.clone());
    }
    fresh.push(bytes(&note(77, 3)));
    step(&mut node, &mut |node| {
        node.send(&fresh, 1, 11);
        let branch = "SELECT count(*) FROM transactions AS t WHERE seq = 11
             AND journal NOT IN (x'07070707070707070707070707070707', x'09090909090909090909090909090909')";
        assert_eq!(node.count(branch), 1);
    });
    held.push(node.content());
    (node, held)
}

fn lines_of(journal: &Journal, first: u64, last: u64) -> Vec<Line> {
    let folder = folder();
    let mut node = Node::new(folder.path(), "lines", "b", 1);
    node.send(&Journal { oldest: 1, ..journal.clone() }, 1, last);
    node.store.journal_lines(journal.id, Seq(first - 1), Seq(last)).unwrap()
}

#[test]
fn entries_are_applied_as_they_stand_whatever_the_pages() {
    let folder = folder();
    let (node, held) = every_kind(folder.path());
    for (file, length) in [("one", 1), ("few", 700), ("all", usize::MAX)] {
        let mut standby = Node::new(folder.path(), file, "b", 1);
        standby.follow(&node, length);
        assert_same(&standby, &node);
        assert_eq!(standby.head(), node.head());
        assert_eq!(standby.content(), held[held.len() - 1]);
    }
}

#[test]
fn a_standby_that_takes_over_writes_what_the_other_would_have_written() {
    let folder = folder();
    let (mut node, _) = every_kind(folder.path());
    let mut standby = Node::new(folder.path(), "b", "a", 1);
    standby.follow(&node, 700);
    let more = Journal::of(&(1..=30).map(|n| record(n + 100, 3)).collect::<Vec<_>>()).named(11);
    for each in [&mut node, &mut standby] {
        each.send_all(&more);
    }
    assert_same(&standby, &node);
}

#[test]
fn an_entry_that_is_taken_back_leaves_the_store_as_it_was_before_it() {
    let folder = folder();
    let (mut node, held) = every_kind(folder.path());
    for (position, before) in held.iter().enumerate().rev() {
        node.undo(u64::try_from(position).unwrap());
        for (table, rows) in node.content() {
            assert_eq!(rows, before[table], "{table}, back to {position}");
        }
    }
}

#[test]
fn all_of_it_is_taken_back_in_portions_with_the_process_ending_between_any_two() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    let empty = node.content();
    let journal = Journal::of(&(1..=700).map(|n| record(n, 1)).collect::<Vec<_>>());
    for seq in 1..=700 {
        node.send(&journal, seq, seq);
    }
    let mut portions = 0;
    while !node.store.undo_log(node.term, 0).unwrap() {
        portions += 1;
        node.crash();
    }
    assert_eq!(portions, 3);
    assert_eq!(node.content(), empty);
    node.send_all(&journal);
    assert_eq!(
        node.count("SELECT max(id) FROM transactions"),
        700,
        "rows count from where they end"
    );
}

#[test]
fn nothing_is_taken_back_under_another_role_term_or_to_where_the_log_does_not_reach() {
    let folder = folder();
    let (mut node, held) = every_kind(folder.path());
    assert!(!node.store.undo_log(RoleTerm(1), 0).unwrap());
    assert!(node.store.undo_log(node.term, node.head().position).unwrap());
    assert_eq!(node.content(), held[held.len() - 1]);
    node.cut(3);
    let before = node.content();
    for cut_off in [0, 2, 3] {
        let error = node.store.undo_log(node.term, cut_off).unwrap_err();
        assert!(matches!(error, StoreError::CutOff { .. }) && !error.is_fatal());
        assert_eq!(node.content(), before);
    }
    node.undo(4);
    assert_eq!(node.head().position, 4);
}

type Tamper = Box<dyn Fn(&mut Vec<LogEntry>)>;

/// Whatever of a page is altered, nothing of it is stored.
#[test]
fn an_altered_page_is_refused_whole() {
    let folder = folder();
    let (node, _) = every_kind(folder.path());
    let page = node.page_for(&Node::new(folder.path(), "empty", "b", 4), usize::MAX).unwrap();
    let tamper: Vec<(&str, Tamper)> = vec![
        ("an entry is left out", Box::new(|page| _ = page.remove(4))),
        ("the first is left out", Box::new(|page| _ = page.remove(0))),
        ("two are swapped", Box::new(|page| page.swap(3, 4))),
        ("one comes twice", Box::new(|page| page.insert(3, page[3].clone()))),
        ("a position", Box::new(|page| page[5].head.position += 1)),
        ("a chain", Box::new(|page| page[5].head.chain = Digest([1; 32]))),
        ("a role term", Box::new(|page| page[5].head.role_term = RoleTerm(2))),
        ("a role term that falls", Box::new(|page| page[8].head.role_term = RoleTerm(1))),
        ("a role term to come", Box::new(|page| page[9].head.role_term = RoleTerm(5))),
        ("a line is left out", Box::new(|page| _ = page[2].lines.pop())),
        ("all lines are left out", Box::new(|page| page[2].lines.clear())),
        (
            "a line comes twice",
            Box::new(|page| {
                let line = page[2].lines[0].clone();
                page[2].lines.insert(0, line);
            }),
        ),
        (
            "a line too many",
            Box::new(|page| {
                let line = page[2].lines[0].clone();
                page[7].lines.push(line);
            }),
        ),
        ("a line's bytes", Box::new(|page| page[2].lines[1].entry.0[9] ^= 1)),
        ("a line's time", Box::new(|page| page[2].lines[1].stored_at = Timestamp(0))),
        ("a line's place", Box::new(|page| page[2].lines[1].seq = Seq(99))),
        ("a line's epoch", Box::new(|page| page[2].lines[1].epoch = None)),
        ("whether it was news", Box::new(|page| page[2].lines[1].live ^= true)),
        ("a watermark", Box::new(|page| page[2].change.journals[0].after.stored = Seq(5))),
        ("what was before", Box::new(|page| page[2].change.journals[0].before = None)),
        ("an alias", Box::new(|page| _ = page[2].change.aliases.pop())),
        ("an owner", Box::new(|page| page[6].change.controllers[0].after = "x".into())),
        ("a hole", Box::new(|page| page[4].change.holes[0].last = Seq(9))),
        ("an alarm", Box::new(|page| _ = page[3].change.audit.pop())),
        ("the rows", Box::new(|page| page[2].change.rows = None)),
        ("the lines' digest", Box::new(|page| page[2].change.lines = None)),
    ];
    for (number, (what, tamper)) in tamper.iter().enumerate() {
        let mut standby = Node::new(folder.path(), &format!("b{number}"), "b", 4);
        let mut altered = page.clone();
        tamper(&mut altered);
        assert!(standby.apply_log(&altered).is_err(), "{what}");
        assert_eq!(standby.head(), Head::genesis(), "{what}");
        assert_eq!(standby.count("SELECT count(*) FROM transactions"), 0, "{what}");
        assert_eq!(standby.apply_log(&page), Ok(node.head()), "{what}");
    }
}

#[test]
fn a_page_is_applied_only_under_the_role_term_that_the_store_stands_under() {
    let folder = folder();
    let (node, _) = every_kind(folder.path());
    let mut standby = Node::new(folder.path(), "b", "b", 1);
    let page = node.page_for(&standby, usize::MAX).unwrap();
    let applied = standby.store.apply_log(RoleTerm(4), &page).unwrap();
    assert_eq!(applied, Err(NotApplied::Fenced));
    assert_eq!(standby.apply_log(&page), Err(NotApplied::NotNext(9)), "of a reign to come");
    assert_eq!(standby.head(), Head::genesis());
}

#[test]
fn a_gap_travels_as_it_was_noted() {
    let folder = folder();
    let mut node = Node::new(folder.path(), "a", "a", 1);
    let gap = Gap {
        first: Index(2),
        last: Some(Index(9)),
        reason: postern_protocol::transaction::GapReason::Overwritten,
        continuity: postern_protocol::transaction::Continuity::Proven,
    };
    node.send_all(&Journal::of(&[record(1, 1), note_of(BOARD, EPOCH, Kind::Gap(gap), 1, 3)]));
    let mut standby = Node::new(folder.path(), "b", "b", 1);
    standby.follow(&node, 1);
    assert_same(&standby, &node);
}
