//! What those who answered a broadcast mean beside the configuration. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use postern_protocol::uhppote::field::{Date, Mac, Version};
use postern_protocol::uhppote::message::response;
use serde_json::{Value, json};

use crate::config::Controller;
use crate::driver::uhppote::is_known_firmware;

/// Who answered, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) serial: u32,
    pub(super) from: SocketAddr,
    pub(super) own: Ipv4Addr,
    pub(super) mac: Mac48,
    pub(super) firmware: Version,
    pub(super) date: Date,
}

/// A MAC address with an order.
type Mac48 = [u8; 6];

impl Found {
    pub(super) fn new(answer: &response::GetController, from: SocketAddr) -> Self {
        Self {
            serial: answer.controller,
            from,
            own: answer.address,
            mac: answer.mac.0,
            firmware: answer.version,
            date: answer.date,
        }
    }

    /// Boards with one serial number often have one MAC address too: copies are copied whole.
    fn is_same_board(&self, other: &Self) -> bool {
        (self.mac, self.firmware, self.date) == (other.mac, other.firmware, other.date)
    }
}

/// How a board that answered stands to the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    New,
    Configured,
    Elsewhere(SocketAddr),
}

/// Something that is not as it should be, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) hint: String,
}

/// A board that answered, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) found: Found,
    pub(super) known: Known,
    pub(super) problems: Vec<Problem>,
    /// Why it cannot go into the configuration, though it is not in it.
    pub(super) left_out: Option<&'static str>,
}

/// What was found, by serial number, beside what is configured.
pub(super) fn judge(
    found: &BTreeSet<Found>,
    configured: &BTreeMap<u32, Controller>,
) -> Vec<Judged> {
    found.iter().map(|each| judge_one(each, found, configured)).collect()
}

fn judge_one(
    each: &Found,
    found: &BTreeSet<Found>,
    configured: &BTreeMap<u32, Controller>,
) -> Judged {
    let mut problems = Vec::new();
    let mut left_out = None;
    let mut problem = |what: String, hint: String| problems.push(Problem { what, hint });
    let (serial, from) = (each.serial, each.from);
    for twin in found.iter().filter(|other| other.serial == serial && *other != each) {
        if twin.is_same_board(each) {
            problem(
                format!("the same board also answers from {}", twin.from),
                "two ways lead to it: configure the address that the gateway is to use".to_owned(),
            );
            left_out = left_out.or(Some("it answers from several addresses"));
        } else {
            problem(
                format!("another board with this serial number answers from {}", twin.from),
                "nothing tells them apart, so their records would be mixed: take one off the network, then repeat the command".to_owned(),
            );
            left_out = Some("several boards have this serial number");
        }
    }
    let others = found.iter().filter(|other| other.from == from && other.serial != serial);
    for other in others.map(|other| other.serial).collect::<BTreeSet<_>>() {
        problem(
            format!("controller {other} answers from the same address"),
            "the gateway needs an address for each: look for what stands between".to_owned(),
        );
        left_out = left_out.or(Some("another board answers from the same address"));
    }
    if SocketAddr::from((each.own, from.port())) != from {
        problem(
            format!("it says that its own address is {}", each.own),
            format!("something between translates addresses; the gateway has to use {from}"),
        );
    }
    if !is_known_firmware(each.firmware.major) {
        problem(
            format!("firmware {} was not tried with this program", each.firmware),
            format!(
                "compare what `postern controllers show {serial} --address {from}` says with the board"
            ),
        );
    }
    let known = match configured.get(&serial) {
        None => Known::New,
        Some(controller) if controller.address == from => Known::Configured,
        Some(controller) => {
            problem(
                format!("the configuration has it at {}", controller.address),
                format!("correct its `address` to {from} where it is to stay there"),
            );
            Known::Elsewhere(controller.address)
        }
    };
    for (other, _) in at(configured, from).filter(|(other, _)| *other != serial) {
        problem(
            format!("the configuration has serial {other} there"),
            format!(
                "correct it: `serial = {serial}` where the board was exchanged, else the address of {other}"
            ),
        );
        left_out = left_out.or(Some("the configuration has another serial number at its address"));
    }
    let left_out = left_out.filter(|_| known == Known::New);
    Judged { found: *each, known, problems, left_out }
}

/// What is configured at an address.
fn at(
    configured: &BTreeMap<u32, Controller>,
    address: SocketAddr,
) -> impl Iterator<Item = (u32, &Controller)> {
    let each = configured.iter().map(|(serial, controller)| (*serial, controller));
    each.filter(move |(_, controller)| controller.address == address)
}

/// A configured board from which nothing came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) serial: u32,
    pub(super) address: SocketAddr,
    /// Who answers at its address.
    pub(super) instead: Option<u32>,
}

/// Every configured board from which nothing came.
pub(super) fn silent(
    found: &BTreeSet<Found>,
    configured: &BTreeMap<u32, Controller>,
) -> Vec<Silent> {
    let silent = configured.iter().filter(|(serial, _)| found.iter().all(|f| f.serial != **serial));
    silent
        .map(|(serial, controller)| {
            let address = controller.address;
            let instead = found.iter().find(|f| f.from == address).map(|f| f.serial);
            Silent { serial: *serial, address, instead }
        })
        .collect()
}

impl Silent {
    pub(super) fn json(&self) -> Value {
        let Self { serial, address, instead } = self;
        let hint = match instead {
            Some(other) => format!(
                "{other} answers there: correct `serial` where the board was exchanged, else the address"
            ),
            None => format!(
                "look at its power and cable; `postern controllers ping {serial}` asks it at its address, also where broadcasts do not get"
            ),
        };
        json!({ "serial": serial, "address": address, "instead": instead, "hint": hint })
    }
}

impl Judged {
    pub(super) fn json(&self) -> Value {
        let Self { found, known, problems, left_out } = self;
        let (state, configured) = match known {
            Known::New => ("new", None),
            Known::Configured => ("configured", Some(&found.from)),
            Known::Elsewhere(address) => ("configured_elsewhere", Some(address)),
        };
        json!({
            "controller": postern_protocol::ControllerId::uhppote(found.serial),
            "serial": found.serial,
            "from": found.from,
            "address": found.own,
            "mac": Mac(found.mac),
            "firmware": found.firmware.to_string(),
            "firmware_known": is_known_firmware(found.firmware.major),
            "firmware_date": found.date,
            "state": state,
            "configured_address": configured,
            "problems": problems.iter().map(|problem| &problem.what).collect::<Vec<_>>(),
            "hints": problems.iter().map(|problem| &problem.hint).collect::<Vec<_>>(),
            "left_out": left_out,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
