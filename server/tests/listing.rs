//! Questions for transactions over HTTPS: what they find, how they go on, what is refused.

use crate::common::{Pair, refusal, swipe_at};
use postern_protocol::transaction::{Continuity, Gap, GapReason, TimeTrust};
use postern_protocol::uplink::RefusalCode;
use postern_protocol::{Index, Kind, Transaction};
use postern_server::api::listing::Transactions;
use postern_server::late::LateReport;
use postern_server::serve;

/// 2026-11-28T09:00:00Z.
const NINE: i64 = 1_795_856_400_000;
const MINUTE: i64 = 60_000;

struct Asker {
    http: reqwest::Client,
    url: String,
}

impl Asker {
    fn new(pair: &Pair, server: &str) -> Self {
        let url = format!("https://{}/v1/groups/main", pair.address(server));
        Self { http: pair.operator(), url }
    }

    async fn ask(&self, question: &str) -> Transactions {
        let answer = self.http.get(format!("{}/transactions?{question}", self.url)).send();
        answer.await.unwrap().json().await.unwrap()
    }

    async fn seqs(&self, question: &str) -> Vec<u64> {
        self.ask(question).await.items.into_iter().map(|item| item.seq.0).collect()
    }

    async fn refused(&self, question: &str) -> String {
        let answer = self.http.get(format!("{}/{question}", self.url)).send().await.unwrap();
        let (status, refusal) = refusal(answer).await;
        assert_eq!((status, refusal.code), (400, RefusalCode::BadRequest), "{question}");
        format!("{}; {}", refusal.message, refusal.hint.unwrap_or_default())
    }
}

/// Ten swipes a minute apart, at two doors with three cards, the last of them first; then a gap and a
/// record without a time.
fn told() -> Vec<Transaction> {
    let mut all: Vec<Transaction> = (0..10_u8)
        .map(|n| {
            let card = 100 + u64::from(n % 3);
            swipe_at(NINE + i64::from(9 - n) * MINUTE, 1 + n % 2, card)
        })
        .collect();
    let gap = Gap {
        first: Index(40),
        last: Some(Index(44)),
        reason: GapReason::Overwritten,
        continuity: Continuity::Proven,
    };
    all.push(Transaction { kind: Kind::Gap(gap), credential: None, door: None, ..all[9].clone() });
    let mut untimed = swipe_at(NINE + 60 * MINUTE, 1, 100);
    untimed.occurred.at = None;
    untimed.occurred.trust = TimeTrust::Absent;
    all.push(untimed);
    all
}

#[tokio::test]
async fn transactions_are_found_by_time_door_card_and_kind_in_either_order() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let mut gateway = pair.gateway("hall");
    for record in told() {
        gateway.record(&record);
    }
    assert!(gateway.send(&pair.address("a"), 1, 12).await.status().is_success());
    let asker = Asker::new(&pair, "a");

    for (question, expected) in [
        ("", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..]),
        ("by=row&order=newest&limit=3", &[12, 11, 10]),
        ("by=occurred&limit=3", &[10, 11, 9]),
        // What has no time of its own is found where the gateway received it.
        ("by=occurred&order=newest&limit=3", &[12, 1, 2]),
        ("by=occurred&from=2026-11-28T09:02:00Z&to=2026-11-28T09:04:00Z", &[8, 7]),
        ("by=occurred&from=2026-11-28T10:02:00%2B01:00&to=2026-11-28T10:04:00%2B01:00", &[8, 7]),
        ("by=occurred&from=2026-11-28T09:30:00Z", &[12]),
        ("card=101", &[2, 5, 8]),
        ("by=occurred&card=101&door=2", &[8, 2]),
        ("by=occurred&order=newest&controller=uhppote-405419896&door=1&limit=2", &[12, 1]),
        ("by=occurred&kind=gap", &[11]),
        ("by=stored&kind=gap&gateway=hall&live=false", &[11]),
        ("gateway=annex", &[]),
        ("live=true", &[]),
        ("stored_to=2020-01-01T00:00:00Z", &[]),
        ("by=stored&stored_from=2020-01-01T00:00:00Z&limit=2", &[1, 2]),
        ("after=10", &[11, 12]),
    ] {
        assert_eq!(asker.seqs(question).await, expected, "{question}");
    }
    let item = asker.ask("kind=gap").await.items.remove(0);
    assert_eq!(item.gateway.as_deref(), Some("hall"));
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_goes_on_where_its_page_ended_whatever_came_meanwhile() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let mut gateway = pair.gateway("hall");
    for record in told() {
        gateway.record(&record);
    }
    assert!(gateway.send(&pair.address("a"), 1, 10).await.status().is_success());
    let asker = Asker::new(&pair, "a");
    let question = "by=occurred&order=newest&limit=4";
    let first = asker.ask(question).await;
    assert_eq!((first.next, first.items.len()), (None, 4), "rows do not lead on in this order");
    let cursor = first.cursor.unwrap();
    // One newer than all, one in what was read already.
    assert!(gateway.send(&pair.address("a"), 11, 12).await.status().is_success());
    let second = asker.ask(&format!("{question}&cursor={cursor}")).await;
    let seqs: Vec<_> = second.items.iter().map(|item| item.seq.0).collect();
    assert_eq!(seqs, [5, 6, 7, 8]);
    let third = asker.ask(&format!("{question}&cursor={}", second.cursor.unwrap())).await;
    assert_eq!(third.items.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [9, 11, 10]);
    assert_eq!(third.cursor, None);

    // The page may have another size, the question may not be another one.
    let other = asker.seqs(&format!("by=occurred&order=newest&limit=1&cursor={cursor}")).await;
    assert_eq!(other, [5]);
    for question in ["by=occurred", "by=occurred&order=newest&door=1", "by=stored&order=newest"] {
        let refused = asker.refused(&format!("transactions?{question}&cursor={cursor}")).await;
        assert!(refused.contains("belongs to another question"), "{refused}");
    }
    let b = serve::start(&pair.b).await.unwrap();
    let question = format!("transactions?{question}&cursor=");
    let refused = Asker::new(&pair, "b").refused(&format!("{question}{cursor}")).await;
    assert!(refused.contains("another server's store"), "{refused}");
    for wrong in ["", "x", "%27%20OR%201=1", &cursor[1..], &format!("{cursor}0")] {
        let refused = asker.refused(&format!("{question}{wrong}")).await;
        assert!(refused.contains("not one that was handed out here"), "{wrong}: {refused}");
    }
    b.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_with_what_would() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let asker = Asker::new(&pair, "a");
    for (question, says) in [
        ("transactions?from=2026-11-28T00:00Z&to=2026-11-27T00:00Z", "from is not before to"),
        ("transactions?kind=enterd", "the kinds are granted, denied, door_opened"),
        ("transactions?limit=0", "limit is 0, not 1 to 5000"),
        ("transactions?limit=5001", "limit is 5001"),
        ("transactions?cards=7", "unknown field `cards`"),
        ("transactions?card=7%20OR%201=1", "card is not a number"),
        ("transactions?from=2026-11-28T10:00+01:00", "%2B"),
        ("late?limit=3", "limit is not for this path"),
        ("late?over_ms=soon", "over_ms is not a number"),
    ] {
        let refused = asker.refused(question).await;
        assert!(refused.contains(says), "{question}: {refused}");
    }
    let gateway = pair.gateway("hall");
    let late = gateway.http.get(format!("{}/late", asker.url)).send().await.unwrap();
    assert_eq!(refusal(late).await.0, 403, "an operator's question");
    running.stop().await;
}

#[tokio::test]
async fn what_came_late_is_reported() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let mut gateway = pair.gateway("hall");
    for record in told() {
        gateway.record(&record);
    }
    assert!(gateway.send(&pair.address("a"), 1, 12).await.status().is_success());
    let asker = Asker::new(&pair, "a");
    let url = format!("{}/late?worst=2&over_ms=0&to=2026-11-28T09:05:00Z", asker.url);
    let report: LateReport = asker.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((report.total.records, report.total.untimed), (6, 0));
    assert_eq!(report.total.received_after.unwrap().max_ms, 1_000);
    assert_eq!(report.controllers[0].gateway, "hall");
    let url = format!("{}/late", asker.url);
    let report: LateReport = asker.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((report.total.records, report.total.untimed, report.over_ms), (12, 1, 300_000));
    running.stop().await;
}
