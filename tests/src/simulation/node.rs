//! A machine with a voter, and on two of them a server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postern_protocol::role::{RoleDocument, SignedRole, StoreName};
use postern_protocol::uplink::Bytes;
use postern_server::liveness::{BootInstant, Guard, Ledger, Timing, Watch};
use postern_server::replication::Acks;
use postern_server::role::Belief;

use super::Flaw;
use super::event::{Doc, Event, Ms, Swap};
use super::fault::Fault;
use super::log::Log;
use super::server::standing;

/// How long a sync of a good disk takes.
pub(super) const SYNC: Ms = 3;

pub(super) const GROUP: &str = "main";

pub(super) const NAMES: [&str; 3] = ["a", "b", "w"];

/// The node of this name.
pub(super) fn named(name: &str) -> usize {
    NAMES.iter().position(|other| *other == name).unwrap_or(2)
}

pub(super) fn store(node: usize) -> StoreName {
    StoreName { server: NAMES[node].into(), store: format!("s{node}") }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Runs,
    /// Its machine runs and its process does not.
    Killed,
    Off,
}

/// A voter that believes that it leads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leading {
    /// When the heartbeat was sent that each voter acknowledged last.
    pub(super) acknowledged: [Ms; 3],
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) life: Life,
    pub(super) paused: bool,
    /// What happens to it when it next sends a renewal.
    pub(super) on_renewal: Option<Fault>,
    /// What reached a stopped process.
    pub(super) deferred: Vec<Event>,
    /// Which life of its process it is.
    pub(super) number: u32,
    /// What its clock since the machine's start shows at the beginning.
    pub(super) boot: Ms,
    /// By how much its time of day is off.
    pub(super) wall: i64,
    pub(super) sync_ms: Ms,
    pub(super) full: bool,
    /// The highest election that it took part in; durable.
    pub(super) epoch: u64,
    pub(super) leading: Option<Leading>,
    /// When it last heard of a leader, or began.
    pub(super) heard: Ms,
    pub(super) leader: Option<usize>,
    pub(super) standing_for_election: bool,
    /// The highest document that it knows to be committed.
    pub(super) applied: Doc,
    pub(super) ledger: Ledger,
    pub(super) watches: [Watch; 3],
    /// The streams that it opened: their numbers.
    pub(super) streams: [Option<u64>; 3],
    pub(super) server: Option<Server>,
}

/// What waits for an answer.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Renewal { term: u64, sent: BootInstant },
    Claim,
    Change,
    Sight(Swap),
    Pull,
    Merge,
}

/// A server's process, with what of it is durable.
pub(super) struct Server {
    /// Durable: the document that it obeys.
    pub(super) durable: Doc,
    pub(super) belief: Belief,
    pub(super) guard: Guard,
    /// Durable.
    pub(super) log: Log,
    pub(super) acks: Acks,
    /// When its disk has done what it was given.
    pub(super) writes_until: Ms,
    pub(super) pending: BTreeMap<u64, Pending>,
    /// The documents that this process made.
    pub(super) made: BTreeSet<Doc>,
    /// Its next renewal goes by way of the third voter.
    pub(super) relays: bool,
    /// How full gateways' journals are, and when they said so.
    pub(super) full: BTreeMap<usize, (u8, Ms)>,
    pub(super) wakes_at: Option<Ms>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("durable", &self.durable).finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(number: usize, boot: Ms, document: &RoleDocument) -> Self {
        let timing = Timing::NEAR;
        let server = (number < 2).then(|| Server {
            durable: 0,
            belief: believe(number, document),
            guard: Guard::new(timing),
            log: Log::default(),
            acks: Acks::default(),
            writes_until: 0,
            pending: BTreeMap::new(),
            made: BTreeSet::new(),
            relays: false,
            full: BTreeMap::new(),
            wakes_at: None,
        });
        Self {
            life: Life::Off,
            paused: false,
            on_renewal: None,
            deferred: Vec::new(),
            number: 0,
            boot,
            wall: 0,
            sync_ms: SYNC,
            full: false,
            epoch: 0,
            leading: None,
            heard: 0,
            leader: None,
            standing_for_election: false,
            applied: 0,
            ledger: Ledger::new(timing.expires_after),
            watches: [const { Watch::new(&Timing::NEAR) }; 3],
            streams: [None; 3],
            server,
        }
    }

    /// Its process begins: what it knew in memory is gone.
    pub(super) fn begins(&mut self, me: usize, now: Ms, docs: &[RoleDocument], flaw: Option<Flaw>) {
        self.life = Life::Runs;
        self.number += 1;
        self.leading = None;
        self.leader = None;
        self.standing_for_election = false;
        self.heard = now;
        self.ledger = Ledger::new(Timing::NEAR.expires_after);
        self.watches = [const { Watch::new(&Timing::NEAR) }; 3];
        self.streams = [None; 3];
        let boot = self.at(now);
        if let Some(server) = &mut self.server {
            server.belief = believe(me, &docs[server.durable]);
            server.guard = Guard::new(Timing::NEAR);
            server.guard.on_belief(&standing(&server.belief, flaw), boot);
            server.acks = Acks::default();
            server.writes_until = now;
            server.pending.clear();
            server.made.clear();
            server.full.clear();
            server.wakes_at = None;
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.life == Life::Runs
    }

    /// Whether it takes part now.
    pub(super) fn answers(&self) -> bool {
        self.runs() && !self.paused
    }

    /// Its clock.
    pub(super) const fn at(&self, now: Ms) -> BootInstant {
        BootInstant(Duration::from_millis(now + self.boot))
    }

    /// The moment that its clock shows so.
    pub(super) fn moment(&self, at: BootInstant) -> Ms {
        u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX).saturating_sub(self.boot)
    }

    /// After how long without a leader it stands for election: the longest time for which it votes
    /// for nobody else, and its own time-out.
    pub(super) fn patience(me: usize) -> Ms {
        2 * Self::loyalty(me)
    }

    /// For how long after it heard of a leader it votes for nobody else.
    pub(super) fn loyalty(me: usize) -> Ms {
        let election = Timing::NEAR.election;
        let base = election.servers.get(me).copied().unwrap_or(election.witness);
        u64::try_from(base.as_millis()).unwrap_or(u64::MAX) + 1
    }
}

/// What a process believes that has read its document.
pub(super) fn believe(me: usize, document: &RoleDocument) -> Belief {
    Belief::new(store(me), GROUP, unsigned(), document.clone())
        .expect("invariant: each document says something of the group")
}

/// Nobody forges anything here.
pub(super) fn unsigned() -> SignedRole {
    let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
    SignedRole { document: String::new(), certificate, signature }
}
