//! `postern controllers listener`: where a board pushes its events to. A board has one listener: what is
//! set here, another host no longer gets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use postern_protocol::uhppote::PORT;
use serde_json::{Value, json};

use super::super::confirm::confirm;
use super::super::{Failure, print};
use super::board::{Board, Session, ask};
use super::say;
use crate::config::{Outline, not_one_board};
use crate::exit;

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
        Ok(address) => match not_one_board(IpAddr::V4(*address.ip())) {
            Some(what) => Err(format!("{} is {what}: a board pushes to one host", address.ip())),
            None => Ok(address),
        },
        Err(_) => Err("write IP:PORT, such as 192.168.1.10:60001, or none".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { board, set, interval, dry_run, yes } = arguments;
    if *set == Some(NONE) && *interval != 0 {
        return Err(Failure {
            code: exit::USAGE,
            message: "--interval repeats what is pushed, and with --set none nothing is\nhint: leave --interval out, or give an IP:PORT".to_owned(),
        });
    }
    let mut session = Session::open(board)?;
    let mut report = session.report("postern.controller.listener.v1");
    let before = read(&mut session)?;
    report["listener"] = listener(before);
    let Some(to) = set else { return print(board.common.json, &report, text) };

    report["wanted"] = listener((*to, *interval));
    report["dry_run"] = json!(dry_run);
    // Without a configuration, as with --address, there is nothing to compare with.
    let outline = Outline::read(&board.common.config)
        .and_then(|text| Outline::check(&board.common.config, &text))
        .ok();
    let note = outline.and_then(|outline| note(*to, outline.listen));
    report["note"] = json!(note);
    if let Some(note) = &note {
        say(&format!("note: {note}"));
    }
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

/// What the gateway will not hear; none where the board will push to it.
fn note(to: SocketAddrV4, listen: Option<SocketAddr>) -> Option<String> {
    match listen {
        _ if to == NONE => None,
        None => Some(format!(
            "the gateway does not listen for events: its configuration has no `listen`; with `listen = \"{to}\"` it would be woken at once"
        )),
        Some(listen) => {
            let is_it = listen.port() == to.port()
                && (listen.ip().is_unspecified() || listen.ip() == IpAddr::V4(*to.ip()));
            (!is_it).then(|| {
                format!("the gateway listens on {listen}, not on {to}: it will not hear this board")
            })
        }
    }
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
        assert!(target("224.0.0.1:60001").unwrap_err().contains("multicast"));
        assert!(target("255.255.255.255:60001").unwrap_err().contains("broadcast"));
    }

    #[test]
    fn nothing_cannot_be_repeated() {
        use clap::Parser;
        #[derive(Parser)]
        struct Whole {
            #[command(flatten)]
            arguments: Arguments,
        }
        // Refused before anybody is asked.
        let words = "listener 7 --address 127.0.0.1:9 --set none --interval 3".split(' ');
        let arguments = Whole::try_parse_from(words).ok().unwrap().arguments;
        assert_eq!(run(&arguments).unwrap_err().code, exit::USAGE);
    }

    #[test]
    fn a_listener_that_is_not_the_gateways_is_noted() {
        let note = |to: &str, listen: Option<&str>| {
            note(to.parse().unwrap(), listen.map(|listen| listen.parse().unwrap()))
        };
        assert_eq!(note("192.0.2.1:60001", Some("192.0.2.1:60001")), None);
        assert_eq!(note("192.0.2.1:60001", Some("0.0.0.0:60001")), None);
        assert_eq!(note("0.0.0.0:0", None), None);
        for listen in ["192.0.2.1:60002", "192.0.2.2:60001", "0.0.0.0:60002"] {
            let said = note("192.0.2.1:60001", Some(listen)).unwrap();
            assert!(said.contains(listen) && said.contains("not hear"), "{said}");
        }
        assert!(note("192.0.2.1:60001", None).unwrap().contains("no `listen`"));
    }
}
