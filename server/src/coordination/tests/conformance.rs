//! The voters do what every coordination store must. "Another process" is another voter.

use std::sync::atomic::{AtomicUsize, Ordering};

use postern_protocol::role::{RoleVersion, SignedRole};

use super::net::{NAMES, Site};
use crate::coordination::{Voted, Words};
use crate::role::conformance::{Bench, conformance};

struct Voters {
    site: Site,
    next: AtomicUsize,
}

impl Bench for Voters {
    type Store = Voted;

    async fn empty() -> Self {
        Self { site: Site::running().await, next: AtomicUsize::new(0) }
    }

    async fn found(&self, version: RoleVersion, role: SignedRole) {
        let first = self.site.voter("b").raise(version, role, Words::default()).await;
        assert!(first.unwrap());
    }

    async fn open(&self) -> Voted {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        self.site.voter(NAMES[next % NAMES.len()]).store()
    }

    /// The leader goes on, and reaches nobody that could store what it is asked to.
    async fn fail(&self, fail: bool) {
        if fail {
            let leader = self.site.leader().await;
            for name in NAMES.into_iter().filter(|name| *name != leader) {
                self.site.lines.cut(name, true);
            }
        } else {
            for name in NAMES {
                self.site.lines.cut(name, false);
            }
            self.site.leader().await;
        }
    }
}

conformance!(Voters);
