//! The interface over real TLS on loopback: who gets in, what is refused and how.

use std::time::Duration;

use crate::common::{BOARD, Gateway, Pair, gateway_identity, http, refusal, tls};
use futures_util::StreamExt as _;
use postern_protocol::pki::{LinkFailure, PeerIdentity, PeerRole};
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::{Last, MAX_BODY, RefusalCode, Watermark};
use postern_protocol::{Chain, Digest, Index, RoleTerm, Seq};
use postern_server::api::admin::Status;
use postern_server::api::controller::{Ownership, Reassigned};
use postern_server::api::listing::{AuditPage, Journals, Transactions};
use postern_server::serve;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends a request under these settings and returns every byte that came back above TLS.
async fn bytes_for(address: &str, config: rustls::ClientConfig) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut got = Vec::new();
    if let Ok(mut stream) = connector.connect(name, stream).await {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let _ = stream.write_all(b"GET /v1/role HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let _ = tokio::time::timeout(crate::common::PATIENCE, stream.read_to_end(&mut got))
            .await
            .unwrap();
    }
    got
}

#[tokio::test]
async fn nobody_without_a_certificate_of_the_site_gets_a_byte() {
    let (pair, other) = (Pair::new(), Pair::new());
    let running = serve::start(&pair.a).await.unwrap();
    let address = pair.address("a");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.site().authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let nameless = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert_eq!(bytes_for(&address, nameless).await, b"");

    let stranger = tls(&other.site(), &pair.site(), &gateway_identity("main", "hall"));
    assert_eq!(bytes_for(&address, stranger).await, b"");

    // A certificate of the site's own authority for another site's name is no better.
    let elsewhere =
        PeerIdentity { site: "south".into(), role: PeerRole::Admin, name: "operator".into() };
    assert_eq!(bytes_for(&address, tls(&pair.site(), &pair.site(), &elsewhere)).await, b"");

    let known = tls(&pair.site(), &pair.site(), &gateway_identity("main", "hall"));
    let url = format!("https://{address}/v1/role");
    assert!(http(known).get(url).send().await.unwrap().status().is_success());
    running.stop().await;
}

#[tokio::test]
async fn a_client_tells_a_server_of_another_site_by_its_certificate() {
    let (pair, other) = (Pair::new(), Pair::new());
    let running = serve::start(&pair.a).await.unwrap();
    let gateway = other.gateway("hall");
    let url = format!("https://{}/v1/role", pair.address("a"));
    let error = gateway.http.get(url).send().await.unwrap_err();
    assert!(matches!(LinkFailure::of(&error), LinkFailure::WrongCertificate(_)), "{error:?}");
    running.stop().await;
}

#[tokio::test]
async fn silent_strangers_hold_nobody_up() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(pair.address("a")).await.unwrap());
    }
    let mut gateway = pair.gateway("hall");
    gateway.swipe(1);
    let at = pair.address("a");
    let sent = gateway.send(&at, 1, 1);
    let response = tokio::time::timeout(Duration::from_secs(5), sent).await.unwrap();
    assert!(response.status().is_success());
    drop(silent);
    running.stop().await;
}

#[tokio::test]
async fn one_gateway_cannot_take_every_connection() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let at = pair.address("a");
    let connect = async |name: &str| {
        let config = tls(&pair.site(), &pair.site(), &gateway_identity("main", name));
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream =
            connector.connect(name, TcpStream::connect(&at).await.unwrap()).await.unwrap();
        let _ = stream.write_all(b"GET /v1/role HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut first = [0; 1];
        let answered = matches!(stream.read(&mut first).await, Ok(1));
        (stream, answered)
    };
    let mut held = Vec::new();
    for _ in 0..16 {
        let (stream, answered) = connect("hall").await;
        assert!(answered);
        held.push(stream);
    }
    assert!(!connect("hall").await.1, "one too many is turned away");
    assert!(connect("gate").await.1, "another gateway is not");
    held.pop();
    crate::common::until("a place is given back", async || connect("hall").await.1).await;
    drop(held);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_is_stored_and_found_again() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let (at, mut gateway) = (pair.address("a"), pair.gateway("hall"));
    let url = format!("https://{at}/v1/groups/main/journals/{}", gateway.journal);
    let unknown: Watermark = gateway.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((unknown.stored, unknown.chain), (Seq(0), Chain::genesis(gateway.journal).hash));

    gateway.swipe(3);
    let stored: Watermark = gateway.send(&at, 1, 2).await.json().await.unwrap();
    assert_eq!((stored.stored, stored.safe, stored.role_term), (Seq(2), Seq(2), RoleTerm(1)));
    let packed =
        zstd::bulk::compress(&serde_json::to_vec(&gateway.batch(2, 3)).unwrap(), 3).unwrap();
    let response = gateway
        .http
        .post(format!("https://{at}{}", gateway.path()))
        .header("content-encoding", "zstd")
        .body(packed)
        .send()
        .await
        .unwrap();
    let stored: Watermark = response.json().await.unwrap();
    assert_eq!(stored.stored, Seq(3));
    let again: Watermark = gateway.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(again, stored);

    let url = format!("https://{at}/v1/groups/main/controllers/{BOARD}/last?at_most=2");
    let last: Last = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(last.record.unwrap().index, Index(2));
    assert_eq!(last.newest.unwrap().1, Index(3));

    let operator = pair.operator();
    let mut rows = Vec::new();
    let mut after = 0;
    loop {
        let url = format!("https://{at}/v1/groups/main/transactions?limit=2&after={after}");
        let page: Transactions = operator.get(url).send().await.unwrap().json().await.unwrap();
        rows.extend(page.items.into_iter().map(|item| (item.rowid, item.seq.0)));
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(rows, [(1, 1), (2, 2), (3, 3)]);
    let url = format!("https://{at}/v1/groups/main/journals");
    let journals: Journals = operator.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(journals.items[0].gateway, "hall");
    running.stop().await;
}

#[tokio::test]
async fn certificates_are_good_for_their_own_purpose_only() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let (at, site) = (pair.address("a"), pair.site());
    let mut gateway = pair.gateway("hall");
    gateway.swipe(1);

    let mut other = Gateway::new(&site, "else", "hall");
    other.swipe(1);
    let (status, answer) = refusal(other.send(&at, 1, 1).await).await;
    assert_eq!((status, answer.code), (404, RefusalCode::NotFound), "its group is not here");
    other.group = "main".into();
    let (status, answer) = refusal(other.send(&at, 1, 1).await).await;
    assert_eq!((status, answer.code), (403, RefusalCode::Forbidden));
    let as_operator = Gateway { http: pair.operator(), ..pair.gateway("hall") };
    let journal = format!("https://{at}/v1/groups/main/journals/{}", gateway.journal);
    let (status, _) = refusal(as_operator.http.get(&journal).send().await.unwrap()).await;
    assert_eq!(status, 403);

    for path in [
        "/v1/admin/status",
        "/v1/admin/audit",
        "/v1/groups/main/transactions",
        "/v1/groups/main/journals",
    ] {
        let url = format!("https://{at}{path}");
        let (status, answer) = refusal(gateway.http.get(&url).send().await.unwrap()).await;
        assert_eq!((status, answer.code), (403, RefusalCode::Forbidden), "{path}");
        assert!(pair.operator().get(&url).send().await.unwrap().status().is_success(), "{path}");
    }
    let url = format!("https://{at}/v1/admin/failover");
    let body = serde_json::json!({"to": "a", "force": true});
    let (status, _) = refusal(gateway.http.post(url).json(&body).send().await.unwrap()).await;
    assert_eq!(status, 403);

    assert!(gateway.send(&at, 1, 1).await.status().is_success());
    let mut thief = pair.gateway("gate");
    thief.journal = gateway.journal;
    thief.swipe(1);
    let (status, answer) = refusal(thief.send(&at, 1, 1).await).await;
    assert_eq!((status, answer.code), (403, RefusalCode::Foreign));
    running.stop().await;
}

#[tokio::test]
async fn an_operator_alone_gives_a_controller_to_another_gateway() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    let (at, operator) = (pair.address("a"), pair.operator());
    let (mut hall, mut gate) = (pair.gateway("hall"), pair.gateway("gate"));
    let url = format!("https://{at}/v1/admin/reassign");
    let order = |to: &str| serde_json::json!({"controller": BOARD, "to": to});
    let post = |order| operator.post(&url).json(&order).send();

    let (status, answer) = refusal(post(order("gate")).await.unwrap()).await;
    assert_eq!((status, answer.code), (404, RefusalCode::NotFound), "nobody sent anything of it");
    hall.swipe(1);
    gate.swipe(2);
    assert!(hall.send(&at, 1, 1).await.status().is_success());
    let last = format!("https://{at}/v1/groups/main/controllers/{BOARD}/last");
    for response in [gate.send(&at, 1, 2).await, gate.http.get(&last).send().await.unwrap()] {
        let (status, answer) = refusal(response).await;
        assert_eq!((status, answer.code), (403, RefusalCode::Foreign));
        let command = format!("postern-server reassign {BOARD} --to GATEWAY");
        assert!(answer.hint.unwrap().contains(&command));
    }

    let own = format!("https://{at}/v1/admin/controllers/{BOARD}");
    for response in [
        gate.http.post(&url).json(&order("gate")).send().await.unwrap(),
        gate.http.get(&own).send().await.unwrap(),
    ] {
        let (status, answer) = refusal(response).await;
        assert_eq!((status, answer.code), (403, RefusalCode::Forbidden));
    }
    for wrong in [order("Gate"), order(""), serde_json::json!({"controller": "x", "to": "gate"})] {
        let (status, answer) = refusal(post(wrong).await.unwrap()).await;
        assert_eq!((status, answer.code), (400, RefusalCode::BadRequest));
    }
    let standby = pair.address("b");
    for response in [
        operator
            .post(format!("https://{standby}/v1/admin/reassign"))
            .json(&order("gate"))
            .send()
            .await
            .unwrap(),
        operator.get(own.replace(&at, &standby)).send().await.unwrap(),
    ] {
        let (status, answer) = refusal(response).await;
        assert_eq!((status, answer.code), (421, RefusalCode::NotActive));
    }

    let done: Reassigned = post(order("gate")).await.unwrap().json().await.unwrap();
    let expected =
        Reassigned { changed: true, controller: BOARD, from: "hall".into(), to: "gate".into() };
    assert_eq!(done, expected);
    let owner: Ownership = operator.get(&own).send().await.unwrap().json().await.unwrap();
    assert_eq!(owner, Ownership { controller: BOARD, gateway: "gate".into() });
    let stored: Watermark = gate.send(&at, 1, 2).await.json().await.unwrap();
    assert_eq!(stored.stored, Seq(2));
    let again: Reassigned = post(order("gate")).await.unwrap().json().await.unwrap();
    assert_eq!((again.changed, again.from.as_str()), (false, "gate"));

    let url = format!("https://{at}/v1/admin/audit?limit=100");
    let audit: AuditPage = operator.get(url).send().await.unwrap().json().await.unwrap();
    let lines = audit.items.iter().filter(|line| line.event == "controller_reassigned");
    let lines: Vec<_> = lines.map(|line| (line.actor.as_str(), line.detail.as_str())).collect();
    let who = "postern://north/admin/operator";
    assert_eq!(lines, [(who, "from gateway hall to gateway gate")]);
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn what_is_not_as_specified_is_refused_with_a_code() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let (at, mut gateway) = (pair.address("a"), pair.gateway("hall"));
    gateway.swipe(4);
    let post = |body: Vec<u8>, encoding: &'static str| {
        let url = format!("https://{at}{}", gateway.path());
        gateway.http.post(url).header("content-encoding", encoding).body(body).send()
    };
    let bomb = zstd::bulk::compress(&vec![b' '; 64 * 1024 * 1024], 3).unwrap();
    assert!(bomb.len() < 16 * 1024);
    let (status, answer) = refusal(post(bomb, "zstd").await.unwrap()).await;
    assert_eq!((status, answer.code), (413, RefusalCode::TooLarge));
    for (body, encoding) in [
        (b"{".to_vec(), "identity"),
        (b"not zstd".to_vec(), "zstd"),
        (b"{}".to_vec(), "gzip"),
        (b"{}".to_vec(), "identity"),
    ] {
        let (status, answer) = refusal(post(body, encoding).await.unwrap()).await;
        assert_eq!((status, answer.code), (400, RefusalCode::BadRequest), "{encoding}");
    }
    // The server may hang up before all of it is sent: either way it is not taken.
    if let Ok(response) = post(vec![b' '; MAX_BODY + 1], "identity").await {
        assert_eq!(response.status(), 413);
    }

    let (status, answer) = {
        let mut batch = gateway.batch(1, 2);
        batch.entries.swap(0, 1);
        refusal(post(serde_json::to_vec(&batch).unwrap(), "identity").await.unwrap()).await
    };
    assert_eq!((status, answer.code), (400, RefusalCode::BadRequest));
    let (status, answer) = refusal(gateway.send(&at, 3, 4).await).await;
    assert_eq!((status, answer.code), (409, RefusalCode::OutOfSequence));
    assert_eq!(answer.watermark.unwrap().stored, Seq(0));
    let mut batch = gateway.batch(1, 1);
    batch.chain_before = Digest([1; 32]);
    let (status, answer) =
        refusal(post(serde_json::to_vec(&batch).unwrap(), "identity").await.unwrap()).await;
    assert_eq!((status, answer.code), (409, RefusalCode::Fork));
    assert_eq!(answer.watermark.unwrap().chain, Chain::genesis(gateway.journal).hash);

    for (path, expected) in [
        ("/v1/groups/main/journals/nonsense", 400),
        ("/v1/groups/main/controllers/nonsense/last", 400),
        ("/v1/groups/main/controllers/uhppote-1/last?at_most=x", 400),
        ("/v2", 404),
        ("/", 404),
    ] {
        let response = gateway.http.get(format!("https://{at}{path}")).send().await.unwrap();
        let (status, answer) = refusal(response).await;
        assert_eq!(status, expected, "{path}: {}", answer.message);
    }
    let url = format!("https://{at}/v1/role");
    assert_eq!(gateway.http.delete(url).send().await.unwrap().status(), 405);
    let url = format!("https://{at}/v1/groups/main/transactions?limit=5001");
    assert_eq!(pair.operator().get(url).send().await.unwrap().status(), 400);

    let url = format!("https://{at}/v1/admin/audit?limit=100");
    let audit: AuditPage = pair.operator().get(url).send().await.unwrap().json().await.unwrap();
    assert!(audit.items.iter().any(|line| line.event == "fork" && line.actor == "hall"));
    running.stop().await;
}

#[tokio::test]
async fn a_standby_answers_with_the_role_document() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    let (at, mut gateway) = (pair.address("b"), pair.gateway("hall"));
    gateway.swipe(1);
    let journal = format!("https://{at}/v1/groups/main/journals/{}", gateway.journal);
    let last = format!("https://{at}/v1/groups/main/controllers/{BOARD}/last");
    for response in [
        gateway.send(&at, 1, 1).await,
        gateway.http.get(journal).send().await.unwrap(),
        gateway.http.get(last).send().await.unwrap(),
    ] {
        let (status, answer) = refusal(response).await;
        assert_eq!((status, answer.code), (421, RefusalCode::NotActive));
        assert_eq!(pair.verified(&answer.role.unwrap()).active, "a");
    }
    let url = format!("https://{at}/v1/admin/status");
    let status: Status = pair.operator().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((status.state.as_str(), status.counts.transactions), ("standby", 0));
    b.stop().await;
    a.stop().await;
}

/// Invariant 8: a document is worth what its signature is worth.
#[tokio::test]
async fn a_role_document_that_no_server_signed_changes_nothing() {
    let pair = Pair::new();
    let a = serve::start(&pair.a).await.unwrap();
    let (at, mut gateway) = (pair.address("a"), pair.gateway("hall"));
    let url = format!("https://{at}/v1/role");
    let genuine: SignedRole = gateway.http.get(&url).send().await.unwrap().json().await.unwrap();
    for (seq, term) in [8, u64::MAX >> 1, u64::MAX].into_iter().enumerate() {
        let text = genuine.document.replace("\"role_term\":1", &format!("\"role_term\":{term}"));
        assert_ne!(text, genuine.document);
        let forged = SignedRole { document: text, ..genuine.clone() };
        let (status, answer) =
            refusal(gateway.http.post(&url).json(&forged).send().await.unwrap()).await;
        assert_eq!((status, answer.code), (400, RefusalCode::BadRequest), "{term}");
        gateway.role = Some(forged);
        gateway.swipe(1);
        let stored: Watermark = gateway.send(&at, seq + 1, seq + 1).await.json().await.unwrap();
        assert_eq!((stored.stored, stored.role_term), (Seq(seq as u64 + 1), RoleTerm(1)));
    }
    let after: SignedRole = gateway.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(after, genuine);
    a.stop().await;
}

#[tokio::test]
async fn the_stream_tells_the_role_at_once_and_at_each_change() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    let gateway = pair.gateway("hall");
    let url = format!("https://{}/v1/role/stream", pair.address("a"));
    let response = gateway.http.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    let mut read_until = async |wanted: &str| {
        while !text.contains(wanted) {
            let chunk = tokio::time::timeout(crate::common::PATIENCE, chunks.next()).await.unwrap();
            text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
        text.clone()
    };
    read_until("\n\n").await;
    read_until(": alive").await;

    let body = serde_json::json!({"to": "b"});
    let url = format!("https://{}/v1/admin/failover", pair.address("b"));
    // The stream tells of the stores that come to be in sync as well.
    read_until("copies\\\":2").await;
    assert!(pair.operator().post(url).json(&body).send().await.unwrap().status().is_success());
    let all = read_until("role_term\\\":2").await;
    let events: Vec<SignedRole> = all
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let mut active: Vec<String> = events.iter().map(|event| pair.verified(event).active).collect();
    active.dedup();
    assert_eq!(active, ["a", "b"]);
    assert!(all.contains("event: role"));
    // An open stream does not hold up the end.
    tokio::time::timeout(Duration::from_secs(4), a.stop()).await.unwrap();
    b.stop().await;
}

#[tokio::test]
async fn a_burst_of_overlapping_batches_is_stored_once() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let at = pair.address("a");
    let mut hall = pair.gateway("hall");
    hall.swipe(12);
    let sends: Vec<_> = (1..=12).map(|seq| hall.send(&at, 1, seq)).collect();
    for response in futures_util::future::join_all(sends).await {
        assert!(response.status().is_success());
    }
    let url = format!("https://{at}/v1/admin/status");
    let status: Status = pair.operator().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((status.counts.transactions, status.counts.doubles), (12, 0));
    running.stop().await;
}
