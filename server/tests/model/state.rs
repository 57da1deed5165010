//! What there is: two servers, a coordination store, a gateway, and what is under way between them.

use std::hash::{Hash, Hasher};

use super::document::{Doc, StoreId, Stores, only, server_of};
use super::log::Log;

/// The highest role term that fits.
pub const TERMS: usize = 8;

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The coordination store's document.
    pub kept: Doc,
    /// The document before it, while some server may still come to read it: an answer that is late.
    pub before: Doc,
    /// Swaps under way, each of which expects that document. Those that expected an earlier one can
    /// have no effect any more and are gone.
    pub swaps: [Doc; 2],
    /// The servers.
    pub servers: [Node; 2],
    /// The gateway.
    pub gateway: Gateway,
    /// The highest `safe` that was answered under each role term and may still be heard.
    pub answers: [u8; TERMS],
    /// How far the operator's setting has got.
    pub setting: Setting,
    /// How many faults may still happen.
    pub faults: Faults,
    /// Whether something fell that must only rise.
    pub fell: bool,
    /// The role term that an operator forced; 0 for none.
    pub forced: u8,
}

/// A server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its store's id. Durable, as the following two are.
    pub store: StoreId,
    /// The change log.
    pub log: Log,
    /// The document that it has stored.
    pub stored: Doc,
    /// The document that it believes.
    pub belief: Doc,
    /// Whether it acts as the active server.
    pub acting: bool,
    /// How far the peer has confirmed the log, within this reign, and the peer's store.
    pub confirmed: Option<(StoreId, u8)>,
    /// The store that it counts before the document does.
    pub counting: Option<Counting>,
    /// Whether it has proposed to hand over, which may happen at any moment, and so accepts nothing.
    pub handing: bool,
}

/// A store that is to be in sync again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Which.
    pub store: StoreId,
    /// Where the log ended when it began.
    pub since: u8,
    /// Whether growing was proposed, so that the store may be in sync at any moment.
    pub proposed: bool,
}

impl Node {
    const fn new(store: StoreId, stored: Doc, acting: bool) -> Self {
        Self {
            store,
            log: Log::EMPTY,
            stored,
            belief: stored,
            acting,
            confirmed: None,
            counting: None,
            handing: false,
        }
    }

    /// What is left when its process ends: what is durable.
    pub fn crashed(self) -> Self {
        Self { log: self.log, ..Self::new(self.store, self.stored, false) }
    }

    /// The same server with a new disk.
    pub const fn wiped(self) -> Self {
        Self::new(self.store + 2, Doc::NONE, false)
    }

    /// It acts no more.
    pub fn deposed(&mut self) {
        let Self { store, log, stored, belief, .. } = *self;
        *self = Self { log, belief, ..Self::new(store, stored, false) };
    }

    /// The stores whose confirmation it waits for, without its own, as the document has it that it
    /// knows; and the one that it counts already.
    pub fn awaited(&self) -> Stores {
        let counted = self.counting.map_or(0, |counting| only(counting.store));
        (self.belief.in_sync | counted) & !only(self.store)
    }

    /// How far every store of these has confirmed the log.
    pub fn confirmed_by(&self, stores: Stores) -> u8 {
        match self.confirmed {
            _ if stores == 0 => self.log.len(),
            Some((store, position)) if stores == only(store) => position,
            _ => 0,
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = ["a", "b"][server_of(self.store)];
        write!(f, "{name} store {} {:?} believes ({:?})", self.store, self.log, self.belief)?;
        if self.stored != self.belief {
            write!(f, " stored ({:?})", self.stored)?;
        }
        if self.acting {
            f.write_str(" acts")?;
        }
        if let Some((store, position)) = self.confirmed {
            write!(f, " store {store} has {position}")?;
        }
        if let Some(counting) = self.counting {
            write!(f, " {counting:?}")?;
        }
        if self.handing {
            f.write_str(" hands over")?;
        }
        Ok(())
    }
}

/// The gateway. It is one that never loses its own disk. All its transactions have happened already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The highest `safe` it was told, up to which it has forgotten.
    pub safe: u8,
    /// The role term that it obeys.
    pub term: u8,
    /// What it had forgotten when it first obeyed a server that an operator forced, or one after
    /// that: this may be lost.
    pub forgiven: Option<u8>,
}

/// An operator's change of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Unsent,
    Sent,
    Acknowledged,
}

/// How many faults may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    pub crashes: u8,
    pub wipes: u8,
    /// How often an operator may force a server that may lack what the gateway forgot.
    pub forces: u8,
}

impl State {
    /// Server a is active, b in sync, nothing has happened.
    pub const fn first(faults: Faults) -> Self {
        Self {
            kept: Doc::FIRST,
            before: Doc::NONE,
            swaps: [Doc::NONE; 2],
            servers: [Node::new(0, Doc::FIRST, true), Node::new(1, Doc::FIRST, false)],
            gateway: Gateway { safe: 0, term: 1, forgiven: None },
            answers: [0; TERMS],
            setting: Setting::Unsent,
            faults,
            fell: false,
            forced: 0,
        }
    }

    /// The gateway obeys this role term.
    pub fn obey(&mut self, term: u8) {
        let gateway = &mut self.gateway;
        gateway.term = term;
        if self.forced > 0 && term >= self.forced && gateway.forgiven.is_none() {
            gateway.forgiven = Some(gateway.safe);
        }
    }

    /// The server that is active by the highest document, once it has begun to act under it.
    pub fn reigning(&self) -> Option<&Node> {
        self.servers.iter().enumerate().find_map(|(server, node)| {
            let reigns =
                node.acting && node.belief.term == self.kept.term && self.kept.names(server);
            reigns.then_some(node)
        })
    }
}

/// As few and as long numbers as there can be: most of the time of a run goes into this.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { kept, before, swaps, servers, gateway, answers, setting, faults, fell, forced } =
            self;
        for doc in [kept, before, &swaps[0], &swaps[1]] {
            hasher.write_u32(doc.packed());
        }
        for node in servers {
            let Node { store, log, stored, belief, acting, confirmed, counting, handing } = node;
            hasher.write_u64(log.packed());
            hasher.write_u32(stored.packed());
            hasher.write_u32(belief.packed());
            let (peer, position) = confirmed.unwrap_or((u8::MAX, 0));
            let flags = u8::from(*acting) | u8::from(*handing) << 1;
            hasher.write_u32(u32::from_le_bytes([*store, flags, peer, position]));
            let (peer, since, proposed) = counting.map_or((u8::MAX, 0, false), |counting| {
                (counting.store, counting.since, counting.proposed)
            });
            hasher.write_u32(u32::from_le_bytes([peer, since, proposed.into(), 0]));
        }
        hasher.write_u64(u64::from_le_bytes(*answers));
        let Gateway { safe, term, forgiven } = *gateway;
        let Faults { crashes, wipes, forces } = *faults;
        let forgiven = forgiven.map_or(0, |forgiven| forgiven + 1) << 4 | forced;
        let left = crashes | wipes << 2 | forces << 4;
        let rest = [safe, term, *setting as u8, left, u8::from(*fell), forgiven, 0, 0];
        hasher.write_u64(u64::from_le_bytes(rest));
    }
}
