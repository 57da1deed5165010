//! Ways between voters, and between servers and gateways.

use super::event::Ms;
use crate::random::Random;

/// One in so many messages is sent again, after [`RESENT`].
const LOSS: u64 = 100;

/// How long a transport waits before it sends a lost packet again.
const RESENT: Ms = 200;

/// Who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Node(usize),
    Gateway(usize),
}

#[derive(Debug, Default)]
pub(super) struct Network {
    /// How many faults cut the way from one voter to another.
    cuts: [[u8; 3]; 3],
    delays: [[Ms; 3]; 3],
    rejects: [[u8; 3]; 3],
    gateways: [u8; 2],
}

impl Network {
    /// How long a message takes; `None` where it does not arrive.
    pub(super) fn way(&self, from: Place, to: Place, random: &mut Random) -> Option<Ms> {
        let slow = match (from, to) {
            (Place::Node(from), Place::Node(to)) if self.cuts[from][to] > 0 => return None,
            (Place::Node(from), Place::Node(to)) => self.delays[from][to],
            (Place::Node(server), Place::Gateway(gateway))
            | (Place::Gateway(gateway), Place::Node(server)) => {
                let cut = self.gateways.get(server).is_some_and(|cut| *cut > 0);
                if cut && gateway % 2 == 0 {
                    return None;
                }
                0
            }
            (Place::Gateway(_), Place::Gateway(_)) => return None,
        };
        let resent = if random.below(LOSS) == 0 { RESENT } else { 0 };
        // A message that is delayed is now and then overtaken.
        Some(1 + random.below(3) + resent + slow / 2 + random.below(slow / 2 + 1))
    }

    /// Whether two voters reach each other, both ways.
    pub(super) fn joins(&self, one: usize, other: usize) -> bool {
        one == other || self.cuts[one][other] == 0 && self.cuts[other][one] == 0
    }

    /// How long it takes there and back.
    pub(super) fn round_trip(&self, one: usize, other: usize) -> Ms {
        2 + self.delays[one][other] + self.delays[other][one]
    }

    pub(super) fn rejects(&self, from: usize, to: usize) -> bool {
        self.rejects[from][to] > 0
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, begins: bool) {
        count(&mut self.cuts[from][to], begins);
    }

    pub(super) fn reject(&mut self, from: usize, to: usize, begins: bool) {
        count(&mut self.rejects[from][to], begins);
    }

    pub(super) fn cut_gateways(&mut self, server: usize, begins: bool) {
        count(&mut self.gateways[server], begins);
    }

    pub(super) fn delay(&mut self, from: usize, to: usize, ms: Ms) {
        self.delays[from][to] = ms;
    }

    pub(super) fn heal(&mut self) {
        *self = Self::default();
    }
}

fn count(faults: &mut u8, begins: bool) {
    *faults = if begins { faults.saturating_add(1) } else { faults.saturating_sub(1) };
}
