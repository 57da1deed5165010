//! The configuration as a text that is added to: comments and layout stay as they are. What would not
//! pass the check is never written, and the file has its old or its new content at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Failure;
use super::confirm::confirm;
use super::new_file::{Hints, NewFile};
use crate::config::{ConfigError, Controller, Outline};
use crate::driver::uhppote::Transport;
use crate::exit;

const HINTS: Hints = Hints {
    exists: "name another configuration with -c FILE",
    no_file: "name a configuration that is a file with -c FILE",
};

/// Whether, and how, the configuration is to be changed.
#[derive(clap::Args)]
pub(super) struct Writing {
    /// Append them to the configuration.
    #[arg(long)]
    write: bool,
    /// Show what --write would append; write nothing, also with --write.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, requires = "write")]
    yes: bool,
}

impl Writing {
    /// Whether a text is wanted, to be written or shown.
    pub(super) fn is_wanted(&self) -> bool {
        self.write || self.dry_run
    }

    /// Whether a person is asked before something is written.
    pub(super) fn asks(&self) -> bool {
        self.write && !self.dry_run && !self.yes
    }
}

/// A controller that is to be appended.
pub(super) struct Section {
    /// Its serial number.
    pub(super) serial: u32,
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Over what it is talked to.
    pub(super) transport: Transport,
    /// The IANA name of its zone.
    pub(super) zone: String,
    /// Where the entry comes from, for whoever reads the file later.
    pub(super) comment: String,
}

impl Section {
    /// As it stands in the file.
    pub(super) fn toml(&self) -> String {
        let Self { serial, address, transport, zone, comment } = self;
        let (transport, zone) = (transport.name(), toml::Value::from(zone.as_str()));
        // A comment ends with its line and holds no control characters.
        let comment: String = comment.chars().filter(|each| !each.is_control()).collect();
        format!(
            "\n# {comment}\n[[controller]]\nserial = {serial}\naddress = \"{address}\"\ntransport = \"{transport}\"\nzone = {zone}\n"
        )
    }

    /// The same as data.
    pub(super) fn json(&self) -> Value {
        let Self { serial, address, transport, zone, .. } = self;
        json!({ "serial": serial, "address": address, "transport": transport, "zone": zone })
    }
}

/// A configuration that was read.
pub(super) struct Edit {
    path: PathBuf,
    text: String,
    outline: Outline,
}

impl Edit {
    /// Reads and checks it.
    pub(super) fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = Outline::read(path)?;
        let outline = Outline::check(path, &text)?;
        Ok(Self { path: path.to_owned(), text, outline })
    }

    /// The same; `None` where there is no such file.
    pub(super) fn open_if_any(path: &Path) -> Result<Option<Self>, ConfigError> {
        match Self::open(path) {
            Ok(edit) => Ok(Some(edit)),
            Err(ConfigError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The controllers in it.
    pub(super) fn controllers(&self) -> &BTreeMap<u32, Controller> {
        &self.outline.controllers
    }

    /// Where boards push to, if that is in it.
    pub(super) fn listen(&self) -> Option<SocketAddr> {
        self.outline.listen
    }

    /// Appends this if it is wanted, possible and confirmed. Whether it was.
    pub(super) fn append(&self, addition: &str, writing: &Writing) -> Result<bool, Failure> {
        if addition.is_empty() || !writing.is_wanted() {
            return Ok(false);
        }
        let gap = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{}{gap}{addition}", self.text);
        self.can_take(&text, addition)?;
        Outline::check(&self.path, &text)?;
        if writing.dry_run {
            return Ok(false);
        }
        let path = self.path.display();
        let _ = writeln!(anstream::stderr(), "to be appended to {path}:\n{addition}");
        confirm(writing.yes, "Append this?")?;
        self.replace(&text)?;
        Ok(true)
    }

    /// Says so where no section can follow: a table that stands in one line is closed for good, and
    /// the parser would complain of a line that is not in the file.
    fn can_take(&self, text: &str, addition: &str) -> Result<(), Failure> {
        let refuses = |text: &str| text.parse::<toml::Table>().is_err();
        if !refuses(text) || refuses(addition) {
            return Ok(());
        }
        let (what, how) = if refuses(&format!("{}\n[[controller]]\n", self.text)) {
            (
                "its controllers stand in an inline array, `controller = [ … ]`, behind which no [[controller]] section is allowed",
                ", in that array each as `{ serial = …, address = …, … },`",
            )
        } else {
            ("it has an [uhppote] section already, and a second one is not allowed", "")
        };
        Err(Failure {
            code: exit::CONFIG,
            message: format!(
                "{}: {what}; nothing was written\nhint: add this by hand{how}:\n{addition}",
                self.path.display()
            ),
        })
    }

    fn replace(&self, text: &str) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure {
            code: exit::FAILURE,
            message: format!(
                "cannot write {}: {error}\nhint: nothing was changed; the file and its directory must be writable for you",
                self.path.display()
            ),
        };
        // A link stays a link: what it names is replaced.
        let path = fs::canonicalize(&self.path).map_err(failed)?;
        let file = NewFile::create(&path, true, &HINTS)?;
        file.writer().and_then(|mut to| to.write_all(text.as_bytes())).map_err(failed)?;
        file.belongs_like(&path).map_err(failed)?;
        if Outline::read(&path)? != self.text {
            return Err(Failure {
                code: exit::FAILURE,
                message: format!(
                    "{} was changed by somebody else meanwhile; nothing was written\nhint: repeat the command",
                    self.path.display()
                ),
            });
        }
        file.keep().map(drop).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const TEXT: &str = "# mine\nbundle = \"b\"   # aligned\ndata_dir = \"d\"";
    const YES: Writing = Writing { write: true, dry_run: false, yes: true };

    fn section(serial: u32, zone: &str) -> Section {
        Section {
            serial,
            address: "192.0.2.7:60000".parse().unwrap(),
            transport: Transport::Tcp,
            zone: zone.to_owned(),
            comment: "found\nhere\u{7}".to_owned(),
        }
    }

    fn message(failure: Failure) -> String {
        failure.message
    }

    #[test]
    fn what_is_appended_leaves_the_rest_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real.toml"), directory.path().join("link.toml"));
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let addition = section(7, "Europe/Berlin").toml();
        let edit = Edit::open(&link).unwrap();

        let dry = Writing { write: false, dry_run: true, yes: false };
        assert!(!edit.append(&addition, &dry).map_err(message).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);

        assert!(edit.append(&addition, &YES).map_err(message).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{TEXT}\n{addition}"));
        assert!(text.contains("# foundhere\n[[controller]]"), "{text}");
        let after = Edit::open(&link).unwrap();
        assert_eq!(after.controllers()[&7].transport, Transport::Tcp);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something was left behind");
    }

    #[test]
    fn what_would_not_pass_the_check_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        fs::write(&path, TEXT).unwrap();
        let edit = Edit::open(&path).unwrap();
        let twice = section(7, "Europe/Berlin").toml() + &section(7, "Europe/Berlin").toml();
        for (addition, why) in [(twice, "second time"), (section(8, "Mars/\"Base").toml(), "zone")]
        {
            let failure = edit.append(&addition, &YES).unwrap_err();
            assert_eq!(failure.code, exit::CONFIG);
            assert!(failure.message.contains(why), "{}", failure.message);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    /// The parser complained of line 8 of a file with three.
    #[test]
    fn boards_in_an_inline_array_are_to_be_added_by_hand() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        let inline =
            "controller = [\n  { serial = 1, address = \"192.0.2.1:60000\", zone = \"UTC\" },\n]\n";
        for (more, what) in [
            (inline, "inline array"),
            ("controller = []\n", "inline array"),
            ("[uhppote]\n", "[uhppote]"),
        ] {
            let text = format!("{TEXT}\n{more}");
            fs::write(&path, &text).unwrap();
            let addition =
                format!("\n[uhppote]\nlisten = \"192.0.2.9:60001\"\n{}", section(7, "UTC").toml());
            let failure = Edit::open(&path).unwrap().append(&addition, &YES).unwrap_err();
            assert_eq!(failure.code, exit::CONFIG);
            assert!(failure.message.contains(what), "{}", failure.message);
            assert!(failure.message.contains(":\n\n[uhppote]"), "{}", failure.message);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_dry_run_writes_nothing_whatever_else_is_given() {
        let writing = Writing { write: true, dry_run: true, yes: true };
        assert!(writing.is_wanted() && !writing.asks());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        fs::write(&path, TEXT).unwrap();
        let edit = Edit::open(&path).unwrap();
        assert!(!edit.append(&section(7, "UTC").toml(), &writing).map_err(message).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    #[test]
    fn a_change_by_somebody_else_is_not_undone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        fs::write(&path, TEXT).unwrap();
        let edit = Edit::open(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        let failure = edit.append(&section(7, "UTC").toml(), &YES).unwrap_err();
        assert!(failure.message.contains("somebody else"), "{}", failure.message);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }
}
