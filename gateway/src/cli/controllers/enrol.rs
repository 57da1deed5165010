//! `postern controllers enrol`: gives a controller of the link protocol a key. Only a file is written, so
//! it works whether a gateway runs or not; the gateway reads keys when it starts.

use std::io::Write;
use std::path::{Path, PathBuf};

use postern_protocol::{ControllerId, Protocol};
use serde_json::{Value, json};

use super::super::confirm::confirm;
use super::super::new_file::{Hints, NewFile};
use super::super::{Common, Failure, print, show};
use super::say;
use crate::config::{Bus, Outline, Station};
use crate::exit;
use crate::keys::{self, Key, KeyError};

const HINTS: Hints = Hints {
    exists: "name another one; a key never replaces a file",
    no_file: "name another one; a key never replaces a file",
};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The controller, such as link-70001; it stands as a station of a bus in the configuration.
    #[arg(value_name = "CONTROLLER", value_parser = link)]
    controller: ControllerId,
    #[command(flatten)]
    common: Common,
    /// Take the key that the controller has already, from a file of 64 hexadecimal digits or from stdin
    /// (-), instead of making one.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Write the key to a new file as well, for the tool that sets the controller up. A secret.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Put it in the place of the key that is there.
    #[arg(long)]
    replace: bool,
    /// Do not ask.
    #[arg(long, requires = "replace")]
    yes: bool,
    /// Print the key itself. A secret.
    #[arg(long)]
    show: bool,
}

/// `link-70001`, or `70001`.
fn link(text: &str) -> Result<ControllerId, String> {
    match text.parse().or_else(|error| text.parse().map(ControllerId::link).map_err(|_| error)) {
        Ok(ControllerId { protocol: Protocol::Uhppote, .. }) => Err(format!(
            "{text} is a UHPPOTE board, and these have no keys; controllers of the link protocol do, such as link-70001"
        )),
        Ok(ControllerId { protocol: Protocol::Modbus, .. }) => Err(format!(
            "{text} speaks Modbus, which knows no keys; controllers of the link protocol do, such as link-70001"
        )),
        Ok(ControllerId { protocol: Protocol::Link, serial: 0 }) | Err(_) => {
            Err("a controller of the link protocol is written link-70001".to_owned())
        }
        Ok(controller) => Ok(controller),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { controller, common, .. } = arguments;
    let text = Outline::read(&common.config)?;
    let outline = Outline::check(&common.config, &text)?;
    let (bus, station) = find(&outline, *controller, &common.config)?;
    let former = former(&outline.data_dir, *controller, arguments.replace)?;
    let key = match &arguments.import {
        None => Key::random()?,
        Some(path) if path == Path::new("-") => {
            Key::read_from(std::io::stdin().lock(), Path::new("stdin"))?
        }
        Some(path) => Key::read(path)?,
    };
    // Before anything is changed: it may not be possible.
    let export = arguments.export.as_deref().map(|path| exported(path, &key)).transpose()?;
    let is_new = former.is_none();
    if let Some(former) = &former {
        say(&format!("{controller} has a key: {former}; the new one is {}", key.fingerprint()));
        say("until the controller has the new one as well it is not read");
        confirm(arguments.yes, "Replace the key?")?;
    }
    let path = keys::store(&outline.data_dir, *controller, &key, !is_new)?;
    let export = export.map(NewFile::keep).transpose()?;
    let next = next(station, &common.config, &path, export.as_deref(), arguments.import.is_some());
    let mut report = json!({
        "schema": "postern.controllers.enrol.v1",
        "controller": controller,
        "bus": bus.name,
        "station": station.address,
        "path": path,
        "fingerprint": key.fingerprint(),
        "former": former,
        "imported": arguments.import.is_some(),
        "exported": export,
        "next": next,
    });
    if arguments.show {
        report["key"] = json!(String::from_utf8_lossy(&*key.digits()));
    }
    print(common.json, &report, self::text)
}

/// The station that a controller is.
fn find<'a>(
    outline: &'a Outline,
    controller: ControllerId,
    config: &Path,
) -> Result<(&'a Bus, &'a Station), Failure> {
    let mut all = outline.buses.iter().flat_map(|bus| bus.stations.iter().map(move |at| (bus, at)));
    all.find(|(_, station)| station.controller() == controller).ok_or_else(|| Failure {
        code: exit::CONFIG,
        message: format!(
            "{controller} is no station of a bus in {}\nhint: write it there first, as a [[bus.station]] with its serial number; `postern init --dry-run` shows how",
            config.display()
        ),
    })
}

/// What is known of the key that is there: its fingerprint, or that it is none.
fn former(
    data_dir: &Path,
    controller: ControllerId,
    replace: bool,
) -> Result<Option<String>, Failure> {
    match keys::load(data_dir, controller) {
        Ok(None) => Ok(None),
        Ok(Some(key)) if replace => Ok(Some(key.fingerprint())),
        Ok(Some(key)) => Err(Failure {
            code: exit::FAILURE,
            message: format!(
                "{controller} has a key already, {} in {}; nothing was changed\nhint: that one still works: install it in the controller. --replace puts another one in its place, which the controller has to get as well",
                key.fingerprint(),
                keys::path(data_dir, controller).display()
            ),
        }),
        Err(error @ (KeyError::Flawed { .. } | KeyError::Exposed { .. })) if replace => {
            let what = error.to_string();
            Ok(Some(what.lines().next().unwrap_or_default().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The file for the controller, without its name yet.
fn exported(path: &Path, key: &Key) -> Result<NewFile, Failure> {
    let file = NewFile::create(path, false, &HINTS)?;
    let mut to = file.writer()?;
    to.write_all(&*key.digits())?;
    to.write_all(b"\n")?;
    Ok(file)
}

/// What is to be done before the controller is read with it.
fn next(
    station: &Station,
    config: &Path,
    path: &Path,
    export: Option<&Path>,
    imported: bool,
) -> Vec<String> {
    let mut next = Vec::new();
    if !imported {
        let file = export.unwrap_or(path).display();
        next.push(format!("install the key in the controller with its maker's tool: {file}"));
    }
    if let Some(export) = export {
        next.push(format!("delete {} once it is there", export.display()));
    }
    if station.plaintext {
        let config = config.display();
        next.push(format!("take `plaintext` out of the station's section in {config}"));
    }
    next.push("restart the gateway: it reads keys when it starts".to_owned());
    next
}

fn text(report: &Value) -> String {
    let t = |key: &str| show::text(&report[key]);
    let what = if report["imported"] == true { "taken over" } else { "made" };
    let mut out =
        format!("{}: key {} {what}, in {}\n", t("controller"), t("fingerprint"), t("path"));
    if !report["former"].is_null() {
        out = format!("{out}in the place of  {}\n", t("former"));
    }
    if !report["exported"].is_null() {
        out = format!("{out}also written to  {}\n", t("exported"));
    }
    if !report["key"].is_null() {
        out = format!("{out}the key itself   {}\n", t("key"));
    }
    out.push_str("\nnext:\n");
    for (number, step) in show::list(&report["next"]).enumerate() {
        out = format!("{out}  {}. {}\n", number + 1, show::text(step));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    const ID: ControllerId = ControllerId::link(70_001);

    /// A configuration without a bundle: nothing of one is needed.
    fn site() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let config = "bundle = \"none.json\"\ndata_dir = \"data\"\n[[bus]]\nname = \"hall\"\n\
             serial = \"/dev/ttyUSB0\"\n[[bus.station]]\naddress = 4\nserial = 70001\n\
             [[bus.station]]\naddress = 5\nserial = 70002\nplaintext = true\n";
        fs::write(directory.path().join("postern.toml"), config).unwrap();
        directory
    }

    fn enrol(site: &tempfile::TempDir, words: &str) -> Result<(), Failure> {
        let config = site.path().join("postern.toml");
        let words = words.replace('@', &site.path().display().to_string());
        let line = Line::try_parse_from(
            ["enrol", "-c", config.to_str().unwrap()].into_iter().chain(words.split(' ')),
        );
        run(&line.map_err(|error| error.to_string()).unwrap().arguments)
    }

    fn key(site: &tempfile::TempDir) -> Option<Key> {
        keys::load(&site.path().join("data"), ID).unwrap()
    }

    #[test]
    fn a_key_is_made_exported_and_never_replaced_by_the_way() {
        let site = site();
        enrol(&site, "link-70001 --export @/for-the-tool").ok().unwrap();
        let made = key(&site).unwrap();
        let export = site.path().join("for-the-tool");
        assert_eq!(Key::read(&export).unwrap().bytes(), made.bytes());
        assert_eq!(fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);

        let refused = enrol(&site, "70001").unwrap_err();
        assert!(refused.message.contains(&made.fingerprint()), "{}", refused.message);
        assert!(refused.message.contains("--replace"), "{}", refused.message);
        // Nobody is at a terminal here.
        let refused = enrol(&site, "70001 --replace").unwrap_err();
        assert!(refused.message.contains("--yes"), "{}", refused.message);
        // A file that is there stays, and so does the key then.
        let refused = enrol(&site, "70001 --replace --yes --export @/for-the-tool").unwrap_err();
        assert!(refused.message.contains("it exists"), "{}", refused.message);
        assert_eq!(key(&site).unwrap().bytes(), made.bytes(), "nothing was changed");
        assert_eq!(Key::read(&export).unwrap().bytes(), made.bytes());

        enrol(&site, "70001 --replace --yes --json").ok().unwrap();
        assert_ne!(key(&site).unwrap().bytes(), made.bytes());
    }

    #[test]
    fn a_key_that_the_controller_has_is_taken_over() {
        let site = site();
        let file = site.path().join("has");
        let known = Key::random().unwrap();
        fs::write(&file, *known.digits()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = enrol(&site, "link-70001 --import @/has").unwrap_err();
        assert!(refused.message.contains("chmod 600"), "{}", refused.message);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        enrol(&site, "link-70001 --import @/has").ok().unwrap();
        assert_eq!(key(&site).unwrap().bytes(), known.bytes());
        fs::write(&file, "00".repeat(32)).unwrap();
        let refused = enrol(&site, "link-70001 --import @/has --replace --yes").unwrap_err();
        assert!(refused.message.contains("all its bytes are the same"), "{}", refused.message);
    }

    #[test]
    fn a_file_that_is_no_key_is_replaced_where_that_is_said() {
        let site = site();
        enrol(&site, "link-70001").ok().unwrap();
        fs::write(keys::path(&site.path().join("data"), ID), "half a k").unwrap();
        let refused = enrol(&site, "link-70001").unwrap_err();
        assert!(refused.message.contains("is no key"), "{}", refused.message);
        enrol(&site, "link-70001 --replace --yes").ok().unwrap();
        assert!(key(&site).is_some());
    }

    #[test]
    fn who_is_no_station_gets_no_key() {
        let refused = enrol(&site(), "link-7").unwrap_err();
        assert_eq!(refused.code, exit::CONFIG);
        assert!(refused.message.contains("[[bus.station]]"), "{}", refused.message);
        assert!(link("uhppote-7").unwrap_err().contains("no keys"));
        for wrong in ["", "link-0", "hall", "0", "link-"] {
            assert!(link(wrong).unwrap_err().contains("link-70001"), "{wrong}");
        }
        assert_eq!(link("70001"), Ok(ID));
    }

    #[test]
    fn what_is_to_be_done_next_is_said() {
        let site = site();
        let path = site.path().join("postern.toml");
        let outline = Outline::check(&path, &fs::read_to_string(&path).unwrap()).unwrap();
        let [sealed, plain] = outline.buses[0].stations.as_slice() else { panic!() };
        let steps = |station, export: Option<&str>, imported| {
            let export = export.map(Path::new);
            next(station, Path::new("postern.toml"), Path::new("k"), export, imported).join("; ")
        };
        assert_eq!(steps(sealed, None, true), "restart the gateway: it reads keys when it starts");
        assert!(steps(sealed, None, false).starts_with("install the key in the controller"));
        assert!(steps(sealed, Some("x"), false).contains("delete x"));
        assert!(steps(plain, None, true).starts_with("take `plaintext` out"));
    }
}
