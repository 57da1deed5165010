//! What every [`TransactionStore`] must do, whatever it stands on. What is told to gateways and shown
//! to operators rests on it and has no other ground.
//!
//! A store's tests implement [`Bench`] and call [`conformance!`], which makes one test of each check.

use std::collections::BTreeSet;
use std::future::Future;

use postern_protocol::role::RoleVersion;
use postern_protocol::uplink::Watermark;
use postern_protocol::{Index, JournalId, RoleTerm, Seq};

use super::contract::TransactionStore;
use super::query::{Filter, Item, Query, Sort, Unanswered};
use super::testing::{BOARD, EPOCH, JOURNAL, Journal, NOW, record, signed};
use super::{Audit, Delivery, Outcome, Reassignment, Refused, Safe, Unowned};

const TERM: RoleTerm = RoleTerm(3);

/// How many deliver at once.
const RIVALS: u8 = 6;

/// How long a test waits for what must come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A place where a store lies.
pub(super) trait Bench: Sized {
    /// The store under test.
    type Store: TransactionStore;

    /// A new place with a store that stands under a role term.
    fn founded(version: RoleVersion) -> impl Future<Output = Self>;

    /// Opens it, as another process would: nothing that others hold in memory is shared.
    fn open(&self) -> impl Future<Output = Self::Store>;
}

/// One test of each check for a bench.
macro_rules! conformance {
    ($bench:ty: $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::store::conformance::$check::<$bench>().await;
            }
        )+
    };
    ($bench:ty) => {
        $crate::store::conformance::conformance!($bench:
            what_was_answered_is_there_after_reopening,
            what_is_sent_again_is_held_once,
            what_is_refused_leaves_nothing,
            under_another_role_term_nothing_is_stored_or_told,
            safe_is_asked_in_turn_and_never_falls,
            of_rivals_each_is_held_once,
            whoever_hangs_up_leaves_nothing_half_done,
            a_renamed_store_is_another_one,
            what_belongs_to_one_gateway_is_refused_to_another,
            the_last_record_is_the_highest_up_to_an_index,
            pages_show_each_once_while_more_come,
            filters_leave_out_nothing_that_fits,
            an_alarm_is_recorded_once_an_hour,
        );
    };
}
pub(super) use conformance;

async fn founded<B: Bench>() -> (B, B::Store) {
    let bench = B::founded(RoleVersion::first(TERM)).await;
    let store = bench.open().await;
    (bench, store)
}

/// Records 1 to `last` of the one controller, in a journal of its own.
fn journal(id: u8, last: u64) -> Journal {
    let records: Vec<_> = (1..=last).map(|index| record(index, 1)).collect();
    Journal::of(&records).named(id)
}

async fn deliver(
    store: &impl TransactionStore,
    delivery: Delivery,
) -> Result<(Watermark, Outcome), Refused> {
    store.deliver(delivery, Box::new(|| Safe::Known(Seq(0)))).await.unwrap()
}

async fn stored(store: &impl TransactionStore, journal: JournalId) -> Seq {
    store.watermark(journal, "hall", TERM).await.unwrap().unwrap().0.stored
}

/// Every page, since one may be shorter than was asked for although there is more.
async fn listed(store: &impl TransactionStore, filter: Filter) -> Vec<Item> {
    let mut query = Query { filter, limit: 100, ..Query::default() };
    let mut items = Vec::new();
    loop {
        let page = store.list(query.clone()).await.unwrap();
        items.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            return items;
        }
    }
}

async fn delays(store: &impl TransactionStore) -> usize {
    let (mut query, mut found) = (Query { limit: 100, ..Query::default() }, 0);
    loop {
        let page = store.delays(query.clone()).await.unwrap();
        found += page.items.len();
        query.after = page.next;
        if query.after.is_none() {
            return found;
        }
    }
}

async fn all(store: &impl TransactionStore) -> Vec<u64> {
    let items = listed(store, Filter::default()).await;
    items.into_iter().filter_map(|item| item.index).map(|index| index.0).collect()
}

/// Invariant 3's other half: what was acknowledged is there, in another process as well.
pub(super) async fn what_was_answered_is_there_after_reopening<B: Bench>() {
    let (bench, store) = founded::<B>().await;
    let journal = journal(1, 5);
    for (first, last) in [(1, 2), (3, 3), (4, 5)] {
        let (told, outcome) = deliver(&store, journal.delivery(first, last, TERM)).await.unwrap();
        assert_eq!((told.stored, told.chain), (Seq(last), journal.chain(last).hash));
        assert_eq!(outcome.stored, last - first + 1);
        let other = bench.open().await;
        assert_eq!(stored(&other, journal.id).await, Seq(last));
        assert_eq!(all(&other).await, (1..=last).collect::<Vec<_>>());
        assert_eq!(other.counts().await.unwrap().transactions, last);
    }
}

/// Invariant 6.
pub(super) async fn what_is_sent_again_is_held_once<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let (one, other) = (journal(1, 4), journal(2, 6));
    deliver(&store, one.delivery(1, 4, TERM)).await.unwrap();
    // The same batch, one that begins earlier, and the same records by another journal.
    let (told, outcome) = deliver(&store, one.delivery(1, 4, TERM)).await.unwrap();
    assert_eq!((told.stored, outcome.stored), (Seq(4), 0));
    let (told, outcome) = deliver(&store, other.delivery(1, 6, TERM)).await.unwrap();
    assert_eq!((told.stored, outcome.stored, outcome.doubles), (Seq(6), 2, 4));
    assert_eq!(all(&store).await, [1, 2, 3, 4, 5, 6]);
    // Other bytes under an identity that is held are kept beside, never dropped.
    let mut liar = Journal::of(&[record(2, 9)]).named(3);
    liar.gateway = "hall".into();
    let (_, outcome) = deliver(&store, liar.delivery(1, 1, TERM)).await.unwrap();
    assert_eq!((outcome.stored, outcome.conflicts), (1, 1));
    assert_eq!(listed(&store, Filter::default()).await.len(), 7);
}

/// A batch is stored whole or not at all.
pub(super) async fn what_is_refused_leaves_nothing<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let journal = journal(1, 6);
    deliver(&store, journal.delivery(1, 2, TERM)).await.unwrap();
    let mut forked = journal.delivery(3, 6, TERM);
    forked.batch.chain_before = journal.chain(1).hash;
    let hole = journal.delivery(5, 6, TERM);
    let mut shuffled = journal.delivery(3, 6, TERM);
    shuffled.batch.entries.swap(0, 2);
    assert!(matches!(deliver(&store, forked).await, Err(Refused::Fork(_))));
    assert!(matches!(deliver(&store, hole).await, Err(Refused::OutOfSequence(_))));
    assert!(matches!(deliver(&store, shuffled).await, Err(Refused::Batch(_))));
    assert_eq!(stored(&store, journal.id).await, Seq(2));
    assert_eq!(all(&store).await, [1, 2]);
    deliver(&store, journal.delivery(3, 6, TERM)).await.unwrap();
    assert_eq!(all(&store).await, [1, 2, 3, 4, 5, 6]);
}

/// Invariant 8, where transactions are written.
pub(super) async fn under_another_role_term_nothing_is_stored_or_told<B: Bench>() {
    let (bench, store) = founded::<B>().await;
    let journal = journal(1, 4);
    deliver(&store, journal.delivery(1, 2, TERM)).await.unwrap();
    let (present, next) = (RoleVersion::first(TERM), RoleVersion::first(RoleTerm(5)));
    let why = || Audit::at(NOW, "operator", "role_taken", "b", "test");
    // By another handle: the fence is in the store, not in whoever opened it.
    let other = bench.open().await;
    assert!(other.swap_role(present, next, signed(), why()).await.unwrap());
    assert_eq!(store.role().await.unwrap().map(|(_, version)| version), Some(next));
    assert!(!other.swap_role(next, present, signed(), why()).await.unwrap(), "it never falls");
    for term in [TERM, RoleTerm(4), RoleTerm(6)] {
        let refused = deliver(&store, journal.delivery(3, 4, term)).await;
        assert_eq!(refused.unwrap_err(), Refused::Fenced, "{term}");
        let told = store.watermark(journal.id, "hall", term).await.unwrap();
        assert_eq!(told.unwrap_err(), Unanswered::Fenced, "{term}");
        let told = store.last(BOARD, Index(9), "hall", term).await.unwrap();
        assert_eq!(told.unwrap_err(), Unanswered::Fenced, "{term}");
        assert_eq!(store.owner(BOARD, term).await.unwrap().unwrap_err(), Unowned::Fenced);
    }
    assert_eq!(all(&store).await, [1, 2]);
    deliver(&store, journal.delivery(3, 4, RoleTerm(5))).await.unwrap();
    assert_eq!(all(&store).await, [1, 2, 3, 4]);
}

/// Invariant 9, where it is written down.
pub(super) async fn safe_is_asked_in_turn_and_never_falls<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let journal = journal(1, 8);
    let told = [
        (Safe::Known(Seq(0)), 0),
        (Safe::Known(Seq(1)), 1),
        // What another store holds of a journal says nothing of what this one lacks.
        (Safe::Known(Seq(99)), 3),
        (Safe::Known(Seq(2)), 3),
        (Safe::Stored, 5),
        (Safe::Known(Seq(0)), 5),
    ];
    for (seq, (safe, expected)) in (1..).zip(told) {
        let mut delivery = journal.delivery(seq, seq, TERM);
        // What it said when it arrived does not count.
        delivery.safe = Safe::Stored;
        let (told, _) = store.deliver(delivery, Box::new(move || safe)).await.unwrap().unwrap();
        assert_eq!(told.safe, Seq(expected), "{seq}");
        let (held, _) = store.watermark(journal.id, "hall", TERM).await.unwrap().unwrap();
        assert_eq!(held, told);
    }
}

pub(super) async fn of_rivals_each_is_held_once<B: Bench>() {
    let (bench, _) = founded::<B>().await;
    let mut rivals = tokio::task::JoinSet::new();
    // Each journal is sent by two at the same time, and all journals hold the same records.
    for rival in 0..2 * RIVALS {
        let (store, journal) = (bench.open().await, journal(rival / 2 + 1, 12));
        rivals.spawn(async move {
            for (first, last) in [(1, 4), (5, 8), (9, 12)] {
                deliver(&store, journal.delivery(first, last, TERM)).await.unwrap();
            }
        });
    }
    rivals.join_all().await;
    let store = bench.open().await;
    let mut indices = all(&store).await;
    indices.sort_unstable();
    assert_eq!(indices, (1..=12).collect::<Vec<_>>());
    for id in 1..=RIVALS {
        assert_eq!(stored(&store, JournalId([id; 16])).await, Seq(12));
    }
    let doubles = u64::from(RIVALS - 1) * 12;
    assert_eq!(store.counts().await.unwrap().doubles, doubles);
}

/// What was begun is done, whole, although nobody waits for it.
pub(super) async fn whoever_hangs_up_leaves_nothing_half_done<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let journal = journal(1, 24);
    for (first, last) in [(1, 8), (9, 16), (17, 24)] {
        let mut asked =
            store.deliver(journal.delivery(first, last, TERM), Box::new(|| Safe::Stored));
        // Once, and never again.
        let _ = futures_util::poll!(&mut asked);
        drop(asked);
        let whole = async {
            loop {
                let held = stored(&store, journal.id).await;
                assert!(held == Seq(first - 1) || held == Seq(last), "half of it: {held}");
                if held == Seq(last) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("it is never done");
    }
    let expected: Vec<u64> = (1..=24).collect();
    assert_eq!(all(&store).await, expected);
    assert_eq!(store.counts().await.unwrap().doubles, 0);
}

pub(super) async fn a_renamed_store_is_another_one<B: Bench>() {
    let (bench, store) = founded::<B>().await;
    let before = store.name();
    assert_eq!(store.term_floor().await.unwrap(), RoleTerm(0), "it was never restored");
    store.rename("another".into()).await.unwrap();
    for name in [store.name(), bench.open().await.name()] {
        assert_eq!((name.server, name.store), (before.server.clone(), "another".into()));
    }
}

pub(super) async fn what_belongs_to_one_gateway_is_refused_to_another<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let own = journal(1, 2);
    assert_eq!(store.owner(BOARD, TERM).await.unwrap().unwrap_err(), Unowned::Unknown);
    deliver(&store, own.delivery(1, 2, TERM)).await.unwrap();
    let (mut thief, mut other) = (own.clone(), journal(2, 2));
    (thief.gateway, other.gateway) = ("yard".into(), "yard".into());
    let refused = deliver(&store, thief.delivery(1, 2, TERM)).await.unwrap_err();
    assert!(matches!(refused, Refused::ForeignJournal { owner, .. } if owner == "hall"));
    let refused = deliver(&store, other.delivery(1, 2, TERM)).await.unwrap_err();
    assert!(matches!(refused, Refused::ForeignController { owner, .. } if owner == "hall"));
    let told = store.watermark(own.id, "yard", TERM).await.unwrap();
    assert_eq!(told.unwrap_err(), Unanswered::Foreign("hall".into()));
    let told = store.last(BOARD, Index(9), "yard", TERM).await.unwrap();
    assert_eq!(told.unwrap_err(), Unanswered::Foreign("hall".into()));

    let order = Reassignment {
        controller: BOARD,
        to: "yard".into(),
        acting: TERM,
        by: "operator".into(),
        now: NOW,
    };
    assert_eq!(store.reassign(order).await.unwrap().unwrap(), "hall");
    assert_eq!(store.owner(BOARD, TERM).await.unwrap().unwrap(), "yard");
    let (_, outcome) = deliver(&store, other.delivery(1, 2, TERM)).await.unwrap();
    assert_eq!((outcome.stored, outcome.doubles), (0, 2));
    let lines = store.audit(0, 100).await.unwrap();
    let events: BTreeSet<&str> = lines.iter().map(|line| line.event.as_str()).collect();
    for event in ["foreign_journal", "foreign_controller", "controller_reassigned"] {
        assert!(events.contains(event), "{event} is not in {events:?}");
    }
}

pub(super) async fn the_last_record_is_the_highest_up_to_an_index<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let unknown = store.last(BOARD, Index(9), "hall", TERM).await.unwrap().unwrap();
    assert_eq!((unknown.record, unknown.newest), (None, None));
    let journal = Journal::of(&[record(1, 1), record(7, 1), record(3, 1)]);
    deliver(&store, journal.delivery(1, 3, TERM)).await.unwrap();
    for (at_most, expected) in [(0, None), (2, Some(1)), (3, Some(3)), (6, Some(3)), (9, Some(7))] {
        let last = store.last(BOARD, Index(at_most), "hall", TERM).await.unwrap().unwrap();
        let found = last.record.map(|record| (record.epoch, record.index));
        assert_eq!(found, expected.map(|index| (EPOCH, Index(index))), "up to {at_most}");
        assert_eq!(last.newest, Some((EPOCH, Index(7))));
    }
}

pub(super) async fn pages_show_each_once_while_more_come<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let journal = journal(1, 30);
    deliver(&store, journal.delivery(1, 10, TERM)).await.unwrap();
    for sort in [Sort::Row, Sort::Occurred, Sort::Stored] {
        let mut query = Query { sort, limit: 3, ..Query::default() };
        let (mut seen, mut sent) = (Vec::new(), stored(&store, journal.id).await.0);
        let there = sent;
        loop {
            let page = store.list(query.clone()).await.unwrap();
            assert!(page.items.len() <= 3);
            seen.extend(page.items.into_iter().filter_map(|item| item.index));
            let Some(next) = page.next else { break };
            query.after = Some(next);
            if sent < there + 5 {
                sent += 1;
                deliver(&store, journal.delivery(sent, sent, TERM)).await.unwrap();
            }
        }
        // What was there at the beginning is seen, and nothing twice.
        let distinct: BTreeSet<Index> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{sort:?}");
        assert!((1..=there).all(|index| distinct.contains(&Index(index))), "{sort:?}");
    }
    assert_eq!(delays(&store).await, all(&store).await.len());
}

pub(super) async fn filters_leave_out_nothing_that_fits<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let mut records: Vec<_> = (1..=6).map(|index| record(index, 1)).collect();
    records[1].door = None;
    records[2].credential = None;
    records[3].occurred.at = Some(postern_protocol::Timestamp(NOW.0 + 5_000));
    let journal = Journal::of(&records);
    deliver(&store, journal.delivery(1, 6, TERM)).await.unwrap();
    let later = super::query::Span {
        from: Some(postern_protocol::Timestamp(NOW.0 + 1)),
        ..Default::default()
    };
    let filters = [
        (Filter { door: Some(1), ..Filter::default() }, vec![1, 3, 4, 5, 6]),
        (Filter { card: Some(8_165_536), ..Filter::default() }, vec![1, 2, 4, 5, 6]),
        (Filter { occurred: later, ..Filter::default() }, vec![4]),
        (Filter { controller: Some(BOARD), ..Filter::default() }, vec![1, 2, 3, 4, 5, 6]),
        (Filter { gateway: Some("hall".into()), ..Filter::default() }, vec![1, 2, 3, 4, 5, 6]),
        (Filter { gateway: Some("yard".into()), ..Filter::default() }, vec![]),
    ];
    for (filter, expected) in filters {
        let found = listed(&store, filter.clone()).await;
        let found: Vec<u64> =
            found.into_iter().filter_map(|item| item.index).map(|i| i.0).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let journals = store.journals().await.unwrap();
    let held: Vec<_> = journals.iter().map(|item| (item.journal, item.stored)).collect();
    assert_eq!(held, [(JOURNAL, Seq(6))]);
}

pub(super) async fn an_alarm_is_recorded_once_an_hour<B: Bench>() {
    let (_bench, store) = founded::<B>().await;
    let alarm = |minutes: i64, subject: &str| {
        let at = postern_protocol::Timestamp(NOW.0 + minutes * 60_000);
        Audit::at(at, "hall", "fork", subject, "test")
    };
    for (minutes, subject) in [(0, "one"), (1, "one"), (1, "other"), (59, "one"), (61, "one")] {
        store.alarm(TERM, alarm(minutes, subject)).await.unwrap();
    }
    let lines = store.audit(0, 100).await.unwrap();
    let forks: Vec<_> = lines.iter().filter(|line| line.event == "fork").collect();
    let subjects: Vec<&str> = forks.iter().map(|line| line.subject.as_str()).collect();
    assert_eq!(subjects, ["one", "other", "one"]);
    let page = store.audit(forks[0].id, 1).await.unwrap();
    assert_eq!(page.iter().map(|line| line.id).collect::<Vec<_>>(), [forks[1].id]);
}

mod flawed;
