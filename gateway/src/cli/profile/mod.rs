//! `postern profile …`: what a profile of a Modbus device means, and what a device holds that has one. `list` and `check`
//! talk to nobody; `show` asks one device, and writes nothing to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use postern_protocol::modbus::profile::Profile;
use serde_json::{Value, json};

use super::{Common, Failure, print, show};
use crate::config::{Outline, built_in, profile_of};
use crate::exit;

mod explain;
mod read;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the profiles that there are: built in, and in the configuration where there is one.
    List(#[command(flatten)] Common),
    /// Say what a profile means: what is read at each look, what becomes of it, how long that takes; or
    /// everything that is wrong with it.
    Check {
        #[command(flatten)]
        common: Common,
        /// One that is built in, one of the configuration, or a file with nothing but a profile.
        #[arg(value_name = "PROFILE|FILE.toml")]
        profile: String,
    },
    /// Read a device by its profile, once, and show what its registers hold. Nothing is written to it.
    Show(#[command(flatten)] read::Arguments),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(common) => list(common),
        Command::Check { common, profile } => {
            let named = find(profile, &common.config)?;
            let report = explain::report(&named)?;
            print(common.json, &report, explain::text)
        }
        Command::Show(arguments) => read::run(arguments),
    }
}

/// A profile, what it is called, and where it is from.
pub(super) struct Named {
    pub(super) name: String,
    /// `built_in`, `configuration`, `file`.
    pub(super) from: &'static str,
    pub(super) profile: Profile,
}

/// The configuration, where there is one: those that are built in need none.
fn outline(config: &Path) -> Result<Option<Outline>, Failure> {
    if !config.exists() {
        return Ok(None);
    }
    let text = Outline::read(config)?;
    Ok(Some(Outline::check(config, &text)?))
}

fn find(name: &str, config: &Path) -> Result<Named, Failure> {
    let path = PathBuf::from(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = fs::read_to_string(&path).map_err(|error| Failure {
            code: exit::CONFIG,
            message: format!("cannot read {}: {error}\nhint: name a file with a profile, or a profile by its name; `postern profile list` shows those", path.display()),
        })?;
        let profile = profile_of(&path, &text)?;
        return Ok(Named { name: name.to_owned(), from: "file", profile });
    }
    let mut built_in = built_in();
    if let Some(profile) = built_in.remove(name) {
        return Ok(Named { name: name.to_owned(), from: "built_in", profile });
    }
    let outline = outline(config)?;
    let mut written = outline.map(|outline| outline.profiles).unwrap_or_default();
    if let Some(profile) = written.remove(name) {
        return Ok(Named { name: name.to_owned(), from: "configuration", profile });
    }
    let names: Vec<&str> = built_in.keys().chain(written.keys()).map(String::as_str).collect();
    let (config, names) = (config.display(), names.join(", "));
    Err(Failure {
        code: exit::CONFIG,
        message: format!(
            "there is no profile {name:?} built in or in {config}\nhint: there are {names}; a file is named by its path, ending in .toml"
        ),
    })
}

fn list(common: &Common) -> Result<(), Failure> {
    let written = outline(&common.config)?.map(|outline| outline.profiles).unwrap_or_default();
    let row = |from: &'static str, profiles: BTreeMap<String, Profile>| -> Vec<Value> {
        let row = |(name, profile): (String, Profile)| {
            json!({
                "profile": name,
                "from": from,
                "model": profile.model,
                "readers": profile.readers.len(),
                "doors": profile.doors.len(),
            })
        };
        profiles.into_iter().map(row).collect()
    };
    let profiles = [row("built_in", built_in()), row("configuration", written)].concat();
    let report = json!({ "schema": "postern.profile.list.v1", "profiles": profiles });
    print(common.json, &report, |report| {
        let rows = show::list(&report["profiles"]).map(|row| {
            let cells = ["profile", "from", "readers", "doors", "model"];
            cells.map(|key| show::text(&row[key]).replace("built_in", "built in")).to_vec()
        });
        let table = show::table(&["PROFILE", "FROM", "READERS", "DOORS", "MODEL"], rows);
        let count = show::list(&report["profiles"]).count();
        format!("{table}\n{}\n", show::count(count, "profile"))
    })
}
