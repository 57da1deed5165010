//! `server.toml`: who this server is and which servers the site has. What is wrong with it is said
//! with file, line and caret.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use postern_protocol::pki::{ServerAddress, is_name};
use serde::Deserialize;
use toml::Spanned;

use super::backup::{self, BackupPlan};
use crate::zone::Zone;

/// The most servers that a site has. Role terms are dealt out by it (`role::decide`), so it is a
/// constant of the data directory's format.
pub const MAX_MEMBERS: usize = 2;

/// The longest `server.toml`: a few hundred bytes a member.
const MAX_CONFIG: u64 = 64 * 1024;

/// What `server.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The site.
    pub site: String,
    /// The failover group that this server may be active for.
    pub group: String,
    /// This server's name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The zone that people at the site live by, where it is not the machine's.
    pub zone: Option<Zone>,
    /// The site's servers, this one among them where it is one.
    pub members: Vec<Member>,
    /// The third voter, where there is one. On its own directory it is this `name`.
    pub witness: Option<Witness>,
    /// How fast voters are to notice each other's silence.
    pub timers: Timers,
    /// Backups that it makes by itself.
    pub backup: Option<BackupPlan>,
}

/// One of the site's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its number, from 0: it decides which role terms it may use.
    pub ordinal: u64,
    /// Where others reach it; the host is a name of its certificate.
    pub address: String,
}

/// The third voter of the servers' coordination store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Where the servers reach it; the host is a name of its certificate.
    pub address: String,
}

/// For which distances between the voters the times are made. The same on each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timers {
    /// One site: a few milliseconds.
    #[default]
    Near,
    /// Different data centres: up to a hundred milliseconds, and losses.
    Far,
}

impl Timers {
    /// As the file says it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

impl Witness {
    /// The table of `server.toml` that names it, alike on each server.
    pub fn to_toml(&self) -> String {
        let Self { name, address } = self;
        format!("\n[witness]\nname = \"{name}\"\naddress = \"{address}\"\n")
    }
}

impl Member {
    /// As a bundle names it.
    pub fn server_address(&self) -> ServerAddress {
        ServerAddress { name: self.name.clone(), address: self.address.clone() }
    }
}

/// The host of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By number.
    Ip(IpAddr),
    /// By name.
    Dns(String),
}

/// Splits `HOST:PORT`; IPv6 stands in brackets.
pub fn parse_address(text: &str) -> Option<(Host, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then(|| (Host::Ip(address.ip()), address.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_dns = host.len() <= 253
        && host.split('.').all(label)
        && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_dns.then(|| (Host::Dns(host.to_owned()), port))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    site: Spanned<String>,
    group: Spanned<String>,
    name: Spanned<String>,
    listen: Spanned<String>,
    zone: Option<Spanned<String>>,
    timers: Option<Spanned<String>>,
    members: Spanned<Vec<TextMember>>,
    witness: Option<TextWitness>,
    backup: Option<backup::Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextWitness {
    name: Spanned<String>,
    address: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextMember {
    name: Spanned<String>,
    ordinal: Spanned<u64>,
    address: Spanned<String>,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let error = |source| ConfigError::Io { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(error)?.len() > MAX_CONFIG {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(error)?;
        Self::parse(&text).map_err(|(at, message)| ConfigError::at(path, &text, at, message))
    }

    /// Checks a text; the error is a place in it and what is wrong there.
    fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let raw: Text = toml::from_str(text)
            .map_err(|error| (error.span().unwrap_or(0..0), error.message().to_owned()))?;
        let named = |value: &Spanned<String>, what: &str| {
            if is_name(value.get_ref()) {
                return Ok(value.get_ref().clone());
            }
            let got = value.get_ref();
            Err((
                value.span(),
                format!("{got:?} cannot be the name of a {what}: use 1 to 32 of a-z, 0-9 and -"),
            ))
        };
        let mut members: Vec<Member> = Vec::new();
        for member in raw.members.get_ref() {
            let address = member.address.get_ref();
            if parse_address(address).is_none() {
                let why = format!("{address:?} is not HOST:PORT");
                return Err((member.address.span(), why));
            }
            let next = u64::try_from(members.len()).unwrap_or(u64::MAX);
            if *member.ordinal.get_ref() != next || members.len() == MAX_MEMBERS {
                let why = format!(
                    "ordinals count 0, 1, … in order, {MAX_MEMBERS} at most; expected {next}"
                );
                return Err((member.ordinal.span(), why));
            }
            let name = named(&member.name, "server")?;
            if members.iter().any(|other| other.name == name || other.address == *address) {
                return Err((member.name.span(), "name or address is another member's".into()));
            }
            members.push(Member { name, ordinal: next, address: address.clone() });
        }
        let witness = raw.witness.as_ref().map(|text| {
            let address = text.address.get_ref();
            if parse_address(address).is_none() {
                return Err((text.address.span(), format!("{address:?} is not HOST:PORT")));
            }
            let name = named(&text.name, "witness")?;
            if members.iter().any(|member| member.name == name || member.address == *address) {
                return Err((text.name.span(), "name or address is a member's".into()));
            }
            Ok(Witness { name, address: address.clone() })
        });
        let witness = witness.transpose()?;
        let name = named(&raw.name, "server")?;
        let is_witness = witness.as_ref().is_some_and(|witness| witness.name == name);
        if !is_witness && !members.iter().any(|member| member.name == name) {
            let known: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            let why = format!("{name:?} is not among the members ({})", known.join(", "));
            return Err((raw.name.span(), why));
        }
        let listen = raw.listen.get_ref().parse().map_err(|_| {
            (raw.listen.span(), "not an IP address and port such as 0.0.0.0:7443".to_owned())
        })?;
        let zone = raw.zone.map(|name| {
            let known = Zone::named(name.get_ref());
            known.ok_or_else(|| {
                let got = name.get_ref();
                (name.span(), format!("{got:?} is no time zone such as Europe/Berlin"))
            })
        });
        let zone = zone.transpose()?;
        let timers = match raw.timers.as_ref().map(|text| (text.get_ref().as_str(), text.span())) {
            None | Some(("near", _)) => Timers::Near,
            Some(("far", _)) => Timers::Far,
            Some((got, at)) => {
                return Err((at, format!("{got:?} are no timers: \"near\" or \"far\"")));
            }
        };
        let (site, group) = (named(&raw.site, "site")?, named(&raw.group, "group")?);
        let backup = raw.backup.as_ref().map(backup::Text::check).transpose()?;
        Ok(Self { site, group, name, listen, zone, members, witness, timers, backup })
    }

    /// As a file. Every value was checked to be free of quotes.
    pub fn to_toml(&self) -> String {
        let Self { site, group, name, listen, zone, members, witness, timers, backup } = self;
        let mut text = format!(
            "# Written by postern-server. The members of a site are the same on each of its servers.\n\
             site = \"{site}\"\ngroup = \"{group}\"\nname = \"{name}\"\nlisten = \"{listen}\"\n"
        );
        if let Some(zone) = zone.as_ref().and_then(Zone::name) {
            let _ = writeln!(text, "zone = \"{zone}\"");
        }
        if *timers != Timers::default() {
            let _ = writeln!(text, "timers = \"{}\"", timers.code());
        }
        for Member { name, ordinal, address } in members {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[members]]\nname = \"{name}\"\nordinal = {ordinal}\naddress = \"{address}\"\n"
            );
        }
        if let Some(witness) = witness {
            text.push_str(&witness.to_toml());
        }
        if let Some(backup) = backup {
            text.push_str(&backup.to_toml());
        }
        text
    }

    /// This server among the members.
    pub fn me(&self) -> Option<&Member> {
        self.member(&self.name)
    }

    /// The other server, where there is one.
    pub fn peer(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.name != self.name)
    }

    /// Whether this is the witness's own directory.
    pub fn is_witness(&self) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.name == self.name)
    }

    /// A member by name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Why a `server.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is longer than {MAX_CONFIG} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{}:{line}:{column}: {message}{excerpt}", path.display())]
    At { path: PathBuf, line: usize, column: usize, message: String, excerpt: Excerpt },
}

/// The offending line with a caret under the place.
#[derive(Debug)]
pub struct Excerpt {
    line: usize,
    text: String,
    from: usize,
    width: usize,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let pad = " ".repeat(number.len());
        let carets = "^".repeat(self.width);
        let Self { text, from, .. } = self;
        write!(f, "\n{pad} |\n{number} | {text}\n{pad} | {:from$}{carets}", "")
    }
}

impl ConfigError {
    fn at(path: &Path, text: &str, at: Range<usize>, message: String) -> Self {
        let before = text.get(..at.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let whole = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let from = before.get(start..).map_or(0, |part| part.chars().count());
        let marked =
            text.get(at).map_or(1, |part| part.lines().next().unwrap_or("").chars().count());
        let excerpt = Excerpt { line, text: whole.to_owned(), from, width: marked.clamp(1, 60) };
        Self::At { path: path.to_owned(), line, column: from + 1, message, excerpt }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "make a server with `postern-server init --dir DIR …`, or name its --dir".into()
            }
            Self::Io { .. } => "is this the user that the server runs as?".into(),
            Self::TooLong { .. } | Self::At { .. } => {
                "the keys are site, group, name, listen, zone, timers, [[members]] with name, ordinal, address, \
                 [witness] with name, address, and [backup] with dir, every, keep"
                    .into()
            }
        })
    }
}
