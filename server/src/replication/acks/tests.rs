//! What is safe is never more than every store that counts has confirmed.

use postern_protocol::Timestamp;

use proptest::prelude::*;

use super::*;

const JOURNAL: JournalId = JournalId([7; 16]);

fn name(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn a() -> StoreName {
    name("a", "a1")
}

fn b() -> StoreName {
    name("b", "b1")
}

fn role(in_sync: &[StoreName], copies: u8) -> GroupRole {
    GroupRole {
        in_sync: in_sync.to_vec(),
        copies,
        ..GroupRole::founded(a(), RoleTerm(1), Timestamp(0))
    }
}

fn alone() -> GroupRole {
    role(&[a()], 1)
}

fn pair() -> GroupRole {
    role(&[a(), b()], 2)
}

fn acks() -> Acks {
    let mut acks = Acks::default();
    acks.of_reign(RoleTerm(1)).unwrap();
    acks
}

fn known(acks: &Acks, role: &GroupRole) -> Seq {
    match acks.safe(role, &a(), JOURNAL) {
        Safe::Known(seq) => seq,
        Safe::Stored => panic!("nobody is waited for"),
    }
}

fn later(seconds: u64) -> Instant {
    start() + Duration::from_secs(seconds)
}

fn start() -> Instant {
    thread_local!(static START: Instant = Instant::now());
    START.with(|start| *start)
}

#[test]
fn a_server_alone_says_that_all_it_stored_is_safe_unless_more_copies_are_wanted() {
    let mut acks = acks();
    acks.mark(JOURNAL, 1, Seq(10));
    assert_eq!(acks.safe(&alone(), &a(), JOURNAL), Safe::Stored);
    assert_eq!(acks.safe(&role(&[a()], 2), &a(), JOURNAL), Safe::Known(Seq(0)));
}

#[test]
fn what_is_safe_is_what_the_other_store_confirmed() {
    let mut acks = acks();
    for n in 1..=5 {
        acks.mark(JOURNAL, n, Seq(n * 10));
    }
    assert_eq!(known(&acks, &pair()), Seq(0), "it has not been heard of");
    for (position, seq) in [(0, 0), (1, 10), (3, 30), (5, 50), (9, 50)] {
        acks.confirm(&b(), position, later(0));
        assert_eq!(known(&acks, &pair()), Seq(seq), "{position}");
    }
    let other = acks.safe(&pair(), &a(), JournalId([8; 16]));
    assert_eq!(other, Safe::Known(Seq(0)), "of another journal nothing is known");
}

#[test]
fn a_journal_that_lies_still_is_safe_once_a_later_position_is_confirmed() {
    let mut acks = acks();
    acks.mark(JOURNAL, 4, Seq(10));
    acks.mark(JOURNAL, 90, Seq(10));
    acks.confirm(&b(), 4, later(0));
    assert_eq!(known(&acks, &pair()), Seq(10));
    // Answers of two requests may be noted in either order.
    acks.mark(JOURNAL, 80, Seq(9));
    acks.confirm(&b(), 90, later(0));
    assert_eq!(known(&acks, &pair()), Seq(10));
}

#[test]
fn a_store_that_is_waited_for_counts_before_it_is_in_sync() {
    let mut acks = acks();
    acks.mark(JOURNAL, 1, Seq(10));
    acks.mark(JOURNAL, 2, Seq(20));
    acks.confirm(&b(), 1, later(0));
    assert_eq!(acks.safe(&alone(), &a(), JOURNAL), Safe::Stored);
    assert_eq!(acks.proof(&b()), None);
    acks.count(&b(), 2);
    assert_eq!(known(&acks, &alone()), Seq(10));
    assert_eq!(acks.proof(&b()), Some(Proof { confirmed: 1, since: 2 }));
    acks.count(&b(), 7);
    acks.confirm(&b(), 2, later(0));
    assert_eq!(acks.proof(&b()), Some(Proof { confirmed: 2, since: 2 }), "it began at 2");
    assert_eq!(known(&acks, &alone()), Seq(20));
}

/// A store that was put back is waited for at what it has now, from the moment on at which that is
/// known: were it no longer waited for, everything would be safe without it until it is dropped.
#[test]
fn a_store_that_fell_back_is_waited_for_and_proves_nothing_until_it_is_counted_anew() {
    let mut acks = acks();
    acks.mark(JOURNAL, 1, Seq(10));
    acks.mark(JOURNAL, 5, Seq(50));
    acks.confirm(&b(), 5, later(0));
    acks.count(&b(), 5);
    acks.confirm(&b(), 1, later(1));
    assert!(acks.fell(&b()));
    assert_eq!((acks.proof(&b()), known(&acks, &alone())), (None, Seq(10)));
    acks.confirm(&b(), 5, later(1));
    assert!(acks.fell(&b()), "that it has caught up since does not hide that it fell");
    assert_eq!(acks.proof(&b()), None);
    acks.count(&b(), 8);
    assert_eq!(
        (acks.fell(&b()), acks.proof(&b())),
        (false, Some(Proof { confirmed: 5, since: 8 }))
    );
}

#[test]
fn a_store_that_is_silent_or_stuck_is_not_waited_for_and_begins_anew() {
    for silent in [true, false] {
        let mut acks = acks();
        acks.mark(JOURNAL, 1, Seq(10));
        acks.confirm(&b(), 1, later(0));
        acks.count(&b(), 3);
        acks.look(3, later(0));
        assert_eq!(known(&acks, &alone()), Seq(10));
        for second in 1..10 {
            if !silent {
                acks.confirm(&b(), 1, later(second));
            }
            acks.look(3, later(second));
            assert_eq!(acks.moves(&b(), later(second)), !silent || second < 5, "{second}");
        }
        acks.look(3, later(10));
        assert!(!acks.moves(&b(), later(10)), "silent: {silent}");
        assert_eq!(acks.safe(&alone(), &a(), JOURNAL), Safe::Stored);
        // What was told to be safe meanwhile lies at or below where it is counted from now.
        acks.confirm(&b(), 3, later(11));
        acks.look(9, later(11));
        assert!(acks.moves(&b(), later(11)));
        assert_eq!(acks.proof(&b()), None);
        acks.count(&b(), 9);
        assert_eq!(acks.proof(&b()), Some(Proof { confirmed: 3, since: 9 }));
    }
}

#[test]
fn a_store_that_has_everything_is_not_stuck_however_long_nothing_comes() {
    let mut acks = acks();
    acks.confirm(&b(), 7, later(0));
    for second in 0..100 {
        acks.confirm(&b(), 7, later(second));
        acks.look(7, later(second));
    }
    acks.look(8, later(100));
    assert!(acks.moves(&b(), later(100)), "it is behind for a moment, not for 100 seconds");
}

#[test]
fn confirmations_are_waited_for_only_near_the_end_of_the_log() {
    let mut acks = acks();
    assert!(!acks.is_to_be_counted(&b(), 0, later(0)));
    acks.confirm(&b(), 10, later(0));
    assert!(!acks.is_to_be_counted(&b(), 10 + NEAR + 1, later(0)));
    assert!(acks.is_to_be_counted(&b(), 10 + NEAR, later(0)));
    acks.count(&b(), 10 + NEAR);
    assert!(!acks.is_to_be_counted(&b(), 10 + NEAR, later(0)), "it is counted already");
}

#[test]
fn another_store_of_a_server_takes_the_place_of_its_former_one() {
    let mut acks = acks();
    acks.mark(JOURNAL, 1, Seq(10));
    acks.confirm(&b(), 5, later(0));
    acks.confirm(&name("c", "c1"), 5, later(0));
    acks.confirm(&name("b", "b2"), 3, later(1));
    assert_eq!(acks.stores().collect::<Vec<_>>(), [&name("b", "b2"), &name("c", "c1")]);
    assert_eq!(acks.present("b", later(2)), Some((&name("b", "b2"), Duration::from_secs(1))));
    assert_eq!(known(&acks, &pair()), Seq(0), "what the former one had is gone");
}

/// Regression: whoever still worked for an earlier reign wiped out what was known in the present one,
/// and with it that a store was being waited for.
#[test]
fn an_earlier_reign_neither_sees_nor_changes_what_the_present_one_knows() {
    let mut acks = acks();
    acks.mark(JOURNAL, 1, Seq(10));
    acks.confirm(&b(), 9, later(0));
    acks.count(&b(), 9);
    let next = acks.of_reign(RoleTerm(3)).unwrap();
    assert_eq!(next.proof(&b()), None);
    assert_eq!(known(next, &pair()), Seq(0), "its log is another");
    next.confirm(&b(), 2, later(1));
    next.count(&b(), 2);
    assert!(acks.of_reign(RoleTerm(1)).is_none());
    let proof = acks.of_reign(RoleTerm(3)).unwrap().proof(&b());
    assert_eq!(proof, Some(Proof { confirmed: 2, since: 2 }));
}

/// With a store far behind, what was left out of the marks lies evenly: `safe` is never more than a
/// small part of the way behind what is confirmed.
#[test]
fn marks_are_left_out_evenly() {
    let mut acks = acks();
    for n in 1..=10_000 {
        acks.mark(JOURNAL, n, Seq(n));
    }
    assert_eq!(acks.marks[&JOURNAL].len(), MAX_MARKS);
    for confirmed in (0..=10_000).step_by(250) {
        acks.confirm(&b(), confirmed, later(0));
        let safe = known(&acks, &pair()).0;
        assert!(safe <= confirmed && confirmed - safe <= 500, "{safe} of {confirmed}");
    }
}

proptest! {
    /// Whatever is marked and confirmed in whatever order: what is said to be safe is held by the
    /// store that was last heard to hold the least.
    #[test]
    fn safe_is_never_above_what_is_confirmed(
        steps in prop::collection::vec((any::<bool>(), 0_u64..4, 0_u64..300), 1..400),
    ) {
        let mut acks = acks();
        // At position n of the log the journal is stored up to stored[n].
        let mut stored = vec![0_u64];
        let mut confirmed = None;
        for (grows, more, back) in steps {
            if grows {
                stored.push(stored.last().unwrap() + more);
                let position = u64::try_from(stored.len() - 1).unwrap();
                acks.mark(JOURNAL, position, Seq(*stored.last().unwrap()));
            } else {
                let position = (stored.len() - 1).saturating_sub(usize::try_from(back).unwrap());
                acks.confirm(&b(), u64::try_from(position).unwrap(), later(0));
                confirmed = Some(position);
            }
            let held = confirmed.map_or(0, |position| stored[position]);
            prop_assert!(known(&acks, &pair()).0 <= held);
            prop_assert!(acks.marks.get(&JOURNAL).map_or(0, VecDeque::len) <= MAX_MARKS);
        }
        // Once it has everything, all of it is safe.
        acks.confirm(&b(), u64::try_from(stored.len()).unwrap(), later(0));
        prop_assert_eq!(known(&acks, &pair()).0, *stored.last().unwrap());
    }
}
