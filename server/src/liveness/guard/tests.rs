//! Every standing with everything that may be seen; then what depends on time.

use super::*;
use crate::liveness::sight::Sight;

const NEAR: Timing = Timing::NEAR;
const THREE: RoleTerm = RoleTerm(3);
const FOUR: RoleTerm = RoleTerm(4);

const fn at(ms: u64) -> BootInstant {
    BootInstant(Duration::from_millis(ms))
}

const fn broken() -> Sight {
    Sight::Broken { since: at(0) }
}

const fn refused() -> Sight {
    Sight::Refused { since: at(0) }
}

const fn expired(ms: u64) -> Order {
    Order::Claim(Because::Expired { reigned: Duration::from_millis(ms) })
}

const KILLED: Order = Order::Claim(Because::Killed);
const RESTARTED: Order = Order::Claim(Because::Restarted);
const RENEW: Order = Order::Renew { term: THREE };

/// Server b, in sync, where a is active under role term 3 or b itself.
fn standing(state: State) -> Standing {
    let active = if state == State::Standby { "a" } else { "b" };
    Standing {
        state,
        automatic: true,
        maintenance: false,
        in_sync: true,
        active: active.into(),
        term: THREE,
    }
}

/// A machine that was told this at 1,000.
fn guard(standing: &Standing, sight: Sight) -> Guard {
    let mut guard = Guard::new(NEAR);
    guard.on_belief(standing, at(1_000));
    guard.on_sight(sight, at(1_000));
    guard
}

fn active() -> Guard {
    guard(&standing(State::Active), Sight::Never)
}

fn standby(sight: Sight) -> Guard {
    guard(&standing(State::Standby), sight)
}

/// What it orders from 1,001 to the last moment, millisecond by millisecond, when nothing is answered.
fn ordered(guard: &mut Guard, until: u64) -> Vec<(u64, Order)> {
    let mut orders = Vec::new();
    for ms in 1_001..=until {
        let due = guard.next_deadline().is_some_and(|deadline| deadline <= at(ms));
        let mut any = false;
        while let Some(order) = guard.poll(at(ms)) {
            orders.push((ms, order));
            any = true;
        }
        assert!(due || !any, "woken at {ms} by nothing");
    }
    orders
}

#[test]
fn the_table_of_standings_and_sights() {
    let sights = [Sight::Never, Sight::Connected, broken(), refused()];
    let reigned = expired(7);
    for state in [State::Starting, State::Active, State::Standby, State::SetAside] {
        for (number, sight) in sights.into_iter().enumerate() {
            for holds in [true, false] {
                // A new state does not compile here.
                let alone = match state {
                    State::Starting => Some(RESTARTED),
                    State::Active => Some(RENEW),
                    State::Standby => match number {
                        3 => Some(KILLED),
                        1 if holds => None,
                        _ => Some(reigned),
                    },
                    State::SetAside => None,
                };
                let is_standby = state == State::Standby;
                for (automatic, maintenance, in_sync) in [
                    (true, false, true),
                    (true, true, true),
                    (true, false, false),
                    (false, false, true),
                    (false, true, false),
                ] {
                    let barred = maintenance || !in_sync;
                    let expected = alone.filter(|_| automatic && !(is_standby && barred));
                    let standing = Standing { automatic, maintenance, in_sync, ..standing(state) };
                    let mut guard = guard(&standing, sight);
                    guard.on_lease_flag(THREE, holds);
                    let deadline = guard.next_deadline();
                    assert_eq!(deadline.is_some(), expected.is_some(), "{standing:?} {sight:?}");
                    assert_eq!(guard.poll(at(1_007)), expected, "{standing:?} {sight:?} {holds}");
                    assert_eq!(guard.poll(at(1_007)), None, "once");
                    assert_eq!(guard.holds_lease(at(1_007)), !automatic);
                }
            }
        }
    }
}

#[test]
fn before_it_is_told_anything_it_does_nothing() {
    let mut guard = Guard::new(NEAR);
    guard.on_sight(refused(), at(0));
    guard.on_claim(ClaimAnswer::Unavailable, at(0));
    guard.on_renewal(THREE, at(0), RenewalAnswer::Granted, at(0));
    assert_eq!((guard.poll(at(1)), guard.next_deadline()), (None, None));
    assert!(!guard.holds_lease(at(1)));
}

#[test]
fn a_lease_is_renewed_without_waiting_for_answers() {
    // Four under way; those are forgotten that could grant nothing any more.
    let times = [1_001, 1_501, 2_001, 2_501, 3_501, 4_001];
    let expected: Vec<(u64, Order)> = times.into_iter().map(|ms| (ms, RENEW)).collect();
    assert_eq!(ordered(&mut active(), 4_400), expected);
}

#[test]
fn a_lease_holds_from_before_it_was_asked_for_however_late_the_answer() {
    let mut guard = active();
    assert_eq!(guard.poll(at(1_001)), Some(RENEW));
    assert!(!guard.holds_lease(at(1_001)));
    guard.on_renewal(THREE, at(1_001), RenewalAnswer::Granted, at(3_000));
    assert!(guard.holds_lease(at(3_000)) && guard.holds_lease(at(3_500)));
    assert!(!guard.holds_lease(at(3_501)));
}

#[test]
fn a_renewal_that_failed_is_made_again_soon() {
    for answer in [RenewalAnswer::NoLeader, RenewalAnswer::Failed] {
        let mut guard = active();
        assert_eq!(guard.poll(at(1_001)), Some(RENEW));
        guard.on_renewal(THREE, at(1_001), answer, at(1_010));
        assert_eq!(guard.next_deadline(), Some(at(1_210)));
        // One that fails late does not put the next one off.
        guard.on_renewal(THREE, at(1_001), answer, at(9_000));
        assert_eq!(guard.next_deadline(), Some(at(1_210)));
    }
}

#[test]
fn a_lease_ends_with_its_reign() {
    let mut guard = active();
    guard.poll(at(1_001));
    guard.on_renewal(THREE, at(1_001), RenewalAnswer::Granted, at(1_002));
    assert!(guard.holds_lease(at(1_003)));
    let mut superseded = guard.clone();
    superseded.on_renewal(THREE, at(1_501), RenewalAnswer::Superseded, at(1_502));
    assert!(!superseded.holds_lease(at(1_503)));
    // It reigns again, under another role term: what was asked for under the old one is worth nothing.
    guard.on_belief(&Standing { term: RoleTerm(5), ..standing(State::Active) }, at(1_100));
    assert!(!guard.holds_lease(at(1_100)));
    guard.on_renewal(THREE, at(1_099), RenewalAnswer::Granted, at(1_101));
    assert!(!guard.holds_lease(at(1_101)));
    assert_eq!(guard.poll(at(1_101)), Some(Order::Renew { term: RoleTerm(5) }));
}

#[test]
fn who_begins_again_claims_and_goes_on_alone_where_nobody_answers() {
    let mut guard = guard(&standing(State::Starting), Sight::Never);
    let mut orders = Vec::new();
    for ms in 1_000..=4_800 {
        while let Some(order) = guard.poll(at(ms)) {
            orders.push((ms, order));
            match order {
                Order::Claim(_) => guard.on_claim(ClaimAnswer::Unavailable, at(ms)),
                Order::GoOnWithoutLease => guard.on_belief(&standing(State::Active), at(ms)),
                Order::Renew { .. } => panic!("it was granted nothing"),
            }
            assert!(!guard.holds_lease(at(ms)));
        }
    }
    let claims: Vec<u64> = (1_000..=4_800).step_by(200).collect();
    // Once it acts it claims at once, and then as before.
    let alone = (4_500, Order::GoOnWithoutLease);
    let before = claims.iter().filter(|ms| **ms < 4_500).map(|ms| (*ms, RESTARTED));
    let after = [4_500, 4_700].map(|ms| (ms, RESTARTED));
    let expected: Vec<_> = before.chain([alone]).chain(after).collect();
    assert_eq!(orders, expected);
    // It is granted a reign of its own at last.
    guard.on_belief(&Standing { term: RoleTerm(5), ..standing(State::Active) }, at(4_810));
    assert_eq!(guard.poll(at(4_811)), Some(Order::Renew { term: RoleTerm(5) }));
}

/// With a quorum that says no, a server whose process began again never acts by itself.
#[test]
fn an_answer_of_a_quorum_ends_the_going_on_alone() {
    for answer in [ClaimAnswer::Denied, ClaimAnswer::NotYet { after: Duration::ZERO }] {
        let mut guard = guard(&standing(State::Starting), Sight::Never);
        for ms in 1_000..60_000 {
            while let Some(order) = guard.poll(at(ms)) {
                assert_eq!(order, RESTARTED);
                guard.on_claim(if ms < 4_000 { ClaimAnswer::Unavailable } else { answer }, at(ms));
            }
        }
    }
}

#[test]
fn a_process_that_ended_is_claimed_from_at_once() {
    let mut guard = standby(broken());
    assert_eq!(guard.poll(at(1_010)), Some(expired(10)));
    guard.on_claim(ClaimAnswer::NotYet { after: Duration::from_secs(3) }, at(1_011));
    assert_eq!(guard.next_deadline(), Some(at(2_011)), "a second at most");
    guard.on_sight(refused(), at(1_020));
    assert_eq!(guard.poll(at(1_020)), Some(KILLED));
}

/// Where no second voter sees it, the lease still runs out.
#[test]
fn what_nobody_else_sees_is_claimed_as_silence_too() {
    let mut guard = standby(refused());
    let mut orders = Vec::new();
    for ms in 1_001..=1_402 {
        while let Some(order) = guard.poll(at(ms)) {
            orders.push((ms, order));
            guard.on_claim(ClaimAnswer::NotYet { after: NEAR.ask_every }, at(ms));
        }
    }
    let expected = [(1_001, 1), (1_201, 201), (1_401, 401)]
        .into_iter()
        .flat_map(|(ms, reigned)| [(ms, KILLED), (ms, expired(reigned))]);
    assert_eq!(orders, expected.collect::<Vec<_>>());
}

#[test]
fn a_claim_is_made_again_as_its_answer_says() {
    let table = [
        (ClaimAnswer::Won, 200),
        (ClaimAnswer::Unavailable, 200),
        (ClaimAnswer::NotYet { after: Duration::ZERO }, 200),
        (ClaimAnswer::NotYet { after: Duration::from_millis(700) }, 700),
        (ClaimAnswer::NotYet { after: Duration::MAX }, 1_000),
        (ClaimAnswer::Denied, 1_000),
    ];
    for (answer, pause) in table {
        let mut guard = standby(broken());
        assert_eq!(guard.poll(at(1_001)), Some(expired(1)));
        guard.on_claim(answer, at(1_100));
        assert_eq!(guard.next_deadline(), Some(at(1_100 + pause)), "{answer:?}");
        assert_eq!(guard.poll(at(1_099 + pause)), None);
        assert_eq!(guard.poll(at(1_100 + pause)), Some(expired(100 + pause)));
    }
}

/// Regression: where nobody answered, claims were ordered once a second and waited for each other, and an
/// operator's order waited behind them for as long as that had lasted.
#[test]
fn one_claim_is_under_way_at_a_time() {
    let mut guard = standby(broken());
    assert_eq!(ordered(&mut guard, 60_000).len(), 1, "until its answer is told");
    assert_eq!(guard.next_deadline(), None);
    guard.on_claim(ClaimAnswer::Unavailable, at(60_000));
    assert_eq!(guard.next_deadline(), Some(at(60_200)));
    assert_eq!(guard.poll(at(60_200)), Some(expired(59_200)));
    // What comes of a claim against a reign that is over changes nothing of the next.
    guard.on_belief(&Standing { term: FOUR, ..standing(State::Standby) }, at(60_300));
    guard.on_sight(refused(), at(60_300));
    assert_eq!(guard.poll(at(60_300)), None, "the other is still under way");
    guard.on_claim(ClaimAnswer::Denied, at(60_400));
    assert_eq!(guard.poll(at(60_400)), Some(Order::Claim(Because::Killed)));
}

#[test]
fn a_server_that_says_it_holds_no_lease_is_claimed_from_though_it_is_there() {
    let mut guard = standby(Sight::Connected);
    assert_eq!((guard.poll(at(1_001)), guard.next_deadline()), (None, None));
    guard.on_lease_flag(FOUR, false);
    assert_eq!(guard.poll(at(1_001)), None, "it says so of another reign");
    guard.on_lease_flag(THREE, false);
    assert_eq!(guard.poll(at(1_002)), Some(expired(2)));
    guard.on_lease_flag(THREE, true);
    assert_eq!(guard.next_deadline(), None);
}

/// Regression: a claim for silence that was under way when the process was seen to have ended was answered a
/// moment later, and stood for the answer to the next one: a failover took a fifth of a second longer.
#[test]
fn what_was_claimed_for_silence_says_nothing_of_an_end_that_was_seen_since() {
    let mut guard = standby(broken());
    assert_eq!(guard.poll(at(1_001)), Some(expired(1)));
    guard.on_sight(refused(), at(1_002));
    assert_eq!(guard.poll(at(1_002)), None, "the other is still under way");
    let after = Duration::from_secs(3);
    guard.on_claim(ClaimAnswer::NotYet { after }, at(1_003));
    assert_eq!(guard.poll(at(1_003)), Some(Order::Claim(Because::Killed)));
    // That nobody else sees it leaves the other reason, once, and then a pause.
    guard.on_claim(ClaimAnswer::NotYet { after }, at(1_004));
    assert_eq!(guard.poll(at(1_004)), Some(expired(4)));
    guard.on_claim(ClaimAnswer::NotYet { after }, at(1_005));
    assert_eq!(guard.poll(at(1_005)), None);
}

/// What was seen of the former active server is nothing that was seen of the new one.
#[test]
fn another_reign_is_looked_at_anew() {
    let mut guard = standby(refused());
    guard.on_lease_flag(THREE, false);
    guard.on_belief(&Standing { term: FOUR, ..standing(State::Standby) }, at(5_000));
    guard.on_sight(Sight::Connected, at(5_000));
    assert_eq!(guard.poll(at(5_000)), None);
    guard.on_sight(broken(), at(5_100));
    assert_eq!(guard.poll(at(5_100)), Some(expired(100)), "it is known since 5,000");
}

/// The same reign, known for longer: a change of the document within it begins nothing anew.
#[test]
fn a_revision_is_no_new_reign() {
    let mut guard = standby(broken());
    guard.on_belief(&Standing { in_sync: false, ..standing(State::Standby) }, at(2_000));
    assert_eq!(guard.poll(at(2_500)), None);
    guard.on_belief(&standing(State::Standby), at(3_000));
    assert_eq!(guard.poll(at(3_000)), Some(expired(2_000)));
}
