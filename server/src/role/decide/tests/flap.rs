//! What is remembered from one reign to the next: dwell times, and how long a group is away.

use Because::{Killed, Restarted, Vouched};

use super::*;

/// The pair after a failover by itself, and after so many that followed one another soon.
fn moved(flaps: u8) -> GroupRole {
    GroupRole { began: Began::Automatic, flaps, ..pair() }
}

fn took(role: GroupRole, claim: Claim, because: Because) -> Result<GroupRole, Denied> {
    let next = decide(&of(role), &Command::Claim(claim, because))?;
    Ok(next.groups["main"].clone())
}

/// How many flaps are counted once b has claimed.
fn flaps(role: GroupRole, because: Because) -> u8 {
    took(role, by_itself(0), because).unwrap().flaps
}

const fn too_soon(reigned_ms: u64, dwell_ms: u64) -> Denied {
    Denied::TooSoon { group: String::new(), reigned_ms, dwell_ms }
}

fn denied(role: GroupRole, because: Because) -> Option<Denied> {
    let denied = took(role, by_itself(0), because).err()?;
    let Denied::TooSoon { reigned_ms, dwell_ms, .. } = denied else { return Some(denied) };
    Some(too_soon(reigned_ms, dwell_ms))
}

/// The role does not swing to and fro, but a process that is known to have ended is not waited for.
#[test]
fn after_an_automatic_failover_the_next_one_waits() {
    for reigned_ms in [0, 499] {
        assert_eq!(denied(moved(0), expired(reigned_ms)), Some(too_soon(reigned_ms, 500)));
        assert!(took(moved(0), by_itself(0), Killed).is_ok());
        let confirmed = Claim { by: By::Operator, ..by_itself(0) };
        assert!(took(moved(0), confirmed, expired(reigned_ms)).is_ok());
    }
    assert_eq!(denied(moved(0), expired(500)), None);
    for began in [Began::Founded, Began::Switchover, Began::Failover, Began::Force] {
        assert_eq!(denied(GroupRole { began, ..pair() }, expired(0)), None, "{began:?}");
    }
    let forever = GroupRole { dwell_ms: u64::MAX, ..moved(u8::MAX) };
    assert_eq!(denied(forever, expired(500)), Some(too_soon(500, u64::MAX)));
}

/// Whose clock was set, and by how much, is all the same: times of day are for people.
#[test]
fn the_time_of_day_bars_nothing_and_frees_nothing() {
    for (since, at) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX)] {
        let role = GroupRole { since: Timestamp(since), ..moved(0) };
        let claim = || Claim { at: Timestamp(at), ..by_itself(0) };
        assert!(took(role.clone(), claim(), expired(499)).is_err());
        assert!(took(role, claim(), expired(500)).is_ok());
    }
}

#[test]
fn the_dwell_time_doubles_while_failovers_follow_one_another_soon() {
    let mut role = pair();
    for (number, dwell_ms) in
        [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000].into_iter().enumerate()
    {
        let role_before = GroupRole { active: "a".into(), role_term: RoleTerm(3), ..role };
        let role_before = GroupRole { in_sync: vec![a(), b()], ..role_before };
        if dwell_ms > 0 {
            let early = denied(role_before.clone(), expired(dwell_ms - 1));
            assert_eq!(early, Some(too_soon(dwell_ms - 1, dwell_ms)), "failover {number}");
        }
        role = took(role_before, by_itself(0), expired(dwell_ms)).unwrap();
        assert_eq!(usize::from(role.flaps), number);
    }
}

#[test]
fn a_reign_that_lasted_ends_the_flapping() {
    assert_eq!(flaps(moved(1), expired(8 * 1_000 - 1)), 2);
    assert_eq!(flaps(moved(1), expired(8 * 1_000)), 0);
    assert_eq!(flaps(moved(u8::MAX), expired(100_000)), u8::MAX);
    assert_eq!(flaps(GroupRole { flaps: 3, ..pair() }, expired(0)), 0, "it began by hand");
    assert_eq!(flaps(moved(3), Killed), 3, "a process's end says nothing of the line");
}

#[test]
fn an_operators_hand_ends_the_flapping_and_a_servers_does_not() {
    let confirmed = || claim(b(), 1, 4);
    assert_eq!(took(moved(3), confirmed(), Vouched).unwrap().flaps, 0);
    assert_eq!(took(moved(3), confirmed(), Killed).unwrap().flaps, 0);
    assert_eq!(after(&of(moved(3)), &Command::Force(confirmed())).flaps, 0);
    assert_eq!(after(&of(moved(3)), &Command::HandOver(reign(), confirmed())).flaps, 0);
    assert_eq!(after(&of(moved(3)), &Command::HandOver(reign(), by_itself(0))).flaps, 3);
}

/// Regression: a restart was a way of beginning of its own, so that it ended the dwell time and the
/// group no longer counted among those that are away. And it counted the other store out, so that a
/// server that crashed again at once had no successor.
#[test]
fn a_restart_forgets_nothing() {
    let role = GroupRole {
        preferred: Some("b".into()),
        away_since: Some(Timestamp(7)),
        forced: Some(RoleTerm(1)),
        ..moved(2)
    };
    let again = took(role.clone(), Claim { by: By::Server, ..claim(a(), 0, 5) }, Restarted);
    let expected =
        GroupRole { role_term: RoleTerm(5), revision: 0, since: claim(a(), 0, 5).at, ..role };
    assert_eq!(again, Ok(expected.clone()));
    let role = GroupRole { role_term: RoleTerm(3), ..expected };
    assert_eq!(denied(role, expired(1_999)), Some(too_soon(1_999, 2_000)));
}

#[test]
fn since_when_a_group_is_away_is_kept_until_it_is_back() {
    let home = GroupRole { preferred: Some("a".into()), ..pair() };
    let taken = took(home.clone(), by_itself(5), expired(0)).unwrap();
    assert_eq!(taken.away_since, Some(Timestamp(SINCE + 5)));

    // It begins again where it is, later: it is away since the same moment.
    let taken = GroupRole { in_sync: vec![b(), a()], ..taken };
    let claim_again = Claim { at: Timestamp(SINCE + 9), ..claim(b(), 1, 6) };
    let again = took(taken.clone(), claim_again, Restarted).unwrap();
    assert_eq!(again.away_since, taken.away_since);

    let back = took(taken, Claim { by: By::Server, ..claim(a(), 0, 5) }, Killed).unwrap();
    assert_eq!((back.away_since, back.is_away()), (None, false));

    let anywhere = took(pair(), by_itself(5), expired(0)).unwrap();
    assert_eq!((anywhere.away_since, anywhere.is_away()), (None, false));

    // A document of before there was such a field learns it with the next change.
    let prefers = |preferred: Option<&str>, role: &GroupRole, at| {
        let preferred = Some(preferred.map(str::to_owned));
        let rules = Rules { preferred, ..Rules::default() };
        let command = Command::Rules(reign(), rules, Timestamp(at));
        decide(&of(role.clone()), &command).map(|next| next.groups["main"].away_since)
    };
    let old = GroupRole { preferred: Some("b".into()), ..pair() };
    assert_eq!(prefers(Some("b"), &old, 3), Ok(Some(Timestamp(3))));
    assert_eq!(prefers(Some("b"), &home, 3), Ok(Some(Timestamp(3))));
    let away = GroupRole { away_since: Some(Timestamp(1)), ..old };
    assert_eq!(prefers(Some("b"), &away, 3), Err(Denied::NothingToDo));
    assert_eq!(prefers(Some("c"), &away, 3), Ok(Some(Timestamp(1))));
    assert_eq!(prefers(Some("a"), &away, 3), Ok(None));
    assert_eq!(prefers(None, &away, 3), Ok(None));
}
