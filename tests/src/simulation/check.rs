//! What must never be, and what must be in the end.

use std::collections::BTreeMap;

use postern_protocol::RoleTerm;
use postern_protocol::uplink::Watermark;
use postern_server::role::decide::Because;

use super::event::{Doc, Ms};
use super::node::NAMES;
use super::world::{HEALED, World};

/// Within this time after the last fault there is one active server with a lease.
const SETTLES: Ms = 20_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The first thing that must not be.
    pub(super) wrong: Option<String>,
    /// Who acted under each role term, and in which life of its process last.
    acted: BTreeMap<u64, (usize, u32)>,
    /// Whose lease it was under each role term, and in which life of its process.
    leased: BTreeMap<u64, (usize, u32)>,
    /// The highest role term that each gateway obeyed.
    obeyed: BTreeMap<usize, u64>,
    /// The highest role term under which each server obeyed a document.
    believed: [u64; 2],
    /// When there was last not exactly one active server with a lease, after the faults.
    unsettled: Ms,
}

impl Checked {
    pub(super) fn settled_after(&self) -> Ms {
        self.unsettled.saturating_sub(HEALED)
    }
}

impl World {
    pub(super) fn wrong(&mut self, what: &str) {
        let at = self.now;
        self.checked.wrong.get_or_insert(format!("at {at} ms: {what}"));
    }

    /// A server's belief changed.
    pub(super) fn check_acting(&mut self, node: usize) {
        let Some((_, role)) = self.state(node) else { return };
        let term = role.role_term.0;
        if term < self.checked.believed[node] {
            self.wrong(&format!("server {} goes back to role term {term}", NAMES[node]));
        }
        self.checked.believed[node] = self.checked.believed[node].max(term);
        let Some(term) = self.acting(node) else { return };
        let life = self.nodes[node].number;
        match self.checked.acted.insert(term, (node, life)) {
            Some((other, _)) if other != node => {
                self.wrong(&format!("both servers acted under role term {term}"));
            }
            Some(_) => {}
            None => self.saw("reigns"),
        }
    }

    /// No two servers may say at one moment that they hold the lease.
    pub(super) fn check_leases(&mut self) {
        let holders: Vec<usize> = (0..2)
            .filter(|node| {
                let me = &self.nodes[*node];
                let now = me.at(self.now);
                me.runs() && me.server.as_ref().is_some_and(|server| server.guard.holds_lease(now))
            })
            .collect();
        if holders.len() == 2 {
            self.wrong("both servers hold a lease");
        }
        for node in &holders {
            let Some(term) = self.acting(*node) else { continue };
            let me = (*node, self.nodes[*node].number);
            let first = *self.checked.leased.entry(term).or_insert(me);
            if first != me {
                self.wrong(&format!("a second process holds the lease of role term {term}"));
            }
        }
        let acting = (0..2).filter(|node| self.acting(*node).is_some()).count();
        if self.now >= HEALED && (holders.len() != 1 || acting != 1) {
            self.checked.unsettled = self.now;
        }
    }

    /// The document is about to change.
    pub(super) fn check_swap(&mut self, doc: Doc, because: Option<Because>) {
        let before = self.role(self.register);
        let term = before.role_term;
        let new = self.role(doc).role_term;
        if new < term {
            self.wrong(&format!("role term {new} follows {term}"));
        }
        let Some(because) = because else { return };
        self.saw(match because {
            Because::Expired { .. } => "failovers: silent",
            Because::Killed => "failovers: ended",
            Because::Restarted => "begun again",
            Because::Vouched => "vouched",
        });
    }

    /// The leader allows a claim. Of a process that it takes for dead it must be true at this moment: later
    /// another process may have begun, which goes on under its role term without a lease.
    pub(super) fn check_allowed(&mut self, because: Because, term: RoleTerm) {
        let Some((node, life)) = self.checked.acted.get(&term.0).copied() else { return };
        let lives = self.nodes[node].runs() && self.nodes[node].number == life;
        if because == Because::Killed && lives && self.acting(node) == Some(term.0) {
            self.wrong(&format!("server {} was taken for dead, and was not", NAMES[node]));
        }
    }

    /// A gateway obeys a document.
    pub(super) fn check_obeyed(&mut self, gateway: usize, term: u64) {
        let before = self.checked.obeyed.insert(gateway, term);
        if before.is_some_and(|before| before > term) {
            self.wrong(&format!("gateway {gateway} goes back to role term {term}"));
        }
    }

    /// A gateway was told what the active server holds: never less than what it has forgotten.
    pub(super) fn check_held(&mut self, gateway: usize, watermark: &Watermark, released: u64) {
        let (stored, term) = (watermark.stored.0, watermark.role_term);
        if stored < released {
            self.wrong(&format!(
                "lost: gateway {gateway} was told that {released} is safe, and the active server \
                 under role term {term} holds {stored}"
            ));
        }
    }

    pub(super) fn check_end(&mut self) {
        if self.checked.wrong.is_some() {
            return;
        }
        let settled = self.checked.settled_after();
        if settled > SETTLES {
            self.wrong(&format!(
                "{settled} ms after the last fault there was no one active server"
            ));
        }
        for gateway in 0..self.gateways.len() {
            let (head, released) = (self.gateways[gateway].head, self.gateways[gateway].released);
            if released != head {
                self.wrong(&format!("gateway {gateway} still keeps {released} to {head}"));
            }
            for (node, name) in NAMES.into_iter().enumerate() {
                let Some(server) = &self.nodes[node].server else { continue };
                let stored = server.log.stored(gateway);
                if stored != head {
                    self.wrong(&format!("server {name} holds {stored} of {head} of {gateway}"));
                }
            }
        }
    }
}
