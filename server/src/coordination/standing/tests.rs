//! Who may take part after a start.

use super::*;

fn position(term: u64, log_term: u64, log_end: u64) -> Position {
    Position { term, voted_for: 1, log_term, log_leader: 1, log_end }
}

fn told(node: Option<NodeId>, remembers: &[(NodeId, Position)]) -> Told {
    let memory = Memory(remembers.iter().copied().collect());
    let at = node.map_or(Position::default(), |_| position(9, 9, 9));
    Told { node, position: at, empty: node.is_none(), memory, replaced: false }
}

#[test]
fn a_file_is_as_good_as_the_best_memory_of_it() {
    let file = position(5, 4, 20);
    assert_eq!(judge(2, file, []), Verdict::Wait);
    // A newcomer remembers nothing that counts.
    assert_eq!(judge(2, file, [&told(None, &[])]), Verdict::Wait);
    assert_eq!(judge(2, file, [&told(None, &[]), &told(Some(1), &[])]), Verdict::Current);
    for (remembered, outdated) in [
        (position(5, 4, 20), false),
        (position(5, 4, 19), false),
        (position(4, 4, 20), false),
        // Under an earlier vote the log was longer, and a later leader cut it.
        (position(4, 3, 25), false),
        // An entry that it had acknowledged is missing.
        (position(5, 4, 21), true),
        (position(5, 5, 2), true),
        // A vote that it had given is missing.
        (position(6, 4, 20), true),
        (Position { voted_for: 2, ..position(5, 4, 20) }, true),
    ] {
        let words = [told(Some(1), &[]), told(Some(3), &[(2, remembered), (1, position(9, 9, 9))])];
        let expected = if outdated { Verdict::Outdated { remembered } } else { Verdict::Current };
        assert_eq!(judge(2, file, &words), expected, "{remembered}");
    }
}

#[test]
fn a_node_that_was_given_up_stays_out() {
    let word = Told { replaced: true, ..told(Some(1), &[]) };
    let verdict = judge(2, position(5, 4, 20), [&word]);
    assert!(matches!(verdict, Verdict::Outdated { .. }));
}

#[test]
fn a_group_is_founded_by_the_word_of_all_others_that_they_have_nothing() {
    let empty = || told(None, &[]);
    let given = || Told { position: Position::default(), empty: true, ..told(Some(2), &[]) };
    assert_eq!(judge_founding(1, 2, &[]), Verdict::Wait);
    assert_eq!(judge_founding(1, 2, &[empty()]), Verdict::Wait);
    assert_eq!(judge_founding(1, 2, &[empty(), empty()]), Verdict::Current);
    assert_eq!(judge_founding(1, 2, &[empty(), given()]), Verdict::Current);
    // One cannot read its file.
    let failed = Told { empty: false, ..empty() };
    assert_eq!(judge_founding(1, 2, &[empty(), failed]), Verdict::Wait);
    // One of them has something, or knows that this one had.
    let founded = judge_founding(1, 2, &[empty(), told(Some(3), &[])]);
    assert!(matches!(founded, Verdict::Outdated { .. }));
    assert!(matches!(judge_founding(1, 2, &[told(Some(3), &[])]), Verdict::Outdated { .. }));
    let remembers = told(Some(2), &[(1, position(1, 1, 1))]);
    let remembers = Told { position: Position::default(), empty: true, ..remembers };
    assert!(matches!(judge_founding(1, 2, &[empty(), remembers]), Verdict::Outdated { .. }));
}

#[test]
fn only_the_highest_is_remembered_and_of_few() {
    let mut memory = Memory::default();
    assert!(memory.note(2, position(1, 1, 5)));
    assert!(!memory.note(2, position(1, 1, 4)));
    assert!(!memory.note(2, position(1, 1, 5)));
    assert!(memory.note(2, position(2, 1, 3)));
    assert_eq!(memory.of(2), position(2, 1, 3));
    assert_eq!(memory.of(7), Position::default());
    // What others say of this node itself it knows better.
    let mut other = Memory::default();
    other.note(1, position(8, 8, 8));
    other.note(3, position(3, 3, 3));
    assert!(memory.merge(Some(1), &other));
    assert!(!memory.merge(Some(1), &other));
    assert_eq!((memory.of(1), memory.of(3)), (Position::default(), position(3, 3, 3)));
    // What nobody can have come to is not remembered.
    for counts in [position(MAX_COUNT + 1, 1, 1), position(1, 1, u64::MAX)] {
        assert!(!memory.note(3, counts));
        let told = Told { position: counts, ..told(Some(3), &[]) };
        assert!(told.check().is_err());
    }
    assert!(!memory.note(MAX_COUNT + 1, position(1, 1, 1)));
    assert_eq!(memory.of(3), position(3, 3, 3));
    assert_eq!(memory.only(|node| node == 3), Memory([(3, position(3, 3, 3))].into()));
    for node in 10..1_000 {
        memory.note(node, position(1, 1, 1));
    }
    assert_eq!(memory.0.len(), MAX_REMEMBERED);
    assert_eq!(memory.of(999), position(1, 1, 1));
}
