//! The control API of Modbus units, and what it refuses of them and of others.

use std::net::SocketAddr;

use crate::common::*;
use postern_sim::api;
use postern_sim::client::{ClientError, call};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A UHPPOTE board, a unit on a serial device and one behind a TCP port.
const SITE: &str = r#"
[[controller]]
serial = 405419896
[[line]]
name = "hall"
protocol = "modbus"
pty = "hall.tty"
[[line.unit]]
unit = 3
serial = 70203
profile = "inveo-rfid"
[[line]]
name = "gate"
protocol = "modbus"
tcp = "127.0.0.1:0"
[[line.unit]]
unit = 7
serial = 70107
profile = "relay-board"
"#;

async fn start() -> (Sim, SocketAddr, CancellationToken) {
    let sim = Sim::start(SITE).await;
    let listener = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(api::serve(listener, sim.running.site().clone(), stop.clone()));
    (sim, address, stop)
}

#[tokio::test]
async fn units_are_shown_with_their_doors_and_profiles() {
    let (sim, address, stop) = start().await;
    let post = async |path: &str, body: Value| call(address, path, Some(body)).await.unwrap();
    let shown = post("/controllers/70203/swipe", json!({"card": 77, "door": 1})).await;
    assert_eq!(shown["schema"], "postern-sim.shown.v1");
    let line = &shown["shown"][0];
    assert_eq!((&line["what"], &line["card"]), (&json!("card-read"), &json!(77)));
    assert_eq!((&line["source"], &line["number"]), (&json!({"reader": 1}), &Value::Null));
    post("/controllers/70203/swipe", json!({"card": 78, "reader": 1})).await;
    let point = json!({"door": 2, "point": "contact", "on": true});
    post("/controllers/70107/door-point", point).await;
    let faults = json!({"late": 0.5, "late_ms": 20, "requests": 9});
    let set = post("/controllers/70107/unit-faults", faults).await;
    assert_eq!((&set["faults"]["requests"], &set["faults"]["deaf"]), (&json!(9), &json!(0.0)));

    let status = call(address, "/status", None).await.unwrap();
    let serials: Vec<_> =
        status["controllers"].as_array().unwrap().iter().map(|each| &each["serial"]).collect();
    assert_eq!(serials, [405_419_896, 70_203, 70_107]);
    let reader = call(address, "/controllers/70203", None).await.unwrap();
    for (field, value) in [
        ("controller", json!("modbus-70203")),
        ("line", json!("hall")),
        ("unit", json!(3)),
        ("model", json!("Inveo RFID")),
        ("shown", json!(2)),
        ("lost", json!(1)),
        ("numbers", json!([2])),
        ("doors", json!([{"door": 1, "contact": false, "relay": false, "button": false}])),
        ("requests", json!(0)),
    ] {
        assert_eq!(reader[field], value, "{field}");
    }
    assert_eq!(reader["settings"]["readers"][0]["card"]["address"], 1_000);
    let board = call(address, "/controllers/70107", None).await.unwrap();
    assert_eq!((&board["doors"][1]["contact"], &board["line"]), (&json!(true), &json!("gate")));
    assert_eq!(board["faults"], set["faults"]);
    let line = call(address, "/lines/hall", None).await.unwrap();
    assert_eq!((&line["stations"][0]["serial"], &line["baud"]), (&json!(70_203), &json!(115_200)));
    stop.cancel();
    sim.stop().await;
}

#[tokio::test]
async fn what_is_no_business_of_a_controller_is_refused_and_does_nothing() {
    let (sim, address, stop) = start().await;
    let board = "/controllers/405419896";
    let unit = "/controllers/70203";
    for (path, body, status, code) in [
        (format!("{unit}/force-door"), json!({"door": 1}), 409, "other-kind"),
        (format!("{unit}/hold-door"), json!({"door": 1}), 409, "other-kind"),
        (format!("{unit}/button"), json!({"door": 1}), 409, "other-kind"),
        (format!("{unit}/reset"), json!({}), 409, "other-kind"),
        (format!("{unit}/faults"), json!({}), 409, "other-kind"),
        (format!("{unit}/clock"), json!({"unset": true}), 409, "other-kind"),
        (format!("{unit}/trap"), json!({}), 409, "other-kind"),
        (format!("{unit}/replace"), json!({}), 409, "other-kind"),
        (format!("{unit}/event-index"), json!({"index": 1}), 409, "other-kind"),
        (format!("{unit}/power-cut"), json!({"log": "kept"}), 409, "other-kind"),
        ("/lines/gate/faults".to_owned(), json!({}), 409, "other-kind"),
        (format!("{unit}/swipe"), json!({"card": 1}), 400, "bad-request"),
        (format!("{unit}/swipe"), json!({"card": 1, "door": 2}), 400, "bad-value"),
        (format!("{unit}/swipe"), json!({"card": 0, "door": 1}), 400, "bad-value"),
        (format!("{unit}/swipe"), json!({"card": -1, "door": 1}), 400, "bad-request"),
        (
            format!("{unit}/door-point"),
            json!({"door": 4, "point": "relay", "on": true}),
            400,
            "bad-value",
        ),
        (
            format!("{unit}/door-point"),
            json!({"door": 1, "point": "bell", "on": true}),
            400,
            "bad-request",
        ),
        (format!("{unit}/unit-faults"), json!({"deaf": 2.0}), 400, "bad-value"),
        (format!("{unit}/unit-faults"), json!({"mute": 1.0}), 400, "bad-request"),
        (format!("{board}/unit-faults"), json!({}), 409, "other-kind"),
        (
            format!("{board}/door-point"),
            json!({"door": 1, "point": "relay", "on": true}),
            409,
            "other-kind",
        ),
        (format!("{board}/swipe"), json!({"card": 1}), 400, "bad-request"),
        (format!("{board}/swipe"), json!({"card": 1, "door": 1, "reader": 1}), 400, "bad-request"),
        (format!("{board}/swipe"), json!({"card": 1_u64 << 32, "door": 1}), 400, "bad-value"),
        ("/controllers/5/unit-faults".to_owned(), json!({}), 404, "no-such-controller"),
    ] {
        match call(address, &path, Some(body.clone())).await {
            Err(ClientError::Refused { status: found, refusal }) => {
                assert_eq!((found, refusal.code.as_str()), (status, code), "{path} {body}");
                assert!(!refusal.message.is_empty() && !refusal.hint.is_empty());
            }
            other => panic!("{path} {body}: {other:?}"),
        }
    }
    assert_eq!(sim.lines().len(), 2, "both units have started, and that is all");
    stop.cancel();
    sim.stop().await;
}
