//! `postern controllers listener`: where a board pushes its events to. A board has one listener: what is
//! set here, another host no longer gets.

use std::net::{Ipv4Addr, SocketAddrV4};

use postern_protocol::uhppote::PORT;
use serde_json::{Value, json};

use super::super::confirm::confirm;
use super::super::{Failure, print};
use super::board::{Board, Session, ask};
use super::say;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    board: Board,
    /// Push events there: the gateway's `listen`, with an address that the board reaches; or `none`.
    #[arg(long, value_name = "IP:PORT", value_parser = target)]
    set: Option<SocketAddrV4>,
    /// Repeat the newest event every so many seconds, up to 255; 0 does not.
    #[arg(long, value_name = "S", requires = "set", default_value_t = 0)]
    interval: u8,
    /// Show what --set would do; change nothing.
    #[arg(long, requires = "set")]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, requires = "set")]
    yes: bool,
}

const NONE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

fn target(text: &str) -> Result<SocketAddrV4, String> {
    if text == "none" {
        return Ok(NONE);
    }
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.port() == PORT => {
            Err(format!("port {PORT} is the boards' own; boards usually push to port 60001"))
        }
        Ok(address) if address == NONE => Ok(NONE),
        Ok(address) if address.ip().is_unspecified() || address.port() == 0 => {
            Err("a board needs an address that it reaches, such as 192.168.1.10:60001".to_owned())
        }
        Ok(address) => Ok(address),
        Err(_) => Err("write IP:PORT, such as 192.168.1.10:60001, or none".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { board, set, interval, dry_run, yes } = arguments;
    let mut session = Session::open(board)?;
    let mut report = session.report("postern.controller.listener.v1");
    let before = read(&mut session)?;
    report["listener"] = listener(before);
    let Some(to) = set else { return print(board.common.json, &report, text) };

    report["wanted"] = listener((*to, *interval));
    report["dry_run"] = json!(dry_run);
    if *dry_run {
        return print(board.common.json, &report, text);
    }
    let serial = session.serial();
    say(&format!("listener of {serial}: {}", sentence(&report["listener"])));
    say(&format!("to be:  {}", sentence(&report["wanted"])));
    confirm(*yes, "Set it?")?;
    let done =
        ask!(session, SetListener { address: *to.ip(), port: to.port(), interval: *interval })?;
    let after = read(&mut session)?;
    if !done.ok || after != (*to, *interval) {
        return Err(session.refused("the listener"));
    }
    report["after"] = listener(after);
    print(board.common.json, &report, text)
}

fn read(session: &mut Session) -> Result<(SocketAddrV4, u8), Failure> {
    let answer = ask!(session, GetListener {})?;
    Ok((SocketAddrV4::new(answer.address, answer.port), answer.interval))
}

fn listener((address, interval): (SocketAddrV4, u8)) -> Value {
    let is_set = !address.ip().is_unspecified() && address.port() != 0;
    json!({ "address": is_set.then_some(address), "interval_s": interval })
}

fn sentence(listener: &Value) -> String {
    let repeated = match listener["interval_s"].as_u64() {
        Some(0) | None => String::new(),
        Some(seconds) => format!(", the newest again every {seconds} s"),
    };
    match listener["address"].as_str() {
        None => "events are pushed nowhere".to_owned(),
        Some(address) => format!("events are pushed to {address}{repeated}"),
    }
}

fn text(report: &Value) -> String {
    let mut out = format!("{}\n", sentence(&report["listener"]));
    if report["dry_run"] == true {
        out = format!("{out}would be: {}; nothing was changed\n", sentence(&report["wanted"]));
    }
    if report["after"].is_object() {
        out = format!("before: {out}now:    {}\n", sentence(&report["after"]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_could_not_work_is_refused_with_the_reason() {
        assert_eq!(target("none"), Ok(NONE));
        assert_eq!(target("192.0.2.1:60001").unwrap().port(), 60_001);
        assert!(target("192.0.2.1:60000").unwrap_err().contains("boards' own"));
        assert!(target("0.0.0.0:60001").unwrap_err().contains("reaches"));
        assert!(target("hall:60001").unwrap_err().contains("IP:PORT"));
    }
}
