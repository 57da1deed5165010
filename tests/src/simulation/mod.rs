//! Automatic failover in simulated time: two servers, a witness and fifty gateways, and every fault in
//! any order, from a seed.
//!
//! What decides is the real code: the rules of the document (`decide`), a server's belief, its guard,
//! lease, ledger, sight and verdict (`liveness`), which stores count and what is safe (`Acks`, `next`), and
//! the machine of a gateway's uplink. Modelled are the voters' store ([`voter`]), the network, disks,
//! and the loops around the machines.
//!
//! What must never be is looked for at each step, what must be in the end after the faults: see
//! `docs/testing.md`. The same seed gives the same run, to the last event.

use std::collections::BTreeMap;
use std::fmt;

mod check;
mod event;
mod fault;
mod gateway;
mod log;
mod network;
mod node;
mod server;
mod voter;
mod world;

use world::World;

/// A mistake that is made on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flaw {
    /// A new leader takes for silent whom it has not heard of yet.
    NewLeaderDoesNotWait,
    /// A leader grants leases although no other voter has acknowledged it lately.
    NoFreshQuorum,
    /// A lease counts from when the answer came.
    LeaseFromAnswer,
    /// A leader grants a lease while a claim against its holder is on its way.
    GrantsDuringClaim,
    /// That a process has ended is believed when the claimant alone says so.
    KilledSeenByOne,
    /// A server claims whose store is not in sync.
    ClaimNotInSync,
    /// A claimant acts before the voters' store has taken its document.
    ActsBeforeCommit,
    /// A server that begins again acts under the role term that it has stored.
    RestartKeepsTerm,
    /// A document is obeyed before it is durable.
    ForgetsWhatItObeys,
    /// A store is counted by what it had confirmed before it was waited for, and at once.
    GrowsAtOnce,
    /// What is stored once is safe.
    SafeOnceStored,
    /// A server without a lease goes on saying what is safe. Harmless, see `docs/testing.md`.
    SafeWithoutLease,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// From which seed.
    pub seed: u64,
    /// A number that two runs share only if the same happened in both.
    pub digest: u64,
    /// What must not be, if it was.
    pub wrong: Option<String>,
    /// How long after the last fault there was one active server again, in milliseconds.
    pub settled_ms: u64,
    /// How often what happened.
    pub seen: BTreeMap<&'static str, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, digest, settled_ms, .. } = self;
        match &self.wrong {
            None => write!(f, "seed={seed} digest={digest:016x} settled_ms={settled_ms} ok"),
            Some(wrong) => write!(f, "seed={seed} digest={digest:016x} WRONG {wrong}"),
        }
    }
}

/// How many gateways there are.
const GATEWAYS: usize = 50;

/// Two minutes of faults and one without, from a seed.
pub fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    let mut world = World::new(seed, GATEWAYS, flaw);
    world.run();
    let World { digest, checked, mut seen, docs, gateways, .. } = world;
    let transactions = gateways.iter().map(|gateway| gateway.head).sum();
    seen.insert("transactions", transactions);
    seen.insert("documents", log::index(docs.len()));
    let settled_ms = checked.settled_after();
    Report { seed, digest: digest.0, wrong: checked.wrong, settled_ms, seen }
}
