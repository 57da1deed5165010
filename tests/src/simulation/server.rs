//! A server: the guard's orders carried out, the document kept, transactions stored and replicated.

use postern_protocol::role::GroupRole;
use postern_protocol::uplink::Watermark;
use postern_protocol::{RoleTerm, Seq, Timestamp};
use postern_server::liveness::{ClaimAnswer, Order, RenewalAnswer, Standing};
use postern_server::replication::{Step, next};
use postern_server::role::decide::{Because, By, Claim, Command, decide, next_term};
use postern_server::role::{Belief, Own, State, Verdict};
use postern_server::store::Safe;

use super::Flaw;
use super::event::{Answer, Ask, Doc, Event, Job, Message, Ms, Signal, Timer};
use super::gateway::{chain, journal};
use super::log::{Entry, index};
use super::node::{GROUP, Pending, Server, named, store, unsigned};
use super::world::World;

/// How long an answer of the voters is waited for, and one to a renewal: as long as it is worth much.
const PATIENCE: Ms = 1_000;
const RENEWAL_PATIENCE: Ms = 2_400;

/// How many entries of the log travel at once.
const PAGE: usize = 400;

/// For how long it counts what a gateway said of its journal.
const SAID: Ms = 10_000;

impl World {
    fn server(&mut self, node: usize) -> Option<&mut Server> {
        self.nodes[node].server.as_mut()
    }

    pub(super) fn state(&self, node: usize) -> Option<(State, &GroupRole)> {
        let server = self.nodes[node].server.as_ref().filter(|_| self.nodes[node].runs())?;
        Some((server.belief.state(), server.belief.role()))
    }

    /// The role term under which a server acts.
    pub(super) fn acting(&self, node: usize) -> Option<u64> {
        let (state, role) = self.state(node)?;
        (state == State::Active).then_some(role.role_term.0)
    }

    /// Does what the guard orders, and sees that it is asked again in time.
    pub(super) fn drive(&mut self, node: usize) {
        if node == 2 || !self.nodes[node].answers() {
            return;
        }
        let now = self.nodes[node].at(self.now);
        let active = self.state(node).map_or(node, |(_, role)| named(&role.active));
        let watch = self.nodes[node].watches[active].clone();
        if let Some(server) = self.server(node)
            && active != node
        {
            server.guard.on_sight(watch.sight(now), now);
        }
        while let Some(order) = self.server(node).and_then(|server| server.guard.poll(now)) {
            match order {
                Order::Renew { term } => {
                    let pending = Pending::Renewal { term: term.0, sent: now };
                    self.ask_leader(node, Ask::Renew { term: term.0 }, pending);
                    if let Some(fault) = self.nodes[node].on_renewal.take() {
                        self.queue.push(self.now + 1, Event::Begin(fault));
                    }
                }
                Order::Claim(because) => self.claim(node, because),
                Order::GoOnWithoutLease => {
                    self.saw("went on without a lease");
                    self.confirm(node);
                }
            }
        }
        let deadlines = [
            self.nodes[node].server.as_ref().and_then(|server| server.guard.next_deadline()),
            watch.next_deadline().filter(|_| active != node),
        ];
        let Some(next) = deadlines.into_iter().flatten().min() else { return };
        let at = self.nodes[node].moment(next).max(self.now + 1);
        let life = self.nodes[node].number;
        if let Some(server) = self.server(node)
            && server.wakes_at.is_none_or(|wakes_at| at < wakes_at)
        {
            server.wakes_at = Some(at);
            self.queue.push(at, Event::Timer(node, life, Timer::Wake));
        }
    }

    /// It acts under the role term that it has stored.
    fn confirm(&mut self, node: usize) {
        let now = self.nodes[node].at(self.now);
        if let Some(server) = self.server(node) {
            server.belief = server.belief.confirmed();
            let standing = Standing::from(&server.belief);
            server.guard.on_belief(&standing, now);
        }
        self.check_acting(node);
    }

    fn ask_leader(&mut self, node: usize, ask: Ask, pending: Pending) {
        let id = self.id();
        let (life, leader) = (self.nodes[node].number, self.nodes[node].leader);
        let Some(server) = self.server(node) else { return };
        server.pending.insert(id, pending);
        let relays = server.relays;
        let renews = matches!(ask, Ask::Renew { .. });
        let patience = if renews { RENEWAL_PATIENCE } else { PATIENCE };
        self.after(patience, node, Timer::TimedOut(id));
        match leader {
            None => self.answered(node, id, Answer::NoLeader),
            Some(leader) if leader == node => self.asked(node, node, life, id, true, ask),
            Some(leader) => {
                let to = if relays { 3 - node - leader } else { leader };
                self.send(node, to, Message::Ask { from: node, life, id, relayed: false, ask });
            }
        }
    }

    fn claim(&mut self, node: usize, because: Because) {
        if because == Because::Restarted && self.flaw == Some(Flaw::RestartKeepsTerm) {
            return self.confirm(node);
        }
        let (now, at) = (self.nodes[node].at(self.now), self.time_of_day(node));
        let flaw = self.flaw;
        let Some(server) = self.server(node) else { return };
        let mut document = server.belief.document().clone();
        if flaw == Some(Flaw::ClaimNotInSync)
            && let Some(role) = document.groups.get_mut(GROUP)
            && !role.in_sync.contains(&store(node))
        {
            role.in_sync.push(store(node));
        }
        let ordinal = index(node);
        let expected = server.belief.role().version();
        let Some(term) = next_term(ordinal, expected.term) else { return };
        let claim =
            Claim { group: GROUP.into(), to: store(node), ordinal, term, by: By::Server, at };
        match decide(&document, &Command::Claim(claim, because)) {
            Ok(next) => {
                self.docs.push(next);
                let doc = self.docs.len() - 1;
                if let Some(server) = self.server(node) {
                    server.made.insert(doc);
                }
                if self.flaw == Some(Flaw::ActsBeforeCommit) {
                    self.adopt(node, doc);
                }
                self.ask_leader(node, Ask::Claim { expected, doc, because }, Pending::Claim);
            }
            Err(_) => server.guard.on_claim(ClaimAnswer::Denied, now),
        }
    }

    fn time_of_day(&self, node: usize) -> Timestamp {
        let since = i64::try_from(self.now).unwrap_or(i64::MAX);
        Timestamp(since.saturating_add(self.nodes[node].wall))
    }

    pub(super) fn answered(&mut self, node: usize, id: u64, answer: Answer) {
        let now = self.nodes[node].at(self.now);
        let flaw = self.flaw;
        let Some(server) = self.server(node) else { return };
        let Some(pending) = server.pending.remove(&id) else { return };
        if let Answer::Won(doc) | Answer::Document(doc) = answer {
            self.adopt(node, doc);
        }
        let Some(server) = self.server(node) else { return };
        match pending {
            Pending::Renewal { term, sent } => {
                let outcome = match answer {
                    Answer::Granted => RenewalAnswer::Granted,
                    Answer::Document(_) => RenewalAnswer::Superseded,
                    Answer::NoLeader
                    | Answer::Won(_)
                    | Answer::NotYet(_)
                    | Answer::Sight(_)
                    | Answer::Entries { .. }
                    | Answer::Diverged { .. }
                    | Answer::Merged { .. }
                    | Answer::Busy => RenewalAnswer::NoLeader,
                };
                server.guard.on_renewal(RoleTerm(term), sent, outcome, now);
                if flaw == Some(Flaw::LeaseFromAnswer) && outcome == RenewalAnswer::Granted {
                    server.guard.on_renewal(RoleTerm(term), now, outcome, now);
                }
                // A lease may be believed in for a moment only, before a later document is read.
                self.check_leases();
            }
            Pending::Claim => server.guard.on_claim(
                match answer {
                    Answer::Won(_) => ClaimAnswer::Won,
                    Answer::NotYet(ms) => {
                        ClaimAnswer::NotYet { after: std::time::Duration::from_millis(ms) }
                    }
                    Answer::Document(_) => ClaimAnswer::Denied,
                    Answer::Granted
                    | Answer::NoLeader
                    | Answer::Sight(_)
                    | Answer::Entries { .. }
                    | Answer::Diverged { .. }
                    | Answer::Merged { .. }
                    | Answer::Busy => ClaimAnswer::Unavailable,
                },
                now,
            ),
            Pending::Sight(swap) => {
                let Answer::Sight(sight) = answer else { return };
                self.judge(node, swap, Some(sight));
            }
            Pending::Change => {}
            Pending::Pull | Pending::Merge => self.fetched(node, answer),
        }
    }

    pub(super) fn timed_out(&mut self, node: usize, id: u64) {
        let now = self.nodes[node].at(self.now);
        let Some(server) = self.server(node) else { return };
        match server.pending.remove(&id) {
            Some(Pending::Renewal { term, sent }) => {
                server.relays = !server.relays;
                server.guard.on_renewal(RoleTerm(term), sent, RenewalAnswer::Failed, now);
            }
            Some(Pending::Claim) => {
                server.relays = !server.relays;
                server.guard.on_claim(ClaimAnswer::Unavailable, now);
            }
            Some(Pending::Sight(swap)) => self.judge(node, swap, None),
            Some(Pending::Change) => server.relays = !server.relays,
            Some(Pending::Pull | Pending::Merge) | None => {}
        }
    }

    /// A document was shown: it is obeyed once it is durable.
    pub(super) fn adopt(&mut self, node: usize, doc: Doc) {
        let version = self.version(doc);
        let Some(server) = self.server(node) else { return };
        if version > server.belief.role().version() {
            let ms = self.nodes[node].sync_ms;
            self.after(ms, node, Timer::Stored(doc));
        }
    }

    pub(super) fn stored(&mut self, node: usize, doc: Doc) {
        let (now, document) = (self.nodes[node].at(self.now), self.docs[doc].clone());
        let flaw = self.flaw;
        let Some(server) = self.server(node) else { return };
        let own = if server.made.contains(&doc) { Own::Yes } else { Own::No };
        if !matches!(server.belief.weigh(&document), Verdict::Adopt(_)) {
            return;
        }
        let Some(belief) = server.belief.adopted(unsigned(), document, own) else { return };
        if flaw != Some(Flaw::ForgetsWhatItObeys) {
            server.durable = doc;
        }
        server.belief = belief;
        server.guard.on_belief(&standing(&server.belief, flaw), now);
        self.check_acting(node);
        for gateway in 0..self.gateways.len() {
            self.tell(node, gateway, Signal::News(doc));
        }
    }

    /// The active server counts stores in and out, by the real rules.
    pub(super) fn tend(&mut self, node: usize) {
        let Some(term) = self.acting(node) else { return };
        let (now, instant) = (self.now, self.instant());
        let at_once = self.flaw == Some(Flaw::GrowsAtOnce);
        let Some(server) = self.server(node) else { return };
        let recent = server.full.values().filter(|(_, said)| now - said < SAID);
        let fullest = recent.map(|(percent, _)| *percent).max().unwrap_or(0);
        let head = index(server.log.len());
        let belief = server.belief.clone();
        let Some(acks) = server.acks.of_reign(RoleTerm(term)) else { return };
        match next(acks, &belief, head, fullest, instant) {
            Some(Step::Count(name)) => {
                // The mistake: it is proven by what it had confirmed before.
                let since =
                    if at_once { acks.of(&name, instant).map_or(0, |of| of.0) } else { head };
                acks.count(&name, since);
            }
            Some(Step::Change(change)) => {
                let waits = |pending: &Pending| matches!(pending, Pending::Change);
                if server.pending.values().any(waits) {
                    return;
                }
                let Ok(document) = decide(belief.document(), &change.command) else { return };
                self.docs.push(document);
                let (doc, expected) = (self.docs.len() - 1, belief.role().version());
                self.saw(change.event);
                self.ask_leader(node, Ask::Change { expected, doc }, Pending::Change);
            }
            None => {}
        }
    }

    /// The standby fetches what it lacks.
    pub(super) fn pull(&mut self, node: usize) {
        let Some((State::Standby, role)) = self.state(node) else { return };
        let (active, term, now) = (named(&role.active), role.role_term.0, self.now);
        let (id, life) = (self.id(), self.nodes[node].number);
        let Some(server) = self.server(node) else { return };
        let fetches = |pending: &Pending| matches!(pending, Pending::Pull | Pending::Merge);
        if server.pending.values().any(fetches) || server.writes_until > now || active == node {
            return;
        }
        let position = server.log.len();
        let chain = server.log.chain(position).unwrap_or(0);
        server.pending.insert(id, Pending::Pull);
        self.after(PATIENCE, node, Timer::TimedOut(id));
        let ask = Ask::Pull { term, position, chain };
        self.send(node, active, Message::Ask { from: node, life, id, relayed: false, ask });
    }

    pub(super) fn pulled(
        &mut self,
        node: usize,
        from: usize,
        life: u32,
        id: u64,
        term: u64,
        (position, chain): (usize, u64),
    ) {
        let acts = self.acting(node) == Some(term);
        let instant = self.instant();
        let common = match (&self.nodes[node].server, &self.nodes[from].server) {
            (Some(mine), Some(theirs)) => mine.log.common(&theirs.log),
            _ => 0,
        };
        let Some(server) = self.server(node) else { return };
        let answer = if !acts {
            Answer::Document(server.durable)
        } else if server.log.chain(position) == Some(chain) {
            if let Some(acks) = server.acks.of_reign(RoleTerm(term)) {
                acks.confirm(&store(from), index(position), instant);
            }
            Answer::Entries { position, entries: server.log.after(position, PAGE) }
        } else {
            Answer::Diverged { common }
        };
        self.reply(node, from, life, id, answer);
    }

    #[expect(clippy::too_many_arguments, reason = "a message taken apart")]
    pub(super) fn merged(
        &mut self,
        node: usize,
        from: usize,
        life: u32,
        id: u64,
        term: u64,
        common: usize,
        tail: Vec<Entry>,
    ) {
        if self.acting(node) == Some(term) {
            self.write(node, Job::Merge { from, life, id, common, tail, term });
        } else {
            self.reply(node, from, life, id, Answer::Busy);
        }
    }

    fn fetched(&mut self, node: usize, answer: Answer) {
        let Some((State::Standby, role)) = self.state(node) else { return };
        let (active, term) = (named(&role.active), role.role_term.0);
        match answer {
            Answer::Entries { position, entries } if !entries.is_empty() => {
                self.write(node, Job::Apply { position, entries, term });
            }
            Answer::Diverged { common } => {
                let (id, life) = (self.id(), self.nodes[node].number);
                let Some(server) = self.server(node) else { return };
                let tail = server.log.after(common, usize::MAX);
                server.pending.insert(id, Pending::Merge);
                self.saw("came back with a log of its own");
                self.after(PATIENCE, node, Timer::TimedOut(id));
                let ask = Ask::Merge { term, common, tail };
                self.send(node, active, Message::Ask { from: node, life, id, relayed: false, ask });
            }
            Answer::Merged { common } => self.write(node, Job::Truncate { common, term }),
            Answer::Granted
            | Answer::NoLeader
            | Answer::Document(_)
            | Answer::Won(_)
            | Answer::NotYet(_)
            | Answer::Sight(_)
            | Answer::Entries { .. }
            | Answer::Busy => {}
        }
    }

    /// Everything that is written while a sync is under way shares the next one.
    fn write(&mut self, node: usize, job: Job) {
        let (now, sync) = (self.now, self.nodes[node].sync_ms);
        let Some(server) = self.server(node) else { return };
        let done = ((now / sync + 2) * sync).max(server.writes_until);
        server.writes_until = done;
        self.after(done - now, node, Timer::Written(job));
    }

    pub(super) fn written(&mut self, node: usize, job: Job) {
        let acting = self.acting(node);
        let follows = self
            .state(node)
            .and_then(|(state, role)| (state == State::Standby).then_some(role.role_term.0));
        let Some(server) = self.server(node) else { return };
        match job {
            Job::Batch { gateway, id, first, last, term } => {
                if acting != Some(term) {
                    let durable = server.durable;
                    return self.tell(node, gateway, Signal::NotActive(id, durable));
                }
                for seq in first..=last {
                    server.log.append(Entry { gateway, seq, term });
                }
                self.watermark(node, gateway, id, term);
            }
            Job::Apply { position, entries, term } => {
                if follows == Some(term) && server.log.len() == position {
                    for entry in entries {
                        server.log.append(entry);
                    }
                }
            }
            Job::Merge { from, life, id, common, tail, term } => {
                if acting != Some(term) {
                    return self.reply(node, from, life, id, Answer::Busy);
                }
                for entry in tail {
                    server.log.append(Entry { term, ..entry });
                }
                self.reply(node, from, life, id, Answer::Merged { common });
            }
            Job::Truncate { common, term } => {
                if follows == Some(term) {
                    server.log.truncate(common);
                }
            }
        }
    }

    pub(super) fn journal(
        &mut self,
        node: usize,
        gateway: usize,
        id: u64,
        doc: Doc,
        batch: Option<(u64, u64)>,
        percent: u8,
    ) {
        self.adopt(node, doc);
        let (acting, now) = (self.acting(node), self.now);
        let Some(server) = self.server(node) else { return };
        server.full.insert(gateway, (percent, now));
        let Some(term) = acting else {
            let durable = server.durable;
            return self.tell(node, gateway, Signal::NotActive(id, durable));
        };
        match batch {
            Some((first, last)) => {
                self.write(node, Job::Batch { gateway, id, first, last, term });
            }
            None => self.watermark(node, gateway, id, term),
        }
    }

    fn watermark(&mut self, node: usize, gateway: usize, id: u64, term: u64) {
        let (flaw, now) = (self.flaw, self.nodes[node].at(self.now));
        let Some(server) = self.server(node) else { return };
        let holds = server.guard.holds_lease(now) || flaw == Some(Flaw::SafeWithoutLease);
        let stored = Seq(server.log.stored(gateway));
        let head = index(server.log.len());
        let (role, me) = (server.belief.role().clone(), store(node));
        let Some(acks) = server.acks.of_reign(RoleTerm(term)) else { return };
        acks.mark(journal(gateway), head, stored);
        let safe = match acks.safe(&role, &me, journal(gateway)) {
            _ if flaw == Some(Flaw::SafeOnceStored) => stored,
            // Whoever has no lease stores and says no more than that.
            _ if !holds => Seq(0),
            Safe::Stored => stored,
            Safe::Known(seq) => seq.min(stored),
        };
        let chain = chain(gateway, stored).hash;
        let watermark = Watermark { role_term: RoleTerm(term), stored, chain, safe };
        self.tell(node, gateway, Signal::Told(id, watermark));
    }
}

/// What the guard is told of a belief.
pub(super) fn standing(belief: &Belief, flaw: Option<Flaw>) -> Standing {
    let standing = Standing::from(belief);
    let in_sync = standing.in_sync || flaw == Some(Flaw::ClaimNotInSync);
    Standing { in_sync, ..standing }
}
