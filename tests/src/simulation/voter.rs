//! The voters' store, modelled: who leads, which swap a majority carries, and what a leader grants.
//!
//! An election ends at one moment: whoever stands reaches another voter both ways, which has not heard
//! of a leader for as long as it is loyal to one. Any two majorities share a voter, so epochs rise.
//! What a majority holds is one register; a new leader knows it, as it would by its log. A leader that
//! was deposed goes on until it hears of it.

use postern_protocol::RoleTerm;
use postern_server::liveness::{Case, Sight, Silence, Timing, Verdict, judge, second};
use postern_server::role::decide::Because;

use super::Flaw;
use super::event::{Answer, Ask, Doc, Message, Ms, Swap, Timer};
use super::network::Place;
use super::node::{GROUP, Leading, NAMES, Node, Pending, named};
use super::world::{BEAT, World};

const TIMING: Timing = Timing::NEAR;

fn milliseconds(time: std::time::Duration) -> Ms {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    pub(super) fn beat(&mut self, node: usize) {
        self.after(BEAT, node, Timer::Beat);
        self.give_up_streams(node);
        self.check_leases();
        let me = &self.nodes[node];
        if me.leading.is_some() {
            let message = Message::Heartbeat {
                from: node,
                epoch: me.epoch,
                sent: self.now,
                applied: me.applied,
            };
            // A heartbeat each second time.
            if (self.now / BEAT).is_multiple_of(2) {
                for other in (0..3).filter(|other| *other != node) {
                    self.send(node, other, message.clone());
                }
            }
        } else if self.now - me.heard >= Node::patience(node)
            && !me.standing_for_election
            && !me.full
        {
            self.nodes[node].standing_for_election = true;
            let trip = (0..3).map(|other| self.network.round_trip(node, other)).min().unwrap_or(0);
            self.after(trip + self.nodes[node].sync_ms, node, Timer::Elect);
        }
    }

    /// A stream on which nothing was heard is closed, and another is tried.
    fn give_up_streams(&mut self, node: usize) {
        let now = self.nodes[node].at(self.now);
        for other in 0..3 {
            let me = &mut self.nodes[node];
            let silent = matches!(me.watches[other].sight(now), Sight::Broken { .. });
            if silent && me.streams[other].take().is_some() {
                me.watches[other].on_closed(now);
                self.after(1, node, Timer::Connect(other));
            }
        }
    }

    pub(super) fn elect(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].standing_for_election = false;
        if self.nodes[node].leading.is_some() || now - self.nodes[node].heard < Node::patience(node)
        {
            return;
        }
        let grants: Vec<usize> = (0..3)
            .filter(|other| *other != node && self.network.joins(node, *other))
            .filter(|other| {
                let voter = &self.nodes[*other];
                let heard = voter.leading.map_or(voter.heard, |leading| newest(&leading));
                voter.answers() && !voter.full && now - heard >= Node::loyalty(*other)
            })
            .collect();
        if grants.is_empty() {
            // Its next try after its own time-out.
            self.nodes[node].heard = now.saturating_sub(Node::loyalty(node));
            return;
        }
        let known = grants.iter().map(|other| self.nodes[*other].epoch).max().unwrap_or(0);
        let epoch = known.max(self.nodes[node].epoch) + 1;
        let mut leading = Leading::default();
        for other in grants {
            self.step_down(other, epoch);
            self.nodes[other].heard = now;
            leading.acknowledged[other] = now;
        }
        self.saw("elections");
        let (register, boot) = (self.register, self.nodes[node].at(now));
        let me = &mut self.nodes[node];
        (me.epoch, me.leading, me.leader, me.heard) = (epoch, Some(leading), Some(node), now);
        me.ledger.on_leading(boot);
        self.apply(node, register);
    }

    /// A document is known to be committed.
    fn apply(&mut self, node: usize, doc: Doc) {
        let role = self.role(doc);
        let (active, term) = (role.active.clone(), role.role_term);
        let me = &mut self.nodes[node];
        let boot = me.at(self.now);
        me.applied = doc;
        if me.ledger.on_document(GROUP, &active, term, true, boot) {
            me.watches[named(&active)].on_alive(boot);
        }
        self.adopt(node, doc);
    }

    fn step_down(&mut self, node: usize, epoch: u64) {
        let voter = &mut self.nodes[node];
        voter.epoch = voter.epoch.max(epoch);
        if voter.leading.take().is_some() {
            voter.ledger.on_lost();
            voter.leader = None;
        }
    }

    pub(super) fn heartbeat(&mut self, node: usize, from: usize, epoch: u64, sent: Ms, doc: Doc) {
        if epoch >= self.nodes[node].epoch {
            if epoch > self.nodes[node].epoch {
                self.step_down(node, epoch);
            }
            let (now, known) = (self.now, self.nodes[node].applied);
            let higher = self.version(doc) > self.version(known);
            let me = &mut self.nodes[node];
            (me.heard, me.leader) = (now, Some(from));
            if higher {
                self.apply(node, doc);
            } else {
                self.adopt(node, doc);
            }
        }
        let epoch = self.nodes[node].epoch;
        self.send(node, from, Message::Acknowledged { from: node, epoch, sent });
    }

    pub(super) fn acknowledged(&mut self, node: usize, from: usize, epoch: u64, sent: Ms) {
        if epoch > self.nodes[node].epoch {
            self.step_down(node, epoch);
        } else if let Some(leading) = &mut self.nodes[node].leading {
            leading.acknowledged[from] = leading.acknowledged[from].max(sent);
        }
    }

    /// A question: for this node, or for the leader, to whom it is passed on once.
    pub(super) fn asked(
        &mut self,
        node: usize,
        from: usize,
        life: u32,
        id: u64,
        relayed: bool,
        ask: Ask,
    ) {
        match ask {
            Ask::Sight { of } => {
                let sight = self.nodes[node].watches[of].sight(self.nodes[node].at(self.now));
                self.reply(node, from, life, id, Answer::Sight(sight));
            }
            Ask::Pull { term, position, chain } => {
                self.pulled(node, from, life, id, term, (position, chain));
            }
            Ask::Merge { term, common, tail } => {
                self.merged(node, from, life, id, term, common, tail);
            }
            Ask::Renew { .. } | Ask::Claim { .. } | Ask::Change { .. }
                if self.nodes[node].leading.is_none() =>
            {
                match self.nodes[node].leader {
                    Some(leader) if !relayed && leader != from && leader != node => {
                        let ask = Message::Ask { from, life, id, relayed: true, ask };
                        self.send(node, leader, ask);
                    }
                    _ => self.reply(node, from, life, id, Answer::NoLeader),
                }
            }
            Ask::Renew { term } => {
                let answer = self.renewed(node, from, term);
                self.reply(node, from, life, id, answer);
            }
            Ask::Claim { expected, doc, because } => {
                let swap = Swap { from, life, id, expected, doc, because: Some(because) };
                self.claimed(node, swap);
            }
            Ask::Change { expected, doc } => {
                self.propose(node, Swap { from, life, id, expected, doc, because: None });
            }
        }
    }

    fn renewed(&mut self, leader: usize, from: usize, term: u64) -> Answer {
        let Some(leading) = self.nodes[leader].leading else {
            return Answer::NoLeader;
        };
        let age = self.now - newest(&leading);
        let fresh = age <= milliseconds(TIMING.acknowledged_within);
        if !fresh && self.flaw != Some(Flaw::NoFreshQuorum) {
            return Answer::NoLeader;
        }
        let me = &mut self.nodes[leader];
        let (now, applied) = (me.at(self.now), me.applied);
        if me.ledger.on_renewed(GROUP, NAMES[from], RoleTerm(term), now) {
            self.saw("renewals");
            Answer::Granted
        } else {
            Answer::Document(applied)
        }
    }

    fn claimed(&mut self, leader: usize, swap: Swap) {
        let active = named(&self.role(self.nodes[leader].applied).active);
        if swap.because == Some(Because::Killed) && leader == swap.from && leader != active {
            let third = 3 - leader - active;
            let id = self.id();
            if let Some(server) = &mut self.nodes[leader].server {
                server.pending.insert(id, Pending::Sight(swap));
            }
            let (from, life) = (leader, self.nodes[leader].number);
            let ask = Ask::Sight { of: active };
            self.after(500, leader, Timer::TimedOut(id));
            self.send(leader, third, Message::Ask { from, life, id, relayed: false, ask });
            return;
        }
        self.judge(leader, swap, None);
    }

    /// The leader's verdict, with what the third voter said where it was asked.
    pub(super) fn judge(&mut self, leader: usize, swap: Swap, third: Option<Sight>) {
        let Swap { from, life, id, expected, .. } = swap;
        if self.nodes[leader].leading.is_none() {
            return self.reply(leader, from, life, id, Answer::NoLeader);
        }
        let applied = self.nodes[leader].applied;
        if self.version(applied) != expected {
            return self.reply(leader, from, life, id, Answer::Document(applied));
        }
        let role = self.role(applied);
        let (active, present) = (named(&role.active), role.role_term);
        let me = &self.nodes[leader];
        let now = me.at(self.now);
        let Some(because) = swap.because else { return };
        let own = me.watches[active].sight(now);
        let mut seen = second(NAMES[leader], NAMES[from], NAMES[active], own, third);
        if self.flaw == Some(Flaw::KilledSeenByOne) && leader != active {
            seen = Some(Sight::Refused { since: now });
        }
        let mut silence = me.ledger.silence(GROUP, present, now);
        if self.flaw == Some(Flaw::NewLeaderDoesNotWait)
            && let Silence::Waiting { left } = silence
        {
            silence = Silence::Expired { silent: left };
        }
        let case = Case { because, against: expected.term, present, silence, second: seen };
        match judge(&case, &TIMING) {
            Verdict::Allow => {
                self.check_allowed(because, present);
                if self.flaw != Some(Flaw::GrantsDuringClaim) {
                    self.nodes[leader].ledger.on_allowed(GROUP, present);
                }
                self.propose(leader, swap);
            }
            Verdict::NotYet { retry_after, .. } => {
                self.reply(leader, from, life, id, Answer::NotYet(milliseconds(retry_after)));
            }
            Verdict::Never { .. } => {
                self.reply(leader, from, life, id, Answer::Document(applied));
            }
        }
    }

    fn propose(&mut self, leader: usize, swap: Swap) {
        let others = (0..3).filter(|other| *other != leader);
        let trip = others.map(|other| self.network.round_trip(leader, other)).min().unwrap_or(0);
        let ms = trip + self.nodes[leader].sync_ms;
        let epoch = self.nodes[leader].epoch;
        self.after(ms, leader, Timer::Commit(epoch, swap));
    }

    /// Whether a majority carries it is known at one moment. Where it does not, it stays in the leader's
    /// log and may be carried later, as long as it leads: whoever asked does not know what came of it.
    pub(super) fn commit(&mut self, leader: usize, epoch: u64, swap: Swap) {
        let me = &self.nodes[leader];
        if me.leading.is_none() || me.epoch != epoch {
            return;
        }
        let carriers: Vec<usize> = (0..3)
            .filter(|other| *other != leader && self.network.joins(leader, *other))
            .filter(|other| {
                let voter = &self.nodes[*other];
                voter.answers() && !voter.full && voter.epoch <= epoch
            })
            .collect();
        if carriers.len() < 1 + usize::from(me.full) {
            self.saw("swaps that had to wait");
            return self.after(BEAT, leader, Timer::Commit(epoch, swap));
        }
        for other in carriers {
            // Whoever led before hears of it with what it is sent.
            if self.nodes[other].epoch < epoch {
                self.step_down(other, epoch);
            }
        }
        let Swap { from, life, id, expected, doc, because } = swap;
        if self.version(self.register) != expected {
            let register = self.register;
            if because.is_some() {
                self.nodes[leader].ledger.on_denied(GROUP, expected.term);
            }
            return self.reply(leader, from, life, id, Answer::Document(register));
        }
        self.check_swap(doc, because);
        self.register = doc;
        self.trace(4, doc);
        self.apply(leader, doc);
        self.reply(leader, from, life, id, Answer::Won(doc));
    }

    /// An answer goes by the third voter where the straight way is cut.
    pub(super) fn reply(&mut self, node: usize, to: usize, life: u32, id: u64, answer: Answer) {
        if node == to {
            if self.nodes[node].number == life {
                self.answered(node, id, answer);
            }
            return;
        }
        let third = 3 - node - to;
        let straight = self.network.way(Place::Node(node), Place::Node(to), &mut self.random);
        let ms = straight.or_else(|| {
            if !self.nodes[third].answers() {
                return None;
            }
            let first =
                self.network.way(Place::Node(node), Place::Node(third), &mut self.random)?;
            let last = self.network.way(Place::Node(third), Place::Node(to), &mut self.random)?;
            Some(first + last)
        });
        if let Some(ms) = ms {
            let reply = super::event::Event::Message(to, Message::Reply { life, id, answer });
            self.queue.push(self.now + ms, reply);
        }
    }
}

/// When the newest acknowledgement of another was asked for: with its own vote that is a majority.
fn newest(leading: &Leading) -> Ms {
    leading.acknowledged.into_iter().max().unwrap_or(0)
}
