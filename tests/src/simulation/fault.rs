//! What goes wrong, and for how long.

use super::event::{Event, Ms};
use super::world::{HEALED, World};

/// Something that begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process is killed; its machine refuses streams until it runs again.
    Kill(usize),
    /// The machine loses its power; nothing answers until it runs again.
    Power(usize),
    /// The process is stopped (SIGSTOP), and goes on later as if nothing had been.
    Pause(usize),
    /// The same, at the worst moment: a renewal of its lease was sent and not answered yet.
    PauseOnRenewal(usize),
    /// Nothing gets from one voter to another.
    Cut(usize, usize),
    /// Nothing gets from one voter to another, or back.
    CutBoth(usize, usize),
    /// Nothing gets to a node or from it.
    Isolate(usize),
    /// What goes from one voter to another takes so long.
    Delay(usize, usize, Ms),
    /// A firewall resets a voter's stream to another, and refuses it new ones.
    Reject(usize, usize),
    /// A firewall resets a stream once.
    Reset(usize, usize),
    /// A sync of this node's disk takes so long.
    SlowDisk(usize, Ms),
    /// The witness's disk is full.
    FullDisk,
    /// A node's time of day is set.
    Clock(usize, i64),
    /// Every second gateway does not reach a server.
    CutGateways(usize),
}

impl World {
    /// Plans the faults of a run.
    pub(super) fn plan(&mut self) {
        // One after another in some runs, several at once in others.
        let longest_pause = [9_000, 3_000, 1_200][self.random.place(3)];
        let mut at = 5_000 + self.random.below(3_000);
        while at < HEALED {
            let fault = self.any_fault();
            let longest = match fault {
                Fault::Kill(_) | Fault::Pause(_) | Fault::PauseOnRenewal(_) => 8_000,
                Fault::Delay(..) | Fault::SlowDisk(..) => 4_000,
                Fault::Power(_)
                | Fault::Cut(..)
                | Fault::CutBoth(..)
                | Fault::Isolate(_)
                | Fault::Reject(..)
                | Fault::Reset(..)
                | Fault::FullDisk
                | Fault::Clock(..)
                | Fault::CutGateways(_) => 12_000,
            };
            // Short ones as often as long ones.
            let longest = if self.random.below(2) == 0 { longest / 8 } else { longest };
            let end = at + 50 + self.random.below(longest);
            self.queue.push(at, Event::Begin(fault));
            self.queue.push(end, Event::End(fault));
            // Some come at once with another.
            at +=
                if self.random.below(4) == 0 { 20 } else { 200 + self.random.below(longest_pause) };
        }
        self.queue.push(HEALED, Event::Heal);
    }

    fn any_fault(&mut self) -> Fault {
        let node = self.random.place(3);
        let other = (node + 1 + self.random.place(2)) % 3;
        let server = self.random.place(2);
        match self.random.below(24) {
            0..=3 => Fault::Kill(server),
            4 => Fault::Kill(2),
            5 | 6 => Fault::Power(node),
            7 | 8 => Fault::Pause(node),
            9 => Fault::PauseOnRenewal(server),
            10 | 11 => Fault::Cut(node, other),
            12 | 13 => Fault::CutBoth(node, other),
            14 | 15 => Fault::Isolate(node),
            16 | 17 => Fault::Delay(node, other, 200 + self.random.below(4_000)),
            // By one voter alone in a run: two that are lied to at once are not told from the truth.
            18 => {
                let from = self.liar;
                Fault::Reject(from, (from + 1 + self.random.place(2)) % 3)
            }
            19 => Fault::Reset(node, other),
            20 | 21 => Fault::SlowDisk(node, 50 + self.random.below(900)),
            22 => Fault::FullDisk,
            _ if self.random.below(2) == 0 => {
                let days = i64::try_from(self.random.below(60)).unwrap_or(0) - 30;
                Fault::Clock(node, days * 86_400_000)
            }
            _ => Fault::CutGateways(server),
        }
    }

    pub(super) fn begin(&mut self, fault: Fault) {
        if self.now >= HEALED {
            return;
        }
        self.saw("faults");
        match fault {
            Fault::Kill(node) => self.end_process(node, true),
            Fault::Power(node) => self.end_process(node, false),
            Fault::Pause(node) => {
                let node = &mut self.nodes[node];
                node.paused |= node.runs();
            }
            Fault::PauseOnRenewal(node) => {
                self.nodes[node].on_renewal = Some(Fault::Pause(node));
            }
            Fault::Cut(from, to) => self.network.cut(from, to, true),
            Fault::CutBoth(one, other) => {
                self.network.cut(one, other, true);
                self.network.cut(other, one, true);
            }
            Fault::Isolate(node) => self.isolate(node, true),
            Fault::Delay(from, to, ms) => self.network.delay(from, to, ms),
            Fault::Reject(from, to) => {
                self.network.reject(from, to, true);
                self.reset(from, to);
            }
            Fault::Reset(from, to) => self.reset(from, to),
            Fault::SlowDisk(node, ms) => self.nodes[node].sync_ms = ms,
            Fault::FullDisk => self.nodes[2].full = true,
            Fault::Clock(node, by) => self.nodes[node].wall += by,
            Fault::CutGateways(server) => self.network.cut_gateways(server, true),
        }
    }

    pub(super) fn end(&mut self, fault: Fault) {
        if self.now >= HEALED {
            return;
        }
        match fault {
            Fault::Kill(node) | Fault::Power(node) => self.start_process(node),
            Fault::Pause(node) | Fault::PauseOnRenewal(node) => self.resume(node),
            Fault::Cut(from, to) => self.network.cut(from, to, false),
            Fault::CutBoth(one, other) => {
                self.network.cut(one, other, false);
                self.network.cut(other, one, false);
            }
            Fault::Isolate(node) => self.isolate(node, false),
            Fault::Delay(from, to, _) => self.network.delay(from, to, 0),
            Fault::Reject(from, to) => self.network.reject(from, to, false),
            Fault::SlowDisk(node, _) => self.nodes[node].sync_ms = super::node::SYNC,
            Fault::FullDisk => self.nodes[2].full = false,
            Fault::CutGateways(server) => self.network.cut_gateways(server, false),
            Fault::Reset(..) | Fault::Clock(..) => {}
        }
    }

    fn isolate(&mut self, node: usize, begins: bool) {
        for other in (0..3).filter(|other| *other != node) {
            self.network.cut(node, other, begins);
            self.network.cut(other, node, begins);
        }
    }

    pub(super) fn heal(&mut self) {
        self.network.heal();
        for node in 0..3 {
            self.nodes[node].sync_ms = super::node::SYNC;
            self.nodes[node].full = false;
            self.start_process(node);
            self.resume(node);
        }
    }
}
