//! The task of an active server: it counts stores in once they hold everything, counts them out when
//! they are not what they were or when gateways run full for want of them, and lets as many copies be
//! wanted as there can be.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use postern_protocol::RoleTerm;
use postern_protocol::role::{StoreName, WhenFull};
use tokio_util::sync::CancellationToken;

use super::Acks;
use super::acks::SILENT;
use crate::api::Server;
use crate::api::admin::Away;
use crate::role::decide::{Command, Reign, decide};
use crate::role::{Belief, State};
use crate::store::change::Position;
use crate::store::{Audit, Store};

/// How often it is looked at without news.
const TICK: Duration = Duration::from_millis(250);

/// How often it is looked whether the group has been away from its preferred server for too long.
const AWAY_EVERY: Duration = Duration::from_mins(1);

/// From which fullness of a gateway's journal on, in percent, the site goes on with fewer copies.
pub const FULL: u8 = 90;

/// Tends the reign until the server stops.
pub async fn tend(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failure, mut away_said) = (None, None::<Instant>);
    loop {
        // Cancel-safety: nothing is kept across the wait.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = server.news.notified() => {}
        }
        let belief = server.keeper.belief();
        if belief.state() != State::Active {
            continue;
        }
        let head = match server.embedded.read(Store::head).await {
            Ok(head) => head.position,
            // The store says so itself.
            Err(_) => continue,
        };
        if away_said.is_none_or(|at| at.elapsed() >= AWAY_EVERY)
            && let Some(Away { preferred, for_s, alarm: true, .. }) = Away::of(belief.role())
        {
            away_said = Some(Instant::now());
            let detail = format!("server {preferred} is to be active; another is, for {for_s} s");
            let (me, group) = (&server.me.name, belief.group());
            let alarm = Audit::now(me, "away_too_long", group, &detail);
            // Once an hour; where the store fails it says so itself.
            let _ = server.store.alarm(belief.role().role_term, alarm).await;
        }
        let fullest = server.fullest(Instant::now());
        let term = belief.role().role_term;
        let next =
            server.with_acks(term, |acks| next(acks, &belief, head, fullest, Instant::now()));
        match next.flatten() {
            Some(Step::Count(store)) => count(&server, term, store).await,
            Some(Step::Change(change)) => {
                let failed = carry_out(&server, &belief, change).await;
                // It is tried again and again: one line each time that the reason changes.
                if let Some(why) = failed.as_ref().filter(|_| failed != failure) {
                    tracing::warn!(why, "the group could not be changed");
                }
                failure = failed;
            }
            None => {}
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// From now on nothing is safe that this store has not confirmed.
    Count(StoreName),
    /// The document is to be changed.
    Change(Change),
}

/// A change and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What to ask of the document.
    pub command: Command,
    /// By what name it is recorded.
    pub event: &'static str,
    subject: String,
    detail: String,
}

/// What is to be done next, if anything. Pure but for what `acks` notes.
pub fn next(
    acks: &mut Acks,
    belief: &Belief,
    head: Position,
    fullest: u8,
    now: Instant,
) -> Option<Step> {
    let role = belief.role();
    let me = belief.me();
    acks.look(head, now);
    let reign =
        Reign { group: belief.group().to_owned(), holder: me.clone(), term: role.role_term };
    let present = u8::try_from(role.in_sync.len()).unwrap_or(u8::MAX);
    let others: Vec<&StoreName> = role.in_sync.iter().filter(|store| *store != me).collect();

    // A store that is counted and is not what it was, or is gone while gateways run full.
    for store in &others {
        if server_has_another(acks, store, now) {
            return Some(Step::Change(Change {
                command: Command::Shrink(reign, (*store).clone()),
                event: "store_replaced",
                subject: store.server.clone(),
                detail: format!("server {} has another store than {}", store.server, store.store),
            }));
        }
    }
    if let Some(store) = others.iter().find(|store| acks.fell(store)) {
        return Some(Step::Change(Change {
            command: Command::Shrink(reign, (*store).clone()),
            event: "store_fell_back",
            subject: store.server.clone(),
            detail: "it holds less than it had confirmed: it was put back".into(),
        }));
    }
    if fullest >= FULL && role.when_full == WhenFull::Lower {
        if let Some(store) =
            others.iter().find(|store| acks.is_gone(store, now) || acks.creeps(store, now))
        {
            return Some(Step::Change(Change {
                command: Command::Shrink(reign, (*store).clone()),
                event: "store_given_up",
                subject: store.server.clone(),
                detail: format!(
                    "a gateway's journal is {fullest} % full and the store does not follow, or too \
                     slowly"
                ),
            }));
        }
        if role.copies > present {
            return Some(Step::Change(Change {
                command: Command::Copies(reign, present),
                event: "copies_lowered",
                subject: belief.group().to_owned(),
                detail: format!(
                    "from {} to {present}: a gateway's journal is {fullest} % full and no other \
                     store is in sync; until one is, a transaction is kept once",
                    role.copies
                ),
            }));
        }
    }

    if role.copies > role.copies_wanted {
        return Some(Step::Change(Change {
            command: Command::Copies(reign, role.copies_wanted),
            event: "copies_lowered",
            subject: belief.group().to_owned(),
            detail: format!("from {} to {}, as an operator wants", role.copies, role.copies_wanted),
        }));
    }

    // A store that follows and is not in sync yet. Its confirmations are waited for first.
    if let Some(store) = follower(acks, belief, now) {
        if acks.is_to_be_counted(&store, head, now) {
            return Some(Step::Count(store));
        }
        if let Some(proof) = acks.proof(&store)
            && proof.confirmed >= proof.since
        {
            return Some(Step::Change(Change {
                command: Command::Grow(reign, store.clone(), proof),
                event: "store_in_sync",
                subject: store.server.clone(),
                detail: format!("it has confirmed {} of {}", proof.confirmed, proof.since),
            }));
        }
        return None;
    }
    let possible = present.min(role.copies_wanted);
    (role.copies < possible).then(|| {
        Step::Change(Change {
            command: Command::Copies(reign, possible),
            event: "copies_raised",
            subject: belief.group().to_owned(),
            detail: format!("from {} to {possible}", role.copies),
        })
    })
}

/// Whether a server is there with another store than the one that counts.
fn server_has_another(acks: &Acks, store: &StoreName, now: Instant) -> bool {
    acks.present(&store.server, now).is_some_and(|(present, ago)| present != store && ago < SILENT)
}

/// A store that follows the log and is not in sync.
fn follower(acks: &Acks, belief: &Belief, now: Instant) -> Option<StoreName> {
    acks.stores()
        .filter(|store| store.server != belief.me().server)
        .find(|store| acks.moves(store, now) && !belief.role().in_sync.contains(store))
        .cloned()
}

/// Begins to wait for a store's confirmations in the writer's turn: each commit comes wholly before
/// that and is covered by the proof, or wholly after it and waits.
async fn count(server: &Arc<Server>, term: RoleTerm, name: StoreName) {
    let shared = server.clone();
    let begin = move |store: &mut Store| {
        let head = store.head()?.position;
        shared.with_acks(term, |acks| acks.count(&name, head));
        Ok(())
    };
    // Where the store fails it says so itself.
    if server.embedded.write(begin).await.is_ok() {
        server.news.notify_one();
    }
}

async fn carry_out(server: &Server, belief: &Belief, change: Change) -> Option<String> {
    let Change { command, event, subject, detail } = change;
    let why = Audit::now(&server.me.name, event, &subject, &detail).shared();
    let done = match decide(belief.document(), &command) {
        Ok(document) => server.change_role(belief, document, why).await.map_err(|e| e.to_string()),
        Err(denied) => Err(denied.to_string()),
    };
    match done {
        Ok(true) => tracing::warn!(event, subject, detail, "the group changed"),
        Ok(false) => {}
        Err(why) => return Some(format!("{event}: {why}")),
    }
    None
}

#[cfg(test)]
mod tests;
