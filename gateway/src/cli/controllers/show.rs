//! `postern controllers show`: all that a board says about itself in one look.

use jiff::tz::TimeZone;
use postern_protocol::uhppote::field::DateTime;
use postern_protocol::uhppote::message::response;
use postern_protocol::uhppote::{NEWEST, reason};
use serde_json::{Value, json};

use super::super::{Failure, print, show};
use super::board::{Board, Session, ask};
use super::cards::number;
use super::clock;
use super::doors;
use crate::driver::uhppote::zone;

pub(super) fn run(board: &Board, show_cards: bool) -> Result<(), Failure> {
    let mut session = Session::open(board)?;
    let controller = ask!(session, GetController {})?;
    let status = ask!(session, GetStatus {})?;
    let newest = ask!(session, GetEvent { index: NEWEST })?;
    let cards = ask!(session, GetCards {})?.cards;
    let (reading, now) = clock::read(&mut session)?;
    let mut problems = Vec::new();
    if std::net::IpAddr::from(controller.address) != session.address().ip() {
        problems.push(format!(
            "it says that its own address is {}, and answers at {}",
            controller.address,
            session.address()
        ));
    }
    if !session.identity.is_known {
        problems.push(format!(
            "firmware {} was not tried with this program",
            session.identity.firmware
        ));
    }
    if status.system_error != 0 {
        problems.push(format!("it reports system error {}", status.system_error));
    }
    let mut report = session.report("postern.controller.show.v1");
    report["model"] = json!(session.identity.model);
    report["firmware"] = json!(session.identity.firmware);
    report["firmware_known"] = json!(session.identity.is_known);
    report["firmware_date"] = json!(controller.date);
    report["mac"] = json!(controller.mac);
    report["own"] = json!({
        "address": controller.address,
        "netmask": controller.netmask,
        "gateway": controller.gateway,
    });
    report["clock"] = clock::report(reading, session.zone.as_ref(), now);
    report["doors"] = json!(doors::now(&status));
    report["system_error"] = json!(status.system_error);
    report["inputs"] = json!({
        "force_lock": status.inputs & 1 != 0,
        "fire": status.inputs & 2 != 0,
    });
    report["cards"] = json!(cards);
    let zone = session.zone.as_ref().map(|zone| &zone.zone);
    report["newest"] = record(&newest, zone, show_cards);
    report["problems"] = json!(problems);
    print(board.common.json, &report, text)
}

/// A record in the words of the journal; null where there is none.
fn record(event: &response::GetEvent, zone: Option<&TimeZone>, show_cards: bool) -> Value {
    if event.is_sentinel() {
        return Value::Null;
    }
    let card = (event.card != 0).then_some(event.card);
    let credential = card.map(|card| number(card, show_cards));
    let wall = |time: DateTime| time.is_set().then(|| time.to_string());
    let occurred = zone.and_then(|zone| zone::occurred(event.timestamp, zone).0.at);
    json!({
        "index": event.index,
        "kind": reason::kind(event),
        "type": event.event_type,
        "reason": event.reason,
        "granted": event.granted,
        "door": reason::door(event),
        "direction": reason::direction(event),
        "credential": credential,
        "wall": wall(event.timestamp),
        "occurred": occurred.map(crate::clock::text),
    })
}

fn text(report: &Value) -> String {
    let t = |key: &str| show::text(&report[key]);
    let own = |key: &str| show::text(&report["own"][key]);
    let yes = |value: &Value| if *value == true { "yes" } else { "no" };
    let mut lines = vec![
        format!("controller  {} at {} over {}", t("controller"), t("address"), t("transport")),
        format!("firmware    {} of {}, MAC {}", t("firmware"), t("firmware_date"), t("mac")),
        format!(
            "network     {} mask {} gateway {}",
            own("address"),
            own("netmask"),
            own("gateway")
        ),
        format!("clock       {}", clock::sentence(&report["clock"])),
        format!("cards       {}", t("cards")),
        format!(
            "inputs      force lock {}, fire {}",
            yes(&report["inputs"]["force_lock"]),
            yes(&report["inputs"]["fire"])
        ),
    ];
    let newest = &report["newest"];
    let newest = if newest.is_null() { "no record".to_owned() } else { newest_text(newest) };
    lines.push(format!("newest      {newest}"));
    let rows = show::list(&report["doors"]).map(|door| {
        ["door", "open", "button", "relay"].map(|key| doors::word(&door[key])).to_vec()
    });
    let table = show::table(&["DOOR", "OPEN", "BUTTON", "RELAY"], rows);
    let problems = show::list(&report["problems"])
        .fold(String::new(), |out, each| out + "\n" + &show::text(each) + "\n");
    format!("{}\n\n{table}{problems}", lines.join("\n"))
}

fn newest_text(newest: &Value) -> String {
    let optional = |key: &str, label: &str| {
        let value = &newest[key];
        if value.is_null() { String::new() } else { format!(" {label} {}", show::text(value)) }
    };
    format!(
        "{} {} {}{}{}{}",
        show::text(&newest["index"]),
        show::text(&newest["wall"]),
        show::kind(&newest["kind"]),
        optional("door", "door"),
        optional("direction", "going"),
        optional("credential", "card"),
    )
}
