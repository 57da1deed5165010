//! What must hold: at every moment, and once everything is healed.

use std::collections::BTreeMap;

use postern_protocol::{JournalId, Seq};

use super::gateway::{Entry, Item, Key};
use super::{Rule, State, World, role};
use crate::store::testing::{Node, difference};

/// What was found once everything was healed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What was ever written down.
    pub(super) items: u64,
    /// What no store holds any more: recorded as a hole.
    pub(super) missing: u64,
    /// Holes that stand.
    pub(super) holes: u64,
    /// How often what happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, more: Self) {
        self.items += more.items;
        self.missing += more.missing;
        self.holes += more.holes;
        for (what, times) in more.seen {
            *self.seen.entry(what).or_default() += times;
        }
    }
}

impl World {
    /// Whatever a gateway was told to be safe is held by each store that may take the role.
    pub(super) fn check_safe(&self) -> Result<(), String> {
        if self.rule == Rule::Forced {
            return Ok(());
        }
        for server in &self.servers {
            if !role(&self.document).in_sync.contains(&server.name()) {
                continue;
            }
            for gateway in &self.gateways {
                let safe = gateway.told.map_or(Seq(0), |told| told.safe);
                let stored = stored(&server.node, gateway.journal.id);
                if stored < safe {
                    let name = server.name().server;
                    return Err(format!(
                        "{} was told that {safe} is safe, {name} is in sync and holds {stored}",
                        gateway.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Everything works again, for as long as it takes.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.fullest = 0;
        self.answer();
        // What a gateway no longer holds becomes a hole with what it sends next.
        for gateway in &mut self.gateways {
            gateway.write(Entry::Note);
        }
        if self.rule == Rule::InSync {
            let document = self.document.clone();
            for server in &mut self.servers {
                server.adopt(&document);
            }
        }
        self.exchange();
        for _ in 0..400 {
            self.sleep(100);
            self.exchange();
            // An operator makes one active where none is.
            if !self.servers.iter().any(super::Server::is_active) {
                let aside = |at: &usize| self.servers[*at].belief().state() == State::SetAside;
                let server = (0..2).find(aside).unwrap_or(0);
                // Where its store is another, the one that it left behind comes first.
                self.fail_over(1 - server);
                if !self.servers[1 - server].is_active() {
                    self.fail_over(server);
                }
                continue;
            }
            let mut busy = false;
            for gateway in 0..self.gateways.len() {
                busy |= self.send(gateway, 1_000, 0, false, false);
            }
            for server in 0..2 {
                self.pull(server, usize::MAX, false, u32::MAX);
                self.tend(server);
            }
            let [a, b] = &self.servers;
            let settled = a.node.head() == b.node.head() && role(&a.document).in_sync.len() == 2;
            let told = self.gateways.iter().all(|gateway| {
                gateway.told.is_some_and(|told| told.safe == Seq(gateway.journal.end()))
                    || gateway.journal.end() == 0
            });
            if settled && told && !busy && role(&a.document).copies == 2 {
                return Ok(());
            }
        }
        let [a, b] = &self.servers;
        let heads = (a.node.head(), b.node.head());
        let told: Vec<_> = self.gateways.iter().map(|gateway| gateway.told).collect();
        Err(format!("it does not come to rest: {heads:?} {told:?} {:?}", role(&a.document)))
    }

    /// Both stores hold the same, and each thing once.
    pub(super) fn check(&self) -> Result<Found, String> {
        let [a, b] = &self.servers;
        // Each has cut off of its log what it did.
        let begins = a.node.log_begins().max(b.node.log_begins());
        if let Some(difference) = difference(&a.node, &b.node, begins) {
            return Err(difference);
        }
        let held = keys(&a.node);
        let holes = holes(&a.node);
        let mut found = Found {
            holes: u64::try_from(holes.len()).unwrap(),
            seen: self.seen.clone(),
            ..Found::default()
        };
        let branches = "SELECT count(*) FROM journals WHERE stored = 0";
        found.seen.insert("branches", a.node.count(branches).unsigned_abs());
        for gateway in &self.gateways {
            for (number, item) in gateway.items.iter().enumerate() {
                found.items += 1;
                let count = held.get(&item.key).copied().unwrap_or(0);
                let most = if matches!(item.key, Key::Unread(_)) { item.places.len() } else { 1 };
                if count > most {
                    return Err(format!("held {count} times: {item:?}"));
                }
                if count > 0 || item.optional {
                    continue;
                }
                found.missing += 1;
                let given_up = item.places.iter().all(|(of, _)| *of != gateway.journal.id);
                let told = covered(item, &holes) || given_up;
                if !told || self.forced == 0 || !self.destroyed || gateway.holds(number) {
                    return Err(format!("missing: {item:?}, holes {holes:?}"));
                }
            }
        }
        if self.rule == Rule::InSync && !holes.is_empty() {
            return Err(format!("holes: {holes:?}"));
        }
        Ok(found)
    }
}

/// Whether a hole tells of it. Nobody is there to tell of a journal that its gateway has given up.
fn covered(item: &Item, holes: &[(JournalId, Seq, Seq)]) -> bool {
    item.places.iter().any(|(journal, seq)| {
        holes.iter().any(|(of, first, last)| of == journal && (first..=last).contains(&seq))
    })
}

pub(super) fn stored(node: &Node, journal: JournalId) -> Seq {
    let journals = node.store.journals().unwrap();
    journals.iter().find(|item| item.journal == journal).map_or(Seq(0), |item| item.stored)
}

/// How often each thing is held.
fn keys(node: &Node) -> BTreeMap<Key, usize> {
    let mut keys = BTreeMap::new();
    for line in node.lines(0, u64::from(u32::MAX)) {
        let key = match postern_protocol::Transaction::decode(&line.entry.0) {
            Ok(transaction) if transaction.raw.as_slice().is_empty() => Key::Bytes(line.entry.0),
            Ok(transaction) => Key::Raw(transaction.raw.as_slice().to_vec()),
            Err(_) => Key::Unread(line.entry.0),
        };
        *keys.entry(key).or_insert(0) += 1;
    }
    keys
}

fn holes(node: &Node) -> Vec<(JournalId, Seq, Seq)> {
    node.open_holes()
}
