//! What holds after any commands in any order.

use std::collections::BTreeMap;

use postern_protocol::role::RoleVersion;
use proptest::prelude::*;

use super::*;

const GROUPS: [&str; 3] = ["main", "other", "nowhere"];

fn any_store() -> impl Strategy<Value = StoreName> {
    (0..2_usize, 0..3_usize).prop_map(|(server, number)| {
        let server = ["a", "b"][server];
        store(server, &format!("{server}{number}"))
    })
}

fn any_began() -> impl Strategy<Value = Began> {
    prop_oneof![
        Just(Began::Founded),
        Just(Began::Switchover),
        Just(Began::Failover),
        Just(Began::Automatic),
        Just(Began::Force)
    ]
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![1 => Just(Mode::Manual), 1 => Just(Mode::Confirmed), 3 => Just(Mode::Automatic)]
}

fn any_preferred() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some("a".to_owned())), Just(Some("b".to_owned()))]
}

prop_compose! {
    fn any_role()(
        holder in any_store(),
        peer in any_store(),
        with_peer: bool,
        term in 1_u64..4,
        mode in any_mode(),
        began in any_began(),
        preferred in any_preferred(),
        maintenance in prop::bool::weighted(0.1),
    ) -> GroupRole {
        let mut in_sync = vec![holder.clone()];
        if with_peer && peer.server != holder.server {
            in_sync.push(peer);
        }
        GroupRole {
            active: holder.server,
            role_term: RoleTerm(term),
            in_sync,
            mode,
            began,
            preferred,
            maintenance,
            ..pair()
        }
    }
}

prop_compose! {
    fn any_document()(
        roles in prop::collection::vec(any_role(), 2),
        automatic_failovers in prop::option::of(0_u8..3),
    ) -> RoleDocument {
        let groups = GROUPS.into_iter().map(str::to_owned).zip(roles).collect();
        RoleDocument { site: "north".into(), groups, limits: Limits { automatic_failovers } }
    }
}

/// What is proposed, before it is known what the document says.
#[derive(Clone, Debug)]
struct Wish {
    what: u8,
    group: usize,
    /// The holder by the document, or somebody who only says so.
    legitimate: bool,
    holder: StoreName,
    to: StoreName,
    /// The lowest own role term above the document's, or any.
    rising: bool,
    term: u64,
    by: By,
    at: i64,
    because: Because,
    number: u8,
    proof: Proof,
    rules: Rules,
}

prop_compose! {
    fn any_rules()(
        mode in prop::option::of(any_mode()),
        copies_wanted in prop::option::of(0_u8..4),
        preferred in prop::option::of(any_preferred()),
        dwell_ms in prop::option::of(0_u64..1_000),
        away_alarm_ms in prop::option::of(prop::option::of(0_u64..1_000)),
        maintenance in prop::option::of(prop::bool::weighted(0.1)),
    ) -> Rules {
        let when_full = None;
        Rules { mode, when_full, copies_wanted, preferred, dwell_ms, away_alarm_ms, maintenance }
    }
}

prop_compose! {
    fn any_wish()(
        what in 0_u8..8,
        group in prop_oneof![8 => Just(0_usize), 4 => Just(1), 1 => Just(2)],
        legitimate in prop::bool::weighted(0.8),
        (holder, to) in (any_store(), any_store()),
        rising in prop::bool::weighted(0.8),
        term in 0_u64..40,
        by in prop_oneof![Just(By::Server), Just(By::Operator)],
        at in SINCE - 1_000..SINCE + 1_000,
        because in prop_oneof![
            (0_u64..2_000).prop_map(expired),
            Just(Because::Killed),
            Just(Because::Vouched),
            Just(Because::Restarted)
        ],
        number in 0_u8..4,
        (confirmed, since) in (0_u64..4, 0_u64..4),
        rules in any_rules(),
    ) -> Wish {
        let proof = Proof { confirmed, since };
        Wish {
            what, group, legitimate, holder, to, rising, term, by, at, because, number, proof, rules,
        }
    }
}

impl Wish {
    fn command(&self, document: &RoleDocument) -> Command {
        let group = GROUPS[self.group].to_owned();
        let role = document.groups.get(&group);
        let ordinal = u64::from(self.to.server == "b");
        let present = role.map_or(RoleTerm(0), |role| role.role_term);
        let rising = next_term(ordinal, present).filter(|_| self.rising);
        let claim = Claim {
            group: group.clone(),
            to: self.to.clone(),
            ordinal,
            term: rising.unwrap_or(RoleTerm(self.term)),
            by: self.by,
            at: Timestamp(self.at),
        };
        let holder = role.and_then(|role| {
            role.in_sync.iter().find(|store| store.server == role.active).cloned()
        });
        let reign = match holder.filter(|_| self.legitimate) {
            Some(holder) => Reign { group, holder, term: present },
            None => Reign { group, holder: self.holder.clone(), term: RoleTerm(self.term) },
        };
        match self.what {
            0 => Command::Claim(claim, self.because),
            1 => Command::HandOver(reign, claim),
            2 => Command::Force(claim),
            3 => Command::Shrink(reign, self.to.clone()),
            4 => Command::Grow(reign, self.to.clone(), self.proof),
            5 => Command::Copies(reign, self.number),
            6 => Command::Rules(reign, self.rules.clone(), Timestamp(self.at)),
            _ => Command::Limits(Limits { automatic_failovers: self.number.checked_sub(1) }),
        }
    }
}

/// Whether a command moves the role; a new one does not compile here.
const fn moves(command: &Command) -> bool {
    match command {
        Command::Claim(..) | Command::HandOver(..) | Command::Force(_) => true,
        Command::Shrink(..)
        | Command::Grow(..)
        | Command::Copies(..)
        | Command::Rules(..)
        | Command::Limits(_) => false,
    }
}

/// The group that a command is about; `None` for all of them.
fn subject(command: &Command) -> Option<&str> {
    match command {
        Command::Claim(claim, _) | Command::Force(claim) => Some(&claim.group),
        Command::HandOver(reign, _)
        | Command::Shrink(reign, _)
        | Command::Grow(reign, ..)
        | Command::Copies(reign, _)
        | Command::Rules(reign, ..) => Some(&reign.group),
        Command::Limits(_) => None,
    }
}

/// The stores of one server, each named once; the active server's among them.
fn sound(role: &GroupRole) -> bool {
    let servers: BTreeSet<&String> = role.in_sync.iter().map(|store| &store.server).collect();
    servers.len() == role.in_sync.len() && servers.contains(&role.active)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Invariants 7 and 8: a document is followed by one that every server and gateway takes for a
    /// higher one, in the group that was changed; no two documents share a version.
    #[test]
    fn versions_rise_and_name_one_document(
        document in any_document(),
        wishes in prop::collection::vec(any_wish(), 1..40),
    ) {
        let mut document = document;
        let mut known: BTreeMap<(String, RoleVersion), GroupRole> = BTreeMap::new();
        for (name, role) in &document.groups {
            known.insert((name.clone(), role.version()), role.clone());
        }
        for wish in wishes {
            let command = wish.command(&document);
            let next = match decide(&document, &command) {
                Ok(next) => next,
                Err(denied) => {
                    prop_assert!(table::expected(&command, &denied), "{command:?} {denied:?}");
                    continue;
                }
            };
            prop_assert_eq!(&next.site, &document.site);
            prop_assert!(next.groups.keys().eq(document.groups.keys()));
            for (name, role) in &next.groups {
                let before = &document.groups[name];
                prop_assert!(sound(role), "{role:?}");
                prop_assert!(role.copies >= 1);
                let changed = subject(&command).is_none_or(|subject| subject == name.as_str());
                // Set by every change of who is active or preferred; the documents that this began
                // with may lack it.
                if changed && (moves(&command) || matches!(command, Command::Rules(..))) {
                    prop_assert_eq!(role.away_since.is_some(), role.is_away());
                }
                if subject(&command).is_some_and(|subject| subject != name.as_str()) {
                    prop_assert_eq!(role, before);
                } else if moves(&command) {
                    prop_assert!(role.role_term > before.role_term);
                    prop_assert_eq!(role.revision, 0);
                    prop_assert_eq!(known.insert((name.clone(), role.version()), role.clone()), None);
                } else {
                    prop_assert_eq!(role.role_term, before.role_term);
                    prop_assert_eq!(role.revision, before.revision + 1);
                    prop_assert_eq!((&role.active, role.began), (&before.active, before.began));
                    prop_assert_eq!(known.insert((name.clone(), role.version()), role.clone()), None);
                }
            }
            document = next;
        }
    }

    /// Invariant 7: what a deposed server proposes by the right of its former reign is denied, and
    /// so is what is claimed for a store that is not in sync.
    #[test]
    fn former_rights_are_worth_nothing(
        document in any_document(),
        wish in any_wish(),
        to in any_store(),
    ) {
        let old = Wish { legitimate: true, what: 1 + wish.what % 6, ..wish.clone() }.command(&document);
        let ordinal = u64::from(to.server == "b");
        let Some(role) = document.groups.get(GROUPS[wish.group]) else { return Ok(()) };
        let term = next_term(ordinal, role.role_term).unwrap();
        let by = By::Operator;
        let claim =
            Claim { group: GROUPS[wish.group].into(), to, ordinal, term, by, at: Timestamp(0) };
        let because = Because::Restarted;
        let held = role.in_sync.contains(&claim.to);
        let because = if claim.to.server == role.active { because } else { Because::Vouched };
        let claimed = decide(&document, &Command::Claim(claim, because));
        prop_assert_eq!(claimed.is_ok(), held);
        let Ok(next) = claimed else { return Ok(()) };
        if !matches!(old, Command::Force(_)) {
            let denied = decide(&next, &old);
            prop_assert!(matches!(denied, Err(Denied::NotReigning { .. })), "{old:?} {denied:?}");
        }
    }
}

#[test]
fn members_count_in_classes_of_their_own() {
    assert_eq!((first_term(0), first_term(1)), (RoleTerm(1), RoleTerm(2)));
    for (ordinal, floor, next) in [(0, 0, 1), (0, 1, 3), (0, 2, 3), (1, 0, 2), (1, 1, 2), (1, 2, 4)]
    {
        assert_eq!(next_term(ordinal, RoleTerm(floor)), Some(RoleTerm(next)));
    }
    assert_eq!(next_term(0, MAX_TERM), None);
    assert_eq!(next_term(1, RoleTerm(u64::MAX)), None);
}

proptest! {
    /// Invariant 7: two failovers that are forced apart never mint one role term with two holders.
    #[test]
    fn no_role_term_has_two_holders(floor_a in 0_u64..1_000, floor_b in 0_u64..1_000) {
        let (a, b) = (next_term(0, RoleTerm(floor_a)).unwrap(), next_term(1, RoleTerm(floor_b)).unwrap());
        prop_assert_ne!(a, b);
        prop_assert!(a.0 > floor_a && b.0 > floor_b);
        prop_assert!(owns_term(0, a) && !owns_term(1, a) && owns_term(1, b) && !owns_term(0, b));
    }
}
