//! What one server has, the other has a moment later, whatever happened in between.

use std::path::Path;

use crate::common::{Gateway, Pair, equal, events, fail_over, in_sync, status, until};
use postern_protocol::uplink::{Batch, Told, Watermark};
use postern_protocol::{RoleTerm, Seq};
use postern_server::role::State;
use postern_server::serve::{self, Running};
use postern_server::site::STORE;
use postern_server::store::Store;
use postern_server::store::query::{Item, JournalItem, Query};

async fn both(pair: &Pair) -> (Running, Running) {
    (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap())
}

async fn stored(gateway: &Gateway, at: &str, first: usize, last: usize) -> Watermark {
    let response = gateway.send(at, first, last).await;
    assert!(response.status().is_success(), "{:?}", response.text().await);
    response.json().await.unwrap()
}

async fn post(gateway: &Gateway, at: &str, batch: &Batch) -> reqwest::Response {
    gateway.http.post(format!("https://{at}{}", gateway.path())).json(batch).send().await.unwrap()
}

async fn content(server: &Running) -> (Vec<Item>, Vec<JournalItem>) {
    let store = &server.server.store;
    let query = Query { limit: 5_000, ..Query::default() };
    (store.list(query).await.unwrap().items, store.journals().await.unwrap())
}

/// The watermark that the active server tells now.
async fn told(gateway: &Gateway, at: &str) -> Watermark {
    let path = postern_protocol::uplink::journal_path("main", gateway.journal);
    gateway.http.get(format!("https://{at}{path}")).send().await.unwrap().json().await.unwrap()
}

/// `safe`: what only one store holds is kept by the gateway, and a moment later both hold it.
#[tokio::test]
async fn what_the_standby_holds_is_safe_and_nothing_else_is() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let at = pair.address("a");
    let mut gateway = pair.gateway("hall");
    in_sync(&pair, "a").await;
    gateway.swipe(3);
    stored(&gateway, &at, 1, 3).await;
    until("it is safe", async || told(&gateway, &at).await.safe == Seq(3)).await;
    assert_eq!(content(&a).await, content(&b).await);

    b.stop().await;
    gateway.swipe(3);
    let alone = stored(&gateway, &at, 4, 6).await;
    assert_eq!((alone.stored, alone.safe), (Seq(6), Seq(3)));
    assert_eq!(told(&gateway, &at).await.safe, Seq(3));
    assert_eq!(status(&pair, "a").await.copies, 2, "a silent standby alone changes nothing");

    let b = serve::start(&pair.b).await.unwrap();
    until("it is safe again", async || told(&gateway, &at).await.safe == Seq(6)).await;
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    b.stop().await;
    a.stop().await;
}

/// A dead standby never stops a healthy site: at 90 % the active server goes on alone, says so, and
/// takes the other in again once it is back.
#[tokio::test]
async fn a_gateway_that_runs_full_is_released_once_the_document_says_so() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let at = pair.address("a");
    let mut gateway = pair.gateway("hall");
    in_sync(&pair, "a").await;
    b.stop().await;
    gateway.swipe(2);
    let almost = Batch { full: 89, ..gateway.batch(1, 1) };
    let answer: Watermark = post(&gateway, &at, &almost).await.json().await.unwrap();
    assert_eq!(answer.safe, Seq(0));
    until("the active server goes on alone", async || {
        let full = Batch { full: 90, ..gateway.batch(1, 2) };
        post(&gateway, &at, &full).await;
        status(&pair, "a").await.copies == 1
    })
    .await;
    assert_eq!(told(&gateway, &at).await.safe, Seq(2));
    let now = status(&pair, "a").await;
    assert_eq!(now.in_sync.len(), 1);
    let said = events(&pair, "a").await;
    assert!(said.contains(&"store_given_up".into()) && said.contains(&"copies_lowered".into()));

    let b = serve::start(&pair.b).await.unwrap();
    in_sync(&pair, "a").await;
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    assert!(events(&pair, "b").await.contains(&"copies_lowered".into()), "it is told to both");
    b.stop().await;
    a.stop().await;
}

/// Two servers that were both active for a while, each with transactions of its own: the deposed one
/// brings what it alone holds, and in the end both hold all of it once.
#[tokio::test]
async fn a_returning_server_brings_what_it_alone_holds() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let (at_a, at_b) = (pair.address("a"), pair.address("b"));
    let mut hall = pair.gateway("hall");
    in_sync(&pair, "a").await;
    hall.swipe(5);
    stored(&hall, &at_a, 1, 2).await;
    equal(&pair).await;
    b.stop().await;
    a.stop().await;

    pair.cut();
    let (a, b) = both(&pair).await;
    stored(&hall, &at_a, 3, 4).await;
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    // Some of what the first one stored last comes to the second one as well.
    stored(&hall, &at_b, 3, 3).await;
    b.stop().await;
    a.stop().await;

    pair.mend();
    let (a, b) = both(&pair).await;
    in_sync(&pair, "b").await;
    equal(&pair).await;
    assert_eq!(a.server.keeper.belief().state(), State::Standby);
    let (items, _) = content(&b).await;
    assert_eq!(content(&a).await, content(&b).await);
    assert_eq!(items.len(), 4, "{items:?}");
    assert!(events(&pair, "b").await.contains(&"merged".into()));
    // The gateway sends what was merged already: it is known, and what follows is not.
    assert_eq!(stored(&hall, &at_b, 4, 5).await.stored, Seq(5));
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    assert_eq!(content(&a).await.0.len(), 5);
    b.stop().await;
    a.stop().await;
}

fn forget_log(dir: &Path) {
    let store = rusqlite::Connection::open(dir.join(STORE)).unwrap();
    let last = "(SELECT max(position) FROM log)";
    store.execute(&format!("DELETE FROM log WHERE position < {last}"), []).unwrap();
}

/// Where both logs were cut at their beginnings, what they have in common is found from their ends.
#[tokio::test]
async fn logs_that_were_cut_are_compared_from_their_ends() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let (at_a, at_b) = (pair.address("a"), pair.address("b"));
    let mut hall = pair.gateway("hall");
    in_sync(&pair, "a").await;
    hall.swipe(40);
    for seq in 1..=20 {
        stored(&hall, &at_a, seq, seq).await;
    }
    equal(&pair).await;
    b.stop().await;
    for seq in 21..=24 {
        stored(&hall, &at_a, seq, seq).await;
    }
    a.stop().await;
    cut_log(&pair.a, 10);
    cut_log(&pair.b, 5);
    let b = serve::start(&pair.b).await.unwrap();
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    for seq in 21..=22 {
        stored(&hall, &at_b, seq, seq).await;
    }
    let a = serve::start(&pair.a).await.unwrap();
    in_sync(&pair, "b").await;
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    assert_eq!(content(&b).await.0.len(), 24);
    assert!(!pair.a.join(format!("{STORE}.replaced")).exists(), "no full copy was needed");
    b.stop().await;
    a.stop().await;
}

/// A gateway's word alone does not stop a server whose log another follows.
#[tokio::test]
async fn a_gateway_that_is_contradicted_by_the_standby_is_refused_alone() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let at = pair.address("a");
    let (mut liar, mut other) = (pair.gateway("liar"), pair.gateway("hall"));
    in_sync(&pair, "a").await;
    liar.swipe(2);
    let first = stored(&liar, &at, 1, 1).await;
    equal(&pair).await;
    for role_term in [first.role_term, RoleTerm(u64::MAX)] {
        let told = Some(Told { safe: Seq(u64::MAX >> 1), role_term });
        let response = post(&liar, &at, &Batch { told, ..liar.batch(1, 2) }).await;
        let believed = role_term > first.role_term;
        assert_eq!(
            response.status().is_success(),
            believed,
            "what nobody can have said is nothing"
        );
    }
    assert_eq!(a.server.keeper.belief().state(), State::Active);
    assert!(events(&pair, "a").await.contains(&"safe_contradicted".into()));
    other.swipe(1);
    let path = postern_protocol::uplink::journal_path("main", other.journal);
    let asked = other.http.get(format!("https://{at}{path}")).send().await.unwrap();
    assert!(asked.status().is_success(), "others are served");
    b.stop().await;
    a.stop().await;
}

fn cut_log(dir: &Path, up_to: u64) {
    let store = rusqlite::Connection::open(dir.join(STORE)).unwrap();
    store.execute(&format!("DELETE FROM log WHERE position <= {up_to}"), []).unwrap();
}

/// A server that the log does not reach gets a full copy, and counts only then.
#[tokio::test]
async fn a_server_that_the_log_does_not_reach_gets_a_full_copy() {
    let pair = Pair::first_alone();
    let a = serve::start(&pair.a).await.unwrap();
    let at = pair.address("a");
    let mut gateway = pair.gateway("hall");
    gateway.swipe(9);
    for seq in 1..=6 {
        stored(&gateway, &at, seq, seq).await;
    }
    a.stop().await;
    forget_log(&pair.a);
    pair.join();
    let (a, b) = both(&pair).await;
    let before = Store::open(&pair.b.join(STORE), "b").unwrap().name();
    in_sync(&pair, "a").await;
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    assert_ne!(b.server.store.name(), before, "it is another store than the empty one");
    assert!(events(&pair, "b").await.contains(&"store_rebuilt".into()));
    assert_eq!(stored(&gateway, &at, 7, 9).await.stored, Seq(9));
    equal(&pair).await;

    // It takes over with what it was given.
    assert!(fail_over(&pair, "b", false).await.status().is_success());
    assert_eq!(content(&b).await.0.len(), 9);
    b.stop().await;
    a.stop().await;
    let b = serve::start(&pair.b).await.unwrap();
    assert_eq!((b.server.keeper.belief().state(), content(&b).await.0.len()), (State::Active, 9));
    b.stop().await;
}

/// A long-absent server that was active itself: what it alone holds is brought before its store is
/// replaced.
#[tokio::test]
async fn a_server_that_needs_a_full_copy_brings_what_it_alone_holds_first() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let (at_a, at_b) = (pair.address("a"), pair.address("b"));
    let mut hall = pair.gateway("hall");
    in_sync(&pair, "a").await;
    hall.swipe(6);
    stored(&hall, &at_a, 1, 2).await;
    equal(&pair).await;
    b.stop().await;
    stored(&hall, &at_a, 3, 4).await;
    a.stop().await;
    let b = serve::start(&pair.b).await.unwrap();
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    // The gateway has forgotten what the first one acknowledged: a hole, until that one returns.
    let late = Batch { oldest: Seq(5), ..hall.batch(5, 5) };
    assert!(post(&hall, &at_b, &late).await.status().is_success());
    assert_eq!(content(&b).await.1[0].holes.len(), 1);
    b.stop().await;
    forget_log(&pair.b);

    let (a, b) = both(&pair).await;
    in_sync(&pair, "b").await;
    equal(&pair).await;
    let (items, journals) = content(&b).await;
    assert_eq!(content(&a).await, (items.clone(), journals.clone()));
    assert_eq!(items.len(), 5);
    assert!(journals[0].holes.is_empty(), "the hole was filled: {journals:?}");
    assert!(pair.a.join(format!("{STORE}.replaced")).exists());
    b.stop().await;
    a.stop().await;
}

/// An active server whose disk was put back to an earlier day, and is back within seconds: its peer
/// knows more of its own reign, and so does the gateway.
#[tokio::test]
async fn an_active_server_that_was_put_back_does_not_go_on() {
    let pair = Pair::new();
    let (a, b) = both(&pair).await;
    let at = pair.address("a");
    let mut gateway = pair.gateway("hall");
    in_sync(&pair, "a").await;
    gateway.swipe(4);
    stored(&gateway, &at, 1, 2).await;
    a.stop().await;
    let snapshot = std::fs::read(pair.a.join(STORE)).unwrap();
    let a = serve::start(&pair.a).await.unwrap();
    until("it is safe", async || told(&gateway, &at).await.safe == Seq(2)).await;
    stored(&gateway, &at, 3, 4).await;
    until("it is safe", async || told(&gateway, &at).await.safe == Seq(4)).await;
    equal(&pair).await;
    a.stop().await;
    std::fs::write(pair.a.join(STORE), snapshot).unwrap();
    let a = serve::start(&pair.a).await.unwrap();
    until("it steps down", async || a.server.keeper.belief().state() == State::SetAside).await;
    assert_eq!(gateway.send(&at, 1, 4).await.status(), 503);
    until("it says why", async || events(&pair, "a").await.contains(&"store_put_back".into()))
        .await;

    // It is known after a restart as well: the store has another name than the document knows.
    let named = a.server.keeper.belief().role().in_sync.clone();
    assert!(!named.contains(&a.server.store.name()));
    a.stop().await;
    let a = serve::start(&pair.a).await.unwrap();
    assert_eq!(a.server.keeper.belief().state(), State::SetAside);
    assert_eq!(gateway.send(&at, 1, 4).await.status(), 503, "although it was told nothing");

    assert!(fail_over(&pair, "b", true).await.status().is_success());
    assert_eq!(content(&b).await.0.len(), 4);
    in_sync(&pair, "b").await;
    equal(&pair).await;
    assert_eq!(content(&a).await, content(&b).await);
    b.stop().await;
    a.stop().await;
}

/// The same with nobody there but the gateway, which was told that more is safe.
#[tokio::test]
async fn a_gateway_that_was_told_more_is_safe_makes_a_server_step_down() {
    let pair = Pair::new();
    let a = serve::start(&pair.a).await.unwrap();
    let at = pair.address("a");
    let mut gateway = pair.gateway("hall");
    gateway.swipe(3);
    let first = stored(&gateway, &at, 1, 2).await;
    let told = Some(Told { safe: Seq(3), role_term: first.role_term });
    let batch = Batch { told, oldest: Seq(1), ..gateway.batch(1, 3) };
    let response = post(&gateway, &at, &batch).await;
    assert_eq!(response.status(), 503);
    assert_eq!(a.server.keeper.belief().state(), State::SetAside);
    assert!(events(&pair, "a").await.contains(&"behind_safe".into()));
    assert_eq!(gateway.send(&at, 1, 3).await.status(), 503, "whoever asks");

    // An operator goes on without what is missing; the gateway's word is of the time before.
    assert!(fail_over(&pair, "a", true).await.status().is_success());
    let response = post(&gateway, &at, &batch).await;
    assert!(response.status().is_success(), "{:?}", response.text().await);
    a.stop().await;
}
