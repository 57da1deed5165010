//! The control API, by the client that the command line uses and by raw HTTP.

use std::net::SocketAddr;

use crate::common::*;
use postern_protocol::uhppote::{NEWEST, OLDEST, Response, TYPE_OVERWRITTEN};
use postern_sim::api;
use postern_sim::client::{ClientError, call};
use postern_sim::ledger::Line;
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

async fn call_owned(address: SocketAddr, path: String, body: Value) -> Value {
    call(address, &path, Some(body)).await.unwrap()
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
async fn a_clock_can_be_fast_and_deaf_to_summer_time_at_once() {
    let api = Api::start().await;
    let clock = format!("/controllers/{SERIAL}/clock");
    let both = json!({"offset_s": 86_400, "drift_ppm": 100_000_000, "summer_time": false});
    let first = api.post(&clock, both).await["clock"].as_str().unwrap().to_owned();
    // A hundred times too fast: the seconds of this test are minutes.
    let client = Client::of(&api.sim, SERIAL).await;
    let begun = tokio::time::Instant::now();
    loop {
        let Response::GetTime(shown) = client.ask(get_time(SERIAL)).await else { panic!() };
        if shown.datetime.to_string()[..18] > first[..18] {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "it does not run fast");
    }
    assert!(begun.elapsed().as_secs() < 2, "ten seconds took {:?}", begun.elapsed());
    api.post(&clock, json!({"drift_ppm": 0})).await;
    let right = api.post(&clock, json!({"unset": false})).await;
    assert!(right["clock"].as_str().unwrap() < first.as_str(), "a day less");
    api.end().await;
}

#[tokio::test]
async fn a_trap_overwrites_a_chunk_in_the_middle_of_being_read() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    let client = Client::of(&api.sim, SERIAL).await;
    api.post(&at("generate"), json!({"count": 64})).await;
    let armed = json!({"index": 10, "then": {"generate": 1}});
    let reply = api.post(&at("trap"), armed.clone()).await;
    assert_eq!(reply, json!({"schema": "postern-sim.trap.v1", "trap": armed}));
    assert_eq!(api.get(&format!("/controllers/{SERIAL}")).await["trap"], armed);

    assert_eq!(client.event(SERIAL, 9).await.index, 9);
    assert_eq!(client.event(SERIAL, 10).await.event_type, TYPE_OVERWRITTEN);
    assert_eq!(client.event(SERIAL, OLDEST).await.index, 17);
    assert_eq!(client.event(SERIAL, NEWEST).await.index, 65);
    assert_eq!(api.get("/status").await["controllers"][1]["trap"], Value::Null);
    assert_eq!(client.event(SERIAL, 20).await.index, 20);
    assert_eq!(api.sim.lines().len(), 65, "it sprang once");

    api.post(&at("trap"), json!({"index": 30, "then": "reset"})).await;
    assert_eq!(client.event(SERIAL, 29).await.index, 29);
    assert_eq!(client.event(SERIAL, 30).await.event_type, 0);
    assert_eq!(api.get("/status").await["controllers"][1]["life"], 1);
    api.end().await;
}

#[tokio::test]
async fn a_trap_can_be_taken_away_in_two_ways() {
    let api = Api::start().await;
    let trap = format!("/controllers/{SERIAL}/trap");
    let armed = json!({"index": 1, "then": "reset"});
    api.post(&trap, armed.clone()).await;
    assert_eq!(api.post(&trap, json!({})).await["trap"], Value::Null);
    api.post(&trap, armed).await;
    let delete = format!("DELETE {trap} HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\n\r\n");
    let reply = api.raw(&delete).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\"trap\":null}"), "{reply}");
    Client::of(&api.sim, SERIAL).await.event(SERIAL, 1).await;
    assert!(api.sim.lines().is_empty());
    api.end().await;
}

#[tokio::test]
async fn a_replaced_board_has_a_life_of_its_own() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    let client = Client::of(&api.sim, SERIAL).await;
    api.post(&at("generate"), json!({"count": 10})).await;
    client.ask(record_special_events(SERIAL)).await;
    let reply = api.post(&at("replace"), json!({"preload": 100})).await;
    let wanted = json!({"schema": "postern-sim.replaced.v1", "life": 1, "oldest": 49, "newest": 100, "clock": ""});
    assert_eq!(reply, wanted);
    assert_eq!(client.event(SERIAL, NEWEST).await.index, 100);
    assert!(!client.event(SERIAL, NEWEST).await.timestamp.is_set(), "nobody has set its clock");
    let status = api.get(&format!("/controllers/{SERIAL}")).await;
    assert_eq!((&status["record_special_events"], &status["cards"]), (&json!(false), &json!(24)));
    let restarts = api.sim.lines().iter().filter(|line| matches!(line, Line::Restart(_))).count();
    assert_eq!((api.sim.lines().len(), restarts), (111, 1));

    let reply = api.post(&at("replace"), json!({"clock": "right"})).await;
    assert_eq!((&reply["life"], &reply["newest"]), (&json!(2), &json!(0)));
    assert_eq!(reply["clock"].as_str().unwrap().len(), 19);
    api.end().await;
}

#[tokio::test]
async fn no_request_is_answered_while_a_board_is_replaced() {
    let api = Api::start().await;
    let client = Client::of(&api.sim, SERIAL).await;
    let path = format!("/controllers/{SERIAL}/replace");
    let replace = tokio::spawn(call_owned(api.address, path, json!({"preload": 5_000})));
    while !replace.is_finished() {
        client.send(&get_event(SERIAL, NEWEST).encode()).await;
        if let Some(reply) = client.receive(std::time::Duration::from_millis(5)).await {
            let Ok(Response::GetEvent(event)) = Response::decode(&reply) else { panic!() };
            assert!([0, 5_000].contains(&event.index), "it answered with {}", event.index);
        }
    }
    assert_eq!(replace.await.unwrap()["newest"], 5_000);
    assert_eq!(client.event(SERIAL, NEWEST).await.index, 5_000);
    api.end().await;
}

#[tokio::test]
async fn a_competing_host_moves_the_cursor_within_the_log() {
    let api = Api::start().await;
    let at = |what: &str| format!("/controllers/{SERIAL}/{what}");
    api.post(&at("generate"), json!({"count": 10})).await;
    for (index, event_index, changed) in [(7, 7, true), (7, 7, false), (11, 7, false), (0, 0, true)]
    {
        let reply = api.post(&at("event-index"), json!({"index": index})).await;
        assert_eq!(reply["schema"], "postern-sim.event-index.v1");
        assert_eq!(
            (&reply["event_index"], &reply["changed"]),
            (&json!(event_index), &json!(changed))
        );
    }
    assert_eq!(api.sim.lines().len(), 10);
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
        (at("faults"), Some(json!({"reorder": 2})), 400, "bad-value"),
        (at("clock"), Some(json!({})), 400, "bad-request"),
        (at("clock"), Some(json!({"offset_s": 1, "unset": true})), 400, "bad-request"),
        (at("clock"), Some(json!({"drift_ppm": 1_000_000_001})), 400, "bad-value"),
        (at("trap"), Some(json!({"index": 1})), 400, "bad-request"),
        (at("trap"), Some(json!({"index": 1, "then": "explode"})), 400, "bad-request"),
        (at("trap"), Some(json!({"index": 1, "then": {"generate": 10_001}})), 400, "bad-value"),
        (at("replace"), Some(json!({"preload": 10_000_001})), 400, "bad-value"),
        (at("replace"), Some(json!({"clock": "wrong"})), 400, "bad-request"),
        (at("event-index"), Some(json!({})), 400, "bad-request"),
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
