//! Paging against a model: whatever is asked in whichever order and page size, the pages together are
//! exactly what a filter and a sort of everything give.

use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::transaction::{Continuity, DenyReason};
use postern_protocol::transaction::{
    Credential, Direction as Way, Door, Gap, GapReason, MAX_ENTRY, Occurred, RawRecord, TimeSource,
    TimeTrust,
};
use postern_protocol::uplink::{Batch, Bytes, Entry};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, RoleTerm, Seq, Timestamp,
    Transaction,
};
use proptest::prelude::*;

use super::*;
use crate::store::{Audit, Delivery, Safe, Store};

const TERM: RoleTerm = RoleTerm(1);
const GATEWAYS: [&str; 2] = ["annex", "hall"];

/// A transaction in so few words that many are alike.
#[derive(Clone, Debug)]
struct Told {
    gateway: usize,
    board: u32,
    kind: usize,
    at: Option<i64>,
    received: i64,
    stored: i64,
    door: Option<u8>,
    card: Option<u64>,
    exact: bool,
}

fn told() -> impl Strategy<Value = Told> {
    let times = (prop::option::weighted(0.8, -3..9_i64), -3..9_i64, -3..9_i64, any::<bool>());
    let who = (0..2_usize, 1..4_u32);
    let what = (0..5_usize, any::<Option<bool>>(), prop::option::of(0..3_u64));
    (times, who, what).prop_map(|(times, (gateway, board), (kind, door, card))| Told {
        gateway,
        // A controller belongs to one gateway.
        board: board * 2 + u32::from(gateway == 1),
        kind,
        at: times.0,
        received: times.1,
        stored: times.2,
        door: door.map(u8::from),
        card: card.map(|card| if card == 2 { u64::MAX } else { card }),
        exact: times.3,
    })
}

fn transaction(told: &Told, n: u64) -> Transaction {
    let controller = ControllerId::uhppote(told.board);
    let (epoch, noted) = (EpochId([0xe1; 16]), told.kind == 4);
    let gap = Gap {
        first: Index(n),
        last: None,
        reason: GapReason::Overwritten,
        continuity: Continuity::Proven,
    };
    let trust = match (told.at, told.exact) {
        (None, _) => TimeTrust::Absent,
        (_, true) => TimeTrust::Exact,
        (_, false) => TimeTrust::Ambiguous,
    };
    Transaction {
        origin: if noted {
            Origin::Gateway { controller, epoch, after: Index(n) }
        } else {
            Origin::Controller { controller, epoch, index: Index(n) }
        },
        kind: [
            Kind::Granted,
            Kind::Denied(DenyReason::Host),
            Kind::Tamper,
            Kind::DoorForced,
            Kind::Gap(gap),
        ][told.kind],
        occurred: Occurred { at: told.at.map(Timestamp), source: TimeSource::Controller, trust },
        received: Timestamp(told.received),
        door: told.door.map(Door),
        direction: Some(Way::In),
        credential: told.card.map(Credential),
        raw: RawRecord::new(&n.to_be_bytes()).unwrap(),
    }
}

struct Fixture {
    store: Store,
    chains: [Chain; 2],
    rows: Vec<Told>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("store.sqlite"), "a").unwrap();
        // What a commit costs is not what is tested.
        store.connection.pragma_update(None, "synchronous", "off").unwrap();
        let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
        let signed = SignedRole { document: "one".into(), certificate, signature };
        let why = Audit::at(Timestamp(0), "operator", "init", "a", "test");
        store.found_role(&signed, RoleVersion::first(TERM), &why).unwrap();
        let chains = [1, 2].map(|id| Chain::genesis(JournalId([id; 16])));
        Self { store, chains, rows: Vec::new(), _dir: dir }
    }

    fn add(&mut self, told: &Told) {
        let n = u64::try_from(self.rows.len()).unwrap() + 1;
        let bytes = transaction(told, n).encode(&mut [0; MAX_ENTRY]).unwrap().to_vec();
        let chain = &mut self.chains[told.gateway];
        let seq = chain.seq.next();
        let delivery = Delivery {
            journal: JournalId([u8::try_from(told.gateway).unwrap() + 1; 16]),
            gateway: GATEWAYS[told.gateway].into(),
            batch: Batch {
                role: None,
                oldest: Seq(1),
                told: None,
                full: 0,
                lasts_s: None,
                chain_before: chain.hash,
                epochs: Vec::new(),
                entries: vec![Entry { seq, bytes: Bytes(bytes.clone()), transaction: None }],
            },
            acting: TERM,
            safe: Safe::Stored,
            forced: None,
            now: Timestamp(told.stored),
        };
        *chain = chain.link(&bytes);
        let (_, outcome) = self.store.apply(&delivery).unwrap().unwrap();
        assert_eq!(outcome.stored, 1);
        self.rows.push(told.clone());
    }

    /// The row numbers that a query should give, in its order, of the first `upto` rows.
    fn expected(&self, query: &Query, upto: usize) -> Vec<u64> {
        let within = |span: &Span, at: i64| {
            span.from.is_none_or(|from| at >= from.0) && span.to.is_none_or(|to| at < to.0)
        };
        let Filter { occurred, stored, controller, door, card, kind, gateway, live } =
            &query.filter;
        let mut found: Vec<(i64, u64)> = (1_u64..)
            .zip(&self.rows[..upto])
            .filter_map(|(row, told)| {
                let at = told.at.unwrap_or(told.received);
                let word = ["granted", "denied", "tamper", "door_forced", "gap"][told.kind];
                let wanted = within(occurred, at)
                    && within(stored, told.stored)
                    && controller.is_none_or(|id| id == ControllerId::uhppote(told.board))
                    && door.is_none_or(|door| told.door == Some(door))
                    && card.is_none_or(|card| told.card == Some(card))
                    && kind.is_none_or(|kind| kind.as_str() == word)
                    && gateway.as_deref().is_none_or(|name| name == GATEWAYS[told.gateway])
                    // All that is told here lies within the half minute of what is news.
                    && live.is_none_or(|live| live);
                let key = match query.sort {
                    Sort::Row => 0,
                    Sort::Occurred => at,
                    Sort::Stored => told.stored,
                };
                wanted.then_some((key, row))
            })
            .collect();
        found.sort_unstable();
        if query.direction == Direction::Newest {
            found.reverse();
        }
        found.into_iter().map(|(_, row)| row).collect()
    }
}

fn span() -> impl Strategy<Value = Span> {
    let ends = (prop::option::weighted(0.3, -4..10_i64), prop::option::weighted(0.3, 1..8_i64));
    ends.prop_map(|(from, length)| Span {
        from: from.map(Timestamp),
        to: length.map(|length| Timestamp(from.unwrap_or(0) + length)),
    })
}

fn question() -> impl Strategy<Value = Query> {
    let kinds = prop::sample::select(vec!["granted", "denied", "tamper", "gap", "unreadable"]);
    let who = (
        prop::option::weighted(0.3, 2..8_u32),
        prop::option::weighted(0.3, 0..2_u8),
        prop::option::weighted(0.3, prop::sample::select(vec![0, 1, u64::MAX])),
        prop::option::weighted(0.3, kinds),
    );
    let how = (
        prop::option::weighted(0.3, 0..3_usize),
        prop::option::weighted(0.2, any::<bool>()),
        prop::sample::select(vec![Sort::Row, Sort::Occurred, Sort::Stored]),
        prop::sample::select(vec![Direction::Oldest, Direction::Newest]),
        1..9_usize,
    );
    ((span(), span()), who, how).prop_map(|((occurred, stored), who, how)| Query {
        filter: Filter {
            occurred,
            stored,
            controller: who.0.map(ControllerId::uhppote),
            door: who.1,
            card: who.2,
            kind: who.3.map(|word| word.parse().unwrap()),
            gateway: how.0.map(|at| ["annex", "hall", "nobody"][at].to_owned()),
            live: how.1,
        },
        sort: how.2,
        direction: how.3,
        after: None,
        limit: how.4,
    })
}

/// Every page from the first on; `between` runs before each.
fn pages(
    fixture: &mut Fixture,
    mut query: Query,
    mut between: impl FnMut(&mut Fixture),
) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let page = fixture.store.list(&query).unwrap();
        assert!(page.items.len() <= query.limit);
        seen.extend(page.items.into_iter().map(|item| item.rowid));
        // A page may find nothing on its way, but it gets on.
        assert!(page.next.is_none() || page.next != query.after);
        query.after = page.next;
        if query.after.is_none() {
            return seen;
        }
        between(fixture);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pages_together_are_the_filtered_and_sorted_whole(
        rows in prop::collection::vec(told(), 0..40),
        questions in prop::collection::vec(question(), 12),
    ) {
        let mut fixture = Fixture::new();
        for told in &rows {
            fixture.add(told);
        }
        for query in questions {
            query.check().unwrap();
            let expected = fixture.expected(&query, rows.len());
            prop_assert_eq!(pages(&mut fixture, query.clone(), |_| ()), expected, "{:?}", query);
        }
    }

    /// What was there at the first page is in exactly one; what came since is in one at most.
    #[test]
    fn what_is_stored_between_two_pages_moves_nothing(
        rows in prop::collection::vec(told(), 1..30),
        more in prop::collection::vec(told(), 1..15),
        query in question(),
    ) {
        let mut fixture = Fixture::new();
        for told in &rows {
            fixture.add(told);
        }
        let (expected, mut more) = (fixture.expected(&query, rows.len()), more.into_iter());
        let seen = pages(&mut fixture, query.clone(), |fixture| {
            if let Some(told) = more.next() {
                fixture.add(&told);
            }
        });
        let known = u64::try_from(rows.len()).unwrap();
        let old: Vec<u64> = seen.iter().copied().filter(|row| *row <= known).collect();
        prop_assert_eq!(old, expected);
        let all = fixture.expected(&query, fixture.rows.len());
        let mut rest = all.iter();
        prop_assert!(seen.iter().all(|row| rest.any(|other| other == row)), "in order, none twice");
    }

    #[test]
    fn delays_are_of_the_records_that_the_filter_leaves(
        rows in prop::collection::vec(told(), 0..30),
        query in question(),
    ) {
        let mut fixture = Fixture::new();
        for told in &rows {
            fixture.add(told);
        }
        let mut expected = fixture.expected(&query, rows.len());
        expected.retain(|row| rows[usize::try_from(row - 1).unwrap()].kind != 4);
        let (mut query, mut seen) = (query, Vec::new());
        loop {
            let page = fixture.store.delays(&query).unwrap();
            for delay in page.items {
                let told = &rows[usize::try_from(delay.row - 1).unwrap()];
                prop_assert_eq!(delay.occurred, told.at.filter(|_| told.exact).map(Timestamp));
                prop_assert_eq!(delay.received, Timestamp(told.received));
                prop_assert_eq!(&delay.gateway, GATEWAYS[told.gateway]);
                seen.push(delay.row);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        prop_assert_eq!(seen, expected);
    }
}

/// No listing sorts: each walks along an index, of which it needs the beginning alone.
#[test]
fn every_order_is_one_of_an_index() {
    let fixture = Fixture::new();
    let filters = [
        Filter::default(),
        Filter { card: Some(1), ..Filter::default() },
        Filter { controller: Some(ControllerId::uhppote(2)), door: Some(1), ..Filter::default() },
        Filter { kind: Some("gap".parse().unwrap()), ..Filter::default() },
        Filter { kind: Some("granted".parse().unwrap()), ..Filter::default() },
    ];
    let span = Span { from: Some(Timestamp(0)), to: Some(Timestamp(9)) };
    for (at, filter) in filters.into_iter().enumerate() {
        for direction in [Direction::Oldest, Direction::Newest] {
            for after in [None, Some(Position { key: 5, row: 3 })] {
                let filter = Filter { occurred: span, ..filter.clone() };
                let query = Query { filter, sort: Sort::Occurred, direction, after, limit: 5 };
                let plan = fixture.store.plan(&query);
                assert!(plan.contains("SEARCH t USING INDEX"), "{plan}");
                let name = ["by_time", "by_card", "by_controller", "by_kind", "by_time"][at];
                assert!(plan.contains(name), "{plan}");
                // A controller's rows of one millisecond are sorted among themselves.
                let sorts = plan.contains("TEMP B-TREE");
                assert!(!sorts || at == 2 && plan.contains("LAST"), "{plan}");
            }
        }
    }
}

#[test]
fn a_query_that_makes_no_sense_is_refused() {
    let query = |limit| Query { limit, ..Query::default() };
    assert_eq!(query(0).check(), Err(QueryError::Limit(0)));
    assert_eq!(query(5_001).check(), Err(QueryError::Limit(5_001)));
    let span = Span { from: Some(Timestamp(1)), to: Some(Timestamp(1)) };
    let filter = Filter { stored: span, ..Filter::default() };
    let refused = Query { filter, ..query(1) }.check().unwrap_err();
    assert_eq!(refused, QueryError::Span("stored_from", "stored_to"));
}
