//! The embedded store passes; and the checks can fail: each is shown a store that does what it is
//! there against.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use postern_protocol::ControllerId;
use postern_protocol::role::{SignedRole, StoreName};
use postern_protocol::uplink::Last;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::contract::{Answer, Held, SafeNow};
use crate::store::query::{AuditItem, Counts, Delay, JournalItem, Page};
use crate::store::{Store, StoreHandle};

/// The embedded store in a folder. `FLAW` is what it does wrong, 0 for nothing.
struct Embedded<const FLAW: u8>(tempfile::TempDir);

const NOTHING: u8 = 0;
const FORGETS: u8 = 1;
const TAKES_ANY_TERM: u8 = 2;
const ASKS_TOO_EARLY: u8 = 3;
const TELLS_ANYBODY: u8 = 4;
const LAST_IS_NEWEST: u8 = 5;
const SKIPS_A_ROW: u8 = 6;
const FORGETS_FILTERS: u8 = 7;
const RECORDS_EACH_ALARM: u8 = 8;
const DOUBLES: u8 = 9;
const TAKES_WHAT_IT_REFUSES: u8 = 10;
const STOPS_HALFWAY: u8 = 11;
const KEEPS_ITS_NAME: u8 = 12;

struct Handle<const FLAW: u8> {
    store: StoreHandle,
    alarms: Mutex<i64>,
}

impl<const FLAW: u8> Embedded<FLAW> {
    fn handle(path: &Path) -> StoreHandle {
        StoreHandle::open(path, "a", CancellationToken::new()).unwrap()
    }
}

impl<const FLAW: u8> Bench for Embedded<FLAW> {
    type Store = Handle<FLAW>;

    async fn founded(version: RoleVersion) -> Self {
        let dir = crate::store::testing::folder();
        let why = Audit::at(NOW, "operator", "init", "a", "test");
        let mut store = Store::create(&dir.path().join("store"), "a").unwrap();
        store.found_role(&signed(), version, &why).unwrap();
        Self(dir)
    }

    async fn open(&self) -> Handle<FLAW> {
        let path = self.0.path().join("store");
        let copy = self.0.path().join(uuid::Uuid::new_v4().to_string());
        let path = if FLAW == FORGETS {
            std::fs::copy(&path, &copy).unwrap();
            copy
        } else {
            path
        };
        Handle { store: Self::handle(&path), alarms: Mutex::default() }
    }
}

impl<const FLAW: u8> Handle<FLAW> {
    /// Under which role term it looks.
    async fn acting(&self, told: RoleTerm) -> RoleTerm {
        if FLAW != TAKES_ANY_TERM {
            return told;
        }
        TransactionStore::role(&self.store).await.unwrap().map_or(told, |(_, version)| version.term)
    }

    /// As whom it looks.
    async fn gateway(&self, told: &str, acting: RoleTerm) -> String {
        if FLAW != TELLS_ANYBODY {
            return told.to_owned();
        }
        let owner = TransactionStore::owner(&self.store, BOARD, acting).await.unwrap();
        owner.unwrap_or_else(|_| told.to_owned())
    }
}

impl<const FLAW: u8> TransactionStore for Handle<FLAW> {
    fn name(&self) -> StoreName {
        self.store.name()
    }

    fn role(&self) -> Answer<'_, Option<(SignedRole, RoleVersion)>> {
        TransactionStore::role(&self.store)
    }

    fn swap_role(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> Answer<'_, bool> {
        self.store.swap_role(expected, version, role, why)
    }

    fn term_floor(&self) -> Answer<'_, RoleTerm> {
        self.store.term_floor()
    }

    fn rename(&self, id: String) -> Answer<'_, ()> {
        let id = if FLAW == KEEPS_ITS_NAME { self.store.name().store } else { id };
        TransactionStore::rename(&self.store, id)
    }

    fn deliver(
        &self,
        mut delivery: Delivery,
        safe: SafeNow,
    ) -> Answer<'_, Result<(Watermark, Outcome), Refused>> {
        Box::pin(async move {
            delivery.acting = self.acting(delivery.acting).await;
            let safe: SafeNow = match FLAW {
                ASKS_TOO_EARLY => {
                    let early = delivery.safe;
                    Box::new(move || early)
                }
                _ => safe,
            };
            match FLAW {
                // The same records under another controller's name, as if they were not known.
                DOUBLES if delivery.journal != JournalId([1; 16]) => {
                    let mut journal = Journal::new(delivery.journal, &delivery.gateway);
                    for (index, _) in delivery.batch.entries.iter().enumerate() {
                        let epoch = postern_protocol::EpochId(delivery.journal.0);
                        let index = u64::try_from(index).unwrap() + 1;
                        let record = crate::store::testing::record_of(BOARD, epoch, index, 1);
                        journal.push(crate::store::testing::bytes(&record));
                    }
                    delivery.batch = journal.delivery(1, journal.end(), TERM).batch;
                }
                TAKES_WHAT_IT_REFUSES => {
                    let mut other = delivery.clone();
                    let entry = delivery.batch.entries.first().unwrap().clone();
                    let id = JournalId(uuid::Uuid::new_v4().into_bytes());
                    let mut journal = Journal::new(id, &delivery.gateway);
                    journal.push(entry.bytes.0);
                    other.batch = journal.delivery(1, 1, TERM).batch;
                    other.journal = id;
                    let _ = self.store.deliver(other, Box::new(|| Safe::Stored)).await?;
                }
                // Entry by entry, with a pause between.
                STOPS_HALFWAY => {
                    let mut part = delivery.clone();
                    part.batch.entries.truncate(1);
                    let _ = self.store.deliver(part, Box::new(|| Safe::Stored)).await?;
                    tokio::task::yield_now().await;
                }
                _ => {}
            }
            self.store.deliver(delivery, safe).await
        })
    }

    fn watermark(
        &self,
        journal: JournalId,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Held, Unanswered>> {
        let gateway = gateway.to_owned();
        Box::pin(async move {
            let acting = self.acting(acting).await;
            let gateway = self.gateway(&gateway, acting).await;
            TransactionStore::watermark(&self.store, journal, &gateway, acting).await
        })
    }

    fn last(
        &self,
        controller: ControllerId,
        at_most: Index,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Last, Unanswered>> {
        let gateway = gateway.to_owned();
        let at_most = if FLAW == LAST_IS_NEWEST { Index(u64::MAX) } else { at_most };
        Box::pin(async move {
            let acting = self.acting(acting).await;
            let gateway = self.gateway(&gateway, acting).await;
            TransactionStore::last(&self.store, controller, at_most, &gateway, acting).await
        })
    }

    fn alarm(&self, acting: RoleTerm, mut alarm: Audit) -> Answer<'_, ()> {
        if FLAW == RECORDS_EACH_ALARM {
            let mut alarms = self.alarms.lock().unwrap();
            *alarms += 1;
            alarm.at = postern_protocol::Timestamp(NOW.0 + *alarms * 4_000_000);
        }
        TransactionStore::alarm(&self.store, acting, alarm)
    }

    fn owner(
        &self,
        controller: ControllerId,
        acting: RoleTerm,
    ) -> Answer<'_, Result<String, Unowned>> {
        Box::pin(async move {
            let acting = self.acting(acting).await;
            TransactionStore::owner(&self.store, controller, acting).await
        })
    }

    fn reassign(&self, order: Reassignment) -> Answer<'_, Result<String, Unowned>> {
        TransactionStore::reassign(&self.store, order)
    }

    fn list(&self, mut query: Query) -> Answer<'_, Page<Item>> {
        if FLAW == FORGETS_FILTERS {
            query.filter = Filter::default();
        }
        if FLAW == SKIPS_A_ROW
            && let Some(after) = &mut query.after
        {
            after.row += 1;
        }
        TransactionStore::list(&self.store, query)
    }

    fn delays(&self, query: Query) -> Answer<'_, Page<Delay>> {
        TransactionStore::delays(&self.store, query)
    }

    fn journals(&self) -> Answer<'_, Vec<JournalItem>> {
        TransactionStore::journals(&self.store)
    }

    fn audit(&self, after: u64, limit: usize) -> Answer<'_, Vec<AuditItem>> {
        TransactionStore::audit(&self.store, after, limit)
    }

    fn counts(&self) -> Answer<'_, Counts> {
        TransactionStore::counts(&self.store)
    }
}

mod sound {
    super::conformance!(super::Embedded<{ super::NOTHING }>);
}

fn fails(check: impl Future<Output = ()>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))).is_err()
}

#[test]
fn a_store_that_does_wrong_does_not_pass() {
    type Bad<const FLAW: u8> = Embedded<FLAW>;
    assert!(fails(what_was_answered_is_there_after_reopening::<Bad<FORGETS>>()));
    assert!(fails(what_is_sent_again_is_held_once::<Bad<DOUBLES>>()));
    assert!(fails(what_is_refused_leaves_nothing::<Bad<TAKES_WHAT_IT_REFUSES>>()));
    assert!(fails(under_another_role_term_nothing_is_stored_or_told::<Bad<TAKES_ANY_TERM>>()));
    assert!(fails(safe_is_asked_in_turn_and_never_falls::<Bad<ASKS_TOO_EARLY>>()));
    assert!(fails(of_rivals_each_is_held_once::<Bad<DOUBLES>>()));
    assert!(fails(whoever_hangs_up_leaves_nothing_half_done::<Bad<STOPS_HALFWAY>>()));
    assert!(fails(a_renamed_store_is_another_one::<Bad<KEEPS_ITS_NAME>>()));
    assert!(fails(what_belongs_to_one_gateway_is_refused_to_another::<Bad<TELLS_ANYBODY>>()));
    assert!(fails(the_last_record_is_the_highest_up_to_an_index::<Bad<LAST_IS_NEWEST>>()));
    assert!(fails(pages_show_each_once_while_more_come::<Bad<SKIPS_A_ROW>>()));
    assert!(fails(filters_leave_out_nothing_that_fits::<Bad<FORGETS_FILTERS>>()));
    assert!(fails(an_alarm_is_recorded_once_an_hour::<Bad<RECORDS_EACH_ALARM>>()));
}
