//! What commands make of the document, and the rules that depend on more than one field.

use Because::{Killed, Restarted, Vouched};

use super::*;

/// Groups that were taken from their preferred server by themselves, beside the pair, whose own
/// preferred server is a.
pub(super) fn away(names: &[&str], limit: Option<u8>) -> RoleDocument {
    let mut document = of(GroupRole { preferred: Some("a".into()), ..pair() });
    document.limits = Limits { automatic_failovers: limit };
    for name in names {
        let role = GroupRole {
            preferred: Some((*name).into()),
            began: Began::Automatic,
            active: "b".into(),
            role_term: RoleTerm(4),
            ..pair()
        };
        document.groups.insert((*name).into(), role);
    }
    document
}

/// When rules are changed.
const NOW: Timestamp = Timestamp(SINCE + 77);

/// What is changed in which group.
type Change = (&'static str, fn(&mut GroupRole));

fn took(document: &RoleDocument, claim: &Claim, because: Because) -> Result<Began, Denied> {
    decide(document, &Command::Claim(claim.clone(), because)).map(|next| next.groups["main"].began)
}

#[test]
fn the_role_moves_and_what_is_in_sync_moves_with_it() {
    let next = GroupRole {
        active: "b".into(),
        role_term: RoleTerm(4),
        revision: 0,
        since: claim(b(), 1, 4).at,
        ..pair()
    };
    let alone = GroupRole { in_sync: vec![b()], ..next.clone() };
    let again = GroupRole { active: "a".into(), role_term: RoleTerm(5), ..next.clone() };
    let to_b = claim(b(), 1, 4);
    let forced = claim(store("c", "s3"), 1, 4);
    let table = [
        (Command::HandOver(reign(), to_b.clone()), GroupRole { began: Began::Switchover, ..next }),
        (
            Command::Claim(to_b.clone(), Vouched),
            GroupRole { began: Began::Failover, ..alone.clone() },
        ),
        (Command::Claim(claim(a(), 0, 5), Restarted), again),
        (
            Command::Force(to_b),
            GroupRole { began: Began::Force, forced: Some(RoleTerm(4)), ..alone.clone() },
        ),
        (
            Command::Force(forced.clone()),
            GroupRole {
                active: "c".into(),
                in_sync: vec![forced.to],
                began: Began::Force,
                forced: Some(RoleTerm(4)),
                ..alone
            },
        ),
    ];
    for (command, expected) in table {
        assert_eq!(after(&of(pair()), &command), expected, "{command:?}");
    }
}

/// An operator may say that a server goes on without what its former store held.
#[test]
fn an_active_server_whose_disk_was_replaced_is_forced() {
    let other = store("a", "s9");
    let forced = after(&of(pair()), &Command::Force(claim(other.clone(), 0, 5)));
    assert_eq!((forced.in_sync.as_slice(), forced.began), (&[other][..], Began::Force));
}

#[test]
fn the_mode_says_by_whose_hand_the_role_changes() {
    let operator_only = || Denied::OperatorOnly { group: "main".into() };
    let unconfirmed = || Denied::Unconfirmed { group: "main".into() };
    for mode in [Mode::Manual, Mode::Confirmed, Mode::Automatic] {
        // A new mode does not compile here.
        let alone = match mode {
            Mode::Manual => Err(operator_only()),
            Mode::Confirmed => Err(unconfirmed()),
            Mode::Automatic => Ok(Began::Automatic),
        };
        let document = of(GroupRole { mode, ..pair() });
        for because in [SILENT, Killed, Restarted, Vouched] {
            let (expected, claim) = match because {
                Because::Expired { .. } | Killed => (alone.clone(), by_itself(1_000)),
                Vouched => (Err(operator_only()), by_itself(1_000)),
                // Nobody else becomes active, so nobody is asked.
                Restarted => (Ok(Began::Founded), Claim { by: By::Server, ..claim(a(), 0, 5) }),
            };
            assert_eq!(took(&document, &claim, because), expected, "{mode:?} {because:?}");
            // An operator's word is enough in each mode.
            if because != Restarted {
                let confirmed = Claim { by: By::Operator, ..claim };
                assert_eq!(took(&document, &confirmed, because), Ok(Began::Failover));
            }
        }
    }
}

#[test]
fn maintenance_stops_automatic_failovers_alone() {
    let document = of(GroupRole { maintenance: true, ..pair() });
    let denied = Err(Denied::Maintenance { group: "main".into() });
    assert_eq!(took(&document, &by_itself(1_000), SILENT), denied);
    assert_eq!(took(&document, &by_itself(1_000), Killed), denied);
    assert_eq!(took(&document, &claim(b(), 1, 4), Vouched), Ok(Began::Failover));
    assert_eq!(took(&document, &claim(a(), 0, 5), Restarted), Ok(Began::Founded));
    let handed = after(&document, &Command::HandOver(reign(), claim(b(), 1, 4)));
    assert!(handed.maintenance, "who takes over finds it as it was");
}

#[test]
fn a_standby_of_many_takes_over_only_so_many() {
    let too_many = |away, limit| Err(Denied::TooMany { away, limit });
    let one = by_itself(1_000);
    assert_eq!(took(&away(&["x", "y"], None), &one, SILENT), Ok(Began::Automatic));
    assert_eq!(took(&away(&["x", "y"], Some(3)), &one, SILENT), Ok(Began::Automatic));
    assert_eq!(took(&away(&["x", "y"], Some(2)), &one, SILENT), too_many(2, 2));
    assert_eq!(took(&away(&["x", "y"], Some(2)), &one, Killed), too_many(2, 2));
    assert_eq!(took(&away(&[], Some(0)), &one, SILENT), too_many(0, 0));
    assert_eq!(
        took(&away(&["x", "y"], Some(0)), &claim(b(), 1, 4), Vouched),
        Ok(Began::Failover),
        "an operator may"
    );
    // Going home is no failover too many, nor is one between servers that are alike; whoever went
    // home, was moved by hand or is at home anywhere counts no more.
    let changes: [Change; 5] = [
        ("main", |role| role.preferred = Some("b".into())),
        ("main", |role| role.preferred = None),
        ("x", |role| role.active = "x".into()),
        ("x", |role| role.began = Began::Switchover),
        ("x", |role| role.preferred = None),
    ];
    for (group, change) in changes {
        let mut document = away(&["x", "y"], Some(2));
        change(document.groups.get_mut(group).unwrap());
        assert_eq!(took(&document, &one, SILENT), Ok(Began::Automatic), "{group}");
    }
}

#[test]
fn what_is_in_sync_shrinks_and_grows_by_the_holder_alone() {
    let shrunk = decide(&of(pair()), &Command::Shrink(reign(), b())).unwrap();
    let alone = GroupRole { in_sync: vec![a()], revision: 4, ..pair() };
    assert_eq!(shrunk, of(alone.clone()));
    for at in [proof(7, 7), proof(9, 7), proof(0, 0), proof(u64::MAX, u64::MAX)] {
        let grown = after(&shrunk, &Command::Grow(reign(), b(), at));
        assert_eq!(grown, GroupRole { revision: 5, ..pair() });
    }
    let behind = Denied::Behind { server: "b".into(), store: "s2".into(), confirmed: 6, since: 7 };
    assert_eq!(decide(&shrunk, &Command::Grow(reign(), b(), proof(6, 7))), Err(behind));
}

/// A server whose disk was replaced comes back with another store; the former one is gone.
#[test]
fn a_store_takes_the_place_of_its_servers_former_one() {
    let new = store("b", "s9");
    let grown = after(&of(pair()), &Command::Grow(reign(), new.clone(), proof(9, 9)));
    assert_eq!(grown, GroupRole { in_sync: vec![a(), new], revision: 4, ..pair() });
}

/// Regression: growing by another store of the holder's own server took the holder out, and the
/// group had an active server that was not in sync.
#[test]
fn the_holder_is_not_replaced_by_another_store_of_its_own() {
    let grow = Command::Grow(reign(), store("a", "s9"), proof(9, 9));
    assert_eq!(decide(&of(pair()), &grow), Err(Denied::DropsItself));
}

#[test]
fn there_are_as_many_copies_as_stores_at_most() {
    let alone = of(GroupRole { in_sync: vec![a()], ..pair() });
    for (document, copies, possible) in [
        (of(pair()), 0, false),
        (of(pair()), 1, true),
        (of(pair()), 3, false),
        (of(pair()), u8::MAX, false),
        (alone.clone(), 1, true),
        (of(GroupRole { copies: 1, ..pair() }), 2, true),
        (of(GroupRole { copies: 1, in_sync: vec![a()], ..pair() }), 2, false),
    ] {
        let in_sync = document.groups["main"].in_sync.len();
        let expected = if possible {
            Ok(GroupRole { copies, revision: 4, ..document.groups["main"].clone() })
        } else {
            Err(Denied::Copies { copies, in_sync })
        };
        let next = decide(&document, &Command::Copies(reign(), copies));
        assert_eq!(next.map(|next| next.groups["main"].clone()), expected, "{copies}");
    }
    // A store that leaves does not lower what is wanted: nothing is safe until somebody says so.
    assert_eq!(after(&of(pair()), &Command::Shrink(reign(), b())).copies, 2);
}

#[test]
fn rules_change_what_they_name() {
    let everything = Rules {
        mode: Some(Mode::Manual),
        when_full: Some(WhenFull::Hold),
        copies_wanted: Some(1),
        preferred: Some(Some("b".into())),
        dwell_ms: Some(7),
        away_alarm_ms: Some(Some(9)),
        maintenance: Some(true),
    };
    let changed = GroupRole {
        mode: Mode::Manual,
        when_full: WhenFull::Hold,
        copies_wanted: 1,
        preferred: Some("b".into()),
        dwell_ms: 7,
        away_since: Some(NOW),
        away_alarm_ms: Some(9),
        maintenance: true,
        revision: 4,
        ..pair()
    };
    let next = decide(&of(pair()), &Command::Rules(reign(), everything.clone(), NOW)).unwrap();
    assert_eq!(next, of(changed.clone()));
    let again = decide(&next, &Command::Rules(reign(), everything, NOW));
    assert_eq!(again, Err(Denied::NothingToDo));
    let nobody = Rules { preferred: Some(None), ..Rules::default() };
    let next = after(&next, &Command::Rules(reign(), nobody, NOW));
    assert_eq!(next, GroupRole { preferred: None, away_since: None, revision: 5, ..changed });
}

/// Regression: new limits left every version as it was, so that nobody adopted them.
#[test]
fn new_limits_are_a_new_version_of_every_group() {
    let before = away(&["x"], None);
    let limits = Limits { automatic_failovers: Some(1) };
    let next = decide(&before, &Command::Limits(limits)).unwrap();
    assert_eq!(next.limits, limits);
    for (name, role) in &before.groups {
        let revision = role.revision + 1;
        assert_eq!(next.groups[name], GroupRole { revision, ..role.clone() });
    }
}
