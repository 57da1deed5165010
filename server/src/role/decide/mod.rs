//! The one function that changes a role document: pure, so that each of its rules is a test and so
//! that a model checker can run it.
//!
//! The document is a value; commands carry all else that a rule needs: who proposes, under which
//! right, what was seen, what time it is. Nothing here knows what a server, a lease or a clock is.
//!
//! - The role moves by [`Claim`](Command::Claim) and [`HandOver`](Command::HandOver) only to a
//!   store that is in sync; by [`Force`](Command::Force) to any, at an operator's word.
//! - Each move has a role term above all before it, of the new holder's own class ([`term`]).
//! - Within a reign the holder alone changes what is in sync and how many copies there are.
//! - A server that begins again takes a new role term and nothing else: how the reign began, and
//!   what follows from that, stays.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_protocol::Timestamp;
use postern_protocol::role::{Began, GroupRole, Mode, RoleDocument, StoreName};

mod command;
mod denied;
mod term;

pub use command::{Because, By, Claim, Command, Proof, Reign, Rules};
pub use denied::Denied;
pub use term::{MAX_TERM, first_term, next_term, owns_term};

/// The most copies: a group is a pair.
const MAX_COPIES: u8 = 2;

/// A reign that lasted so many dwell times was no flapping: what ends it is another matter.
const STEADY_DWELLS: u64 = 8;

/// The document after the command, or why not.
pub fn decide(document: &RoleDocument, command: &Command) -> Result<RoleDocument, Denied> {
    let mut next = document.clone();
    match command {
        Command::Claim(claim, because) => {
            let present = group(document, &claim.group)?;
            let began = may_claim(document, present, claim, *because)?;
            let flaps = flaps(present, claim.by, *because);
            let role = group_mut(&mut next, &claim.group)?;
            // Whoever was in sync with the former holder is not known to be so with this one. A holder that
            // begins again with its store gave nothing away as safe that these did not hold, and gives
            // nothing away now before they confirm.
            if *because != Because::Restarted {
                role.in_sync = vec![claim.to.clone()];
            }
            role.flaps = flaps;
            begin(role, claim, began);
        }
        Command::HandOver(reign, claim) => {
            let present = reigning(document, reign)?;
            if claim.group != reign.group {
                return Err(Denied::NoGroup { group: claim.group.clone() });
            }
            if claim.to.server == present.active {
                return Err(already_active(present));
            }
            in_sync(present, &claim.to)?;
            rising(present, claim)?;
            // Both hold the same at this moment, so both stay in sync.
            let role = group_mut(&mut next, &claim.group)?;
            // A server that gives the role back by itself does not end the flapping that way.
            if claim.by == By::Operator {
                role.flaps = 0;
            }
            begin(role, claim, Began::Switchover);
        }
        Command::Force(claim) => {
            let present = group(document, &claim.group)?;
            if claim.by != By::Operator {
                return Err(Denied::OperatorOnly { group: claim.group.clone() });
            }
            if present.active == claim.to.server && present.in_sync.contains(&claim.to) {
                return Err(already_active(present));
            }
            rising(present, claim)?;
            let role = group_mut(&mut next, &claim.group)?;
            role.in_sync = vec![claim.to.clone()];
            role.flaps = 0;
            begin(role, claim, Began::Force);
            role.forced = Some(claim.term);
        }
        Command::Shrink(reign, store) => {
            let present = reigning(document, reign)?;
            if *store == reign.holder {
                return Err(Denied::DropsItself);
            }
            in_sync(present, store)?;
            revise(&mut next, reign, |role| role.in_sync.retain(|held| held != store))?;
        }
        Command::Grow(reign, store, proof) => grow(document, &mut next, reign, store, *proof)?,
        Command::Copies(reign, copies) => {
            let present = reigning(document, reign)?;
            if present.copies == *copies {
                return Err(Denied::NothingToDo);
            }
            if *copies == 0 || usize::from(*copies) > present.in_sync.len() {
                let in_sync = present.in_sync.len();
                return Err(Denied::Copies { copies: *copies, in_sync });
            }
            revise(&mut next, reign, |role| role.copies = *copies)?;
        }
        Command::Rules(reign, rules, at) => {
            reigning(document, reign)?;
            if let Some(copies) = rules.copies_wanted
                && !(1..=MAX_COPIES).contains(&copies)
            {
                return Err(Denied::CopiesWanted { copies });
            }
            revise(&mut next, reign, |role| apply_rules(role, rules, *at))?;
            if next.groups.get(&reign.group).is_some_and(|role| same_rules(role, document, reign)) {
                return Err(Denied::NothingToDo);
            }
        }
        Command::Limits(limits) => {
            if next.limits == *limits {
                return Err(Denied::NothingToDo);
            }
            next.limits = *limits;
            // Documents are compared group by group, and this one is another for each.
            for role in next.groups.values_mut() {
                role.revision = role.revision.saturating_add(1);
            }
        }
    }
    Ok(next)
}

/// A store is counted again.
fn grow(
    document: &RoleDocument,
    next: &mut RoleDocument,
    reign: &Reign,
    store: &StoreName,
    proof: Proof,
) -> Result<(), Denied> {
    let present = reigning(document, reign)?;
    if present.in_sync.contains(store) {
        return Err(Denied::NothingToDo);
    }
    // It would take the place of the holder's.
    if store.server == reign.holder.server {
        return Err(Denied::DropsItself);
    }
    if proof.confirmed < proof.since {
        return Err(Denied::Behind {
            server: store.server.clone(),
            store: store.store.clone(),
            confirmed: proof.confirmed,
            since: proof.since,
        });
    }
    revise(next, reign, |role| {
        // Another store of the same server is one that it no longer has.
        role.in_sync.retain(|held| held.server != store.server);
        role.in_sync.push(store.clone());
    })
}

/// The same, with the role changing by an operator's hand alone from now on: of a document that an
/// operator decided without the voters, whose word it does not have.
pub fn by_hand(mut document: RoleDocument, group: &str) -> RoleDocument {
    if let Some(role) = document.groups.get_mut(group) {
        role.mode = Mode::Manual;
        // The voters may still come to hold the same without this: two documents, two versions.
        role.revision = role.revision.saturating_add(1);
    }
    document
}

/// Whether a claim is in order, and how the reign that follows began.
fn may_claim(
    document: &RoleDocument,
    present: &GroupRole,
    claim: &Claim,
    because: Because,
) -> Result<Began, Denied> {
    let own = claim.to.server == present.active;
    let acts = own && present.in_sync.contains(&claim.to);
    match because {
        Because::Restarted if !own => {
            let (server, active) = (claim.to.server.clone(), present.active.clone());
            return Err(Denied::NotItsOwn { server, active });
        }
        Because::Expired { .. } | Because::Killed | Because::Vouched if acts => {
            return Err(already_active(present));
        }
        Because::Restarted | Because::Expired { .. } | Because::Killed | Because::Vouched => {}
    }
    in_sync(present, &claim.to)?;
    rising(present, claim)?;
    match (claim.by, because) {
        (_, Because::Restarted) => Ok(present.began),
        (By::Operator, _) => Ok(Began::Failover),
        (By::Server, Because::Vouched) => Err(Denied::OperatorOnly { group: claim.group.clone() }),
        (By::Server, Because::Expired { .. } | Because::Killed) => {
            may_fail_over(document, present, claim, because)?;
            Ok(Began::Automatic)
        }
    }
}

/// Whether a group may fail over by itself now.
fn may_fail_over(
    document: &RoleDocument,
    present: &GroupRole,
    claim: &Claim,
    because: Because,
) -> Result<(), Denied> {
    let group = claim.group.clone();
    match present.mode {
        Mode::Manual => return Err(Denied::OperatorOnly { group }),
        Mode::Confirmed => return Err(Denied::Unconfirmed { group }),
        Mode::Automatic => {}
    }
    if present.maintenance {
        return Err(Denied::Maintenance { group });
    }
    // Whoever is known to have ended is not waited for.
    if let Because::Expired { reigned } = because
        && present.began == Began::Automatic
    {
        let (reigned_ms, dwell_ms) = (milliseconds(reigned), present.effective_dwell_ms());
        if reigned_ms < dwell_ms {
            return Err(Denied::TooSoon { group, reigned_ms, dwell_ms });
        }
    }
    let Some(limit) = document.limits.automatic_failovers else { return Ok(()) };
    // The group itself counts as it will be: going home is no failover too many.
    if present.preferred.as_ref().is_none_or(|preferred| *preferred == claim.to.server) {
        return Ok(());
    }
    let away: BTreeSet<&String> = document
        .groups
        .iter()
        .filter(|(name, role)| **name != claim.group && was_taken(role))
        .map(|(name, _)| name)
        .collect();
    if away.len() >= usize::from(limit) {
        return Err(Denied::TooMany { away: away.len(), limit });
    }
    Ok(())
}

/// How many automatic failovers for silence have followed one another soon, once this claim holds.
fn flaps(present: &GroupRole, by: By, because: Because) -> u8 {
    match because {
        // The reign goes on, or its end says nothing of the line between the servers.
        Because::Restarted => present.flaps,
        _ if by == By::Operator => 0,
        Because::Killed => present.flaps,
        Because::Expired { reigned } => {
            let steady = present.effective_dwell_ms().saturating_mul(STEADY_DWELLS);
            let soon = present.began == Began::Automatic && milliseconds(reigned) < steady;
            if soon { present.flaps.saturating_add(1) } else { 0 }
        }
        Because::Vouched => 0,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a group was taken from its preferred server by itself, and stayed there.
fn was_taken(role: &GroupRole) -> bool {
    role.began == Began::Automatic && role.is_away()
}

fn group<'a>(document: &'a RoleDocument, name: &str) -> Result<&'a GroupRole, Denied> {
    document.groups.get(name).ok_or_else(|| Denied::NoGroup { group: name.to_owned() })
}

fn group_mut<'a>(document: &'a mut RoleDocument, name: &str) -> Result<&'a mut GroupRole, Denied> {
    document.groups.get_mut(name).ok_or_else(|| Denied::NoGroup { group: name.to_owned() })
}

/// The group, if whoever asks holds its role with the store that the document names.
fn reigning<'a>(document: &'a RoleDocument, reign: &Reign) -> Result<&'a GroupRole, Denied> {
    let role = group(document, &reign.group)?;
    let Reign { holder, term, .. } = reign;
    if role.active == holder.server && role.role_term == *term && role.in_sync.contains(holder) {
        return Ok(role);
    }
    let (server, store) = (holder.server.clone(), holder.store.clone());
    Err(Denied::NotReigning { server, store, term: *term })
}

fn in_sync(role: &GroupRole, store: &StoreName) -> Result<(), Denied> {
    if role.in_sync.contains(store) {
        return Ok(());
    }
    let names: Vec<String> =
        role.in_sync.iter().map(|held| format!("{} with {}", held.server, held.store)).collect();
    Err(Denied::NotInSync {
        server: store.server.clone(),
        store: store.store.clone(),
        in_sync: names.join(", "),
    })
}

fn rising(role: &GroupRole, claim: &Claim) -> Result<(), Denied> {
    if claim.term <= role.role_term {
        return Err(Denied::TermNotAbove { got: claim.term, present: role.role_term });
    }
    if !owns_term(claim.ordinal, claim.term) {
        return Err(Denied::TermNotOwn { got: claim.term, ordinal: claim.ordinal });
    }
    Ok(())
}

fn already_active(role: &GroupRole) -> Denied {
    Denied::AlreadyActive { server: role.active.clone(), term: role.role_term }
}

fn begin(role: &mut GroupRole, claim: &Claim, began: Began) {
    role.active.clone_from(&claim.to.server);
    role.role_term = claim.term;
    role.revision = 0;
    role.since = claim.at;
    role.began = began;
    place(role, claim.at);
}

/// Since when the group is away from its preferred server is kept until it is back, whoever is
/// active meanwhile.
fn place(role: &mut GroupRole, at: Timestamp) {
    role.away_since = if role.is_away() { role.away_since.or(Some(at)) } else { None };
}

fn revise(
    document: &mut RoleDocument,
    reign: &Reign,
    change: impl FnOnce(&mut GroupRole),
) -> Result<(), Denied> {
    let role = group_mut(document, &reign.group)?;
    change(role);
    role.revision = role.revision.saturating_add(1);
    Ok(())
}

fn apply_rules(role: &mut GroupRole, rules: &Rules, at: Timestamp) {
    let Rules { mode, when_full, copies_wanted, preferred, dwell_ms, away_alarm_ms, maintenance } =
        rules;
    role.mode = mode.unwrap_or(role.mode);
    role.when_full = when_full.unwrap_or(role.when_full);
    role.copies_wanted = copies_wanted.unwrap_or(role.copies_wanted);
    if let Some(preferred) = preferred {
        role.preferred.clone_from(preferred);
    }
    role.dwell_ms = dwell_ms.unwrap_or(role.dwell_ms);
    role.away_alarm_ms = away_alarm_ms.unwrap_or(role.away_alarm_ms);
    role.maintenance = maintenance.unwrap_or(role.maintenance);
    place(role, at);
}

/// Whether nothing but the revision differs from before.
fn same_rules(role: &GroupRole, before: &RoleDocument, reign: &Reign) -> bool {
    before
        .groups
        .get(&reign.group)
        .is_some_and(|old| GroupRole { revision: old.revision, ..role.clone() } == *old)
}

#[cfg(test)]
mod tests;
