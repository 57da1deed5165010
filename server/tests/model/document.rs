//! The role document as small numbers, and the real `decide` on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::role::{Began, GroupRole, Limits, Mode, RoleDocument, StoreName, WhenFull};
use postern_protocol::{RoleTerm, Timestamp};
use postern_server::role::decide::{Because, By, Claim, Command, Proof, Reign, decide, next_term};

/// Server a is 0, server b is 1.
pub type Server = usize;

/// A store. Server a has 0, and 2 once its disk was replaced; server b has 1 and 3.
pub type StoreId = u8;

/// A set of stores, one bit each.
pub type Stores = u8;

/// The server whose store it is.
pub const fn server_of(store: StoreId) -> Server {
    (store % 2) as Server
}

/// A set of one store.
pub const fn only(store: StoreId) -> Stores {
    1 << store
}

/// What of the document changes in this model. Ordered by version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Doc {
    /// The role term; 0 is no document at all.
    pub term: u8,
    /// The revision.
    pub revision: u8,
    /// The active server.
    pub active: u8,
    /// The stores in sync.
    pub in_sync: Stores,
    /// How many copies.
    pub copies: u8,
    /// How the reign began, as a number that means something in this file alone.
    began: u8,
    /// The last role term that began by force, or 0.
    forced: u8,
}

const BEGAN: [Began; 5] =
    [Began::Founded, Began::Switchover, Began::Failover, Began::Automatic, Began::Force];

impl Doc {
    /// A server without a document.
    pub const NONE: Self =
        Self { term: 0, revision: 0, active: 0, in_sync: 0, copies: 0, began: 0, forced: 0 };

    /// What is left of a document of which the reign alone still matters.
    pub const fn old(term: u8) -> Self {
        Self { term, ..Self::NONE }
    }

    /// Server a is active, and b in sync.
    pub const FIRST: Self =
        Self { term: 1, revision: 0, active: 0, in_sync: 0b11, copies: 2, began: 0, forced: 0 };

    /// It in one number: 4 bits are enough for each but the flags.
    pub const fn packed(self) -> u32 {
        let low = self.active | self.copies << 1 | self.began << 3;
        u32::from_le_bytes([self.term | self.forced << 4, self.revision, self.in_sync, low])
    }

    /// What is compared.
    pub const fn version(self) -> (u8, u8) {
        (self.term, self.revision)
    }

    /// Whether this server is active by it.
    pub const fn names(self, server: Server) -> bool {
        self.term > 0 && self.active as Server == server
    }

    /// Whether a store is in sync.
    pub const fn counts(self, store: StoreId) -> bool {
        self.in_sync & only(store) != 0
    }

    /// Whether this very reign began by force, and not one that it goes on with after a restart.
    pub const fn is_forced(self) -> bool {
        self.term > 0 && self.forced == self.term
    }

    /// How the reign began.
    pub fn began(self) -> Began {
        BEGAN[usize::from(self.began)]
    }

    fn to_real(self) -> RoleDocument {
        let in_sync = (0..4).filter(|store| self.counts(*store)).map(store_name).collect();
        let role = GroupRole {
            active: name(self.active.into()),
            role_term: RoleTerm(self.term.into()),
            revision: self.revision.into(),
            in_sync,
            copies: self.copies,
            copies_wanted: 2,
            mode: Mode::Automatic,
            when_full: WhenFull::Lower,
            preferred: None,
            dwell_ms: 0,
            flaps: 0,
            away_since: None,
            away_alarm_ms: None,
            maintenance: false,
            began: self.began(),
            forced: (self.forced > 0).then(|| RoleTerm(self.forced.into())),
            since: Timestamp(0),
        };
        let groups = BTreeMap::from([(GROUP.to_owned(), role)]);
        RoleDocument { site: "north".into(), groups, limits: Limits::default() }
    }

    fn of_real(document: &RoleDocument) -> Self {
        let role = &document.groups[GROUP];
        let small = |number: u64| u8::try_from(number).unwrap();
        let doc = Self {
            term: small(role.role_term.0),
            revision: small(role.revision),
            active: u8::from(role.active == name(1)),
            in_sync: role.in_sync.iter().map(|store| only(store.store.parse().unwrap())).sum(),
            copies: role.copies,
            forced: role.forced.map_or(0, |term| small(term.0)),
            began: small(BEGAN.iter().position(|began| *began == role.began).unwrap() as u64),
        };
        // Nothing else may change, or this model leaves something out.
        let mut sorted = document.clone();
        sorted.groups.values_mut().for_each(|role| role.in_sync.sort());
        let mut real = doc.to_real();
        real.groups.values_mut().for_each(|role| role.in_sync.sort());
        assert_eq!(real, sorted);
        doc
    }
}

impl std::fmt::Debug for Doc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let stores: Vec<StoreId> = (0..4).filter(|store| self.counts(*store)).collect();
        let (term, revision, copies) = (self.term, self.revision, self.copies);
        let active = name(self.active.into());
        write!(f, "{term}.{revision} {active} {stores:?} copies {copies} {:?}", self.began())
    }
}

/// What a server proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It takes the role: the active server is silent, as far as it can tell.
    Expired,
    /// It takes the role again.
    Restarted,
    /// An operator makes it active, whatever it lacks.
    Force,
    /// It gives the role to this store.
    HandOver(StoreId),
    /// It no longer counts this store.
    Shrink(StoreId),
    /// It counts this store, which has confirmed so much of what there was.
    Grow(StoreId, u8, u8),
    /// So many copies are enough.
    Copies(u8),
}

impl Change {
    const fn packed(self) -> [u8; 4] {
        match self {
            Self::Expired => [0, 0, 0, 0],
            Self::Restarted => [1, 0, 0, 0],
            Self::HandOver(store) => [2, store, 0, 0],
            Self::Shrink(store) => [3, store, 0, 0],
            Self::Grow(store, confirmed, since) => [4, store, confirmed, since],
            Self::Copies(copies) => [5, copies, 0, 0],
            Self::Force => [6, 0, 0, 0],
        }
    }
}

const GROUP: &str = "main";

fn name(server: Server) -> String {
    ["a", "b"][server].to_owned()
}

fn store_name(store: StoreId) -> StoreName {
    StoreName { server: name(server_of(store)), store: store.to_string() }
}

fn claim(doc: Doc, store: StoreId, by: By) -> Option<Claim> {
    let ordinal = server_of(store) as u64;
    Some(Claim {
        group: GROUP.into(),
        to: store_name(store),
        ordinal,
        term: next_term(ordinal, RoleTerm(doc.term.into()))?,
        by,
        at: Timestamp(0),
    })
}

thread_local! {
    /// `decide` is pure, so what it once said of these few documents stands.
    static DECIDED: RefCell<BTreeMap<u64, Option<Doc>>> = const { RefCell::new(BTreeMap::new()) };
}

/// What `decide` makes of a document when the server with this store proposes a change of it;
/// `None` where it denies that.
pub fn decided(doc: Doc, proposer: StoreId, change: Change) -> Option<Doc> {
    let [kind, first, second, third] = change.packed();
    let key = u32::from_le_bytes([proposer << 4 | kind, first, second, third]);
    let key = u64::from(doc.packed()) << 32 | u64::from(key);
    if let Some(known) = DECIDED.with_borrow(|decided| decided.get(&key).copied()) {
        return known;
    }
    let next = ask(doc, proposer, change);
    DECIDED.with_borrow_mut(|decided| decided.insert(key, next));
    next
}

fn ask(doc: Doc, proposer: StoreId, change: Change) -> Option<Doc> {
    let (group, holder) = (GROUP.to_owned(), store_name(proposer));
    let reign = Reign { group, holder, term: RoleTerm(doc.term.into()) };
    let command = match change {
        Change::Expired => {
            let because = Because::Expired { reigned: Duration::ZERO };
            Command::Claim(claim(doc, proposer, By::Server)?, because)
        }
        Change::Restarted => Command::Claim(claim(doc, proposer, By::Server)?, Because::Restarted),
        Change::Force => Command::Force(claim(doc, proposer, By::Operator)?),
        Change::HandOver(store) => Command::HandOver(reign, claim(doc, store, By::Server)?),
        Change::Shrink(store) => Command::Shrink(reign, store_name(store)),
        Change::Grow(store, confirmed, since) => {
            let proof = Proof { confirmed: confirmed.into(), since: since.into() };
            Command::Grow(reign, store_name(store), proof)
        }
        Change::Copies(copies) => Command::Copies(reign, copies),
    };
    decide(&doc.to_real(), &command).ok().map(|next| Doc::of_real(&next))
}
