//! Two servers and their gateways without a network: the real stores, the real rules of the role
//! document, the real knowledge of what is safe, and whatever can happen to them in any order.
//!
//! What the tasks of a server do between two awaits is one step here. What they decide is decided by
//! the code that they call; only their loops are written again, so that they can be broken off
//! anywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::role::{GroupRole, Limits, RoleDocument, SignedRole, StoreName};
use postern_protocol::uplink::{Bytes, Watermark};
use postern_protocol::{JournalId, RoleTerm, Seq, Timestamp};
use tokio::time::Instant;

use super::Acks;
use super::tend::{Change, Step, next};
use crate::role::decide::{Because, By, Claim, Command, Reign, decide, next_term};
use crate::role::{Belief, State};
use crate::store::testing::{NOW, Node};
use crate::store::{Audit, Refused, Safe, lacking};

use gateway::Gateway;
use rejoin::Portions;

mod check;
mod gateway;
mod rejoin;
mod simulation;
mod tests;

const GROUP: &str = "main";

/// How the role moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// One document for all; only a store that is in sync takes the role.
    InSync,
    /// Each server keeps the document that it knows, and an operator may force anything.
    Forced,
}

/// A server.
struct Server {
    node: Node,
    ordinal: u64,
    document: RoleDocument,
    behind: bool,
    acks: Acks,
}

/// An answer that a server has still to give.
struct Late {
    server: usize,
    gateway: usize,
    journal: JournalId,
    watermark: Watermark,
}

struct World {
    rule: Rule,
    portions: Portions,
    folder: tempfile::TempDir,
    files: u32,
    servers: [Server; 2],
    gateways: Vec<Gateway>,
    late: Vec<Late>,
    /// The highest document that there is: what a linearizable store would hold.
    document: RoleDocument,
    now: Instant,
    fullest: u8,
    /// A store was lost whose transactions may have been held by it alone.
    destroyed: bool,
    forced: u32,
    /// How often what happened.
    seen: BTreeMap<&'static str, u64>,
}

fn role(document: &RoleDocument) -> &GroupRole {
    &document.groups[GROUP]
}

impl Server {
    fn name(&self) -> StoreName {
        self.node.store.name()
    }

    fn role(&self) -> &GroupRole {
        role(&self.document)
    }

    fn term(&self) -> RoleTerm {
        self.role().role_term
    }

    fn belief(&self) -> Belief {
        let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
        let signed = SignedRole { document: String::new(), certificate, signature };
        let belief = Belief::new(self.name(), GROUP, signed, self.document.clone()).unwrap();
        let belief = if self.behind { belief.fallen_behind() } else { belief };
        belief.confirmed()
    }

    fn is_active(&self) -> bool {
        self.belief().state() == State::Active
    }

    fn adopt(&mut self, document: &RoleDocument) {
        if role(document).version() > self.role().version() {
            self.document = document.clone();
            self.behind = false;
            self.node.reign(self.term());
            self.node.store.pause(None);
        }
    }

    fn acks(&mut self) -> &mut Acks {
        let term = self.term();
        self.acks.of_reign(term).unwrap()
    }

    /// What of a journal may be forgotten now.
    fn safe(&mut self, journal: JournalId) -> Safe {
        let (document, me) = (self.document.clone(), self.name());
        self.acks().safe(role(&document), &me, journal)
    }

    fn record(&mut self, event: &str) {
        let audit = Audit::at(NOW, "operator", event, &self.name().server, "test");
        self.node.store.record(self.term(), &audit).unwrap();
    }

    fn reign(&self) -> Reign {
        Reign { group: GROUP.into(), holder: self.name(), term: self.term() }
    }

    fn claim(&self) -> Claim {
        let term = next_term(self.ordinal, self.term()).unwrap();
        let (group, to, ordinal) = (GROUP.into(), self.name(), self.ordinal);
        Claim { group, to, ordinal, term, by: By::Operator, at: NOW }
    }
}

impl World {
    fn new(rule: Rule, gateways: u8) -> Self {
        let folder = crate::store::testing::folder();
        let nodes = ["a", "b"].map(|name| Node::new(folder.path(), name, name, 1));
        let founded = GroupRole::founded(nodes[0].store.name(), RoleTerm(1), Timestamp(0));
        let groups = BTreeMap::from([(GROUP.into(), founded)]);
        let document = RoleDocument { site: "north".into(), groups, limits: Limits::default() };
        let mut ordinals = 0..;
        let servers = nodes.map(|node| Server {
            node,
            ordinal: ordinals.next().unwrap(),
            document: document.clone(),
            behind: false,
            acks: Acks::default(),
        });
        let gateways = (0..gateways).map(|n| Gateway::new(n, document.clone())).collect();
        Self {
            rule,
            portions: Portions::SMALL,
            folder,
            files: 0,
            servers,
            gateways,
            late: Vec::new(),
            document,
            now: Instant::now(),
            fullest: 0,
            destroyed: false,
            forced: 0,
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str, times: u64) {
        *self.seen.entry(what).or_default() += times;
    }

    fn sleep(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn named(&self, name: &str) -> usize {
        usize::from(self.servers[1].name().server == name)
    }

    /// A server changes the document; `false` where another change came first.
    fn change(&mut self, server: usize, document: &RoleDocument) -> bool {
        if self.rule == Rule::InSync && self.servers[server].document != self.document {
            return false;
        }
        if role(document).version() > role(&self.document).version() {
            self.document = document.clone();
        }
        self.servers[server].adopt(document);
        true
    }

    /// Both servers come to know the higher document.
    fn exchange(&mut self) {
        let [a, b] = &self.servers;
        let higher = if a.role().version() > b.role().version() { a } else { b };
        let higher = higher.document.clone();
        for server in &mut self.servers {
            server.adopt(&higher);
        }
    }

    /// The active server looks what is to be done for its reign.
    fn tend(&mut self, server: usize) {
        let (now, fullest) = (self.now, self.fullest);
        let active = &mut self.servers[server];
        if !active.is_active() {
            return;
        }
        let (belief, head) = (active.belief(), active.node.head().position);
        match next(active.acks(), &belief, head, fullest, now) {
            Some(Step::Count(store)) => active.acks().count(&store, head),
            Some(Step::Change(Change { command, event, .. })) => {
                let document = decide(&active.document, &command).unwrap();
                if self.change(server, &document) {
                    self.servers[server].record(event);
                    self.saw(event, 1);
                }
            }
            None => {}
        }
    }

    /// A gateway asks where its journal stands and sends what follows, to whoever it takes for the
    /// active server. `lost`: it gets no answer. `late`: the answer is given some other time.
    fn send(&mut self, gateway: usize, most: u64, back: u64, lost: bool, late: bool) -> bool {
        let at = self.named(&role(&self.gateways[gateway].document).active);
        let (sender, server) = (&mut self.gateways[gateway], &mut self.servers[at]);
        if role(&server.document).version() > role(&sender.document).version() {
            sender.document = server.document.clone();
        } else if self.rule == Rule::Forced {
            server.adopt(&sender.document);
        }
        if !server.is_active() {
            return false;
        }
        let (acting, journal, told) = (server.term(), sender.journal.id, sender.told);
        let forced = server.role().forced;
        let found = server.node.store.watermark(journal, &sender.name, acting).unwrap().unwrap();
        if lacking(told, acting, forced, found.stored).is_some() {
            server.behind = true;
            self.saw("set aside", 1);
            return false;
        }
        let end = server.node.head().position;
        server.acks().mark(journal, end, found.stored);
        let found = with_safe(server, journal, found);
        if !sender.take(&found) {
            sender.fork(false);
            self.saw("forks", 1);
            return true;
        }
        let begin = sender.journal.oldest;
        let first = (found.stored.0 + 1).saturating_sub(back).max(begin);
        let longest = first + u64::try_from(postern_protocol::uplink::MAX_BATCH).unwrap() - 1;
        let up_to = (found.stored.0 + most).max(first).min(sender.journal.end()).min(longest);
        if up_to < first {
            return false;
        }
        let mut delivery = sender.journal.delivery(first, up_to, acting);
        (delivery.batch.told, delivery.forced) = (sender.told, forced);
        delivery.safe = server.safe(journal);
        let (watermark, outcome) = match server.node.store.apply(&delivery).unwrap() {
            Ok(done) => done,
            Err(Refused::Paused) => return false,
            Err(refused) => panic!("{refused}"),
        };
        server.acks().mark(journal, outcome.position, watermark.stored);
        if late {
            self.late.push(Late { server: at, gateway, journal, watermark });
        } else if !lost {
            let watermark = with_safe(server, journal, watermark);
            assert!(sender.take(&watermark), "its own batch");
        }
        self.saw("doubles", outcome.doubles);
        self.saw("conflicts", outcome.conflicts);
        self.saw("holes recorded", u64::from(outcome.hole));
        true
    }

    /// Late answers arrive.
    fn answer(&mut self) {
        for Late { server, gateway, journal, watermark } in std::mem::take(&mut self.late) {
            let (server, gateway) = (&mut self.servers[server], &mut self.gateways[gateway]);
            if gateway.journal.id == journal {
                let watermark = with_safe(server, journal, watermark);
                // A journal that was put back since asks again.
                gateway.take(&watermark);
            }
        }
    }

    /// A server takes the role without the other. An operator says that it is down.
    fn fail_over(&mut self, server: usize) {
        let claimer = &self.servers[server];
        let present = match self.rule {
            Rule::InSync => &self.document,
            Rule::Forced => &claimer.document,
        };
        if claimer.is_active() && claimer.document == *present {
            return;
        }
        let claim = |claimer: &Server| Claim {
            term: next_term(claimer.ordinal, role(present).role_term).unwrap(),
            ..claimer.claim()
        };
        let vouched = Command::Claim(claim(claimer), Because::Vouched);
        let document = match (decide(present, &vouched), self.rule) {
            (Ok(document), _) => document,
            (Err(_), Rule::InSync) => return,
            (Err(_), Rule::Forced) => {
                self.forced += 1;
                let present = present.clone();
                let claimer = &mut self.servers[server];
                claimer.node.rename();
                decide(&present, &Command::Force(claimer.claim())).unwrap()
            }
        };
        if self.rule == Rule::Forced {
            // By a document of its own, which another may have changed.
            self.forced += 1;
        }
        if role(&document).version() > role(&self.document).version() {
            self.document = document.clone();
        }
        self.servers[server].adopt(&document);
        self.servers[server].record("role_taken");
        self.saw("taken over", 1);
    }

    /// The active server gives the role to the other once that has everything; or the pause runs out
    /// and it takes one more batch, or the new one ends before it has stored the document.
    fn hand_over(&mut self, pages: u8, runs_out: bool, dies: bool) {
        if self.rule == Rule::Forced {
            self.exchange();
        }
        let Some(from) = (0..2).find(|at| self.servers[*at].is_active()) else { return };
        let to = 1 - from;
        let document = self.servers[from].document.clone();
        self.servers[to].adopt(&document);
        let claim = self.servers[to].claim();
        let order = Command::HandOver(self.servers[from].reign(), claim);
        let Ok(document) = decide(&document, &order) else { return };
        let until = self.now + Duration::from_hours(1);
        self.servers[from].node.store.pause(Some(until));
        let end = self.servers[from].node.head().position;
        for _ in 0..pages {
            self.pull(to, 2_000, false, 3);
        }
        self.servers[from].node.store.pause(None);
        let reached = self.servers[to].node.head().position >= end;
        if !reached || !self.servers[from].is_active() {
            return;
        }
        if runs_out {
            for gateway in 0..self.gateways.len() {
                self.send(gateway, 3, 0, false, false);
            }
        }
        self.saw("handed over", 1);
        if self.change(from, &document) && !dies {
            self.servers[to].adopt(&document);
            self.servers[to].record("role_taken");
        }
    }

    /// A server's process ends and another begins.
    fn crash(&mut self, server: usize) {
        self.late.retain(|late| late.server != server);
        let server = &mut self.servers[server];
        server.node.crash();
        (server.acks, server.behind) = (Acks::default(), false);
    }

    /// A server's disk is replaced. Where nobody may force anything, only while another store that is
    /// in sync can take over or goes on.
    fn wipe(&mut self, server: usize) {
        let other = self.servers[1 - server].name();
        let in_sync = role(&self.document).in_sync.contains(&other);
        match self.rule {
            Rule::InSync if !in_sync => return,
            Rule::InSync => {}
            Rule::Forced => self.destroyed = true,
        }
        self.crash(server);
        let (file, name) = (self.file(), self.servers[server].name().server);
        self.saw("wiped", 1);
        let server = &mut self.servers[server];
        let term = server.term().0;
        server.node = Node::new(self.folder.path(), &file, &name, term);
    }

    fn file(&mut self) -> String {
        self.files += 1;
        format!("store{}", self.files)
    }
}

/// The watermark as it is told at this moment.
fn with_safe(server: &mut Server, journal: JournalId, held: Watermark) -> Watermark {
    let now = if server.is_active() && server.term() == held.role_term {
        match server.safe(journal) {
            Safe::Stored => held.stored,
            Safe::Known(seq) => seq.min(held.stored),
        }
    } else {
        Seq(0)
    };
    Watermark { safe: held.safe.max(now), ..held }
}
