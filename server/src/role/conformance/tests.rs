//! The checks can fail: each is shown a store that does what it is there against.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::StoreError;

type Kept = Option<(RoleVersion, SignedRole)>;

/// A place in memory. `FLAW` is what its store does wrong, 0 for nothing.
struct Memory<const FLAW: u8> {
    kept: Arc<Mutex<Kept>>,
    fails: Arc<Mutex<bool>>,
}

const NOTHING: u8 = 0;
const COMPARES_NOTHING: u8 = 1;
const LETS_VERSIONS_FALL: u8 = 2;
const FORGETS: u8 = 3;
const READS_STALE: u8 = 4;
const COMPARES_TOO_EARLY: u8 = 5;
const HIDES_FAILURES: u8 = 6;
const CUTS_OFF: u8 = 7;
const WRITES_THE_FIRST: u8 = 8;

struct Handle<const FLAW: u8> {
    kept: Arc<Mutex<Kept>>,
    fails: Arc<Mutex<bool>>,
    first: Kept,
}

impl<const FLAW: u8> Bench for Memory<FLAW> {
    type Store = Handle<FLAW>;

    async fn empty() -> Self {
        Self { kept: Arc::default(), fails: Arc::default() }
    }

    async fn found(&self, version: RoleVersion, role: SignedRole) {
        *self.kept.lock().unwrap() = Some((version, role));
    }

    async fn open(&self) -> Handle<FLAW> {
        let first = self.kept.lock().unwrap().clone();
        let kept =
            if FLAW == FORGETS { Arc::new(Mutex::new(first.clone())) } else { self.kept.clone() };
        Handle { kept, fails: self.fails.clone(), first }
    }

    async fn fail(&self, fail: bool) {
        *self.fails.lock().unwrap() = fail;
    }
}

impl<const FLAW: u8> CoordinationStore for Handle<FLAW> {
    async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        let stale = FLAW == READS_STALE;
        let kept = if stale { self.first.clone() } else { self.kept.lock().unwrap().clone() };
        Ok(kept.map(|(_, role)| role))
    }

    async fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        mut role: SignedRole,
        _: Audit,
    ) -> Result<bool, CoordinationError> {
        if *self.fails.lock().unwrap() {
            return if FLAW == HIDES_FAILURES { Ok(true) } else { Err(StoreError::Dead.into()) };
        }
        if FLAW == CUTS_OFF {
            role.document.truncate(MAX_DOCUMENT - 1);
        }
        let present = self.kept.lock().unwrap().as_ref().map(|(version, _)| *version);
        if FLAW == COMPARES_TOO_EARLY {
            tokio::task::yield_now().await;
        }
        let mut kept = self.kept.lock().unwrap();
        let present = if FLAW == COMPARES_TOO_EARLY {
            present
        } else {
            kept.as_ref().map(|(version, _)| *version)
        };
        let equal = match present {
            None => FLAW == WRITES_THE_FIRST,
            Some(present) => present == expected || FLAW == COMPARES_NOTHING,
        };
        if !equal || (version <= expected && FLAW != LETS_VERSIONS_FALL) {
            return Ok(false);
        }
        *kept = Some((version, role));
        Ok(true)
    }
}

mod sound {
    super::conformance!(super::Memory<{ super::NOTHING }>);
}

fn fails(check: impl Future<Output = ()>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))).is_err()
}

#[test]
fn a_store_that_does_wrong_does_not_pass() {
    type Bad<const FLAW: u8> = Memory<FLAW>;
    assert!(fails(an_empty_one_reads_as_empty_and_swaps_nothing::<Bad<WRITES_THE_FIRST>>()));
    assert!(fails(the_first_document_reads_as_it_was_written::<Bad<READS_STALE>>()));
    assert!(fails(the_right_version_swaps_and_a_wrong_one_does_not::<Bad<COMPARES_NOTHING>>()));
    assert!(fails(versions_only_rise::<Bad<LETS_VERSIONS_FALL>>()));
    assert!(fails(of_rivals_exactly_one_wins::<Bad<COMPARES_TOO_EARLY>>()));
    assert!(fails(no_change_of_many_is_lost::<Bad<COMPARES_TOO_EARLY>>()));
    assert!(fails(what_was_swapped_is_there_after_reopening::<Bad<FORGETS>>()));
    assert!(fails(a_failure_is_an_error_and_tells_the_truth::<Bad<HIDES_FAILURES>>()));
    assert!(fails(the_longest_document_fits::<Bad<CUTS_OFF>>()));
}
