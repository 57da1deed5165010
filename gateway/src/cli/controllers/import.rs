//! `postern controllers import FILE.conf`: the boards of the uhppoted project's tools.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::edit::{Edit, Section, Writing};
use super::super::{Common, Failure, print, show};
use super::board::{Zone, zone};
use super::say;
use super::uhppoted::{Conf, ConfBoard, Left};
use crate::config::{Controller, not_one_board};
use crate::driver::uhppote::Transport;
use crate::exit;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// An `uhppoted.conf`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    writing: Writing,
    /// The zone of boards for which the file names none, such as Europe/Berlin.
    #[arg(long, value_parser = zone)]
    zone: Option<Zone>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { file, common, writing, zone } = arguments;
    let content = fs::read_to_string(file).map_err(|error| Failure {
        code: exit::FAILURE,
        message: format!(
            "cannot read {}: {error}\nhint: the tools keep it as /etc/uhppoted/uhppoted.conf",
            file.display()
        ),
    })?;
    let edit = if writing.is_wanted() {
        Some(Edit::open(&common.config)?)
    } else {
        Edit::open_if_any(&common.config)?
    };
    let mut conf = Conf::parse(&content);
    let none = BTreeMap::new();
    let known = edit.as_ref().map_or(&none, Edit::controllers);
    let (sections, left) = take(&conf.boards, known, zone.as_ref());
    conf.left.extend(left);
    let mut addition = String::new();
    let mut listen = None;
    if let Some((line, address)) = conf.listen {
        match edit.as_ref().and_then(Edit::listen) {
            None => {
                addition = format!("\n[uhppote]\nlisten = \"{address}\"\n");
                listen = Some(address);
            }
            Some(configured) => {
                let why = if configured == address {
                    "it is in the configuration already".to_owned()
                } else {
                    format!("the configuration has {configured}, the file {address}")
                };
                conf.left.push(Left { line, key: "listen.address".to_owned(), why });
            }
        }
    }
    conf.left.sort_by_key(|left| left.line);
    addition.extend(sections.iter().map(Section::toml));
    let left = conf
        .left
        .iter()
        .map(|Left { line, key, why }| json!({ "line": line, "key": key, "why": why }));
    let mut report = json!({
        "schema": "postern.controllers.import.v1",
        "file": file,
        "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
        "listen": listen,
        "left": left.collect::<Vec<_>>(),
        "text": writing.is_wanted().then_some(&addition),
    });
    // Whoever is asked has seen what there is to decide upon.
    if !common.json {
        print(false, &report, text)?;
    } else if writing.asks() {
        say(&text(&report));
    }
    let written = edit.as_ref().map_or(Ok(false), |edit| edit.append(&addition, writing))?;
    report["written"] = json!(written);
    print(common.json, &report, show::appended)
}

/// What can be taken over, and why the rest cannot.
fn take(
    boards: &BTreeMap<u32, ConfBoard>,
    known: &BTreeMap<u32, Controller>,
    zone: Option<&Zone>,
) -> (Vec<Section>, Vec<Left>) {
    let (mut sections, mut left): (Vec<Section>, Vec<Left>) = (Vec::new(), Vec::new());
    for (serial, board) in boards {
        let zone = board.zone.clone().or_else(|| zone.map(|zone| zone.name.clone()));
        let taken = |address: SocketAddr| {
            let mine = sections.iter().find(|section| section.address == address);
            let theirs = known.iter().find(|(_, controller)| controller.address == address);
            mine.map(|section| section.serial).or(theirs.map(|(serial, _)| *serial))
        };
        let why = match (board.address, zone) {
            _ if known.contains_key(serial) => beside(board, &known[serial]),
            (Some((address, _)), _) if not_one_board(address.ip()).is_some() => {
                let what = not_one_board(address.ip()).unwrap_or_default();
                format!("{address} is {what}; `postern controllers discover` finds its own")
            }
            (Some((address, _)), _) if taken(address).is_some() => {
                let other = taken(address).unwrap_or_default();
                format!(
                    "controller {other} stands at {address} as well; `postern controllers discover` shows which answers there"
                )
            }
            (Some((address, transport)), Some(zone)) => {
                let comment = "Taken over from an uhppoted.conf.".to_owned();
                sections.push(Section { serial: *serial, address, transport, zone, comment });
                continue;
            }
            (None, _) => {
                "it has no address; `postern controllers discover` finds boards that answer"
                    .to_owned()
            }
            (_, None) => "it has no zone; give one with --zone".to_owned(),
        };
        let key = format!("controller {serial}");
        left.push(Left { line: board.line, key, why });
    }
    (sections, left)
}

/// A board that is configured already: where the file says something else, both are shown.
fn beside(board: &ConfBoard, known: &Controller) -> String {
    let mut differ = Vec::new();
    let over =
        |address: SocketAddr, transport: Transport| format!("{address} over {}", transport.name());
    if let Some((address, transport)) = board.address
        && (address, transport) != (known.address, known.transport)
    {
        let (file, here) = (over(address, transport), over(known.address, known.transport));
        differ.push(format!("the configuration has {here}, the file {file}"));
    }
    if let Some(zone) = board.zone.as_ref().filter(|zone| **zone != known.zone_name) {
        differ.push(format!("the configuration has {}, the file {zone}", known.zone_name));
    }
    if differ.is_empty() {
        return "it is in the configuration already".to_owned();
    }
    format!("it is in the configuration already, but otherwise: {}", differ.join("; "))
}

/// Everything but what became of the sections.
fn text(report: &Value) -> String {
    let list = |key: &str| show::list(&report[key]);
    let rows = list("sections").map(|each| {
        ["serial", "address", "transport", "zone"].map(|key| show::text(&each[key])).to_vec()
    });
    let mut out = show::table(&["SERIAL", "ADDRESS", "OVER", "ZONE"], rows);
    if !report["listen"].is_null() {
        out = format!("{out}\nboards push to {}\n", show::text(&report["listen"]));
    }
    if list("left").next().is_some() {
        let rows = list("left")
            .map(|each| ["line", "key", "why"].map(|key| show::text(&each[key])).to_vec());
        let table = show::table(&["LINE", "NOT TAKEN OVER", "WHY"], rows);
        out = format!("{out}\n{table}");
    }
    let taken = show::count(list("sections").count(), "controller");
    let left = match list("left").count() {
        1 => "1 entry".to_owned(),
        left => format!("{left} entries"),
    };
    format!("{out}\n{taken} can be taken over; {left} cannot\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> BTreeMap<u32, Controller> {
        let text = format!("bundle = \"b\"\ndata_dir = \"d\"\n[[controller]]\n{text}");
        crate::config::Outline::check(std::path::Path::new("postern.toml"), &text)
            .unwrap()
            .controllers
    }

    /// "already" alone hid that the board had moved since.
    #[test]
    fn of_a_board_that_is_configured_otherwise_both_are_shown() {
        let conf = Conf::parse(
            "UT0311-L0x.3.address = tcp:192.0.2.3:60000\nUT0311-L0x.3.timezone = Europe/Berlin\n",
        );
        let other = known("serial = 3\naddress = \"192.0.2.9:60000\"\nzone = \"UTC\"\n");
        let why = take(&conf.boards, &other, None).1.remove(0).why;
        assert!(
            why.contains("has 192.0.2.9:60000 over udp, the file 192.0.2.3:60000 over tcp"),
            "{why}"
        );
        assert!(why.contains("has UTC, the file Europe/Berlin"), "{why}");
        let same = known(
            "serial = 3\naddress = \"192.0.2.3:60000\"\ntransport = \"tcp\"\nzone = \"Europe/Berlin\"\n",
        );
        assert_eq!(take(&conf.boards, &same, None).1[0].why, "it is in the configuration already");
    }

    #[test]
    fn an_address_that_cannot_be_one_boards_is_left() {
        let conf = Conf::parse(
            "UT0311-L0x.1.address = 192.0.2.1\nUT0311-L0x.2.address = 192.0.2.1\n\
             UT0311-L0x.3.address = 255.255.255.255\nUT0311-L0x.4.address = 192.0.2.9\n",
        );
        let known = known("serial = 9\naddress = \"192.0.2.9:60000\"\nzone = \"UTC\"\n");
        let zone = zone("UTC").unwrap();
        let (sections, left) = take(&conf.boards, &known, Some(&zone));
        assert_eq!(sections.iter().map(|section| section.serial).collect::<Vec<_>>(), [1]);
        for (left, why) in
            left.iter().zip(["controller 1 stands", "broadcast", "controller 9 stands"])
        {
            assert!(left.why.contains(why), "{}", left.why);
        }
        assert_eq!(left.len(), 3);
    }

    #[test]
    fn boards_without_address_or_zone_and_known_ones_are_left_and_listed() {
        let conf = Conf::parse(
            "UT0311-L0x.1.address = 192.0.2.1\nUT0311-L0x.2.timezone = UTC\n\
             UT0311-L0x.3.address = 192.0.2.3\nUT0311-L0x.3.timezone = UTC\n",
        );
        let known = known("serial = 3\naddress = \"192.0.2.9:60000\"\nzone = \"UTC\"\n");
        let serials = |sections: &[Section]| -> Vec<u32> {
            sections.iter().map(|section| section.serial).collect()
        };
        let (sections, left) = take(&conf.boards, &known, None);
        assert!(serials(&sections).is_empty());
        let why: Vec<&str> = left.iter().map(|left| left.why.as_str()).collect();
        assert!(why[0].contains("--zone") && why[1].contains("no address"), "{why:?}");
        assert!(why[2].contains("already"), "{why:?}");

        let zone = zone("Europe/Berlin").unwrap();
        let (sections, left) = take(&conf.boards, &BTreeMap::new(), Some(&zone));
        assert_eq!((serials(&sections), left.len()), (vec![1, 3], 1));
        assert_eq!(sections[0].zone, "Europe/Berlin");
        assert_eq!(sections[1].zone, "UTC");
    }
}
