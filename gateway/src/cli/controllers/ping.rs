//! `postern controllers ping`: requests one after the other, and how long each takes.

use std::time::Duration;

use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::message::request::GetController;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::{Failure, print, show};
use super::board::{Board, failed, find, identify, report, runtime};
use super::trace;
use crate::driver::uhppote::Target;
use crate::driver::uhppote::client::Client;
use crate::exit;

/// The most requests of one command: minutes on a slow line.
pub(super) const MAX: i64 = 10_000;

/// How long somebody else has to say that he is there, where nobody answers as this board.
const DIAGNOSIS: Duration = Duration::from_millis(300);

pub(super) fn run(board: &Board, count: u32) -> Result<(), Failure> {
    let (target, _) = find(board)?;
    trace::start(board.line.trace_wire);
    let runtime = runtime()?;
    let (mut times, foreign) = runtime.block_on(ping(target, count));
    times.sort_unstable();
    let mut value = report(target, "postern.controller.ping.v1");
    let answered = u32::try_from(times.len()).unwrap_or(count);
    let ms = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1_000.0);
    value["sent"] = json!(count);
    value["answered"] = json!(answered);
    value["loss_percent"] = json!(f64::from(count - answered) * 100.0 / f64::from(count));
    value["min_ms"] = json!(ms(times.first()));
    value["median_ms"] = json!(ms(times.get(times.len() / 2)));
    value["max_ms"] = json!(ms(times.last()));
    value["foreign"] = json!(foreign);
    value["reason"] = json!(null);
    if answered > 0 {
        return print(board.common.json, &value, text);
    }
    // Why, in a sentence.
    let target = Target { timeout: target.timeout.min(DIAGNOSIS), ..target };
    let error = runtime.block_on(identify(target)).err();
    let message = error.map_or_else(
        || {
            format!(
                "controller {} answered only now\nhint: try again with a higher --timeout-ms",
                target.serial
            )
        },
        |error| failed(target, error).message,
    );
    // Without the hint: that is for people.
    value["reason"] = json!(message.split("\nhint: ").next());
    print(board.common.json, &value, text)?;
    Err(Failure { code: exit::CONTROLLER, message })
}

/// How long each answer took, and how many frames came that were none.
async fn ping(target: Target, count: u32) -> (Vec<Duration>, u64) {
    let mut client = Client::new(target);
    let request = Request::GetController(GetController { controller: target.serial });
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        if client.ask_once(&request).await.is_ok() {
            times.push(begun.elapsed());
        }
    }
    (times, client.counters().refused())
}

fn text(report: &Value) -> String {
    let t = |key: &str| show::text(&report[key]);
    let mut out = format!(
        "{} at {} over {}\n{} sent, {} answered, {} % lost\n",
        t("controller"),
        t("address"),
        t("transport"),
        t("sent"),
        t("answered"),
        report["loss_percent"].as_f64().unwrap_or_default().round(),
    );
    if !report["min_ms"].is_null() {
        let ms = |key: &str| show::number(&report[key]);
        let (min, median, max) = (ms("min_ms"), ms("median_ms"), ms("max_ms"));
        out = format!("{out}round trip: min {min} ms, median {median} ms, max {max} ms\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        board: Board,
    }

    /// Other commands said so with 15, this one with 1.
    #[test]
    fn silence_has_the_exit_code_of_a_board_that_does_not_answer() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let words = ["ping", "7", "--address", &address, "--timeout-ms", "50"];
        let board = Whole::try_parse_from(words).ok().unwrap().board;
        let failure = run(&board, 1).unwrap_err();
        assert_eq!(failure.code, exit::CONTROLLER);
        assert!(failure.message.contains("7 does not answer"), "{}", failure.message);
    }
}
