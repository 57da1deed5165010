//! What happens, and in which order.

use std::collections::BTreeMap;

use postern_protocol::role::RoleVersion;
use postern_protocol::uplink::Watermark;
use postern_server::liveness::Sight;
use postern_server::role::decide::Because;

use super::fault::Fault;
use super::log::Entry;

/// Simulated milliseconds since the beginning.
pub(super) type Ms = u64;

/// A role document, by its place among all that were ever written.
pub(super) type Doc = usize;

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// At a node, to this life of its process alone.
    Timer(usize, u32, Timer),
    /// A message reaches a node.
    Message(usize, Message),
    /// At a gateway.
    Gateway(usize, Signal),
    /// A fault begins.
    Begin(Fault),
    /// It ends.
    End(Fault),
    /// All faults end.
    Heal,
}

#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// The voter looks whether it leads, or whether there is a leader.
    Beat,
    /// The guard has something to do.
    Wake,
    /// It says on its streams that it is there.
    Presence,
    /// The active server tends its reign.
    Tend,
    /// The standby fetches.
    Pull,
    /// A stream to another voter is tried.
    Connect(usize),
    /// What came of that.
    Outcome(usize, Outcome),
    /// An election has come to its end.
    Elect,
    /// A swap has, at the leader of this epoch.
    Commit(u64, Swap),
    /// The voters' store could not be reached: no answer in time.
    TimedOut(u64),
    /// A document is durable in the server's own store.
    Stored(Doc),
    /// A write is durable.
    Written(Job),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Accepted {
        life: u32,
    },
    /// It was asked for at this moment.
    Refused {
        asked: Ms,
    },
    TimedOut,
}

/// A change of the register on its way through the voters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap {
    pub(super) from: usize,
    pub(super) life: u32,
    pub(super) id: u64,
    pub(super) expected: RoleVersion,
    pub(super) doc: Doc,
    pub(super) because: Option<Because>,
}

/// A write of a server's store.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Batch { gateway: usize, id: u64, first: u64, last: u64, term: u64 },
    Apply { position: usize, entries: Vec<Entry>, term: u64 },
    Merge { from: usize, life: u32, id: u64, common: usize, tail: Vec<Entry>, term: u64 },
    Truncate { common: usize, term: u64 },
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A leader's.
    Heartbeat {
        from: usize,
        epoch: u64,
        sent: Ms,
        applied: Doc,
    },
    /// The answer.
    Acknowledged {
        from: usize,
        epoch: u64,
        sent: Ms,
    },
    /// On a stream that the receiver opened.
    Presence {
        from: usize,
        stream: u64,
        term: u64,
        holds: bool,
    },
    /// A stream that the receiver opened has ended.
    Closed {
        from: usize,
        stream: u64,
    },
    /// A question, perhaps by way of the third voter.
    Ask {
        from: usize,
        life: u32,
        id: u64,
        relayed: bool,
        ask: Ask,
    },
    Reply {
        life: u32,
        id: u64,
        answer: Answer,
    },
    /// A gateway asks what is stored of its journal, or sends what follows.
    Journal {
        gateway: usize,
        id: u64,
        doc: Doc,
        batch: Option<(u64, u64)>,
        percent: u8,
    },
    /// A gateway shows its document, and wants to see another.
    Role {
        gateway: usize,
        doc: Doc,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Renew { term: u64 },
    Claim { expected: RoleVersion, doc: Doc, because: Because },
    Change { expected: RoleVersion, doc: Doc },
    Sight { of: usize },
    Pull { term: u64, position: usize, chain: u64 },
    Merge { term: u64, common: usize, tail: Vec<Entry> },
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Granted,
    NoLeader,
    /// Another document is in force.
    Document(Doc),
    Won(Doc),
    NotYet(Ms),
    Sight(Sight),
    Entries {
        position: usize,
        entries: Vec<Entry>,
    },
    Diverged {
        common: usize,
    },
    Merged {
        common: usize,
    },
    /// It cannot do that now.
    Busy,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Wake,
    Swipe,
    News(Doc),
    TimedOut(u64),
    Refused(u64),
    NotActive(u64, Doc),
    Told(u64, Watermark),
}

/// What is still to happen, in order; what happens at one moment, in the order of its planning.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    events: BTreeMap<(Ms, u64), Event>,
}

impl Queue {
    pub(super) fn push(&mut self, at: Ms, event: Event) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(Ms, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
