//! The rules as tables and as properties.

use std::collections::BTreeMap;

use postern_protocol::role::{Limits, WhenFull};
use postern_protocol::{RoleTerm, Timestamp};

use super::*;

mod flap;
mod property;
mod rule;
mod table;

/// When the documents of these tests were written.
const SINCE: i64 = 10_000;

fn store(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn a() -> StoreName {
    store("a", "s1")
}

fn b() -> StoreName {
    store("b", "s2")
}

/// Server a reigns under role term 3, with b in sync.
fn pair() -> GroupRole {
    GroupRole {
        revision: 3,
        in_sync: vec![a(), b()],
        copies: 2,
        mode: Mode::Automatic,
        dwell_ms: 500,
        ..GroupRole::founded(a(), RoleTerm(3), Timestamp(SINCE))
    }
}

fn of(role: GroupRole) -> RoleDocument {
    let groups = BTreeMap::from([("main".into(), role)]);
    RoleDocument { site: "north".into(), groups, limits: Limits::default() }
}

/// As it stands after the command.
fn after(document: &RoleDocument, command: &Command) -> GroupRole {
    decide(document, command).unwrap().groups["main"].clone()
}

/// An operator's claim, long after the document was written.
fn claim(to: StoreName, ordinal: u64, term: u64) -> Claim {
    let (by, at) = (By::Operator, Timestamp(SINCE + 1_000_000));
    Claim { group: "main".into(), to, ordinal, term: RoleTerm(term), by, at }
}

/// Server b claims by itself, so long after the document was written.
fn by_itself(after_ms: i64) -> Claim {
    Claim { by: By::Server, at: Timestamp(SINCE + after_ms), ..claim(b(), 1, 4) }
}

/// It was silent, in a reign that the claimant has known for so long.
const fn expired(reigned_ms: u64) -> Because {
    Because::Expired { reigned: Duration::from_millis(reigned_ms) }
}

/// It was silent, in a reign that has stood longer than any dwell time of these tests.
const SILENT: Because = expired(1_000_000);

/// The right of a's reign.
fn reign() -> Reign {
    Reign { group: "main".into(), holder: a(), term: RoleTerm(3) }
}

const fn proof(confirmed: u64, since: u64) -> Proof {
    Proof { confirmed, since }
}
