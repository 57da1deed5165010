//! Lines with stations, for `postern bus`: what was counted, and what is said on them now.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use postern_protocol::link::frame::{From, HEADER, Kind};
use postern_protocol::{ControllerId, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::answer::send;
use crate::board::{Board, BusLine, ControllerLine};
use crate::clock;
use crate::driver::link::{Heard, StationStats};

/// What was counted on each line.
pub(super) fn stats(board: &Board, at: Timestamp, now: Instant) -> Value {
    let controllers = board.controllers();
    let buses: Vec<Value> =
        board.buses().iter().map(|bus| bus_stats(bus, &controllers, at, now)).collect();
    json!({ "schema": "postern.bus.stats.v1", "now": clock::text(at), "buses": buses })
}

fn bus_stats(
    bus: &BusLine,
    controllers: &BTreeMap<ControllerId, ControllerLine>,
    at: Timestamp,
    now: Instant,
) -> Value {
    let stats = bus.stats.look();
    let counted = now.saturating_duration_since(stats.since);
    let ms = i64::try_from(counted.as_millis()).unwrap_or(i64::MAX);
    let sum = |of: fn(&StationStats) -> u64| stats.stations.iter().map(of).sum::<u64>();
    // Over TCP nobody knows how long a byte takes.
    let share = |busy: Duration| bus.baud.map(|_| percent(busy, counted));
    let stations = bus.stations.iter().zip(&stats.stations);
    let stations: Vec<Value> = stations
        .map(|((address, controller), seen)| {
            let counters = seen.counters;
            json!({
                "station": address,
                "controller": controller,
                "state": controllers.get(controller).map(|line| line.report.stage),
                "security": controllers.get(controller).map(|line| line.security),
                "sealed": seen.is_sealed,
                "room": seen.room,
                "share_percent": share(seen.busy),
                "requests": counters.requests,
                "replies": counters.replies,
                "timeouts": counters.timeouts,
                "repeats": counters.repeats,
                "broken": counters.broken,
                "stale": counters.stale,
                "unverified": counters.unverified,
                "refusals": counters.refusals,
                "sessions": counters.sessions,
                "bytes_sent": counters.bytes_sent,
                "bytes_received": counters.bytes_received,
            })
        })
        .collect();
    json!({
        "bus": bus.name,
        "transport": bus.transport,
        "address": bus.address,
        "baud": bus.baud,
        "since": clock::text(Timestamp(at.0.saturating_sub(ms))),
        "utilisation_percent": bus.baud.map(|_| stats.utilisation(now) * 100.0),
        "bytes_sent": sum(|station| station.counters.bytes_sent),
        "bytes_received": sum(|station| station.counters.bytes_received),
        "stations": stations,
    })
}

fn percent(part: Duration, all: Duration) -> f64 {
    if all.is_zero() { 0.0 } else { part.as_secs_f64() * 100.0 / all.as_secs_f64() }
}

/// A frame in JSON. What is in clear holds card numbers: its body stays away unless they are to be shown.
pub(crate) fn frame(heard: &Heard, show_cards: bool) -> Value {
    let mut value = json!({
        "schema": "postern.bus.frame.v1",
        "at": clock::text(heard.at),
        "from": null,
        "station": null,
        "kind": "broken",
        "sequence": null,
        "bytes": heard.bytes.len(),
        "meaning": heard.meaning,
        "hex": null,
        "masked": 0,
    });
    let header = match heard.header {
        Ok(header) => header,
        Err(error) => {
            // What is left of a frame in clear may hold a card number as well, so nothing of it is shown.
            value["meaning"] = json!(error.to_string());
            return value;
        }
    };
    value["from"] = json!(match header.from {
        From::Gateway => "gateway",
        From::Station => "station",
    });
    value["station"] = json!(header.address);
    value["kind"] = json!(kind(header.kind));
    value["sequence"] = json!(header.sequence);
    let shown = match header.kind {
        Kind::Plain if !show_cards => heard.bytes.len().min(HEADER),
        Kind::Plain | Kind::Hello | Kind::Open | Kind::Sealed | Kind::Refused => heard.bytes.len(),
    };
    value["hex"] = json!(hex(heard.bytes.get(..shown).unwrap_or_default()));
    value["masked"] = json!(heard.bytes.len() - shown);
    value
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => "hello",
        Kind::Open => "open",
        Kind::Sealed => "sealed",
        Kind::Plain => "plain",
        Kind::Refused => "refused",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Says that it listens, and then each frame on a line until the client is gone. A client that is slower
/// than the line is told how many frames it missed.
pub(super) async fn sniff(
    board: &Board,
    name: &str,
    show_cards: bool,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let buses = board.buses();
    let known: Vec<&str> = buses.iter().map(|bus| bus.name.as_str()).collect();
    let Some(bus) = buses.iter().find(|bus| bus.name == name) else {
        return send(write, &json!({ "listening": null, "buses": known })).await;
    };
    let mut tap = bus.tap.listen();
    send(write, &json!({ "listening": bus.name, "buses": known })).await?;
    let mut gone = [0];
    loop {
        // Cancel-safety: a frame is taken or it is not; of the client nothing but its end is awaited. On a
        // silent line a write would not notice that it went away.
        let heard = tokio::select! {
            heard = tap.recv() => heard,
            _ = read.read(&mut gone) => return Ok(()),
        };
        match heard {
            Ok(heard) => send(write, &frame(&heard, show_cards)).await?,
            Err(RecvError::Lagged(missed)) => {
                let note = json!({ "schema": "postern.bus.missed.v1", "missed": missed });
                send(write, &note).await?;
            }
            // The line's task is gone: the gateway stops.
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::link::frame::{FrameError, Header};

    use super::*;

    fn heard(kind: Kind) -> Heard {
        let header = Header { address: 5, from: From::Station, kind, sequence: 3 };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&[0xca, 0xfe]);
        let meaning = Some("1 event, 0 more".to_owned());
        Heard { at: Timestamp(1_500), from: From::Station, header: Ok(header), bytes, meaning }
    }

    #[test]
    fn what_is_in_clear_is_masked_unless_it_is_asked_for() {
        let sealed = frame(&heard(Kind::Sealed), false);
        assert_eq!(sealed["hex"], "8543cafe");
        assert_eq!(
            (&sealed["from"], &sealed["station"], &sealed["kind"], &sealed["sequence"]),
            (&json!("station"), &json!(5), &json!("sealed"), &json!(3))
        );
        assert_eq!(sealed["at"], "1970-01-01T00:00:01.5Z");
        let masked = frame(&heard(Kind::Plain), false);
        assert_eq!((&masked["hex"], &masked["masked"]), (&json!("8563"), &json!(2)));
        assert_eq!(masked["bytes"], 4);
        assert_eq!(frame(&heard(Kind::Plain), true)["hex"], "8563cafe");
        let broken = Heard { header: Err(FrameError::Crc), ..heard(Kind::Plain) };
        let broken = frame(&broken, true);
        assert_eq!((&broken["kind"], &broken["hex"]), (&json!("broken"), &Value::Null));
        assert_eq!(broken["meaning"], "wrong checksum");
    }
}
