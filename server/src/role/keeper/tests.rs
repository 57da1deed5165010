//! What is stored and what is believed stay one, whoever hangs up and whatever the store answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::role::RoleVersion;
use tokio::sync::Semaphore;

use super::*;
use crate::clock;
use crate::role::Signer;
use crate::role::decide::{By, Claim, Command, decide};
use crate::site::{First, Site, init};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store whose swaps wait until they are let through, and then happen whether or not the caller
/// still waits, as those of a thread do.
#[derive(Clone)]
struct Slow(Arc<Inside>);

struct Inside {
    held: Mutex<(RoleVersion, SignedRole)>,
    begun: Semaphore,
    let_through: Semaphore,
    fail: bool,
}

impl Slow {
    fn new(held: SignedRole, fail: bool) -> Self {
        let (begun, let_through) = (Semaphore::new(0), Semaphore::new(0));
        Self(Arc::new(Inside {
            held: Mutex::new((RoleVersion::first(RoleTerm(1)), held)),
            begun,
            let_through,
            fail,
        }))
    }

    fn held(&self) -> (RoleVersion, SignedRole) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, term: u64, signed: &SignedRole) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) =
            (RoleVersion::first(RoleTerm(term)), signed.clone());
    }

    async fn begun(&self) {
        self.0.begun.acquire().await.unwrap().forget();
    }
}

impl CoordinationStore for Slow {
    async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        Ok(Some(self.held().1))
    }

    async fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        _why: Audit,
    ) -> Result<bool, CoordinationError> {
        let inside = self.0.clone();
        let swap = tokio::spawn(async move {
            inside.begun.add_permits(1);
            inside.let_through.acquire().await.unwrap().forget();
            if inside.fail {
                return Err(StoreError::Dead.into());
            }
            let mut held = inside.held.lock().unwrap();
            if held.0 != expected {
                return Ok(false);
            }
            *held = (version, role);
            Ok(true)
        });
        swap.await.unwrap()
    }
}

struct Bench {
    store: Slow,
    keeper: Arc<Keeper<Slow>>,
    signer: Signer,
}

impl Bench {
    async fn new(fail: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a");
        let (site, group, name) = ("north", "main", "a");
        init(&dir, &First { site, group, name, address: "127.0.0.1:7443", listen: None }).unwrap();
        let site = Site::open(&dir).unwrap();
        let (signed, _) = crate::store::Store::read_role(&site.store_path()).unwrap().unwrap();
        let document: RoleDocument = serde_json::from_str(&signed.document).unwrap();
        let me = document.groups["main"].in_sync[0].clone();
        let store = Slow::new(signed, fail);
        let (authority, floor) = (site.authority.clone(), site.floor.clone());
        let keeper =
            Keeper::load(store.clone(), authority, "north", "main", me, floor).await.unwrap();
        Self { store, keeper: Arc::new(keeper), signer: Signer::of(&site).unwrap() }
    }

    /// A genuine document by which b is active.
    fn minted(&self, term: u64) -> SignedRole {
        let claim = Claim {
            group: "main".into(),
            to: StoreName { server: "b".into(), store: "s2".into() },
            ordinal: 1,
            term: RoleTerm(term),
            by: By::Operator,
            at: clock::now(),
        };
        let document = decide(self.keeper.belief().document(), &Command::Force(claim)).unwrap();
        self.signer.sign(&document).unwrap()
    }

    fn offer(
        &self,
        signed: &SignedRole,
    ) -> tokio::task::JoinHandle<Result<Arc<Belief>, RoleError>> {
        let (keeper, signed) = (self.keeper.clone(), signed.clone());
        tokio::spawn(async move { keeper.offer(&signed, "b").await })
    }

    fn let_through(&self) {
        self.store.0.let_through.add_permits(1);
    }
}

/// Regression: a client that hung up while its document was being stored left the store at term 2
/// and the belief at term 1, and every later swap answered `false` until a restart.
#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_splits_nothing() {
    let bench = Bench::new(false).await;
    let (second, fourth) = (bench.minted(2), bench.minted(4));
    let mut changes = bench.keeper.watch();
    let offering = bench.offer(&second);
    bench.store.begun().await;
    offering.abort();
    assert!(offering.await.unwrap_err().is_cancelled());

    bench.let_through();
    tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(bench.store.held(), (RoleVersion::first(RoleTerm(2)), second.clone()));
    assert_eq!(bench.keeper.belief().signed(), &second);
    bench.let_through();
    assert_eq!(bench.offer(&fourth).await.unwrap().unwrap().role().role_term, RoleTerm(4));
    assert_eq!(bench.store.held().0.term, RoleTerm(4));
}

/// Durable first, then believed: a crash in between must not have acted on what is lost.
#[tokio::test]
async fn nothing_is_believed_before_it_is_durable() {
    let bench = Bench::new(false).await;
    let (before, second) = (bench.keeper.belief(), bench.minted(2));
    let mut changes = bench.keeper.watch();
    let offering = bench.offer(&second);
    bench.store.begun().await;
    assert_eq!(bench.keeper.belief().signed(), before.signed());
    assert!(!changes.has_changed().unwrap());
    bench.let_through();
    assert_eq!(offering.await.unwrap().unwrap().signed(), &second);
    assert!(changes.borrow_and_update().signed() == &second);

    let broken = Bench::new(true).await;
    let before = broken.keeper.belief();
    broken.let_through();
    let refused = broken.offer(&broken.minted(2)).await.unwrap().unwrap_err();
    assert!(matches!(refused, RoleError::Store(StoreError::Dead)));
    assert_eq!(broken.keeper.belief().signed(), before.signed());
    assert!(!broken.keeper.watch().has_changed().unwrap());
}

#[tokio::test]
async fn a_store_that_was_changed_by_another_is_followed() {
    let bench = Bench::new(false).await;
    let (second, fourth) = (bench.minted(2), bench.minted(4));
    bench.store.hold(4, &fourth);
    bench.let_through();
    let belief = bench.offer(&second).await.unwrap().unwrap();
    assert_eq!((belief.signed(), belief.role().role_term), (&fourth, RoleTerm(4)));
    assert_eq!(bench.store.held().0.term, RoleTerm(4), "the lower one was not stored");
}
