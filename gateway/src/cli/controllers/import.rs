//! `postern controllers import FILE.conf`: the boards of the uhppoted project's tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::edit::{Edit, Section, Writing};
use super::super::{Common, Failure, print, show};
use super::board::{Zone, zone};
use super::uhppoted::{Conf, ConfBoard, Left};
use crate::config::Controller;
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
    let text = fs::read_to_string(file).map_err(|error| Failure {
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
    let mut conf = Conf::parse(&text);
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
                let why = format!("the configuration has {configured} already");
                conf.left.push(Left { line, key: "listen.address".to_owned(), why });
            }
        }
    }
    conf.left.sort_by_key(|left| left.line);
    addition.extend(sections.iter().map(Section::toml));
    let written = edit.as_ref().map_or(Ok(false), |edit| edit.append(&addition, writing))?;
    let left = conf
        .left
        .iter()
        .map(|Left { line, key, why }| json!({ "line": line, "key": key, "why": why }));
    let report = json!({
        "schema": "postern.controllers.import.v1",
        "file": file,
        "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
        "listen": listen,
        "left": left.collect::<Vec<_>>(),
        "text": writing.is_wanted().then_some(addition),
        "written": written,
    });
    print(common.json, &report, show_report)
}

/// What can be taken over, and why the rest cannot.
fn take(
    boards: &BTreeMap<u32, ConfBoard>,
    known: &BTreeMap<u32, Controller>,
    zone: Option<&Zone>,
) -> (Vec<Section>, Vec<Left>) {
    let (mut sections, mut left) = (Vec::new(), Vec::new());
    for (serial, board) in boards {
        let zone = board.zone.clone().or_else(|| zone.map(|zone| zone.name.clone()));
        let why = match (board.address, zone) {
            _ if known.contains_key(serial) => "it is in the configuration already",
            (Some((address, transport)), Some(zone)) => {
                let comment = "Taken over from an uhppoted.conf.".to_owned();
                sections.push(Section { serial: *serial, address, transport, zone, comment });
                continue;
            }
            (None, _) => {
                "it has no address; `postern controllers discover` finds boards that answer"
            }
            (_, None) => "it has no zone; give one with --zone",
        };
        let key = format!("controller {serial}");
        left.push(Left { line: board.line, key, why: why.to_owned() });
    }
    (sections, left)
}

fn show_report(report: &Value) -> String {
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
    let (taken, left) = (list("sections").count(), list("left").count());
    out = format!("{out}\n{taken} controllers can be taken over; {left} entries cannot\n");
    format!("{out}{}", show::appended(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_without_address_or_zone_and_known_ones_are_left_and_listed() {
        let conf = Conf::parse(
            "UT0311-L0x.1.address = 192.0.2.1\nUT0311-L0x.2.timezone = UTC\n\
             UT0311-L0x.3.address = 192.0.2.3\nUT0311-L0x.3.timezone = UTC\n",
        );
        let known = crate::config::Outline::check(
            std::path::Path::new("postern.toml"),
            "bundle = \"b\"\ndata_dir = \"d\"\n[[controller]]\nserial = 3\naddress = \"192.0.2.9:60000\"\nzone = \"UTC\"\n",
        );
        let known = known.unwrap().controllers;
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
