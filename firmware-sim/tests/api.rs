//! The control API, by the client that the command line uses and by raw HTTP.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::net::SocketAddr;

use common::*;
use postern_protocol::uhppote::NEWEST;
use postern_sim::api;
use postern_sim::client::{ClientError, call};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Api {
    sim: Sim,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Api {
    async fn start() -> Self {
        let sim = Sim::start(TWO_BOARDS).await;
        let listener = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(api::serve(listener, sim.running.site().clone(), stop.clone()));
        Self { sim, address, stop }
    }

    async fn get(&self, path: &str) -> Value {
        call(self.address, path, None).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        call(self.address, path, Some(body)).await.unwrap()
    }

    /// The code of a refusal and its status.
    async fn refused(&self, path: &str, body: Option<Value>) -> (u16, String) {
        match call(self.address, path, body).await {
            Err(ClientError::Refused { status, refusal }) => {
                assert!(!refusal.message.is_empty() && !refusal.hint.is_empty());
                (status, refusal.code)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    async fn end(self) {
        self.stop.cancel();
        self.sim.stop().await;
    }
}

fn kinds(reply: &Value) -> Vec<&str> {
    assert_eq!(reply["schema"], "postern-sim.events.v1");
    reply["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_status_shows_every_controller() {
    let api = Api::start().await;
    let client = Client::of(&api.sim, SERIAL).await;
    client.ask(open_door(SERIAL, 1)).await;
    client.send(b"garbage").await;
    client.ask(get_time(SERIAL)).await;

    let status = api.get("/status").await;
    assert_eq!(status["schema"], "postern-sim.status.v1");
    assert_eq!(status["ledger"]["lines"], 1);
    assert_eq!(status["people"], json!({"rate": 0.0, "swipes": 0}));
    let controllers = status["controllers"].as_array().unwrap();
    assert_eq!(controllers.len(), 2);
    let one = &controllers[1];
    assert_eq!(one["serial"], SERIAL);
    assert_eq!(one["controller"], "uhppote-405419896");
    assert_eq!(one["address"], api.sim.address(SERIAL).to_string());
    assert_eq!(one["port"], api.sim.address(SERIAL).port());
    for (field, value) in [
        ("life", 0),
        ("oldest", 1),
        ("newest", 1),
        ("stored", 1),
        ("capacity", 64),
        ("generated", 1),
        ("cards", 24),
        ("frames_received", 3),
        ("frames_ignored", 1),
        ("replies", 2),
        ("pushes", 0),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert_eq!(controllers[0]["newest"], 0);
    let detail = api.get(&format!("/controllers/{SERIAL}")).await;
    assert_eq!(detail["schema"], "postern-sim.controller.v1");
    assert_eq!((&detail["newest"], &detail["settings"]["interlock"]), (&json!(1), &json!(0)));
    api.end().await;
}

#[tokio::test]
async fn what_happens_at_the_doors_is_recorded_and_answered() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    let swipe = api.post(&at("swipe"), json!({"card": 8_165_501, "door": 2})).await;
    assert_eq!(kinds(&swipe), ["swipe"]);
    let swipe = json!({"card": 1, "door": 4, "direction": "out"});
    let denied = api.post(&at("swipe"), swipe).await;
    let client = Client::of(&api.sim, SERIAL).await;
    let event = client.event(SERIAL, NEWEST).await;
    assert_eq!((event.index, event.card, event.door, event.direction), (2, 1, 4, 2));
    assert_eq!(denied["events"][0]["raw"].as_str().unwrap()[..8], *"02000000");

    assert_eq!(kinds(&api.post(&at("force-door"), json!({"door": 1})).await), ["forced"]);
    assert_eq!(kinds(&api.post(&at("hold-door"), json!({"door": 1})).await), ["held"]);
    assert!(kinds(&api.post(&at("button"), json!({"door": 1})).await).is_empty());
    assert_eq!(kinds(&api.post(&at("power-cycle"), json!({})).await), ["power-on"]);
    assert_eq!(api.sim.lines().len(), 5);

    let reset = api.post(&at("reset"), json!({})).await;
    assert_eq!(reset, json!({"schema": "postern-sim.reset.v1", "life": 1}));
    let status = api.get(&format!("/controllers/{SERIAL}")).await;
    assert_eq!((&status["stored"], &status["generated"]), (&json!(0), &json!(5)));
    api.end().await;
}

#[tokio::test]
async fn many_swipes_at_once_overflow_the_ring() {
    let api = Api::start().await;
    let reply = api.post(&format!("/controllers/{SERIAL}/generate"), json!({"count": 1_000})).await;
    assert_eq!(
        reply,
        json!({"schema": "postern-sim.generated.v1", "swipes": 1000, "events": 1000, "oldest": 945, "newest": 1000})
    );
    assert_eq!(api.sim.lines().len(), 1_000);
    api.end().await;
}

#[tokio::test]
async fn faults_and_clocks_are_set_and_taken_back() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    let client = Client::of(&api.sim, SERIAL).await;
    let reply = api.post(&at("faults"), json!({"deaf": true, "delay_ms": 5})).await;
    assert_eq!((&reply["faults"]["deaf"], &reply["faults"]["drop"]), (&json!(true), &json!(0.0)));
    client.send(&get_time(SERIAL).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    api.post(&at("faults"), json!({})).await;
    client.ask(get_time(SERIAL)).await;

    assert_eq!(api.post(&at("clock"), json!({"unset": true})).await["clock"], "");
    let shown = api.post(&at("clock"), json!({"offset_s": -86_400})).await;
    assert_eq!(shown["clock"].as_str().unwrap().len(), 19);
    api.end().await;
}

#[tokio::test]
async fn people_come_and_go() {
    let api = Api::start().await;
    api.post("/people", json!({"rate": 1_000.0})).await;
    let people = api.sim.running.site().people();
    until("people swipe", || people.look().1 > 20).await;
    let stopped = api.post("/people", json!({"rate": 0})).await;
    assert_eq!(stopped["rate"], 0.0);
    let lines = u64::try_from(api.sim.lines().len()).unwrap();
    assert_eq!(stopped["swipes"], lines);
    assert_eq!(api.get("/status").await["people"]["swipes"], lines);
    api.end().await;
}

#[tokio::test]
async fn every_refusal_is_json_with_a_status_of_its_own() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    for (path, body, status, code) in [
        ("/nothing".to_owned(), None, 404, "not-found"),
        ("/controllers/1".to_owned(), None, 404, "no-such-controller"),
        ("/controllers/x/reset".to_owned(), Some(json!({})), 404, "no-such-controller"),
        (at("reset"), None, 405, "method-not-allowed"),
        ("/status".to_owned(), Some(json!({})), 405, "method-not-allowed"),
        (at("swipe"), Some(json!({"card": 1})), 400, "bad-request"),
        (at("swipe"), Some(json!({"card": 1, "door": 1, "x": 1})), 400, "bad-request"),
        (at("swipe"), Some(json!({"card": -1, "door": 1})), 400, "bad-request"),
        (at("swipe"), Some(json!({"card": 1, "door": 5})), 400, "bad-value"),
        (at("faults"), Some(json!({"drop": 1.5})), 400, "bad-value"),
        (at("faults"), Some(json!({"dorp": 1})), 400, "bad-request"),
        (at("clock"), Some(json!({})), 400, "bad-request"),
        (at("generate"), Some(json!({"count": 10_000_001})), 400, "bad-value"),
        (at("reset"), Some(json!({"x": "y".repeat(20_000)})), 400, "bad-request"),
        ("/people".to_owned(), Some(json!({"rate": -1})), 400, "bad-value"),
    ] {
        let refused = api.refused(&path, body).await;
        assert_eq!(refused, (status, code.to_owned()), "{path}");
    }
    assert!(api.sim.lines().is_empty(), "a refused request recorded something");
    api.end().await;
}

#[tokio::test]
async fn what_a_web_page_could_send_is_refused() {
    let api = Api::start().await;
    let reset = format!("POST /controllers/{SERIAL}/reset HTTP/1.1\r\nConnection: close\r\n");
    for headers in [
        "Host: evil.example\r\n",
        "Host: evil.example:80\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n",
        "Host: 127.0.0.1\r\nOrigin: null\r\n",
    ] {
        let reply = api.raw(&format!("{reset}{headers}\r\n")).await;
        assert!(reply.starts_with("HTTP/1.1 403 "), "{headers}{reply}");
        assert!(reply.contains("\"code\":\"refused-"), "{reply}");
    }
    assert!(api.sim.lines().is_empty());
    for host in ["127.0.0.1", "localhost:1234", "[::1]:1234"] {
        let reply = api
            .raw(&format!("GET /status HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n"))
            .await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
    api.end().await;
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let error = api::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("loopback only"), "{error}");
}
