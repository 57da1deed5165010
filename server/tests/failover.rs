//! The change of the active server, between servers that really run and stop.

use crate::common::{Pair, equal, events, fail_over, in_sync, refusal, status, until};
use postern_protocol::role::{Mode, SignedRole, WhenFull};
use postern_protocol::uplink::{RefusalCode, Watermark};
use postern_protocol::{RoleTerm, Seq};
use postern_server::api::admin::FailedOver;
use postern_server::api::listing::AuditPage;
use postern_server::api::rules::Ruled;
use postern_server::role::State;
use postern_server::serve;

#[tokio::test]
async fn with_both_servers_up_the_role_goes_over_and_back() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    let mut gateway = pair.gateway("hall");
    gateway.swipe(2);
    assert!(gateway.send(&pair.address("a"), 1, 1).await.status().is_success());
    for (to, other, term) in [("b", "a", 2), ("a", "b", 3), ("b", "a", 4)] {
        in_sync(&pair, other).await;
        let done: FailedOver = fail_over(&pair, to, false).await.json().await.unwrap();
        let expected = FailedOver { changed: true, active: to.into(), role_term: RoleTerm(term) };
        assert_eq!(done, expected);
        let now = status(&pair, to).await;
        assert_eq!((now.state.as_str(), now.role_term), ("active", RoleTerm(term)));
        assert_eq!(now.in_sync.len(), 2, "what was handed over is held by both");
        assert!(now.in_sync.iter().any(|name| name.server == to && name.store == now.store));
        assert_eq!(status(&pair, other).await.state, "standby");
        assert_eq!(gateway.send(&pair.address(other), 1, 1).await.status(), 421);
        assert!(gateway.send(&pair.address(to), 1, 2).await.status().is_success());
    }
    let again: FailedOver = fail_over(&pair, "b", false).await.json().await.unwrap();
    assert_eq!((again.changed, again.role_term), (false, RoleTerm(4)));
    let (code, answer) = {
        let url = format!("https://{}/v1/admin/failover", pair.address("a"));
        let body = serde_json::json!({"to": "b"});
        refusal(pair.operator().post(url).json(&body).send().await.unwrap()).await
    };
    assert_eq!((code, answer.code), (409, RefusalCode::Denied), "each server takes it itself");

    let url = format!("https://{}/v1/admin/audit", pair.address("b"));
    let audit: AuditPage = pair.operator().get(url).send().await.unwrap().json().await.unwrap();
    let events: Vec<&str> = audit.items.iter().map(|line| line.event.as_str()).collect();
    let role = |event: &&str| event.starts_with("role_t") || *event == "join";
    let roles: Vec<&str> = events.iter().copied().filter(role).collect();
    // Of each change of the role there is one record, and both stores hold it.
    assert_eq!(roles, ["join", "role_taken", "role_taken", "role_taken"]);
    for event in ["store_in_sync", "copies_raised", "role_adopted"] {
        assert!(events.contains(&event), "{event}: {events:?}");
    }
    let taken = audit.items.iter().find(|line| line.event == "role_taken").unwrap();
    assert_eq!(taken.actor, "postern://north/admin/operator");
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn without_the_other_server_only_force_takes_the_role() {
    let pair = Pair::new();
    let b = serve::start(&pair.b).await.unwrap();
    let (code, answer) = refusal(fail_over(&pair, "b", false).await).await;
    assert_eq!((code, answer.code), (409, RefusalCode::Denied));
    assert!(answer.message.contains("nobody answers"), "{}", answer.message);
    assert!(answer.hint.unwrap().contains("--force"));
    assert_eq!(b.server.keeper.belief().state(), State::Standby);

    let done: FailedOver = fail_over(&pair, "b", true).await.json().await.unwrap();
    assert_eq!((done.changed, done.role_term), (true, RoleTerm(2)));
    let peer = status(&pair, "b").await.peer.unwrap();
    assert_eq!((peer.reachable, peer.failure.unwrap().code.as_str()), (false, "unreachable"));

    // The old one returns and finds out before it acts.
    let a = serve::start(&pair.a).await.unwrap();
    assert_eq!(a.server.keeper.belief().state(), State::Standby);
    assert_eq!(a.server.keeper.belief().role().role_term, RoleTerm(2));
    b.stop().await;
    // What it was told is durable: it stays standby although nobody is there to say so.
    a.stop().await;
    let a = serve::start(&pair.a).await.unwrap();
    assert_eq!(a.server.keeper.belief().state(), State::Standby);
    a.stop().await;
}

/// Invariants 7 and 8: both believe to be active after a split, under different role terms; the one
/// with the lower stores nothing more from the moment a gateway shows it the higher.
#[tokio::test]
async fn a_deposed_server_stores_nothing_once_it_is_shown_the_higher_term() {
    let pair = Pair::new();
    pair.cut();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    let (at_a, at_b) = (pair.address("a"), pair.address("b"));
    let mut gateway = pair.gateway("hall");
    gateway.swipe(3);
    assert!(gateway.send(&at_a, 1, 1).await.status().is_success());
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    assert_eq!(a.server.keeper.belief().state(), State::Active, "it cannot know yet");
    assert_eq!(b.server.keeper.belief().state(), State::Active);
    assert_ne!(
        a.server.keeper.belief().role().role_term,
        b.server.keeper.belief().role().role_term
    );

    let url = format!("https://{at_b}/v1/role");
    let seen: SignedRole = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
    gateway.role = Some(seen.clone());
    let (code, answer) = refusal(gateway.send(&at_a, 1, 2).await).await;
    assert_eq!((code, answer.code), (421, RefusalCode::NotActive));
    assert_eq!(answer.role, Some(seen));
    assert_eq!(a.server.store.counts().await.unwrap().transactions, 1);
    gateway.role = None;
    assert_eq!(gateway.send(&at_a, 1, 3).await.status(), 421, "it does not forget");

    let stored: Watermark = gateway.send(&at_b, 1, 3).await.json().await.unwrap();
    assert_eq!((stored.stored, stored.role_term), (Seq(3), RoleTerm(2)));
    b.stop().await;
    a.stop().await;
}

/// Invariant 11: after a split the servers agree by themselves, even where no gateway tells them.
#[tokio::test]
async fn servers_that_meet_again_agree_on_the_higher_term() {
    let pair = Pair::new();
    let b = serve::start(&pair.b).await.unwrap();
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    b.stop().await;
    let a = serve::start(&pair.a).await.unwrap();
    assert_eq!(a.server.keeper.belief().state(), State::Active, "it has no way to know better");
    let b = serve::start(&pair.b).await.unwrap();
    assert_eq!(b.server.keeper.belief().state(), State::Active);
    until("the first one stands down", async || a.server.keeper.belief().state() == State::Standby)
        .await;
    assert_eq!(a.server.keeper.belief().signed(), b.server.keeper.belief().signed());
    b.stop().await;
    a.stop().await;
}

/// A crash after the other server stood down and before this one stored the document leaves nobody
/// active; the document is kept for it, and asking again is enough.
#[tokio::test]
async fn a_hand_over_that_died_half_way_is_mended() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    // b has adopted the document that says so.
    until("b knows", async || status(&pair, "b").await.copies == 2).await;
    b.stop().await;
    a.stop().await;
    let before = pair.root.path().join("before");
    copy(&pair.b, &before);
    let b = serve::start(&pair.b).await.unwrap();
    assert!(fail_over(&pair, "b", true).await.status().is_success());
    let minted = b.server.keeper.belief().signed().clone();
    b.stop().await;
    // As the disk of b was when it died: it never stored what a was told.
    std::fs::remove_dir_all(&pair.b).unwrap();
    copy(&before, &pair.b);

    let a = serve::start(&pair.a).await.unwrap();
    let gateway = pair.gateway("hall");
    let url = format!("https://{}/v1/role", pair.address("a"));
    let after: SignedRole =
        gateway.http.post(url).json(&minted).send().await.unwrap().json().await.unwrap();
    assert_eq!(after, minted);
    assert_eq!(a.server.keeper.belief().state(), State::Standby, "nobody is active");

    let b = serve::start(&pair.b).await.unwrap();
    let done: FailedOver = fail_over(&pair, "b", false).await.json().await.unwrap();
    assert_eq!((done.active.as_str(), done.role_term), ("b", RoleTerm(2)));
    assert_eq!(b.server.keeper.belief().state(), State::Active);
    assert_eq!(a.server.keeper.belief().state(), State::Standby);
    b.stop().await;
    a.stop().await;
}

/// A server whose disk was replaced is not what the document names, whatever its name.
#[tokio::test]
async fn a_server_with_another_store_than_the_document_names_is_set_aside() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    assert!(fail_over(&pair, "b", false).await.status().is_success());
    b.stop().await;
    let store = pair.b.join(postern_server::site::STORE);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", store.display()));
    }
    let (role, version) =
        postern_server::store::Store::read_role(&pair.site().store_path()).unwrap().unwrap();
    let why = postern_server::store::Audit::now("operator", "join", "b", "new disk");
    let mut fresh = postern_server::store::Store::create(&store, "b").unwrap();
    fresh.found_role(&role, version, &why).unwrap();
    drop(fresh);

    let b = serve::start(&pair.b).await.unwrap();
    assert_eq!(b.server.keeper.belief().state(), State::SetAside);
    let mut gateway = pair.gateway("hall");
    gateway.swipe(1);
    let (code, answer) = refusal(gateway.send(&pair.address("b"), 1, 1).await).await;
    assert_eq!((code, answer.code), (503, RefusalCode::Unavailable));
    let (code, answer) = refusal(fail_over(&pair, "b", false).await).await;
    assert_eq!((code, answer.code), (409, RefusalCode::Denied));
    let done: FailedOver = fail_over(&pair, "b", true).await.json().await.unwrap();
    assert_eq!((done.changed, done.role_term), (true, RoleTerm(4)));
    assert!(gateway.send(&pair.address("b"), 1, 1).await.status().is_success());
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn a_running_server_finds_out_that_a_second_one_has_joined() {
    let pair = Pair::first_alone();
    let a = serve::start(&pair.a).await.unwrap();
    assert_eq!(status(&pair, "a").await.peer, None);
    let done: FailedOver = fail_over(&pair, "a", false).await.json().await.unwrap();
    assert!(!done.changed, "it is active already");
    pair.join();
    let b = serve::start(&pair.b).await.unwrap();
    in_sync(&pair, "a").await;
    assert!(fail_over(&pair, "b", false).await.status().is_success());
    assert!(fail_over(&pair, "a", false).await.status().is_success());
    assert_eq!(status(&pair, "a").await.peer.unwrap().name, "b");
    assert_eq!(b.server.keeper.belief().state(), State::Standby);
    b.stop().await;
    a.stop().await;
}

/// A server that knows of no other cannot ask the active one to stand down: only force goes on.
#[tokio::test]
async fn the_role_is_not_taken_from_a_server_that_is_not_known_here() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    assert!(fail_over(&pair, "b", false).await.status().is_success());
    b.stop().await;
    a.stop().await;
    let path = pair.a.join(postern_server::site::CONFIG);
    let mut alone = pair.site().config;
    alone.members.truncate(1);
    std::fs::write(path, alone.to_toml()).unwrap();

    let a = serve::start(&pair.a).await.unwrap();
    let (code, answer) = refusal(fail_over(&pair, "a", false).await).await;
    assert_eq!((code, answer.code), (409, RefusalCode::Denied));
    assert!(answer.message.contains("server b is not among the members"), "{}", answer.message);
    assert!(answer.hint.unwrap().contains("--force"));
    let belief = a.server.keeper.belief();
    assert_eq!((belief.state(), belief.role().role_term), (State::Standby, RoleTerm(2)));
    let done: FailedOver = fail_over(&pair, "a", true).await.json().await.unwrap();
    assert_eq!((done.changed, done.role_term), (true, RoleTerm(3)));
    a.stop().await;
}

/// Invariants 7 and 11: operators who work against each other get one active server in the end, and
/// at no moment two under one role term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_commands_at_once_end_with_one_active_server() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    for round in 0..12 {
        let force = round % 3 == 0;
        let (one, other) = tokio::join!(fail_over(&pair, "a", force), fail_over(&pair, "b", force));
        for response in [one, other] {
            let code = response.status().as_u16();
            assert!(code == 200 || code == 409, "round {round}: {code}");
        }
        until("one server is active and both know it", async || {
            let (one, other) = (a.server.keeper.belief(), b.server.keeper.belief());
            let both = one.state() == State::Active && other.state() == State::Active;
            assert!(!both || one.role().role_term != other.role().role_term, "round {round}");
            one.signed() == other.signed()
                && (one.state() == State::Active) != (other.state() == State::Active)
        })
        .await;
    }
    b.stop().await;
    a.stop().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// How the group is run is an operator's to change, at the active server, and both keep a record.
#[tokio::test]
async fn the_rules_of_the_group_are_changed_by_an_operator_and_recorded_on_both() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    let rules = async |at: &str, body: serde_json::Value| {
        let url = format!("https://{}/v1/admin/rules", pair.address(at));
        pair.operator().post(url).json(&body).send().await.unwrap()
    };
    let hold = serde_json::json!({"when_full": "hold", "maintenance": true});
    let (code, answer) = refusal(rules("b", hold.clone()).await).await;
    assert_eq!((code, answer.code), (421, RefusalCode::NotActive));
    let changed: Ruled = rules("a", hold.clone()).await.json().await.unwrap();
    assert!(changed.changed && changed.maintenance, "{changed:?}");
    let again: Ruled = rules("a", hold).await.json().await.unwrap();
    assert!(!again.changed);
    let (code, _) = refusal(rules("a", serde_json::json!({"copies_wanted": 3})).await).await;
    assert_eq!(code, 400, "there are two servers");
    let (code, why) = refusal(rules("a", serde_json::json!({"mode": "automatic"})).await).await;
    assert_eq!(code, 409, "there is no third voter");
    assert!(why.message.contains("third voter"), "{why:?}");
    assert!(
        why.hint.is_some_and(|hint| hint.contains("postern-server init")),
        "it says what to do"
    );

    // Nor could this be: a server that is not there, a time that is a mistake.
    for wrong in [
        serde_json::json!({"preferred": "c"}),
        serde_json::json!({"dwell_ms": 604_800_001_u64}),
        serde_json::json!({"away_alarm_ms": 604_800_001_u64}),
    ] {
        assert_eq!(refusal(rules("a", wrong).await).await.0, 400);
    }
    let home = serde_json::json!({"preferred": "b", "dwell_ms": 5, "away_alarm_ms": 60_000});
    let now: Ruled = rules("a", home).await.json().await.unwrap();
    assert_eq!((now.preferred.as_deref(), now.dwell_ms), (Some("b"), 5));
    assert_eq!((now.away_alarm_ms, now.mode), (Some(60_000), Mode::Manual));
    let away = async || status(&pair, "a").await.away.unwrap();
    let now = away().await;
    assert_eq!((now.preferred.as_str(), now.alarm), ("b", false));
    let soon = serde_json::json!({"away_alarm_ms": 1});
    assert!(rules("a", soon).await.status().is_success());
    until("it is away for too long", async || away().await.alarm).await;
    let alarmed = async || events(&pair, "b").await.contains(&"away_too_long".to_owned());
    until("both servers have it in their audit logs", alarmed).await;
    let later = serde_json::json!({"away_alarm_ms": 60_000});
    assert!(rules("a", later).await.status().is_success());
    // What is null is taken back, and what is left out stays.
    let nobody = serde_json::json!({"preferred": null, "mode": "confirmed"});
    let now: Ruled = rules("a", nobody).await.json().await.unwrap();
    assert_eq!((now.preferred, now.away_alarm_ms), (None, Some(60_000)));
    let silent = serde_json::json!({"away_alarm_ms": null, "mode": "manual"});
    let now: Ruled = rules("a", silent).await.json().await.unwrap();
    assert_eq!((now.away_alarm_ms, now.dwell_ms, now.mode), (None, 5, Mode::Manual));

    // One copy is enough from then on, although both stores are in sync.
    assert!(rules("a", serde_json::json!({"copies_wanted": 1})).await.status().is_success());
    until("one copy", async || status(&pair, "a").await.copies == 1).await;
    until("b knows", async || {
        let now = status(&pair, "b").await;
        now.maintenance && now.when_full == WhenFull::Hold && now.copies == 1
    })
    .await;
    equal(&pair).await;
    b.stop().await;
    a.stop().await;
}
