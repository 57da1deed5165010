//! A gateway: the real machine of its uplink, over a journal that is a number.

use std::time::Duration;

use postern_gateway::uplink::machine::{Action, Machine, Verdict};
use postern_protocol::uplink::Watermark;
use postern_protocol::{Chain, Digest, JournalId, Seq};
use tokio::time::Instant;

use super::event::{Doc, Event, Message, Ms, Signal};
use super::network::Place;
use super::node::named;
use super::world::{HEALED, World};

/// How long it waits for an answer.
const PATIENCE: Ms = 2_000;

/// How many transactions it sends at once.
const BATCH: u64 = 64;

/// How many its journal takes.
const CAPACITY: u64 = 40;

/// When people stop to come.
const LAST_SWIPE: Ms = HEALED + 30_000;

pub(super) struct Gateway {
    pub(super) machine: Machine,
    pub(super) doc: Option<Doc>,
    /// How many transactions there were.
    pub(super) head: u64,
    /// Up to where it has forgotten them.
    pub(super) released: u64,
    waits_for: Option<u64>,
    wakes_at: Option<Instant>,
}

pub(super) fn journal(gateway: usize) -> JournalId {
    let mut id = [0; 16];
    for (byte, of) in id.iter_mut().zip(gateway.to_le_bytes()) {
        *byte = of;
    }
    JournalId(id)
}

/// Its chain: the journal's own rules are checked elsewhere.
pub(super) fn chain(gateway: usize, seq: Seq) -> Chain {
    let mut hash = [0; 32];
    let bytes = gateway.to_le_bytes().into_iter().chain(seq.0.to_le_bytes());
    for (byte, of) in hash.iter_mut().zip(bytes) {
        *byte = of;
    }
    Chain { seq, hash: Digest(hash) }
}

impl Gateway {
    pub(super) fn new(_: usize) -> Self {
        Self {
            machine: Machine::new(Seq(0)),
            doc: None,
            head: 0,
            released: 0,
            waits_for: None,
            wakes_at: None,
        }
    }

    fn percent(&self) -> u8 {
        let full = (self.head - self.released).saturating_mul(100) / CAPACITY;
        u8::try_from(full.min(100)).unwrap_or(100)
    }
}

impl World {
    pub(super) fn signal(&mut self, gateway: usize, signal: Signal) {
        let waited = |id| self.gateways[gateway].waits_for == Some(id);
        match signal {
            Signal::Wake => self.gateways[gateway].wakes_at = None,
            Signal::Swipe => self.swipe(gateway),
            Signal::News(doc) => self.learn(gateway, doc),
            Signal::TimedOut(id) | Signal::Refused(id) => {
                if !waited(id) {
                    return;
                }
                self.failed(gateway);
            }
            Signal::NotActive(id, doc) => {
                let late = !waited(id);
                self.learn(gateway, doc);
                if late {
                    return;
                }
                self.failed(gateway);
            }
            Signal::Told(id, watermark) => {
                if !waited(id) {
                    return;
                }
                self.told(gateway, &watermark);
            }
        }
        self.run_gateway(gateway);
    }

    fn swipe(&mut self, gateway: usize) {
        if self.now > LAST_SWIPE {
            return;
        }
        // Now and then many at once.
        let people = if self.random.below(20) == 0 { 12 } else { 1 };
        let door = &mut self.gateways[gateway];
        // What does not fit is left to the controllers' own logs.
        door.head += people.min(CAPACITY - (door.head - door.released));
        door.machine.on_head(Seq(door.head));
        let pause = 1_500 + self.random.below(3_000);
        self.queue.push(self.now + pause, Event::Gateway(gateway, Signal::Swipe));
    }

    fn learn(&mut self, gateway: usize, doc: Doc) {
        let known = self.gateways[gateway].doc;
        if known.is_some_and(|known| self.version(known) >= self.version(doc)) {
            return;
        }
        let role = self.role(doc);
        let (term, active) = (role.role_term, role.active.clone());
        let (instant, jitter) = (self.instant(), self.random.below(1_000));
        let jitter = f64::from(u32::try_from(jitter).unwrap_or(0)) / 1_000.0;
        let door = &mut self.gateways[gateway];
        let before = door.machine.active().map(|(term, _)| *term);
        door.doc = Some(doc);
        door.machine.on_role(term, &active, instant, jitter);
        let after = door.machine.active().map(|(term, _)| *term);
        if after > before {
            // What it asked of another is worth nothing now.
            door.waits_for = None;
        }
        self.check_obeyed(gateway, term.0);
    }

    fn failed(&mut self, gateway: usize) {
        let (now, jitter) = (self.instant(), self.random.below(1_000));
        let jitter = f64::from(u32::try_from(jitter).unwrap_or(0)) / 1_000.0;
        let door = &mut self.gateways[gateway];
        door.waits_for = None;
        door.machine.on_failure(now, None, jitter);
        let Some(doc) = door.doc else { return };
        for server in 0..2 {
            let way =
                self.network.way(Place::Gateway(gateway), Place::Node(server), &mut self.random);
            if let Some(ms) = way {
                let message = Event::Message(server, Message::Role { gateway, doc });
                self.queue.push(self.now + ms, message);
            }
        }
    }

    fn told(&mut self, gateway: usize, watermark: &Watermark) {
        let now = self.instant();
        let door = &mut self.gateways[gateway];
        door.waits_for = None;
        let own = chain(gateway, watermark.stored);
        let verdict = door.machine.on_watermark(watermark, Some(own), now);
        match verdict {
            Verdict::Agreed { safe } => {
                let released = door.released;
                door.released = released.max(safe.0);
                self.check_held(gateway, watermark, released);
            }
            // As the uplink does: its role's stream tells meanwhile.
            Verdict::Stale => self.failed(gateway),
            Verdict::Fork => self.wrong(&format!("gateway {gateway} was told of a fork")),
        }
    }

    fn run_gateway(&mut self, gateway: usize) {
        if self.gateways[gateway].waits_for.is_some() {
            return;
        }
        let now = self.instant();
        let action = self.gateways[gateway].machine.action(now);
        let (server, batch) = match action {
            Action::Wait { until: None } => return,
            Action::Wait { until: Some(until) } => {
                let door = &mut self.gateways[gateway];
                if door.wakes_at.is_none_or(|wakes_at| until < wakes_at || wakes_at <= now) {
                    door.wakes_at = Some(until);
                    let ms = milliseconds(until - now);
                    self.queue.push(self.now + ms, Event::Gateway(gateway, Signal::Wake));
                }
                return;
            }
            Action::Ask { server } => (server, None),
            Action::Send { server, stored } => {
                let head = self.gateways[gateway].head;
                (server, Some((stored.0 + 1, head.min(stored.0 + BATCH))))
            }
        };
        let (id, to) = (self.id(), named(&server));
        let door = &mut self.gateways[gateway];
        door.waits_for = Some(id);
        let (doc, percent) = (door.doc.unwrap_or(0), door.percent());
        self.queue.push(self.now + PATIENCE, Event::Gateway(gateway, Signal::TimedOut(id)));
        let way = self.network.way(Place::Gateway(gateway), Place::Node(to), &mut self.random);
        if let Some(ms) = way {
            let message = Message::Journal { gateway, id, doc, batch, percent };
            self.queue.push(self.now + ms, Event::Message(to, message));
        }
    }
}

/// Whole milliseconds, and never less than it is.
fn milliseconds(time: Duration) -> Ms {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
