use std::time::Duration;

use postern_protocol::Timestamp;
use tokio::time::Instant;

use super::own::{FRESH, http_date};
use super::{Kernel, Known, Now, OwnClock, Trust};

/// 2026-11-24T03:00:00Z.
const NOW: i64 = 1_795_489_200_000;

fn now() -> Now {
    Now { wall: Timestamp(NOW), steady: Instant::now() }
}

/// So much later by both clocks, with the wall clock set by `step_ms` meanwhile.
fn later(now: Now, passed: Duration, step_ms: i64) -> Now {
    let passed_ms = i64::try_from(passed.as_millis()).unwrap();
    Now { wall: Timestamp(now.wall.0 + passed_ms + step_ms), steady: now.steady + passed }
}

/// A server whose clock is so far ahead of ours answered at once.
fn told(server: &str, ahead_ms: i64, now: Now) -> Trust {
    let mut trust = Trust::default();
    trust.on_date(server, Timestamp(now.wall.0 + ahead_ms - 500), Duration::ZERO, now);
    trust
}

fn server(name: &str, offset_ms: i64) -> Known {
    Known::Server { name: name.to_owned(), offset_ms }
}

fn is_known(known: &Known) -> bool {
    !matches!(known, Known::Unknown { .. })
}

#[test]
fn the_kernel_is_believed_unless_it_says_unsynchronised_or_in_error() {
    for (state, status, said) in [
        (0, 0x2001, Kernel::Synchronised),
        (1, 0x2011, Kernel::Synchronised),
        (5, 0x0040, Kernel::Unsynchronised),
        (0, 0x0040, Kernel::Unsynchronised),
        (5, 0x2001, Kernel::Unsynchronised),
    ] {
        assert_eq!(Kernel::of(state, status), said, "{state} {status:#x}");
    }
    let now = now();
    assert_eq!(Trust::default().known(Kernel::Synchronised, now), Known::Kernel);
    assert_eq!(told("a", 90_000, now).known(Kernel::Synchronised, now), Known::Kernel);
    assert_eq!(told("a", 90_000, now).offsets_ms(now)["a"], 90_000, "to be seen all the same");
}

#[test]
fn asking_the_kernel_and_knowing_nobody_never_fails() {
    let clock = OwnClock::default();
    assert_eq!(clock.is_right(), clock.known() == Known::Kernel);
    assert!(clock.offsets_ms().is_empty());
}

#[test]
fn a_server_agrees_up_to_two_seconds_and_half_the_round_trip() {
    let now = now();
    for (ahead_ms, round_trip_ms, agrees) in [
        (0, 0, true),
        (2_000, 0, true),
        (-2_000, 0, true),
        (2_001, 0, false),
        (-2_001, 0, false),
        (2_400, 1_000, true),
        (2_600, 1_000, false),
        (i64::MAX, 0, false),
    ] {
        let mut trust = Trust::default();
        let date = Timestamp((now.wall.0 - 500 - round_trip_ms / 2).saturating_add(ahead_ms));
        let round_trip = Duration::from_millis(u64::try_from(round_trip_ms).unwrap());
        trust.on_date("a", date, round_trip, now);
        for kernel in [Kernel::Unsynchronised, Kernel::Mute] {
            let known = trust.known(kernel, now);
            assert_eq!(is_known(&known), agrees, "{ahead_ms} {round_trip_ms} {known:?}");
        }
    }
    assert_eq!(told("a", 700, now).known(Kernel::Mute, now), server("a", 700));
}

#[test]
fn one_server_that_agrees_is_enough_and_the_other_is_shown() {
    let now = now();
    let mut trust = told("b", 10, now);
    trust.on_date("a", Timestamp(now.wall.0 - 60_500), Duration::ZERO, now);
    assert_eq!(trust.known(Kernel::Unsynchronised, now), server("b", 10));
    assert_eq!(
        trust.offsets_ms(now).into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), -60_000), ("b".to_owned(), 10)]
    );
}

#[test]
fn an_answer_that_took_too_long_tells_nothing_and_takes_nothing_back() {
    let now = now();
    let mut trust = told("a", 0, now);
    trust.on_date("a", Timestamp(0), Duration::from_secs(5), now);
    assert_eq!(trust.known(Kernel::Unsynchronised, now), server("a", 0));
}

#[test]
fn a_comparison_counts_for_fifteen_minutes_of_real_time() {
    let now = now();
    let trust = told("a", 0, now);
    assert!(is_known(&trust.known(Kernel::Unsynchronised, later(now, FRESH, 0))));
    let over = later(now, FRESH + Duration::from_millis(1), 0);
    let Known::Unknown { why } = trust.known(Kernel::Unsynchronised, over) else { panic!() };
    assert!(why.contains("no server told its time"), "{why}");
    assert!(trust.offsets_ms(over).is_empty());
}

#[test]
fn a_clock_that_is_set_after_the_comparison_is_no_longer_right_and_one_that_is_mended_is() {
    let now = now();
    let minute = Duration::from_mins(1);
    let set = later(now, minute, 3_600_000);
    let trust = told("a", 0, now);
    let Known::Unknown { why } = trust.known(Kernel::Unsynchronised, set) else { panic!() };
    assert!(why.contains("server a is -3600000 ms ahead"), "{why}");
    let mended = told("a", 90_000, now);
    assert!(!is_known(&mended.known(Kernel::Unsynchronised, now)));
    assert_eq!(mended.known(Kernel::Unsynchronised, later(now, minute, 90_000)), server("a", 0));
}

#[test]
fn dates_of_http_are_read_and_anything_else_is_not() {
    assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Timestamp(784_111_777_000)));
    for text in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 28:49:37 GMT"] {
        assert_eq!(http_date(text), None, "{text}");
    }
}
