//! What may happen, and what comes of it.

use postern_protocol::role::Began;
use stateright::{Model, Property};

use super::document::{Change, Doc, Server, decided, only};
use super::log::SETTING;
use super::property;
use super::state::{Counting, Faults, Node, Setting, State};

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Transactions, 3 at most.
    pub transactions: u8,
    /// Whether an operator changes a setting.
    pub setting: bool,
    /// The highest role term.
    pub terms: u8,
    /// The highest revision of a reign.
    pub revisions: u8,
    /// How many swaps may be under way at once, 2 at most.
    pub swaps: usize,
    /// Whether a document that was read may come late, when it has been swapped already.
    pub late: bool,
    /// How many faults.
    pub faults: Faults,
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The standby and the active server do not compare role terms.
    NoTermAtThePeer,
    /// A server claims that is not in sync.
    ClaimFromOutside,
    /// What is in sync is known by the server's name alone.
    ServersNotStores,
    /// The active server acknowledges alone before that is in the document.
    BeforeTheShrink,
    /// A store is counted in sync before it holds everything.
    GrowBeforeItHolds,
    /// A store is counted in sync before the active server waits for it.
    GrowBeforeItCounts,
    /// The active server stops waiting for a store while its proposal may still be carried out.
    StopCounting,
    /// A server acts under a document before that is durable.
    NotDurable,
    /// What one server has stored is safe.
    OneCopy,
    /// The gateway obeys whoever answers.
    GatewayWithoutTerm,
    /// A server that begins again goes on in its reign.
    NoClaimAfterRestart,
    /// The coordination store does not compare versions.
    BlindSwap,
    /// What was proposed and may have been lost is not proposed again.
    NoSecondProposal,
}

/// Something that happens. Servers are those that act, or to which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A server stores the next transaction of what was ever sent to it.
    Receive(Server),
    /// A server hears that the gateway has forgotten what it lacks, and records the hole.
    Hole(Server),
    /// A server hears that, was not forced, and acts no more.
    StepDown(Server),
    /// An operator changes a setting at a server.
    Set(Server),
    /// The gateway hears of a role term, and of what is safe by whoever reigns under it.
    Hear(u8),
    /// A server reads the document.
    Read(Server),
    /// A server gets an answer to an earlier reading.
    ReadLate(Server),
    /// A server asks for a swap.
    Propose(Server, Change),
    /// A swap happens.
    Swap(usize),
    /// A swap never happens.
    Lose(usize),
    /// A server pulls one entry of the peer's log.
    Pull(Server),
    /// A server with a log of its own hands the peer what that lacks, and goes back to what both have.
    Rejoin(Server),
    /// A server begins to count its peer.
    Count(Server),
    /// A server no longer counts its peer.
    Uncount(Server),
    /// A process ends and begins again.
    Crash(Server),
    /// A disk is replaced.
    Wipe(Server),
}

/// The model.
#[derive(Clone, Debug)]
pub struct System {
    pub bounds: Bounds,
    /// What is left out.
    pub flaw: Option<Flaw>,
    /// Whether only what must always hold is asked.
    pub safety_only: bool,
}

impl System {
    pub fn lacks(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// What a server asks of the coordination store, if `decide` lets it.
    fn proposal(&self, state: &State, server: Server, change: Change) -> Option<Doc> {
        let node = &state.servers[server];
        let mut present = node.belief;
        if change == Change::Expired && self.lacks(Flaw::ClaimFromOutside) {
            present.in_sync |= only(node.store);
        }
        let next = decided(present, node.store, change)?;
        let known = state.swaps.contains(&next);
        let within = next.term <= self.bounds.terms && next.revision <= self.bounds.revisions;
        let room = state.swaps[..self.bounds.swaps].contains(&Doc::NONE);
        (within && room && !known && node.belief == state.kept).then_some(next)
    }

    /// What a server may wish for.
    fn wishes(&self, state: &State, server: Server) -> Vec<Change> {
        let node = &state.servers[server];
        if node.belief != state.kept {
            return Vec::new();
        }
        if !node.acting {
            let names = node.belief.names(server);
            let mut wishes = vec![if names { Change::Restarted } else { Change::Expired }];
            if state.faults.forces > 0 {
                wishes.push(Change::Force);
            }
            return wishes;
        }
        let mut wishes = vec![Change::Copies(1), Change::Copies(2)];
        let peer = (0..4).filter(|store| node.belief.counts(*store) && *store != node.store);
        for store in peer {
            wishes.push(Change::Shrink(store));
            if node.confirmed == Some((store, node.log.len())) {
                wishes.push(Change::HandOver(store));
            }
        }
        match (node.counting, node.confirmed) {
            // What was proven and proposed may be proposed again, whatever became of that store:
            // nothing else ends the doubt whether it still happens.
            (Some(Counting { store, since, proposed }), _)
                if (proposed && !self.lacks(Flaw::NoSecondProposal))
                    || self.lacks(Flaw::GrowBeforeItHolds) =>
            {
                wishes.push(Change::Grow(store, since, since));
            }
            (Some(Counting { store, since, .. }), Some((confirmed, position)))
                if store == confirmed =>
            {
                wishes.push(Change::Grow(store, position, since));
            }
            (None, Some((store, position))) if self.lacks(Flaw::GrowBeforeItCounts) => {
                wishes.push(Change::Grow(store, position, node.log.len()));
            }
            _ => {}
        }
        wishes
    }

    /// How far the gateway may forget, as this server has it.
    pub fn safe(&self, state: &State, server: Server) -> u8 {
        let node = &state.servers[server];
        let alone = self.lacks(Flaw::BeforeTheShrink) || self.lacks(Flaw::OneCopy);
        if !alone && node.belief.in_sync.count_ones() < node.belief.copies.into() {
            return 0;
        }
        let awaited = if alone { 0 } else { node.awaited() };
        node.log.stored(node.confirmed_by(awaited))
    }

    /// Whether a server pulls from its peer, which acts.
    fn follows(&self, state: &State, server: Server) -> bool {
        let (node, peer) = (&state.servers[server], &state.servers[1 - server]);
        let same = node.belief.term == peer.belief.term || self.lacks(Flaw::NoTermAtThePeer);
        peer.acting && same && !(node.acting && node.belief.term == peer.belief.term)
    }

    /// Whether what a server holds is what its peer holds there.
    fn agrees(&self, state: &State, server: Server) -> bool {
        let (log, peer) = (state.servers[server].log, state.servers[1 - server].log);
        let position = log.len();
        let matches = peer.matches(position, log.term_at(position));
        matches || (self.lacks(Flaw::NoTermAtThePeer) && position <= peer.len())
    }

    fn server_actions(&self, state: &State, server: Server, actions: &mut Vec<Action>) {
        let (node, peer) = (&state.servers[server], &state.servers[1 - server]);
        let mut when = |possible, action| {
            if possible {
                actions.push(action);
            }
        };
        when(state.kept.version() > node.belief.version(), Action::Read(server));
        when(state.before.version() > node.belief.version(), Action::ReadLate(server));
        if node.acting {
            let all = node.log.stored(node.log.len()) == self.bounds.transactions;
            when(!all && !node.handing, Action::Receive(server));
            let stored = node.log.stored(node.log.len());
            let lacks = state.gateway.term == node.belief.term && state.gateway.safe > stored;
            let forced = node.belief.began() == Began::Force;
            when(lacks && forced && !node.handing, Action::Hole(server));
            when(lacks && !forced, Action::StepDown(server));
            let set = self.bounds.setting && state.setting == Setting::Unsent;
            when(set && !node.handing, Action::Set(server));
            let pulls = self.follows(state, 1 - server) && !node.belief.counts(peer.store);
            when(pulls && node.counting.is_none(), Action::Count(server));
            let proposed = node.counting.is_some_and(|counting| counting.proposed);
            let stop = !proposed || self.lacks(Flaw::StopCounting);
            when(node.counting.is_some() && stop, Action::Uncount(server));
        }
        if self.follows(state, server) {
            let agrees = self.agrees(state, server);
            when(agrees && node.log.len() < peer.log.len(), Action::Pull(server));
            let takes = !peer.handing || peer.log.has_all_of(node.log);
            when(!agrees && takes, Action::Rejoin(server));
        }
        // The end of a process takes nothing else from a server that does not act.
        let loses = node.acting || node.stored != node.belief;
        when(state.faults.crashes > 0 && loses, Action::Crash(server));
        when(state.faults.wipes > 0, Action::Wipe(server));
    }

    fn adopt(&self, state: &mut State, server: Server, doc: Doc) {
        let node = &mut state.servers[server];
        let begins = doc.term > node.belief.term;
        let acts = doc.names(server) && doc.counts(node.store) && (begins || node.acting);
        node.belief = doc;
        if !self.lacks(Flaw::NotDurable) {
            node.stored = doc;
        }
        if begins || !acts {
            node.deposed();
        }
        node.acting = acts;
        // What was proposed by the former version cannot happen any more.
        node.counting = match node.counting {
            Some(counting) if doc.counts(counting.store) => None,
            counting => counting.map(|counting| Counting { proposed: false, ..counting }),
        };
        node.handing = false;
    }

    fn propose(&self, state: &mut State, server: Server, change: Change) -> Option<()> {
        let next = self.proposal(state, server, change)?;
        let free = state.swaps.iter_mut().find(|swap| **swap == Doc::NONE)?;
        *free = next;
        state.swaps.sort_by(|one, other| other.cmp(one));
        let node = &mut state.servers[server];
        match change {
            Change::HandOver(_) => node.handing = true,
            Change::Grow(..) => {
                node.counting =
                    node.counting.map(|counting| Counting { proposed: true, ..counting });
            }
            Change::Force => state.faults.forces -= 1,
            Change::Expired | Change::Restarted | Change::Shrink(_) | Change::Copies(_) => {}
        }
        Some(())
    }

    /// Does at once what can only add to what may come after it; why, stands at the head of
    /// `main.rs`.
    fn settle(&self, state: &mut State) {
        for server in 0..2 {
            if self.follows(state, server) && self.agrees(state, server) {
                let (store, position) =
                    (state.servers[server].store, state.servers[server].log.len());
                state.servers[1 - server].confirmed = Some((store, position));
            }
        }
        for server in 0..2 {
            let node = &state.servers[server];
            if !node.acting {
                continue;
            }
            let term = usize::from(node.belief.term);
            state.answers[term] = state.answers[term].max(self.safe(state, server));
            let awaited = if self.lacks(Flaw::BeforeTheShrink) { 0 } else { node.awaited() };
            let confirmed = node.confirmed_by(awaited);
            if node.log.position(SETTING).is_some_and(|position| position <= confirmed) {
                state.setting = Setting::Acknowledged;
            }
        }
        self.forget(state);
        let gateway = &mut state.gateway;
        gateway.safe = gateway.safe.max(state.answers[usize::from(gateway.term)]);
        for (term, safe) in state.answers.iter_mut().enumerate() {
            let heard = term > gateway.term.into() || self.lacks(Flaw::GatewayWithoutTerm);
            if !heard || *safe <= gateway.safe {
                *safe = 0;
            }
        }
    }

    /// Takes out what can make no difference any more, so that states that are alike are one.
    fn forget(&self, state: &mut State) {
        let oldest = state.servers.iter().map(|node| node.belief.version()).min();
        if !self.bounds.late || oldest >= Some(state.before.version()) {
            state.before = Doc::NONE;
        }
        // Who does not act and has an old document can follow a peer in that reign, no more.
        for server in 0..2 {
            let peer = state.servers[1 - server];
            let node = &mut state.servers[server];
            if node.acting || node.belief.version() >= state.kept.version() {
                continue;
            }
            let followed = peer.acting && peer.belief.term == node.belief.term;
            let term = if followed || self.bounds.late { node.belief.term } else { 0 };
            if node.stored == node.belief {
                node.stored = Doc::old(term);
            }
            node.belief = Doc::old(term);
        }
        // A role term under which nobody can answer any more is as good as the lowest other one.
        let acting = state.servers.iter().filter(|node| node.acting).map(|node| node.belief.term);
        let late = (1..).zip(&state.answers[1..]).filter(|(_, safe)| **safe > 0);
        let lowest = acting.chain(late.map(|(term, _)| term)).min().unwrap_or(state.kept.term);
        let lowest = if state.before == Doc::NONE { lowest } else { lowest.min(state.before.term) };
        let lowest = lowest.min(state.kept.term);
        if state.gateway.term < lowest {
            state.obey(lowest);
        }
    }

    fn happen(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Receive(server) => {
                let node = &mut state.servers[server];
                node.log.append(node.log.stored(node.log.len()) + 1, node.belief.term);
            }
            Action::Hole(server) => {
                let node = &mut state.servers[server];
                node.log.append_hole(node.log.stored(node.log.len()) + 1, node.belief.term);
            }
            Action::StepDown(server) => state.servers[server].deposed(),
            Action::Set(server) => {
                let node = &mut state.servers[server];
                node.log.append(SETTING, node.belief.term);
                state.setting = Setting::Sent;
            }
            Action::Hear(term) => {
                state.fell |= term < state.gateway.term;
                state.obey(term);
            }
            Action::Read(server) => self.adopt(state, server, state.kept),
            Action::ReadLate(server) => self.adopt(state, server, state.before),
            Action::Propose(server, change) => self.propose(state, server, change)?,
            Action::Swap(number) => {
                let next = state.swaps[number];
                state.fell |= next.version() <= state.kept.version();
                state.before = state.kept;
                state.kept = next;
                if next.is_forced() {
                    state.forced = next.term;
                }
                if self.lacks(Flaw::BlindSwap) {
                    state.swaps[number] = Doc::NONE;
                } else {
                    state.swaps = [Doc::NONE; 2];
                }
            }
            Action::Lose(number) => {
                state.swaps[number] = Doc::NONE;
                state.swaps.sort_by(|one, other| other.cmp(one));
            }
            Action::Pull(server) => {
                let peer = state.servers[1 - server].log;
                state.servers[server].log.pull(peer);
            }
            Action::Rejoin(server) => {
                let [a, b] = &mut state.servers;
                let (node, peer) = if server == 0 { (a, b) } else { (b, a) };
                let common = peer.log.common(node.log);
                peer.log.merge(node.log, common, peer.belief.term);
                node.log.truncate(common);
            }
            Action::Count(server) => {
                let store = state.servers[1 - server].store;
                let node = &mut state.servers[server];
                let since = node.log.len();
                node.counting = Some(Counting { store, since, proposed: false });
            }
            Action::Uncount(server) => state.servers[server].counting = None,
            Action::Crash(server) => {
                state.faults.crashes -= 1;
                let node = &mut state.servers[server];
                let (before, acted) = (*node, node.acting);
                *node = before.crashed();
                node.acting = acted && self.lacks(Flaw::NoClaimAfterRestart);
                state.fell |= node.belief.version() < before.belief.version();
            }
            Action::Wipe(server) => {
                state.faults.wipes -= 1;
                let node = &mut state.servers[server];
                let store = node.store;
                *node = node.wiped();
                if self.lacks(Flaw::ServersNotStores) {
                    node.store = store;
                }
            }
        }
        Some(())
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self.bounds.faults)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // A role term of which there is something to hear: from a server that believes it, or by
        // an answer that is late.
        for (term, safe) in (0..).zip(state.answers) {
            let believe = |node: &Node| node.belief.term == term;
            let known = safe > 0 || state.servers.iter().any(believe);
            let other = self.lacks(Flaw::GatewayWithoutTerm)
                && term != state.gateway.term
                && state.servers.iter().any(|node| node.acting && believe(node));
            if (term > state.gateway.term && known) || other {
                actions.push(Action::Hear(term));
            }
        }
        for number in 0..state.swaps.len() {
            if state.swaps[number] != Doc::NONE {
                actions.push(Action::Swap(number));
                actions.push(Action::Lose(number));
            }
        }
        for server in 0..2 {
            self.server_actions(state, server, actions);
            for change in self.wishes(state, server) {
                if self.proposal(state, server, change).is_some() {
                    actions.push(Action::Propose(server, change));
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.happen(&mut next, action)?;
        self.settle(&mut next);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all(self.safety_only)
    }
}
