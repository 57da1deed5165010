//! The rules of a batch, one by one, and a model that retries and overlaps at random.

use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::transaction::{
    Credential, Door, MAX_ENTRY, Occurred, RawRecord, ResetCause, TimeSource, TimeTrust, version,
};
use postern_protocol::uplink::{Batch, Bytes, Entry, EpochAlias, Watermark};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, RoleTerm, Seq, Timestamp,
    Transaction,
};
use proptest::prelude::*;

use super::apply::{NOTE_HELD, conflict_epoch, is_live};
use super::query::{Filter, Hole, Item, Position, Query, Unanswered};
use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const BOARD: ControllerId = ControllerId::uhppote(405_419_896);
const EPOCH: EpochId = EpochId([0xe1; 16]);
const TERM: RoleTerm = RoleTerm(1);
const JOURNAL: JournalId = JournalId([7; 16]);

struct Fixture {
    store: Store,
    _dir: tempfile::TempDir,
}

fn signed(text: &str) -> SignedRole {
    let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
    SignedRole { document: text.to_owned(), certificate, signature }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(&dir.path().join("store.sqlite"), "a").unwrap();
    let why = Audit::at(NOW, "operator", "init", "a", "test");
    store.found_role(&signed("one"), RoleVersion::first(TERM), &why).unwrap();
    Fixture { store, _dir: dir }
}

fn record(index: u64, byte: u8) -> Transaction {
    Transaction {
        origin: Origin::Controller { controller: BOARD, epoch: EPOCH, index: Index(index) },
        kind: Kind::Granted,
        occurred: Occurred {
            at: Some(NOW),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: NOW,
        door: Some(Door(1)),
        direction: None,
        credential: Some(Credential(8_165_536)),
        raw: RawRecord::new(&[byte; 20]).unwrap(),
    }
}

fn of(controller: ControllerId, epoch: EpochId, transaction: Transaction) -> Transaction {
    let origin = match transaction.origin {
        Origin::Controller { index, .. } => Origin::Controller { controller, epoch, index },
        Origin::Gateway { after, .. } => Origin::Gateway { controller, epoch, after },
    };
    Transaction { origin, ..transaction }
}

fn note(kind: Kind, after: u64) -> Transaction {
    let origin = Origin::Gateway { controller: BOARD, epoch: EPOCH, after: Index(after) };
    Transaction {
        origin,
        kind,
        occurred: Occurred::noted(NOW),
        raw: RawRecord::default(),
        ..record(1, 0)
    }
}

fn bytes(transaction: &Transaction) -> Vec<u8> {
    transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec()
}

/// A gateway's journal, as the test's other side.
#[derive(Clone)]
struct Journal {
    id: JournalId,
    gateway: &'static str,
    oldest: u64,
    entries: Vec<Vec<u8>>,
    epochs: Vec<EpochAlias>,
}

impl Journal {
    fn new(transactions: &[Transaction]) -> Self {
        Self {
            id: JOURNAL,
            gateway: "hall",
            oldest: 1,
            entries: transactions.iter().map(bytes).collect(),
            epochs: Vec::new(),
        }
    }

    fn chain(&self, upto: u64) -> Chain {
        let upto = usize::try_from(upto).unwrap();
        self.entries[..upto].iter().fold(Chain::genesis(self.id), |chain, entry| chain.link(entry))
    }

    fn delivery(&self, first: u64, last: u64) -> Delivery {
        let entries = (first..=last)
            .map(|seq| Entry {
                seq: Seq(seq),
                bytes: Bytes(self.entries[usize::try_from(seq - 1).unwrap()].clone()),
                transaction: None,
            })
            .collect();
        Delivery {
            journal: self.id,
            gateway: self.gateway.to_owned(),
            batch: Batch {
                role: None,
                oldest: Seq(self.oldest),
                told: None,
                full: 0,
                lasts_s: None,
                chain_before: self.chain(first - 1).hash,
                epochs: self.epochs.clone(),
                entries,
            },
            acting: TERM,
            safe: Safe::Stored,
            forced: None,
            now: NOW,
        }
    }
}

impl Store {
    /// The rows after one, of one controller or all.
    pub(super) fn transactions(
        &self,
        after: u64,
        limit: usize,
        controller: Option<ControllerId>,
    ) -> Result<Vec<Item>, StoreError> {
        let filter = Filter { controller, ..Filter::default() };
        let mut query =
            Query { filter, after: Some(Position::row(after)), limit, ..Query::default() };
        let mut items = Vec::new();
        loop {
            let page = self.list(&Query { limit: limit - items.len(), ..query.clone() })?;
            items.extend(page.items);
            query.after = page.next;
            if items.len() == limit || query.after.is_none() {
                return Ok(items);
            }
        }
    }
}

impl Fixture {
    fn send(&mut self, journal: &Journal, first: u64, last: u64) -> (Watermark, Outcome) {
        self.store.apply(&journal.delivery(first, last)).unwrap().unwrap()
    }

    fn refused(&mut self, delivery: &Delivery) -> Refused {
        let before = self.store.transactions(0, 5_000, None).unwrap();
        let journals = self.store.journals().unwrap();
        let refused = self.store.apply(delivery).unwrap().unwrap_err();
        assert_eq!(self.store.transactions(0, 5_000, None).unwrap(), before);
        assert_eq!(self.store.journals().unwrap(), journals, "a refusal leaves nothing behind");
        refused
    }

    fn identities(&self) -> Vec<(EpochId, u64)> {
        let items = self.store.transactions(0, 5_000, None).unwrap();
        items.iter().filter_map(|item| Some((item.epoch?, item.index?.0))).collect()
    }

    fn events(&self) -> Vec<String> {
        self.store.audit(0, 5_000).unwrap().into_iter().map(|line| line.event).collect()
    }
}

#[test]
fn a_commit_is_synced_to_the_disk_on_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.sqlite");
    let first = Store::create(&path, "a").unwrap();
    let opened = Store::open(&path, "a").unwrap();
    assert_eq!(first.name(), opened.name());
    for store in [first, opened] {
        assert_eq!(schema::synchronous(&store.connection).unwrap(), schema::FULL);
        let mode: String =
            store.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}

#[test]
fn a_foreign_file_and_a_newer_format_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(Store::open(&path, "a"), Err(StoreError::NotAStore { .. })));
    assert!(matches!(Store::create(&path, "a"), Err(StoreError::NotAStore { .. })));
    let path = dir.path().join("newer.sqlite");
    Store::create(&path, "a").unwrap().connection.pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(Store::open(&path, "a"), Err(StoreError::Version { got: 2, .. })));
}

/// Invariant 6: each (journal, seq) once and each identity once.
#[test]
fn a_batch_is_stored_once_however_often_it_is_sent() {
    let mut fixture = fixture();
    let journal = Journal::new(&[record(1, 1), record(2, 2), record(3, 3)]);
    let (watermark, outcome) = fixture.send(&journal, 1, 3);
    let chain = journal.chain(3).hash;
    assert_eq!(watermark, Watermark { role_term: TERM, stored: Seq(3), chain, safe: Seq(3) });
    assert_eq!(outcome.stored, 3);
    for (first, last) in [(1, 3), (2, 3), (1, 2), (3, 3)] {
        let (again, outcome) = fixture.send(&journal, first, last);
        assert_eq!(
            (again, outcome),
            (watermark, Outcome { position: 1, ..Outcome::default() }),
            "{first}..={last}"
        );
    }
    assert_eq!(fixture.identities(), [(EPOCH, 1), (EPOCH, 2), (EPOCH, 3)]);
    let mut more = journal.clone();
    more.entries.push(bytes(&record(4, 4)));
    let (watermark, outcome) = fixture.send(&more, 2, 4);
    assert_eq!((watermark.stored, outcome.stored), (Seq(4), 1));
}

#[test]
fn the_same_record_from_another_journal_is_a_double_and_counted() {
    let mut fixture = fixture();
    fixture.send(&Journal::new(&[record(1, 1), record(2, 2)]), 1, 2);
    let mut again = Journal::new(&[record(2, 2), record(3, 3)]);
    again.id = JournalId([8; 16]);
    let (watermark, outcome) = fixture.send(&again, 1, 2);
    assert_eq!((watermark.stored, outcome.stored, outcome.doubles), (Seq(2), 1, 1));
    assert_eq!(fixture.identities(), [(EPOCH, 1), (EPOCH, 2), (EPOCH, 3)]);
    assert_eq!(fixture.store.counts().unwrap().doubles, 1);
}

/// Invariant 6: a gateway whose journal was contradicted sends all that it holds again under a new
/// journal id, its own notes as well.
#[test]
fn a_note_that_comes_again_by_another_journal_of_its_gateway_is_a_double() {
    let mut fixture = fixture();
    let set = Kind::ClockSet { step_s: 5 };
    let provisional = EpochId([2; 16]);
    let alias = EpochAlias { controller: BOARD, provisional, epoch: EPOCH };
    let mut journal = Journal::new(&[
        record(1, 1),
        note(set, 1),
        note(set, 1),
        of(BOARD, provisional, note(set, 1)),
    ]);
    journal.epochs = vec![alias];
    let (_, outcome) = fixture.send(&journal, 1, 4);
    assert_eq!((outcome.stored, outcome.doubles), (4, 0), "equal notes of one journal are two");

    let mut forked = Journal { id: JournalId([8; 16]), ..journal.clone() };
    let later = Transaction { received: Timestamp(NOW.0 + 1), ..note(set, 1) };
    for new in [later, note(set, 2), note(Kind::ClockSet { step_s: 6 }, 1)] {
        forked.entries.push(bytes(&new));
    }
    let (watermark, outcome) = fixture.send(&forked, 1, 7);
    assert_eq!((watermark.stored, outcome.stored, outcome.doubles), (Seq(7), 3, 4));
    // A third journal: doubles of both.
    let again = Journal { id: JournalId([9; 16]), ..forked };
    let (_, outcome) = fixture.send(&again, 1, 7);
    assert_eq!((outcome.stored, outcome.doubles), (0, 7));
    assert_eq!(fixture.store.counts().unwrap().transactions, 7);
}

/// A journal that was put back to before a restart meets it again, later and under another provisional
/// epoch: it is the same restart.
#[test]
fn a_restart_that_is_noted_again_by_another_journal_is_a_double() {
    let mut fixture = fixture();
    let predecessor = EpochId([1; 16]);
    let restart = Kind::ControllerReset(ResetCause::LogRestarted { predecessor });
    fixture.send(&Journal::new(&[note(restart, 0), record(1, 1)]), 1, 2);

    let provisional = EpochId([2; 16]);
    let later = Transaction { received: Timestamp(NOW.0 + 1), ..note(restart, 0) };
    let mut put_back = Journal::new(&[of(BOARD, provisional, later), record(1, 1)]);
    put_back.id = JournalId([8; 16]);
    put_back.epochs = vec![EpochAlias { controller: BOARD, provisional, epoch: EPOCH }];
    let (_, outcome) = fixture.send(&put_back, 1, 2);
    assert_eq!((outcome.stored, outcome.doubles), (0, 2));
}

#[test]
fn the_look_up_of_a_note_reads_only_its_place_in_the_log() {
    let fixture = fixture();
    let plan: Vec<String> = fixture
        .store
        .connection
        .prepare(&format!("EXPLAIN QUERY PLAN {NOTE_HELD}"))
        .unwrap()
        .query_map([rusqlite::types::Null; 7], |row| row.get("detail"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let place = "USING INDEX by_place (controller=? AND epoch=? AND after=?)";
    assert!(plan.iter().any(|step| step.contains(place)), "{plan:?}");
    assert!(!plan.iter().any(|step| step.starts_with("SCAN held")), "{plan:?}");
}

/// Invariant 6: the same identity with other bytes is never dropped.
#[test]
fn a_contradicting_record_is_kept_under_an_epoch_of_its_own() {
    let mut fixture = fixture();
    fixture.send(&Journal::new(&[record(1, 1)]), 1, 1);
    let other = record(1, 0x66);
    let own = conflict_epoch(EPOCH, other.record_digest());
    for (id, stored, doubles) in [(8, 1, 0), (9, 0, 1)] {
        let mut journal = Journal::new(std::slice::from_ref(&other));
        journal.id = JournalId([id; 16]);
        let (_, outcome) = fixture.send(&journal, 1, 1);
        assert_eq!((outcome.stored, outcome.doubles), (stored, doubles));
    }
    assert_eq!(fixture.identities(), [(EPOCH, 1), (own, 1)]);
    let kept = &fixture.store.transactions(1, 1, None).unwrap()[0];
    assert_eq!(kept.flags, ["conflict"]);
    assert!(fixture.events().contains(&"conflict".to_owned()));
    let last = fixture.store.last(BOARD, Index(9), "hall", TERM).unwrap().unwrap();
    assert_eq!(last.newest, Some((EPOCH, Index(1))), "a conflict's epoch continues nothing");
}

/// Invariant 5: what a gateway no longer has becomes a hole, alarmed, and the journal goes on.
#[test]
fn what_the_gateway_no_longer_has_is_a_hole_and_the_journal_goes_on() {
    let mut fixture = fixture();
    let mut journal = Journal::new(&(1..=9).map(|n| record(n, 1)).collect::<Vec<_>>());
    fixture.send(&journal, 1, 2);
    journal.oldest = 6;
    let (watermark, outcome) = fixture.send(&journal, 6, 8);
    assert!(outcome.hole);
    assert_eq!((watermark.stored, watermark.chain), (Seq(8), journal.chain(8).hash));
    let item = &fixture.store.journals().unwrap()[0];
    assert_eq!(item.holes, [Hole { first: Seq(3), last: Seq(5) }]);
    assert!(fixture.events().contains(&"journal_hole".to_owned()));
    let (watermark, outcome) = fixture.send(&journal, 7, 9);
    assert_eq!((watermark.stored, outcome.hole), (Seq(9), false));
    assert_eq!(fixture.store.counts().unwrap().holes, 1);
}

#[test]
fn a_journal_that_begins_in_the_middle_of_its_life_has_a_hole_before_it() {
    let mut fixture = fixture();
    let mut journal = Journal::new(&(1..=4).map(|n| record(n, 1)).collect::<Vec<_>>());
    journal.oldest = 3;
    assert_eq!(fixture.send(&journal, 3, 4).0.stored, Seq(4));
    let item = &fixture.store.journals().unwrap()[0];
    assert_eq!(item.holes, [Hole { first: Seq(1), last: Seq(2) }]);
}

#[test]
fn what_is_missing_and_still_at_the_gateway_is_asked_for() {
    let mut fixture = fixture();
    let journal = Journal::new(&(1..=6).map(|n| record(n, 1)).collect::<Vec<_>>());
    let (watermark, _) = fixture.send(&journal, 1, 2);
    let refused = fixture.refused(&journal.delivery(4, 6));
    assert_eq!(refused, Refused::OutOfSequence(watermark));
    assert_eq!(fixture.store.counts().unwrap().holes, 0);
}

/// Invariant 6: a rolled-back, restored or cloned journal is a fork, and nothing of it is stored.
#[test]
fn another_past_under_the_same_name_is_a_fork() {
    let mut fixture = fixture();
    let journal = Journal::new(&(1..=4).map(|n| record(n, 1)).collect::<Vec<_>>());
    let (watermark, _) = fixture.send(&journal, 1, 3);
    let mut other = journal.clone();
    other.entries[2] = bytes(&record(3, 0x55));
    for (first, last) in [(4, 4), (3, 4), (1, 4), (3, 3)] {
        let refused = fixture.refused(&other.delivery(first, last));
        assert_eq!(refused, Refused::Fork(watermark), "{first}..={last}");
    }
    assert_eq!(fixture.events().iter().filter(|event| *event == "fork").count(), 1);
    let mut delivery = Journal { id: JournalId([9; 16]), ..journal }.delivery(1, 1);
    delivery.batch.chain_before = postern_protocol::Digest([3; 32]);
    assert!(matches!(fixture.refused(&delivery), Refused::Fork(Watermark { stored: Seq(0), .. })));
}

#[test]
fn a_journal_and_its_controllers_belong_to_one_gateway() {
    let mut fixture = fixture();
    let journal = Journal::new(&[record(1, 1)]);
    fixture.send(&journal, 1, 1);
    let thief = Journal { gateway: "gate", ..journal.clone() };
    let refused = fixture.refused(&thief.delivery(1, 1));
    assert_eq!(refused, Refused::ForeignJournal { journal: JOURNAL, owner: "hall".into() });
    let thief = Journal { id: JournalId([9; 16]), ..thief };
    for _ in 0..3 {
        let refused = fixture.refused(&thief.delivery(1, 1));
        assert_eq!(refused, Refused::ForeignController { controller: BOARD, owner: "hall".into() });
    }
    let events = fixture.events();
    assert_eq!(events.iter().filter(|event| *event == "foreign_controller").count(), 1);
    let asked = fixture.store.last(BOARD, Index(1), "gate", TERM).unwrap();
    assert_eq!(asked, Err(Unanswered::Foreign("hall".into())));
    let asked = fixture.store.watermark(JOURNAL, "gate", TERM).unwrap();
    assert_eq!(asked, Err(Unanswered::Foreign("hall".into())));
}

fn order(to: &str) -> Reassignment {
    let by = "postern://north/admin/operator".to_owned();
    Reassignment { controller: BOARD, to: to.into(), acting: TERM, by, now: NOW }
}

/// A board that was listed on two gateways holds up the second one's whole journal until an
/// operator gives the board to it; nothing is stored twice, and the way back is the same.
#[test]
fn a_refused_journal_goes_on_once_its_controller_is_given_to_its_gateway() {
    let mut fixture = fixture();
    let other = ControllerId::uhppote(303_986_753);
    let set = note(Kind::ClockSet { step_s: 5 }, 2);
    let right = Journal::new(&[record(1, 1), record(2, 2), set.clone()]);
    fixture.send(&right, 1, 2);
    let wrong = Journal::new(&[record(2, 2), of(other, EPOCH, record(1, 1)), set, record(3, 3)]);
    let wrong = Journal { id: JournalId([8; 16]), gateway: "gate", ..wrong };
    fixture.refused(&wrong.delivery(1, 4));

    assert_eq!(fixture.store.reassign(&order("gate")).unwrap(), Ok("hall".into()));
    assert_eq!(fixture.store.owner(BOARD, TERM).unwrap(), Ok("gate".into()));
    let (watermark, outcome) = fixture.send(&wrong, 1, 4);
    assert_eq!((watermark.stored, outcome.stored, outcome.doubles), (Seq(4), 3, 1));
    let refused = fixture.refused(&right.delivery(3, 3));
    assert_eq!(refused, Refused::ForeignController { controller: BOARD, owner: "gate".into() });

    assert_eq!(fixture.store.reassign(&order("hall")).unwrap(), Ok("gate".into()));
    let (_, outcome) = fixture.send(&right, 3, 3);
    assert_eq!((outcome.stored, outcome.doubles), (1, 0), "two gateways' notes are two");
    assert_eq!(fixture.store.reassign(&order("hall")).unwrap(), Ok("hall".into()));
    let lines = fixture.store.audit(0, 100).unwrap();
    let given: Vec<_> = lines.iter().filter(|line| line.event == "controller_reassigned").collect();
    let details: Vec<&str> = given.iter().map(|line| line.detail.as_str()).collect();
    let expected = ["from gateway hall to gateway gate", "from gateway gate to gateway hall"];
    assert_eq!(details, expected, "what changes nothing leaves no line");
    assert_eq!(given[0].actor, "postern://north/admin/operator");
    assert_eq!(given[0].subject, BOARD.to_string());
}

/// Invariant 7: a deposed server's writes are refused in its own store.
#[test]
fn nothing_is_given_away_that_is_unknown_or_under_an_earlier_role_term() {
    let mut fixture = fixture();
    assert_eq!(fixture.store.reassign(&order("gate")).unwrap(), Err(Unowned::Unknown));
    assert_eq!(fixture.store.owner(BOARD, TERM).unwrap(), Err(Unowned::Unknown));
    fixture.send(&Journal::new(&[record(1, 1)]), 1, 1);
    let why = Audit::at(NOW, "b", "role_adopted", "b", "test");
    assert!(
        fixture
            .store
            .swap_role(
                RoleVersion::first(TERM),
                RoleVersion::first(RoleTerm(2)),
                &signed("two"),
                &why
            )
            .unwrap()
    );
    assert_eq!(fixture.store.reassign(&order("gate")).unwrap(), Err(Unowned::Fenced));
    assert_eq!(fixture.store.owner(BOARD, TERM).unwrap(), Err(Unowned::Fenced));
    assert_eq!(fixture.store.owner(BOARD, RoleTerm(2)).unwrap(), Ok("hall".into()));
    assert!(!fixture.events().contains(&"controller_reassigned".to_owned()));
}

#[test]
fn an_alias_names_the_epoch_that_entries_are_stored_under() {
    let mut fixture = fixture();
    let (provisional, next) = (EpochId([2; 16]), EpochId([3; 16]));
    let cause = ResetCause::LogRestarted { predecessor: provisional };
    let mut journal = Journal::new(&[
        of(BOARD, provisional, record(5, 5)),
        of(BOARD, next, note(Kind::ControllerReset(cause), 0)),
        of(BOARD, provisional, record(6, 6)),
    ]);
    journal.epochs = vec![EpochAlias { controller: BOARD, provisional, epoch: EPOCH }];
    fixture.send(&journal, 1, 2);
    // The alias is remembered, and the restart names its predecessor as it is stored.
    journal.epochs.clear();
    fixture.send(&journal, 3, 3);
    assert_eq!(fixture.identities(), [(EPOCH, 5), (EPOCH, 6)]);
    let reset = &fixture.store.transactions(1, 1, None).unwrap()[0];
    assert_eq!(
        reset.kind,
        serde_json::json!({"controller_reset": {"log_restarted": {"predecessor": EPOCH}}})
    );
    assert_eq!((reset.epoch, reset.after), (Some(next), Some(Index(0))));
}

#[test]
fn an_alias_never_changes() {
    let mut fixture = fixture();
    let mut journal = Journal::new(&[record(1, 1), record(2, 2)]);
    fixture.send(&journal, 1, 1);
    let claimed = EpochId([9; 16]);
    // The epoch was used as it is, which fixes it as much as an alias does.
    journal.epochs = vec![EpochAlias { controller: BOARD, provisional: EPOCH, epoch: claimed }];
    assert_eq!(fixture.send(&journal, 2, 2).1.stored, 1);
    assert_eq!(fixture.identities(), [(EPOCH, 1), (EPOCH, 2)]);
    assert!(
        fixture.store.audit(0, 10).unwrap().iter().any(|row| row.event == "alias_contradicted")
    );
}

#[test]
fn what_this_version_cannot_read_is_kept_as_it_came() {
    let mut fixture = fixture();
    let mut journal = Journal::new(&[record(1, 1)]);
    journal.entries.push(vec![version::CURRENT + 1, 1, 2, 3]);
    journal.entries.push(vec![0xff; MAX_ENTRY]);
    journal.entries.push(bytes(&record(u64::MAX, 4)));
    let (watermark, outcome) = fixture.send(&journal, 1, 4);
    assert_eq!((watermark.stored, outcome.stored, outcome.unreadable), (Seq(4), 4, 3));
    let item = &fixture.store.transactions(1, 1, None).unwrap()[0];
    assert_eq!(item.kind, "unreadable");
    assert_eq!(
        (item.raw.as_str(), item.flags.as_slice()),
        ("03010203", &["unreadable".into()][..])
    );
    assert_eq!((item.controller.as_deref(), item.seq), (None, Seq(2)));
    assert!(fixture.events().contains(&"unreadable".to_owned()));
}

/// Invariant 7: a deposed server's writes are refused in its own store, with no clock involved.
#[test]
fn a_batch_accepted_under_an_earlier_role_term_is_not_stored() {
    let mut fixture = fixture();
    let journal = Journal::new(&[record(1, 1)]);
    let why = Audit::at(NOW, "b", "role_adopted", "b", "test");
    assert!(
        fixture
            .store
            .swap_role(
                RoleVersion::first(TERM),
                RoleVersion::first(RoleTerm(2)),
                &signed("two"),
                &why
            )
            .unwrap()
    );
    assert_eq!(fixture.refused(&journal.delivery(1, 1)), Refused::Fenced);
    let asked = fixture.store.watermark(JOURNAL, "hall", TERM).unwrap();
    assert_eq!(asked, Err(Unanswered::Fenced));
    assert!(
        !fixture
            .store
            .swap_role(
                RoleVersion::first(TERM),
                RoleVersion::first(RoleTerm(3)),
                &signed("three"),
                &why
            )
            .unwrap()
    );
    let (role, version) = fixture.store.role().unwrap().unwrap();
    assert_eq!((role.document.as_str(), version), ("two", RoleVersion::first(RoleTerm(2))));
}

#[test]
fn what_another_store_does_not_hold_yet_is_not_safe() {
    let mut fixture = fixture();
    let journal = Journal::new(&[record(1, 1), record(2, 2)]);
    fixture.send(&journal, 1, 1);
    let delivery = Delivery { safe: Safe::Known(Seq(0)), ..journal.delivery(2, 2) };
    let (watermark, _) = fixture.store.apply(&delivery).unwrap().unwrap();
    assert_eq!((watermark.stored, watermark.safe), (Seq(2), Seq(1)));
}

#[test]
fn the_last_record_at_or_below_an_index_is_of_the_newest_epoch() {
    let mut fixture = fixture();
    let second = EpochId([0xe2; 16]);
    let journal = Journal::new(&[
        record(7, 1),
        of(BOARD, second, record(1, 2)),
        of(BOARD, second, record(4, 3)),
        record(8, 4),
    ]);
    let none = fixture.store.last(BOARD, Index(9), "hall", TERM).unwrap().unwrap();
    assert_eq!((none.record, none.newest), (None, None));
    fixture.send(&journal, 1, 4);
    let last = fixture.store.last(BOARD, Index(3), "hall", TERM).unwrap().unwrap();
    assert_eq!(last.newest, Some((second, Index(4))));
    let record = last.record.unwrap();
    assert_eq!((record.epoch, record.index), (second, Index(1)));
    assert_eq!(record.digest, super::tests::record(1, 2).record_digest());
    let last = fixture.store.last(BOARD, Index(0), "hall", TERM).unwrap().unwrap();
    assert_eq!(last.record, None);
}

#[test]
fn only_what_just_happened_and_just_came_is_live() {
    let at = |at: i64, trust| Occurred {
        at: Some(Timestamp(at)),
        source: TimeSource::Controller,
        trust,
    };
    let night = NOW.0 - 8 * 3_600_000;
    for (occurred, received, live) in [
        (at(NOW.0 - 1_000, TimeTrust::Exact), NOW.0, true),
        (at(NOW.0 - 30_000, TimeTrust::Exact), NOW.0 - 30_000, true),
        (at(night, TimeTrust::Exact), NOW.0, false),
        (at(NOW.0, TimeTrust::Exact), night, false),
        (at(NOW.0 + 60_000, TimeTrust::Exact), NOW.0, false),
        (at(night, TimeTrust::Ambiguous), NOW.0, true),
        (Occurred::ABSENT, NOW.0, true),
        (at(i64::MIN, TimeTrust::Exact), i64::MAX, false),
        (at(NOW.0, TimeTrust::Within { ms: 500 }), NOW.0, true),
        (at(NOW.0, TimeTrust::Within { ms: 8 * 3_600_000 }), NOW.0, false),
        (at(i64::MIN, TimeTrust::Within { ms: u32::MAX }), NOW.0, false),
        (at(NOW.0, TimeTrust::Before), NOW.0, false),
    ] {
        assert_eq!(is_live(&occurred, Timestamp(received), NOW), live, "{occurred:?} {received}");
    }
}

#[test]
fn pages_follow_each_other_without_overlap() {
    let mut fixture = fixture();
    let other = ControllerId::uhppote(303_986_753);
    let journal = Journal::new(
        &(1..=9)
            .map(|n| if n % 3 == 0 { of(other, EPOCH, record(n, 1)) } else { record(n, 1) })
            .collect::<Vec<_>>(),
    );
    fixture.send(&journal, 1, 9);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = fixture.store.transactions(after, 4, None).unwrap();
        let Some(last) = page.last() else { break };
        after = last.rowid;
        seen.extend(page.into_iter().map(|item| item.seq.0));
    }
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
    let page = fixture.store.transactions(3, 9, Some(other)).unwrap();
    assert_eq!(page.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [6, 9]);
    let item = &fixture.store.transactions(0, 1, None).unwrap()[0];
    assert_eq!(item.raw, "01".repeat(20));
    assert_eq!(item.occurred.as_deref(), Some("2023-11-14T22:13:20.000Z"));
    assert_eq!((item.live, item.credential, item.role_term), (true, Some(8_165_536), TERM));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Invariants 5 and 6: however batches are split, repeated and overlapped, each transaction is
    /// stored exactly once and in order; whatever is sent too early changes nothing.
    #[test]
    fn retries_splits_and_overlaps_store_each_transaction_once(
        total in 1_u64..40,
        cuts in prop::collection::vec((0_u64..40, 1_u64..12), 0..40),
    ) {
        let mut fixture = fixture();
        let journal = Journal::new(&(1..=total).map(|n| record(n, 1)).collect::<Vec<_>>());
        let mut stored = 0;
        for (first, length) in cuts {
            let first = (first % total) + 1;
            let last = (first + length - 1).min(total);
            match fixture.store.apply(&journal.delivery(first, last)).unwrap() {
                Ok((watermark, _)) => {
                    prop_assert!(first <= stored + 1);
                    stored = stored.max(last);
                    prop_assert_eq!(watermark.stored, Seq(stored));
                    prop_assert_eq!(watermark.chain, journal.chain(stored).hash);
                }
                Err(Refused::OutOfSequence(watermark)) => {
                    prop_assert!(first > stored + 1);
                    prop_assert_eq!(watermark.stored, Seq(stored));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        if stored < total {
            fixture.send(&journal, stored + 1, total);
        }
        let expected: Vec<_> = (1..=total).map(|index| (EPOCH, index)).collect();
        prop_assert_eq!(fixture.identities(), expected);
    }
    /// Invariant 6: whatever of a journal was stored before it was contradicted, and from wherever
    /// on its gateway still holds it, each record and each note is stored once afterwards.
    #[test]
    fn a_journal_written_once_more_under_a_new_id_stores_nothing_twice(
        kinds in prop::collection::vec(any::<bool>(), 1..40),
        stored in 0_usize..40,
        released in 0_usize..40,
        cut in 1_usize..40,
    ) {
        let mut fixture = fixture();
        let transactions: Vec<Transaction> = (1_u64..)
            .zip(&kinds)
            .map(|(n, is_note)| {
                let received = Timestamp(NOW.0 + i64::try_from(n).unwrap());
                let told = if *is_note { note(Kind::ClockSet { step_s: 5 }, 1) } else { record(n, 1) };
                Transaction { received, ..told }
            })
            .collect();
        let stored = stored.min(transactions.len());
        let journal = Journal::new(&transactions);
        if stored > 0 {
            fixture.send(&journal, 1, u64::try_from(stored).unwrap());
        }
        let held = &transactions[released.min(stored)..];
        let forked = Journal { id: JournalId([8; 16]), ..Journal::new(held) };
        let total = u64::try_from(held.len()).unwrap();
        let cut = u64::try_from(cut).unwrap().min(total);
        let mut doubles = 0;
        for (first, last) in [(1, cut), (cut + 1, total)] {
            if first <= last {
                doubles += fixture.send(&forked, first, last).1.doubles;
            }
        }
        let items = fixture.store.transactions(0, 5_000, None).unwrap();
        let received: Vec<_> = items.into_iter().map(|item| item.received).collect();
        let expected: Vec<_> = transactions
            .iter()
            .map(|transaction| crate::clock::rfc3339(transaction.received))
            .collect();
        prop_assert_eq!(received, expected);
        prop_assert_eq!(doubles, u64::try_from(stored - released.min(stored)).unwrap());
    }
}
