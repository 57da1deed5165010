//! What every coordination store must do, whatever it stands on. The machine above relies on it and
//! has no other fence: a store that swaps wrongly makes two servers active.
//!
//! A store's tests implement [`Bench`] and call [`conformance!`], which makes one test of each check.

use std::collections::BTreeMap;
use std::future::Future;

use postern_protocol::role::{
    GroupRole, Limits, MAX_DOCUMENT, RoleDocument, RoleVersion, SignedRole, StoreName,
};
use postern_protocol::uplink::Bytes;
use postern_protocol::{RoleTerm, Timestamp};

use super::{CoordinationError, CoordinationStore};
use crate::store::Audit;

/// How many try at once.
const RIVALS: u64 = 6;

/// How often each of them succeeds.
const ROUNDS: u64 = 5;

/// A place where a document is kept, and what a test can do to it.
pub(crate) trait Bench {
    /// The store under test.
    type Store: CoordinationStore;

    /// A new place without a document.
    fn empty() -> impl Future<Output = Self>;

    /// Stores the first document, as founding a site does.
    fn found(&self, version: RoleVersion, role: SignedRole) -> impl Future<Output = ()>;

    /// Opens the place, as another process would: nothing that others hold in memory is shared.
    fn open(&self) -> impl Future<Output = Self::Store>;

    /// From now on swaps fail, as late as they can, or work again.
    fn fail(&self, fail: bool) -> impl Future<Output = ()>;
}

/// One test of each check for a bench.
macro_rules! conformance {
    ($bench:ty: $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::role::conformance::$check::<$bench>().await;
            }
        )+
    };
    ($bench:ty) => {
        $crate::role::conformance::conformance!($bench:
            an_empty_one_reads_as_empty_and_swaps_nothing,
            the_first_document_reads_as_it_was_written,
            the_right_version_swaps_and_a_wrong_one_does_not,
            versions_only_rise,
            of_rivals_exactly_one_wins,
            no_change_of_many_is_lost,
            what_was_swapped_is_there_after_reopening,
            a_failure_is_an_error_and_tells_the_truth,
            the_longest_document_fits,
        );
    };
}
pub(crate) use conformance;

pub(crate) const fn version(term: u64, revision: u64) -> RoleVersion {
    RoleVersion { term: RoleTerm(term), revision }
}

/// A document of a version. Stores do not verify signatures: that is done before.
pub(crate) fn document(version: RoleVersion, mark: &str) -> SignedRole {
    let role = GroupRole {
        revision: version.revision,
        ..GroupRole::founded(
            StoreName { server: "a".into(), store: mark.into() },
            version.term,
            Timestamp(0),
        )
    };
    let groups = BTreeMap::from([("main".into(), role)]);
    let document = RoleDocument { site: "north".into(), groups, limits: Limits::default() };
    SignedRole {
        document: serde_json::to_string(&document).unwrap(),
        certificate: Bytes(vec![1; 700]),
        signature: Bytes(mark.as_bytes().to_vec()),
    }
}

fn version_of(role: &SignedRole) -> RoleVersion {
    let document: RoleDocument = serde_json::from_str(&role.document).unwrap();
    document.groups["main"].version()
}

async fn swap<S: CoordinationStore>(
    store: &S,
    expected: RoleVersion,
    next: RoleVersion,
    mark: &str,
) -> Result<bool, CoordinationError> {
    let why = Audit::at(Timestamp(0), "test", "role_swapped", mark, "");
    store.compare_and_swap(expected, next, document(next, mark), why).await
}

/// A place with a document of version (1, 0).
async fn founded<B: Bench>() -> B {
    let bench = B::empty().await;
    bench.found(version(1, 0), document(version(1, 0), "first")).await;
    bench
}

/// Whether every handle, those that are open and a new one, reads this document.
async fn reads<B: Bench>(bench: &B, store: &B::Store, expected: &SignedRole) {
    assert_eq!(store.read().await.unwrap().as_ref(), Some(expected));
    assert_eq!(bench.open().await.read().await.unwrap().as_ref(), Some(expected));
}

pub(crate) async fn an_empty_one_reads_as_empty_and_swaps_nothing<B: Bench>() {
    let bench = B::empty().await;
    let store = bench.open().await;
    assert_eq!(store.read().await.unwrap(), None);
    assert!(!swap(&store, version(0, 0), version(1, 0), "early").await.unwrap());
    assert!(!swap(&store, version(1, 0), version(2, 0), "early").await.unwrap());
    assert_eq!(store.read().await.unwrap(), None);
}

pub(crate) async fn the_first_document_reads_as_it_was_written<B: Bench>() {
    let bench = B::empty().await;
    let store = bench.open().await;
    let first = document(version(1, 0), "first");
    bench.found(version(1, 0), first.clone()).await;
    reads(&bench, &store, &first).await;
}

pub(crate) async fn the_right_version_swaps_and_a_wrong_one_does_not<B: Bench>() {
    let bench: B = founded().await;
    let (store, other) = (bench.open().await, bench.open().await);
    let mut present = (version(1, 0), "first".to_owned());
    // Within a reign, to a further one, over several, and back to revision 0.
    for next in [version(1, 1), version(2, 0), version(2, 1), version(5, 0)] {
        for wrong in [version(0, 0), version(1, 7), version(4, 0), version(9, 0), next] {
            assert!(!swap(&store, wrong, version(9, 9), "wrong").await.unwrap(), "{wrong:?}");
        }
        reads(&bench, &other, &document(present.0, &present.1)).await;
        let mark = format!("{next:?}");
        assert!(swap(&store, present.0, next, &mark).await.unwrap(), "{next:?}");
        // Whoever reads after the swap reads it, and whoever read before cannot swap any more.
        reads(&bench, &other, &document(next, &mark)).await;
        assert!(!swap(&other, present.0, version(9, 9), "late").await.unwrap());
        reads(&bench, &store, &document(next, &mark)).await;
        present = (next, mark);
    }
}

/// Invariant 8, in the last place where it can be broken.
pub(crate) async fn versions_only_rise<B: Bench>() {
    let bench: B = founded().await;
    let store = bench.open().await;
    assert!(swap(&store, version(1, 0), version(3, 2), "risen").await.unwrap());
    for low in [version(0, 0), version(1, 0), version(2, 9), version(3, 1), version(3, 2)] {
        assert!(!swap(&store, version(3, 2), low, "low").await.unwrap(), "{low:?}");
        reads(&bench, &store, &document(version(3, 2), "risen")).await;
    }
}

pub(crate) async fn of_rivals_exactly_one_wins<B: Bench>() {
    let bench: B = founded().await;
    let mut present = version(1, 0);
    for round in 0..ROUNDS {
        let mut rivals = tokio::task::JoinSet::new();
        for rival in 0..RIVALS {
            let store = bench.open().await;
            let next = version(present.term.0 + 1 + rival, 0);
            let mark = format!("{round} {rival}");
            rivals.spawn(async move {
                swap(&store, present, next, &mark).await.unwrap().then(|| document(next, &mark))
            });
        }
        let won: Vec<SignedRole> = rivals.join_all().await.into_iter().flatten().collect();
        let [winner] = won.as_slice() else { panic!("{} have won", won.len()) };
        reads(&bench, &bench.open().await, winner).await;
        present = version_of(winner);
    }
}

pub(crate) async fn no_change_of_many_is_lost<B: Bench>() {
    let bench: B = founded().await;
    let mut rivals = tokio::task::JoinSet::new();
    for rival in 0..RIVALS {
        let store = bench.open().await;
        rivals.spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let present = version_of(&store.read().await.unwrap().unwrap());
                let next = version(present.term.0, present.revision + 1);
                let swapped = swap(&store, present, next, &format!("{rival}")).await.unwrap();
                // Somebody else's change came in between, but never none.
                let after = version_of(&store.read().await.unwrap().unwrap());
                assert!(after > present, "{after:?} {present:?}");
                done += u64::from(swapped);
            }
        });
    }
    rivals.join_all().await;
    let last = version_of(&bench.open().await.read().await.unwrap().unwrap());
    assert_eq!(last, version(1, RIVALS * ROUNDS));
}

pub(crate) async fn what_was_swapped_is_there_after_reopening<B: Bench>() {
    let bench: B = founded().await;
    let mut present = version(1, 0);
    for term in 2..5 {
        let store = bench.open().await;
        assert!(swap(&store, present, version(term, 0), "kept").await.unwrap());
        drop(store);
        present = version(term, 0);
        let store = bench.open().await;
        assert_eq!(store.read().await.unwrap(), Some(document(present, "kept")));
    }
}

/// A swap whose outcome is unknown may have happened; a read then says which, and whoever tries
/// again by what it reads does nothing twice.
pub(crate) async fn a_failure_is_an_error_and_tells_the_truth<B: Bench>() {
    let bench: B = founded().await;
    let store = bench.open().await;
    let (before, after) = (document(version(1, 0), "first"), document(version(2, 0), "failed"));
    bench.fail(true).await;
    swap(&store, version(1, 0), version(2, 0), "failed").await.unwrap_err();
    bench.fail(false).await;

    let store = bench.open().await;
    let read = store.read().await.unwrap().unwrap();
    assert!(read == before || read == after, "{read:?}");
    reads(&bench, &store, &read).await;
    let again = swap(&store, version(1, 0), version(2, 0), "failed").await.unwrap();
    assert_eq!(again, read == before);
    reads(&bench, &store, &after).await;
}

pub(crate) async fn the_longest_document_fits<B: Bench>() {
    let bench: B = founded().await;
    let store = bench.open().await;
    let short = document(version(2, 0), "").document.len();
    let mark = "x".repeat(MAX_DOCUMENT - short);
    assert_eq!(document(version(2, 0), &mark).document.len(), MAX_DOCUMENT);
    assert!(swap(&store, version(1, 0), version(2, 0), &mark).await.unwrap());
    reads(&bench, &store, &document(version(2, 0), &mark)).await;
    // And it can be left behind again.
    assert!(swap(&store, version(2, 0), version(3, 0), "short").await.unwrap());
    reads(&bench, &store, &document(version(3, 0), "short")).await;
}

mod tests;
