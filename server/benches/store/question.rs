//! Questions to a full store: the first page of a hundred, warm, each with other values each time.

use std::time::Instant;

use postern_protocol::{ControllerId, Timestamp};
use postern_server::api::parameter::spell;
use postern_server::site::STORE;
use postern_server::store::Store;
use postern_server::store::query::{Direction, Filter, Query, Sort, Span};

use super::Bench;
use super::common::filled::{GATEWAYS, at};
use super::common::say;
use super::common::swipe::{BOARDS, CARDS, FIRST_CARD, board, gateway, scatter};
use super::report::{Report, quantile};
use super::site::Pair;

/// Rows of a page.
const PAGE: usize = 100;

/// A day, in milliseconds.
const DAY: i64 = 86_400_000;

/// What the values of a question are drawn from.
struct Dice {
    rows: u64,
    at: u64,
}

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.at += 1;
        scatter(self.at) % limit
    }

    fn controller(&mut self) -> ControllerId {
        let gateway = self.below(u64::from(GATEWAYS));
        let number = self.below(u64::from(BOARDS));
        board(u32::try_from(gateway).unwrap(), u32::try_from(number).unwrap())
    }

    fn door(&mut self) -> u8 {
        u8::try_from(self.below(4) + 1).unwrap()
    }

    fn card(&mut self) -> u64 {
        FIRST_CARD + self.below(CARDS)
    }

    fn gateway(&mut self) -> String {
        gateway(u32::try_from(self.below(u64::from(GATEWAYS))).unwrap())
    }

    fn from(&mut self) -> Span {
        Span { from: Some(Timestamp(at(self.below(self.rows)))), to: None }
    }

    fn day(&mut self) -> Span {
        let from = at(self.below(self.rows));
        Span { from: Some(Timestamp(from)), to: Some(Timestamp(from + DAY)) }
    }
}

type Kind = (&'static str, Sort, Direction, fn(&mut Dice) -> Filter);

fn newest(name: &'static str, filter: fn(&mut Dice) -> Filter) -> Kind {
    (name, Sort::Occurred, Direction::Newest, filter)
}

fn kinds() -> [Kind; 20] {
    [
        newest("newest", |_| Filter::default()),
        ("from_a_time", Sort::Occurred, Direction::Oldest, |dice| Filter {
            occurred: dice.from(),
            ..Filter::default()
        }),
        newest("day", |dice| Filter { occurred: dice.day(), ..Filter::default() }),
        ("stored_day", Sort::Stored, Direction::Newest, |dice| Filter {
            stored: dice.day(),
            ..Filter::default()
        }),
        newest("controller", |dice| Filter {
            controller: Some(dice.controller()),
            ..Filter::default()
        }),
        newest("door", |dice| Filter {
            controller: Some(dice.controller()),
            door: Some(dice.door()),
            ..Filter::default()
        }),
        newest("door_on_a_day", |dice| Filter {
            controller: Some(dice.controller()),
            door: Some(dice.door()),
            occurred: dice.day(),
            ..Filter::default()
        }),
        newest("card", |dice| Filter { card: Some(dice.card()), ..Filter::default() }),
        newest("card_on_a_day", |dice| Filter {
            card: Some(dice.card()),
            occurred: dice.day(),
            ..Filter::default()
        }),
        newest("card_at_a_controller", |dice| Filter {
            card: Some(dice.card()),
            controller: Some(dice.controller()),
            ..Filter::default()
        }),
        newest("denied", |_| Filter { kind: Some("denied".parse().unwrap()), ..Filter::default() }),
        newest("denied_at_a_controller", |dice| Filter {
            kind: Some("denied".parse().unwrap()),
            controller: Some(dice.controller()),
            ..Filter::default()
        }),
        newest("rare_kind_before", |dice| Filter {
            kind: Some("tamper".parse().unwrap()),
            occurred: Span { to: dice.from().from, from: None },
            ..Filter::default()
        }),
        newest("rare_kind_at_a_controller", |dice| Filter {
            kind: Some("tamper".parse().unwrap()),
            controller: Some(dice.controller()),
            ..Filter::default()
        }),
        newest("gateway", |dice| Filter { gateway: Some(dice.gateway()), ..Filter::default() }),
        newest("gateway_on_a_day", |dice| Filter {
            gateway: Some(dice.gateway()),
            occurred: dice.day(),
            ..Filter::default()
        }),
        newest("card_at_a_gateway", |dice| Filter {
            card: Some(dice.card()),
            gateway: Some(dice.gateway()),
            ..Filter::default()
        }),
        // Nothing is found, and a cursor to go on with.
        newest("no_such_door", |dice| Filter {
            controller: Some(dice.controller()),
            door: Some(200),
            ..Filter::default()
        }),
        newest("no_such_card", |dice| Filter {
            card: Some(dice.below(1_000_000)),
            ..Filter::default()
        }),
        newest("gateway_without_any", |dice| Filter {
            gateway: Some(gateway(1_000 + u32::try_from(dice.below(1_000)).unwrap())),
            ..Filter::default()
        }),
    ]
}

fn questions(bench: &Bench) -> Vec<(&'static str, Vec<Query>)> {
    let mut dice = Dice { rows: bench.extent.rows, at: 0 };
    let ask = |(name, sort, direction, filter): Kind, dice: &mut Dice| {
        let query = |_| Query { filter: filter(dice), sort, direction, after: None, limit: PAGE };
        (name, (0..bench.extent.questions).map(query).collect())
    };
    kinds().into_iter().map(|kind| ask(kind, &mut dice)).collect()
}

/// Asks the store itself. All is asked once before, so that it lies in memory.
pub(crate) fn measure(bench: &Bench, site: &Pair, report: &mut Report) {
    say("questions");
    let store = Store::open(&site.a.join(STORE), "a").unwrap();
    let mut worst = (f64::NEG_INFINITY, "");
    for (name, queries) in questions(bench) {
        for query in &queries {
            store.list(query).unwrap();
        }
        let mut times = Vec::new();
        for query in &queries {
            let began = Instant::now();
            let page = store.list(query).unwrap();
            times.push(began.elapsed().as_secs_f64() * 1e3);
            assert!(page.items.len() <= PAGE);
        }
        let high = quantile(&times, 0.99);
        report.put(format!("query_{name}_ms"), quantile(&times, 0.5));
        report.put(format!("query_{name}_ms_p99"), high);
        if high > worst.0 {
            worst = (high, name);
        }
    }
    report.put("query_first_page_ms_max", worst.0);
    report.put("query_slowest", worst.1);
    report.put("query_samples", bench.extent.questions);
}

/// Asks a server over TLS, on a connection that stands.
pub(crate) async fn over_http(bench: &Bench, site: &Pair, report: &mut Report) {
    let http = site.operator();
    let base = format!("https://{}/v1/groups/main/transactions", site.address("a"));
    let mut worst = (f64::NEG_INFINITY, "");
    for (name, queries) in questions(bench) {
        let mut times = Vec::new();
        for query in &queries {
            let url = format!("{base}?{}&limit={PAGE}", spell(query));
            let began = Instant::now();
            let answer = http.get(&url).send().await.unwrap();
            assert!(answer.status().is_success(), "{url}: {}", answer.text().await.unwrap());
            answer.bytes().await.unwrap();
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let high = quantile(&times, 0.99);
        if high > worst.0 {
            worst = (high, name);
        }
    }
    report.put("query_first_page_over_http_ms_max", worst.0);
    report.put("query_over_http_slowest", worst.1);
}
