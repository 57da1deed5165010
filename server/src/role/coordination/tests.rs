//! The document in the server's own store does what every coordination store must.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::role::conformance::{Bench, conformance};
use crate::store::{Store, StoreHandle};

struct OwnStore(tempfile::TempDir);

impl OwnStore {
    fn path(&self) -> PathBuf {
        self.0.path().join("store.db")
    }
}

impl Bench for OwnStore {
    type Store = Fixed;

    async fn empty() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        Store::create(&bench.path(), "a").unwrap();
        bench
    }

    async fn found(&self, version: RoleVersion, role: SignedRole) {
        let why = Audit::now("operator", "founded", "a", "");
        Store::open(&self.path(), "a").unwrap().found_role(&role, version, &why).unwrap();
    }

    async fn open(&self) -> Fixed {
        let store = StoreHandle::open(&self.path(), "a", CancellationToken::new());
        Fixed(Arc::new(store.unwrap()))
    }

    /// The line of the audit log cannot be written, which is the last of a swap.
    async fn fail(&self, fail: bool) {
        let sql = if fail {
            "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'refused'); END"
        } else {
            "DROP TRIGGER refuse"
        };
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

conformance!(OwnStore);
