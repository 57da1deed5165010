//! Every command against every reason to deny it.

use std::collections::BTreeSet;

use super::*;

const COMMANDS: [&str; 8] =
    ["Claim", "HandOver", "Force", "Shrink", "Grow", "Copies", "Rules", "Limits"];

/// For which reason which commands can be denied, in the order of [`COMMANDS`].
const MATRIX: [(&str, [u8; 8]); 17] = [
    ("NoGroup", *b"xxxxxxx-"),
    ("AlreadyActive", *b"xxx-----"),
    ("TermNotAbove", *b"xxx-----"),
    ("TermNotOwn", *b"xxx-----"),
    ("NotInSync", *b"xx-x----"),
    ("NotReigning", *b"-x-xxxx-"),
    ("NotItsOwn", *b"x-------"),
    ("OperatorOnly", *b"x-x-----"),
    ("Unconfirmed", *b"x-------"),
    ("Maintenance", *b"x-------"),
    ("TooSoon", *b"x-------"),
    ("TooMany", *b"x-------"),
    ("DropsItself", *b"---xx---"),
    ("Behind", *b"----x---"),
    ("Copies", *b"-----x--"),
    ("CopiesWanted", *b"------x-"),
    ("NothingToDo", *b"----xxxx"),
];

/// A new command does not compile here.
fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Claim(..) => "Claim",
        Command::HandOver(..) => "HandOver",
        Command::Force(_) => "Force",
        Command::Shrink(..) => "Shrink",
        Command::Grow(..) => "Grow",
        Command::Copies(..) => "Copies",
        Command::Rules(..) => "Rules",
        Command::Limits(_) => "Limits",
    }
}

/// A new reason does not compile here.
fn denied_name(denied: &Denied) -> &'static str {
    match denied {
        Denied::NoGroup { .. } => "NoGroup",
        Denied::AlreadyActive { .. } => "AlreadyActive",
        Denied::TermNotAbove { .. } => "TermNotAbove",
        Denied::TermNotOwn { .. } => "TermNotOwn",
        Denied::NotInSync { .. } => "NotInSync",
        Denied::NotReigning { .. } => "NotReigning",
        Denied::NotItsOwn { .. } => "NotItsOwn",
        Denied::OperatorOnly { .. } => "OperatorOnly",
        Denied::Unconfirmed { .. } => "Unconfirmed",
        Denied::Maintenance { .. } => "Maintenance",
        Denied::TooSoon { .. } => "TooSoon",
        Denied::TooMany { .. } => "TooMany",
        Denied::DropsItself => "DropsItself",
        Denied::Behind { .. } => "Behind",
        Denied::Copies { .. } => "Copies",
        Denied::CopiesWanted { .. } => "CopiesWanted",
        Denied::NothingToDo => "NothingToDo",
    }
}

/// Whether a command may be denied for this reason.
pub(super) fn expected(command: &Command, denied: &Denied) -> bool {
    let column = COMMANDS.iter().position(|name| *name == command_name(command)).unwrap();
    MATRIX.iter().find(|(name, _)| *name == denied_name(denied)).unwrap().1[column] == b'x'
}

fn no_group() -> Denied {
    Denied::NoGroup { group: "else".into() }
}

fn already() -> Denied {
    Denied::AlreadyActive { server: "a".into(), term: RoleTerm(3) }
}

fn not_in_sync(name: &StoreName, in_sync: &str) -> Denied {
    let (server, store, in_sync) = (name.server.clone(), name.store.clone(), in_sync.into());
    Denied::NotInSync { server, store, in_sync }
}

fn not_above(term: u64) -> Denied {
    Denied::TermNotAbove { got: RoleTerm(term), present: RoleTerm(3) }
}

const fn not_own() -> Denied {
    Denied::TermNotOwn { got: RoleTerm(5), ordinal: 1 }
}

fn elsewhere(claim: Claim) -> Claim {
    Claim { group: "else".into(), ..claim }
}

fn group() -> String {
    "main".into()
}

type Case = (RoleDocument, Command, Denied);

/// What is denied to whoever is to be active next.
fn moves() -> Vec<Case> {
    use Because::{Killed, Restarted, Vouched};
    use Command::{Claim as Take, Force, HandOver};

    let (pair, to_b) = (of(pair()), claim(b(), 1, 4));
    let (new, other) = (store("b", "s9"), store("a", "s9"));
    let with = |change: fn(&mut GroupRole)| {
        let mut role = super::pair();
        change(&mut role);
        of(role)
    };
    let table = [
        (pair.clone(), Take(elsewhere(to_b.clone()), SILENT), no_group()),
        (pair.clone(), Take(claim(a(), 0, 5), SILENT), already()),
        (pair.clone(), Take(claim(a(), 0, 5), Killed), already()),
        (pair.clone(), Take(claim(a(), 0, 5), Vouched), already()),
        (pair.clone(), Take(claim(b(), 1, 2), SILENT), not_above(2)),
        (pair.clone(), Take(claim(a(), 0, 3), Restarted), not_above(3)),
        (pair.clone(), Take(claim(b(), 1, 5), Killed), not_own()),
        (pair.clone(), Take(claim(new.clone(), 1, 4), Vouched), {
            not_in_sync(&new, "a with s1, b with s2")
        }),
        (pair.clone(), Take(claim(other.clone(), 0, 5), Restarted), {
            not_in_sync(&other, "a with s1, b with s2")
        }),
        (pair.clone(), Take(to_b.clone(), Restarted), {
            Denied::NotItsOwn { server: "b".into(), active: "a".into() }
        }),
        (pair.clone(), Take(by_itself(1_000), Vouched), Denied::OperatorOnly { group: group() }),
        (with(|role| role.mode = Mode::Manual), Take(by_itself(1_000), SILENT), {
            Denied::OperatorOnly { group: group() }
        }),
        (with(|role| role.mode = Mode::Confirmed), Take(by_itself(1_000), Killed), {
            Denied::Unconfirmed { group: group() }
        }),
        (with(|role| role.maintenance = true), Take(by_itself(1_000), Killed), {
            Denied::Maintenance { group: group() }
        }),
        (with(|role| role.began = Began::Automatic), Take(by_itself(499), expired(499)), {
            Denied::TooSoon { group: group(), reigned_ms: 499, dwell_ms: 500 }
        }),
        (rule::away(&["one", "two"], Some(2)), Take(by_itself(1_000), SILENT), {
            Denied::TooMany { away: 2, limit: 2 }
        }),
        (pair.clone(), HandOver(reign(), elsewhere(to_b.clone())), no_group()),
        (pair.clone(), HandOver(reign(), claim(a(), 0, 5)), already()),
        (pair.clone(), HandOver(reign(), claim(b(), 1, 2)), not_above(2)),
        (pair.clone(), HandOver(reign(), claim(b(), 1, 5)), not_own()),
        (pair.clone(), HandOver(reign(), claim(new.clone(), 1, 4)), {
            not_in_sync(&new, "a with s1, b with s2")
        }),
        (pair.clone(), Force(elsewhere(to_b.clone())), no_group()),
        (pair.clone(), Force(claim(a(), 0, 5)), already()),
        (pair.clone(), Force(claim(b(), 1, 2)), not_above(2)),
        (pair.clone(), Force(claim(b(), 1, 5)), not_own()),
        (pair, Force(by_itself(1_000)), Denied::OperatorOnly { group: group() }),
    ];
    table.to_vec()
}

/// What is denied to whoever reigns, or says so.
fn revisions() -> Vec<Case> {
    use Command::{Copies, Grow, HandOver, Limits as Limit, Rules as Rule, Shrink};

    let (pair, new) = (of(pair()), store("b", "s9"));
    let alone = of(GroupRole { in_sync: vec![a()], ..super::pair() });
    let mut cases = vec![
        (alone.clone(), Shrink(reign(), b()), not_in_sync(&b(), "a with s1")),
        (pair.clone(), Shrink(reign(), a()), Denied::DropsItself),
        (alone.clone(), Grow(reign(), store("a", "s9"), proof(9, 9)), Denied::DropsItself),
        (pair.clone(), Grow(reign(), b(), proof(9, 9)), Denied::NothingToDo),
        (pair.clone(), Grow(reign(), new, proof(8, 9)), {
            let (server, store) = ("b".into(), "s9".into());
            Denied::Behind { server, store, confirmed: 8, since: 9 }
        }),
        (pair.clone(), Copies(reign(), 0), Denied::Copies { copies: 0, in_sync: 2 }),
        (pair.clone(), Copies(reign(), 3), Denied::Copies { copies: 3, in_sync: 2 }),
        (pair.clone(), Copies(reign(), 2), Denied::NothingToDo),
        (pair.clone(), Rule(reign(), Rules::default(), Timestamp(SINCE)), Denied::NothingToDo),
        (pair.clone(), Limit(Limits::default()), Denied::NothingToDo),
    ];
    for copies in [0, 3] {
        let rules = Rules { copies_wanted: Some(copies), ..Rules::default() };
        cases.push((
            pair.clone(),
            Rule(reign(), rules, Timestamp(SINCE)),
            Denied::CopiesWanted { copies },
        ));
    }
    // Who has no right to it: by server, by store, by role term; and of no such group.
    let not_reigning = |holder: StoreName, term| {
        let Reign { group, .. } = reign();
        let denied = Denied::NotReigning {
            server: holder.server.clone(),
            store: holder.store.clone(),
            term: RoleTerm(term),
        };
        (Reign { group, holder, term: RoleTerm(term) }, denied)
    };
    let nowhere = (Reign { group: "else".into(), ..reign() }, no_group());
    for (reign, denied) in [
        not_reigning(b(), 3),
        not_reigning(store("a", "s9"), 3),
        not_reigning(a(), 1),
        not_reigning(a(), 5),
        nowhere,
    ] {
        for command in [
            HandOver(reign.clone(), claim(b(), 1, 4)),
            Shrink(reign.clone(), b()),
            Grow(reign.clone(), b(), proof(9, 9)),
            Copies(reign.clone(), 1),
            {
                let rules = Rules { maintenance: Some(true), ..Rules::default() };
                Rule(reign.clone(), rules, Timestamp(SINCE))
            },
        ] {
            cases.push((alone.clone(), command, denied.clone()));
        }
    }
    cases
}

#[test]
fn each_command_is_denied_for_each_of_its_reasons() {
    let mut met = BTreeSet::new();
    for (document, command, denied) in moves().into_iter().chain(revisions()) {
        assert!(expected(&command, &denied), "{command:?} {denied:?}: not in the matrix");
        met.insert((command_name(&command), denied_name(&denied)));
        assert_eq!(decide(&document, &command), Err(denied), "{command:?}");
    }
    for (reason, columns) in MATRIX {
        for (command, possible) in COMMANDS.into_iter().zip(columns) {
            let expected = possible == b'x';
            assert_eq!(met.contains(&(command, reason)), expected, "{command} {reason}");
        }
    }
}
