//! A good run passes; every falsification of it is flagged by its condition.

use postern_protocol::transaction::{Gap, GapReason};
use postern_protocol::{EpochId, Index, JournalId, Kind, Seq};
use proptest::prelude::*;

use super::*;
use crate::random::Random;
use falsification::{FALSIFICATIONS, append_by_another_journal, claim_mut, noted, pick, recorded};
use good::{
    LOST, RECORDS, controllers, gap, good_replicated_run, good_run, place_in, proven, record,
};

mod falsification;
mod good;
mod link;

#[test]
fn a_good_run_passes_with_every_figure_right() {
    let verdict = check(&good_run(1));
    assert!(verdict.is_ok(), "{verdict}");
    let missing = 3 * (LOST.1 - LOST.0 + 1);
    assert_eq!(
        verdict.line(),
        format!(
            "verdict: ok generated=240 stored={} lost=0 doubled=0 reordered=0 gaps={missing} replicas=none",
            240 - missing
        )
    );
    let not_applicable = |outcome: &Outcome| matches!(outcome, Outcome::NotApplicable(_));
    assert!(not_applicable(&verdict.conditions[&Condition::C4]));
    assert_eq!(verdict.conditions.values().filter(|outcome| not_applicable(outcome)).count(), 1);
}

#[test]
fn a_good_replicated_run_passes_the_comparison_of_servers() {
    let verdict = check(&good_replicated_run(1));
    assert!(verdict.is_ok(), "{verdict}");
    assert!(matches!(verdict.conditions[&Condition::C4], Outcome::Ok(_)));
}

#[test]
fn every_falsification_is_flagged_by_its_condition() {
    for (what, condition, falsify) in FALSIFICATIONS {
        let mut run = good_run(3);
        falsify(&mut run, 17);
        let verdict = check(&run);
        assert!(verdict.failed().contains(condition), "{what}: not by {condition:?}\n{verdict}");
        assert!(verdict.line().starts_with("verdict: failed "), "{what}");
    }
}

#[test]
fn at_least_twelve_kinds_of_falsification_and_every_condition_among_them() {
    assert!(FALSIFICATIONS.len() >= 12);
    let conditions: std::collections::BTreeSet<_> =
        FALSIFICATIONS.iter().map(|(_, condition, _)| *condition).collect();
    assert_eq!(conditions.len(), 9);
}

#[test]
fn a_failed_verdict_names_ten_offenders_and_counts_the_rest() {
    let mut run = good_run(3);
    run.active.rows.retain(|row| row.index.is_none_or(|index| index.0 > 5));
    let verdict = check(&run);
    let Outcome::Failed(findings) = &verdict.conditions[&Condition::C1] else {
        panic!("{verdict}");
    };
    assert_eq!((findings.count, findings.first.len()), (30, MAX_FINDINGS));
    assert_eq!(verdict.counts.lost, 30);
    assert!(findings.first[0].starts_with("lost: uhppote-"), "{}", findings.first[0]);
}

#[test]
fn a_gap_that_covers_what_the_store_also_holds_is_no_fault_by_itself() {
    let mut run = good_run(3);
    run.gaps = GapAllowance::Any;
    let place =
        pick(&run.active.rows, 0, |row| matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. })));
    // From here on the range was filled from elsewhere.
    claim_mut(&mut run.active.rows[place]).last = Some(Index(LOST.1 + 3));
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

/// 40 records in a log of 20 that drops 7 at once: 21 are gone, the 4 that nobody read among them.
#[test]
fn gaps_are_proven_by_what_a_log_of_its_size_dropped() {
    let run = Evidence { gaps: proven(20), ..good_run(3) };
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
    let size = LogSize { capacity: 20, chunk: 7 };
    assert_eq!(
        [0, 20, 21, 27, 28, 40].map(|recorded| size.dropped(recorded)),
        [0, 0, 7, 7, 14, 21]
    );
}

/// A life of a log that began and ended while nobody looked: the gap that closes the life before has no
/// end, and reaches to the life that was met next.
#[test]
fn a_life_that_nobody_saw_lies_in_the_gap_that_ends_the_one_before() {
    let unseen = |run: &mut Evidence, life: u64| {
        let controller = controllers()[0];
        for line in &mut run.ledger {
            let (LedgerLine::Recorded { controller: of, life: it, .. }
            | LedgerLine::Restarted { controller: of, life: it, .. }) = line;
            if *of == controller && *it >= life {
                *it += 1;
            }
        }
        let event = "log-restarted".to_owned();
        run.ledger.push(LedgerLine::Restarted { controller, life, event });
        for index in 1..=5 {
            let raw = record(index, &mut Random::new(99 + index));
            let (index, at) = (Index(index), None);
            run.ledger.push(LedgerLine::Recorded { controller, life, index, raw, at });
        }
    };
    let between = || {
        let mut run = Evidence { gaps: proven(20), ..good_run(3) };
        unseen(&mut run, 1);
        run
    };
    let verdict = check(&between());
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!(verdict.counts.gaps, 3 * (LOST.1 - LOST.0 + 1) + 5);

    // Without that gap it is lost, and so is a life that nothing was met behind.
    let mut unclosed = between();
    let open = |row: &Row| matches!(row.kind, Kind::Gap(Gap { last: None, .. }));
    let of_it = |row: &Row| row.controller == controllers()[0];
    let place = pick(&unclosed.active.rows, 0, |row| open(row) && of_it(row));
    unclosed.active.rows.remove(place);
    assert_eq!(check(&unclosed).counts.lost, 5);
    let mut last = good_run(3);
    unseen(&mut last, 2);
    assert_eq!(check(&last).counts.lost, 5);
}

/// A gateway that skips what a log still holds must not be excused by what the log drops later.
#[test]
fn a_gap_is_proven_by_what_was_dropped_when_it_was_noted() {
    let run = |noted: &str| {
        let mut run = Evidence { gaps: proven(20), ..good_run(3) };
        for line in &mut run.ledger {
            if let LedgerLine::Recorded { life: 1, index, at, .. } = line {
                *at = Some(format!("2026-01-01T00:00:{:02}Z", index.0));
            }
        }
        for row in &mut run.active.rows {
            row.received = Some(noted.to_owned());
        }
        check(&run)
    };
    // The log holds 20 and drops 7 at once: with its 28th record the first 14 are gone.
    let verdict = run("2026-01-01T00:00:35Z");
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!(run("2026-01-01T00:00:27.999Z").failed(), [Condition::C7]);
}

#[test]
fn a_promise_about_a_life_that_is_over_is_kept_where_the_store_has_it() {
    let mut run = good_run(3);
    let controller = controllers()[0];
    let (told, kept) = (place_in(controller, 0, RECORDS), Some(place_in(controller, 1, 3)));
    run.kills[0].told.push(Told::Read { controller, told, kept });
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

/// A journal that was made from what was left of another cannot know what that one had claimed.
#[test]
fn a_later_journal_may_claim_again_what_is_stored_or_known_to_be_missing() {
    let mut run = good_run(3);
    run.gaps = GapAllowance::Any;
    let place =
        pick(&run.active.rows, 0, |row| matches!(row.kind, Kind::Gap(Gap { last: Some(_), .. })));
    let known = run.active.rows[place].clone();
    append_by_another_journal(&mut run, |row| Row {
        controller: known.controller,
        epoch: known.epoch,
        ..noted(row, 0, gap(1, Some(LOST.1 + 3), GapReason::BeforeFirstContact))
    });
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

#[test]
fn an_empty_run_proves_nothing_and_an_empty_store_has_lost_everything() {
    assert_eq!(check(&Evidence::default()).failed(), [Condition::C7]);
    let verdict = check(&Evidence { ledger: good_run(1).ledger, ..Evidence::default() });
    assert_eq!((verdict.counts.lost, verdict.is_ok()), (240, false));
}

#[test]
fn ledger_lines_and_rows_are_read_as_they_are_written() {
    let lines: Vec<LedgerLine> = parse_lines(concat!(
        r#"{"controller":"uhppote-405419896","life":0,"index":17,"#,
        r#""raw":"1100000001010101a0987c002019080420020706","kind":"swipe","at":"2026-01-01T00:00:00Z"}"#,
        "\n",
        r#"{"controller":"uhppote-405419896","life":1,"event":"log-restarted","at":"2026-01-01T00:00:00Z"}"#,
        "\n"
    ))
    .unwrap();
    assert!(matches!(&lines[0], LedgerLine::Recorded { index: Index(17), life: 0, .. }));
    assert!(matches!(&lines[1], LedgerLine::Restarted { life: 1, .. }));
    let error = parse_lines::<LedgerLine>("{}\n").unwrap_err();
    assert!(error.starts_with("line 1: "), "{error}");
}

#[test]
fn kills_before_which_nothing_was_promised_prove_nothing() {
    let mut run = good_run(3);
    run.kills.iter_mut().for_each(|kill| kill.told.clear());
    let verdict = check(&run);
    assert!(matches!(verdict.conditions[&Condition::C5], Outcome::NotApplicable(_)), "{verdict}");
}

#[test]
fn a_record_that_contradicts_another_is_no_second_epoch_where_it_says_so() {
    let mut run = good_run(3);
    let place = recorded(&run.active.rows, 17);
    run.active.rows[place].epoch = EpochId([9; 16]);
    run.active.rows[place].flags = vec!["conflict".into()];
    let verdict = check(&run);
    assert!(verdict.is_ok(), "{verdict}");
}

#[test]
fn what_a_new_journal_turned_away_as_doubles_is_accounted_for() {
    let mut run = good_run(3);
    let journal = JournalId([8; 16]);
    let journals = &mut run.active.journals;
    journals.push(Journal { journal, stored: Seq(40), doubles: 40, holes: Vec::new() });
    assert!(check(&run).is_ok());
    run.active.journals[1].doubles = 39;
    assert_eq!(check(&run).failed(), [Condition::C7]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever it strikes, and whatever the run: a falsification is never missed.
    #[test]
    fn no_falsification_is_missed_at_any_position(
        seed: u64,
        which in 0..FALSIFICATIONS.len(),
        at in 0usize..100_000,
    ) {
        let (what, condition, falsify) = FALSIFICATIONS[which];
        let mut run = good_run(seed);
        prop_assert!(check(&run).is_ok());
        falsify(&mut run, at);
        let verdict = check(&run);
        prop_assert!(
            verdict.failed().contains(&condition), "{}: not by {:?}\n{}", what, condition, verdict
        );
    }
}
