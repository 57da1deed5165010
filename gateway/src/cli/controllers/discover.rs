//! `postern controllers discover`: a broadcast from each interface, and who answers it. What is found is
//! judged by a pure function; one task a socket gathers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use postern_protocol::uhppote::field::Mac;
use postern_protocol::uhppote::message::request::GetController;
use postern_protocol::uhppote::{FRAME, PORT, Request, Response};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::super::edit::{Edit, Section, Writing};
use super::super::{Failure, print, show};
use super::board::{Zone, runtime, zone};
use super::{interface, say, trace};
use crate::driver::uhppote::{Transport, bind, show_frame};
use crate::{clock, exit};

mod judge;

use judge::{Found, Judged, Known, Silent, judge, silent};

/// How often the question is sent within the wait: a datagram may be lost.
const ROUNDS: u32 = 2;

/// The most answers that are kept: more boards than any site has, each heard on a few interfaces.
const MAX_ANSWERS: usize = 16_384;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Ask from this address of this machine; may be repeated. All of its IPv4 addresses unless given.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = from)]
    interface: Vec<SocketAddrV4>,
    /// Ask this address; may be repeated, and may be a board's own, behind a router.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = to, default_value = "255.255.255.255:60000")]
    broadcast: Vec<SocketAddrV4>,
    /// How long to wait for answers, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    wait: u64,
    #[command(flatten)]
    writing: Writing,
    /// The zone that the clocks of the boards are set to, such as Europe/Berlin; for --write.
    #[arg(long, value_parser = zone)]
    zone: Option<Zone>,
    /// Show every frame on stderr.
    #[arg(long)]
    trace_wire: bool,
}

fn from(text: &str) -> Result<SocketAddrV4, String> {
    let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddrV4::new(ip, 0)));
    let address = address.map_err(|_| "write an IPv4 address of this machine".to_owned())?;
    if address.port() == PORT {
        return Err(format!(
            "port {PORT} is the boards' own: from there one reads one's own broadcasts as answers; leave the port out"
        ));
    }
    Ok(address)
}

fn to(text: &str) -> Result<SocketAddrV4, String> {
    let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddrV4::new(ip, PORT)));
    match address {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(format!("write ADDR:PORT, such as 192.168.1.255:{PORT}")),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { config, json, writing, .. } = arguments;
    let edit =
        if writing.is_wanted() { Some(Edit::open(config)?) } else { Edit::open_if_any(config)? };
    let zone = match (&arguments.zone, writing.is_wanted()) {
        (None, true) => {
            return Err(Failure {
                code: exit::USAGE,
                message: "boards do not know which zone their clock is set to\nhint: say it with --zone, such as --zone Europe/Berlin".to_owned(),
            });
        }
        (zone, _) => zone.as_ref(),
    };
    trace::start(arguments.trace_wire);
    let interfaces = interfaces(&arguments.interface);
    let (found, failed) = runtime()?.block_on(gather(
        &interfaces,
        &arguments.broadcast,
        Duration::from_millis(arguments.wait),
    ))?;
    let none = BTreeMap::new();
    let configured = edit.as_ref().map_or(&none, Edit::controllers);
    let judged = judge(&found, configured);
    let silent = silent(&found, configured);

    let sections: Vec<Section> = zone.map(|zone| sections(&judged, zone)).unwrap_or_default();
    let addition: String = sections.iter().map(Section::toml).collect();
    let asked = interfaces.iter().filter(|from| failed.iter().all(|(of, _)| of != *from));
    let failed = failed
        .iter()
        .map(|(interface, error)| json!({ "interface": interface.ip(), "error": error }));
    let mut report = json!({
        "schema": "postern.controllers.discover.v1",
        "configuration": edit.is_some().then_some(config),
        "interfaces": asked.map(SocketAddrV4::ip).collect::<Vec<_>>(),
        "broadcast": arguments.broadcast,
        "failed": failed.collect::<Vec<_>>(),
        "waited_ms": arguments.wait,
        "controllers": judged.iter().map(Judged::json).collect::<Vec<_>>(),
        "configured_but_silent": silent.iter().map(|each| each.serial).collect::<Vec<_>>(),
        "silent": silent.iter().map(Silent::json).collect::<Vec<_>>(),
        "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
        "text": writing.is_wanted().then_some(&addition),
    });
    // Whoever is asked has seen what there is to decide upon.
    if !json {
        print(false, &report, text)?;
    } else if writing.asks() {
        say(&text(&report));
    }
    let written = edit.as_ref().map_or(Ok(false), |edit| edit.append(&addition, writing))?;
    report["written"] = json!(written);
    print(*json, &report, show::appended)?;
    if judged.is_empty() {
        return Err(Failure {
            code: exit::CONTROLLER,
            message: "no board answered\nhint: broadcasts stop at routers: ask from a machine on the boards' network, or ask a board itself with --broadcast IP:PORT".to_owned(),
        });
    }
    Ok(())
}

/// Those that were named, else all of this machine, else whichever the system takes.
fn interfaces(named: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let mut all: Vec<_> =
        interface::addresses().into_iter().map(|ip| SocketAddrV4::new(ip, 0)).collect();
    if all.is_empty() {
        all.push(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    }
    all
}

/// What can go into the configuration: boards that are not in it and cannot be taken for another.
fn sections(judged: &[Judged], zone: &Zone) -> Vec<Section> {
    let today = clock::text(clock::utc());
    let today = today.split('T').next().unwrap_or_default();
    judged
        .iter()
        .filter(|each| each.known == Known::New && each.left_out.is_none())
        .map(|Judged { found, .. }| Section {
            serial: found.serial,
            address: found.from,
            transport: Transport::Udp,
            zone: zone.name.clone(),
            comment: format!(
                "Discovered {today}: firmware {} of {}, MAC {}.",
                found.firmware,
                found.date,
                Mac(found.mac)
            ),
        })
        .collect()
}

/// Who answered, and from which interfaces nobody could be asked, with the reason.
type Answers = (BTreeSet<Found>, Vec<(SocketAddrV4, String)>);

/// Asks from every interface at once.
async fn gather(
    interfaces: &[SocketAddrV4],
    targets: &[SocketAddrV4],
    wait: Duration,
) -> Result<Answers, Failure> {
    let mut tasks = JoinSet::new();
    for interface in interfaces {
        let (interface, targets) = (*interface, targets.to_vec());
        tasks.spawn(async move { (interface, ask_from(interface, &targets, wait).await) });
    }
    let (mut found, mut failed) = (BTreeSet::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (interface, result) = done.map_err(std::io::Error::other)?;
        match result {
            Ok(answers) => found.extend(answers),
            // The other interfaces go on.
            Err(error) => failed.push((interface, error.to_string())),
        }
    }
    if failed.len() == interfaces.len() {
        let why: Vec<String> = failed
            .iter()
            .map(|(interface, error)| format!("{}: {error}", interface.ip()))
            .collect();
        return Err(Failure {
            code: exit::FAILURE,
            message: format!(
                "cannot ask from any interface: {}\nhint: name an address of this machine with --interface, and with --broadcast one that it has a route to",
                why.join("; ")
            ),
        });
    }
    Ok((found, failed))
}

async fn ask_from(
    interface: SocketAddrV4,
    targets: &[SocketAddrV4],
    wait: Duration,
) -> std::io::Result<BTreeSet<Found>> {
    let request = Request::GetController(GetController { controller: 0 });
    let frame = request.encode();
    let socket = bind(interface.into()).await?;
    socket.set_broadcast(true)?;
    let begun = Instant::now();
    let mut found = BTreeSet::new();
    for round in 1..=ROUNDS {
        for target in targets {
            show_frame((*target).into(), ">", &frame);
            socket.send_to(&frame, target).await?;
        }
        receive(&socket, &request, begun + wait * round / ROUNDS, &mut found).await?;
    }
    Ok(found)
}

/// Gathers answers until then.
async fn receive(
    socket: &UdpSocket,
    request: &Request,
    until: Instant,
    found: &mut BTreeSet<Found>,
) -> std::io::Result<()> {
    // One byte more than a frame, so that a longer datagram is told from a whole one.
    let mut bytes = [0; FRAME + 1];
    // Cancel-safety: recv_from loses no datagram when the time is up.
    while let Ok(received) = timeout_at(until, socket.recv_from(&mut bytes)).await {
        let (length, from) = received?;
        let bytes = bytes.get(..length).unwrap_or_default();
        show_frame(from, "<", bytes);
        let answer = Response::decode_reply(bytes, request.function());
        if let Ok(Response::GetController(answer)) = answer
            && answer.controller != 0
            && found.len() < MAX_ANSWERS
        {
            found.insert(Found::new(&answer, from));
        }
    }
    Ok(())
}

/// Everything but what became of the sections.
fn text(report: &Value) -> String {
    let list = |key: &str| show::list(&report[key]);
    let rows = list("controllers").map(|each| {
        ["serial", "from", "mac", "firmware", "firmware_date", "state"]
            .map(|key| show::text(&each[key]).replace('_', " "))
            .to_vec()
    });
    let headers = ["SERIAL", "ANSWERS FROM", "MAC", "FIRMWARE", "OF", "STATE"];
    // Parts, with an empty line between them. Writing to a string cannot fail.
    let mut parts = Vec::new();
    if list("controllers").next().is_some() {
        parts.push(show::table(&headers, rows));
    }
    let mut problems = String::new();
    for each in list("controllers") {
        let (serial, from) = (show::text(&each["serial"]), show::text(&each["from"]));
        for (problem, hint) in show::list(&each["problems"]).zip(show::list(&each["hints"])) {
            let (problem, hint) = (show::text(problem), show::text(hint));
            let _ = writeln!(problems, "{serial} at {from}: {problem}\n  hint: {hint}");
        }
    }
    for each in list("silent") {
        let t = |key: &str| show::text(&each[key]);
        let (serial, address, hint) = (t("serial"), t("address"), t("hint"));
        let _ = writeln!(problems, "{serial} at {address}: configured, but silent\n  hint: {hint}");
    }
    for each in list("failed") {
        let (interface, error) = (show::text(&each["interface"]), show::text(&each["error"]));
        let _ = writeln!(problems, "not asked from {interface}: {error}");
    }
    parts.push(problems);
    let mut end = String::new();
    for each in list("controllers").filter(|each| !each["left_out"].is_null()) {
        let t = |key: &str| show::text(&each[key]);
        let (serial, from, why) = (t("serial"), t("from"), t("left_out"));
        let _ = writeln!(end, "{serial} at {from} is not for --write: {why}");
    }
    parts.push(end);
    let asked = list("interfaces").map(show::text).collect::<Vec<_>>().join(", ");
    let found = list("controllers").count();
    let mut end = format!("{found} found, asked from {asked}\n");
    if report["configuration"].is_null() {
        end.push_str("no configuration to compare with; `postern init` writes one\n");
    } else if let silent @ 1.. = list("silent").count() {
        let _ = writeln!(end, "{silent} configured, but silent");
    }
    parts.push(end);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

#[cfg(test)]
mod tests;
