//! `init` and `init --join`: makes the data directories of the first and the second server, and of the
//! witness.

use std::collections::BTreeMap;
use std::path::Path;

use postern_protocol::pki::{PeerIdentity, PeerRole, is_name};
use postern_protocol::role::{GroupRole, Limits, RoleDocument, RoleVersion};

use super::authority::Credential;
use super::{
    ADMIN, AUTHORITY, Authority, CONFIG, Config, Host, JOINING, Lock, MAX_MEMBERS, Member, SERVER,
    STORE, Site, SiteError, Timers, Witness, file, parse_address,
};
use crate::clock;
use crate::coordination::VoterFile;
use crate::role::{Signer, decide};
use crate::store::{Audit, Store};

/// What the first server is to be.
pub struct First<'a> {
    /// The site's name.
    pub site: &'a str,
    /// The failover group's name.
    pub group: &'a str,
    /// The server's name.
    pub name: &'a str,
    /// Where others reach it, `HOST:PORT`.
    pub address: &'a str,
    /// Where it listens; where `None`, on every interface at the address's port.
    pub listen: Option<&'a str>,
}

/// What the second server, or the witness, is to be.
pub struct Second<'a> {
    /// The first server's data directory.
    pub join: &'a Path,
    /// The server's name.
    pub name: &'a str,
    /// Where others reach it, `HOST:PORT`.
    pub address: &'a str,
    /// As in [`First`].
    pub listen: Option<&'a str>,
}

/// Makes a site with one server: authority, certificates, configuration, store, role document.
pub fn init(dir: &Path, first: &First<'_>) -> Result<(), SiteError> {
    for (what, name) in [("site", first.site), ("group", first.group), ("server", first.name)] {
        named(what, name)?;
    }
    let (host, port) = address(first.address)?;
    let config = Config {
        site: first.site.to_owned(),
        group: first.group.to_owned(),
        name: first.name.to_owned(),
        listen: listen(first.listen, port)?,
        zone: None,
        members: vec![Member {
            name: first.name.to_owned(),
            ordinal: 0,
            address: first.address.to_owned(),
        }],
        witness: None,
        timers: Timers::default(),
        backup: None,
    };
    file::make_directory(dir)?;
    let (authority, own) = Authority::create(first.site)?;
    keep(dir, AUTHORITY, &own)?;
    let signer = certify(dir, &authority, &config, host)?;
    let operator = PeerIdentity {
        site: config.site.clone(),
        role: PeerRole::Admin,
        name: "operator".to_owned(),
    };
    keep(dir, ADMIN, &authority.issue(&operator, None)?)?;

    let mut store = Store::create(&dir.join(STORE), &config.name)?;
    let version = RoleVersion::first(decide::first_term(0));
    let document = RoleDocument {
        site: config.site.clone(),
        groups: BTreeMap::from([(
            config.group.clone(),
            GroupRole::founded(store.name(), version.term, clock::now()),
        )]),
        limits: Limits::default(),
    };
    let why = Audit::now("operator", "init", &config.name, "first server of the site");
    store.found_role(&signer.sign(&document)?, version, &why)?;
    found_voter(dir, FIRST_VOTER, &config.name)?;
    finish(dir, &config)
}

/// Makes the second server of a site, so that it can stand in for the first: with the authority's
/// key, the operator's credential and the present role document, but no transactions yet.
///
/// One join at a time, and the first server's directory names the new member before anything is
/// made for it: so no two servers ever share an ordinal, and with it role terms.
pub fn join(dir: &Path, second: &Second<'_>) -> Result<(), SiteError> {
    named("server", second.name)?;
    let (host, port) = address(second.address)?;
    let _alone = Lock::take_to_join(second.join)?;
    let site = Site::open(second.join)?;
    let listen = listen(second.listen, port)?;
    let (role, version) = Store::read_role(&site.store_path())?
        .ok_or_else(|| SiteError::NoRole { dir: second.join.to_owned() })?;
    let authority = site.load_authority()?;
    // Whatever the operator may have got wrong is found out before the first server's file changes.
    let members = with_member(&site, second)?;
    file::make_directory(dir)?;
    admit(&site, second, &members)?;

    // Where backups go is a matter of the machine.
    let (name, backup) = (second.name.to_owned(), None);
    let config = Config { name, listen, members, backup, ..site.config.clone() };
    for who in [AUTHORITY, ADMIN] {
        for extension in ["crt", "key"] {
            let from = second.join.join(format!("{who}.{extension}"));
            let bytes = std::fs::read(&from).map_err(SiteError::io("read", &from))?;
            file::create(&dir.join(format!("{who}.{extension}")), &bytes)?;
        }
    }
    certify(dir, &authority, &config, host)?;
    let mut store = Store::create(&dir.join(STORE), &config.name)?;
    let why = Audit::now("operator", "join", &config.name, "second server of the site");
    store.found_role(&role, version, &why)?;
    // The mark goes before the directory is finished: a crash here may ask for an operator, but
    // never lets a second directory be made for the same member.
    file::remove(&second.join.join(JOINING))?;
    finish(dir, &config)
}

/// Makes the site's witness: a voter without a store, without the authority's key and without an
/// operator's. The servers' directories that are named, and it itself, name it from now on.
pub fn join_witness(dir: &Path, second: &Second<'_>, others: &[&Path]) -> Result<(), SiteError> {
    named("witness", second.name)?;
    let (host, port) = address(second.address)?;
    let _alone = Lock::take_to_join(second.join)?;
    let site = Site::open(second.join)?;
    if site.config.members.len() < MAX_MEMBERS {
        return Err(SiteError::NoSecond { dir: site.dir });
    }
    let listen = listen(second.listen, port)?;
    let authority = site.load_authority()?;
    let (name, address) = (second.name.to_owned(), second.address.to_owned());
    let taken = |what, got: &str| {
        let (got, dir) = (got.to_owned(), site.dir.clone());
        SiteError::Taken { what, got, dir }
    };
    if site.config.members.iter().any(|member| member.name == name) {
        return Err(taken("named", &name));
    }
    if site.config.members.iter().any(|member| member.address == address) {
        return Err(taken("at", &address));
    }
    if let Some(present) = &site.config.witness
        && (present.name != name || present.address != address)
    {
        return Err(SiteError::HasWitness { name: present.name.clone(), dir: site.dir });
    }
    // Certificates of one name and place stand for one voter: made again, it is one that lost its
    // file, and its peers know that.
    let witness = Some(Witness { name, address });
    let others: Vec<Site> = others.iter().map(|dir| Site::open(dir)).collect::<Result<_, _>>()?;
    for other in &others {
        let is_ours = other.config.site == site.config.site
            && other.config.members == site.config.members
            && other.authority == site.authority;
        if !is_ours {
            return Err(SiteError::OtherSite { dir: other.dir.clone() });
        }
    }
    file::make_directory(dir)?;
    for other in others {
        let told = Config { witness: witness.clone(), ..other.config };
        file::replace(&other.dir.join(CONFIG), told.to_toml().as_bytes())?;
    }
    let first = Config { witness, ..site.config.clone() };
    file::replace(&site.dir.join(CONFIG), first.to_toml().as_bytes())?;

    let from = second.join.join(format!("{AUTHORITY}.crt"));
    let bytes = std::fs::read(&from).map_err(SiteError::io("read", &from))?;
    file::create(&dir.join(format!("{AUTHORITY}.crt")), &bytes)?;
    let config = Config { name: second.name.to_owned(), listen, backup: None, zone: None, ..first };
    certify(dir, &authority, &config, host)?;
    finish(dir, &config)
}

/// The number under which the voter is known that founds the coordination store, once there are three. The
/// others are given theirs by it.
const FIRST_VOTER: u64 = 1;

/// Makes the file of the voter that founds the coordination store anew, where all three lost theirs. It does
/// so only if the others are found to be empty as well; else it joins them.
pub fn found_voters(dir: &Path) -> Result<(), SiteError> {
    let site = Site::open(dir)?;
    if site.config.is_witness() {
        return Err(SiteError::IsWitness { dir: site.dir });
    }
    let _alone = Lock::take(dir)?;
    found_voter(dir, FIRST_VOTER, &site.config.name)
}

fn found_voter(dir: &Path, node: u64, name: &str) -> Result<(), SiteError> {
    VoterFile::found(dir, node, name)
        .map_err(|error| SiteError::Voter { dir: dir.to_owned(), reason: error.to_string() })
}

/// The members with the new one. One that is there already is taken up only by a repeated join of
/// the same server that was begun and not finished.
fn with_member(site: &Site, second: &Second<'_>) -> Result<Vec<Member>, SiteError> {
    let mut members = site.config.members.clone();
    let begun = file::read_if_there(&site.dir.join(JOINING))?;
    if let Some(begun) = begun
        && begun == second.name
        && members.iter().any(|member| {
            member.name == second.name && member.address == second.address && member.ordinal > 0
        })
    {
        return Ok(members);
    }
    let (dir, name) = (|| site.dir.clone(), |got: &str| got.to_owned());
    if members.iter().any(|member| member.name == second.name) {
        return Err(SiteError::Taken { what: "named", got: name(second.name), dir: dir() });
    }
    if members.iter().any(|member| member.address == second.address) {
        return Err(SiteError::Taken { what: "at", got: name(second.address), dir: dir() });
    }
    if members.len() >= MAX_MEMBERS {
        return Err(SiteError::Full { dir: dir() });
    }
    members.push(Member {
        name: second.name.to_owned(),
        ordinal: u64::try_from(members.len()).unwrap_or(u64::MAX),
        address: second.address.to_owned(),
    });
    Ok(members)
}

/// Makes the first server's directory name the new member, and note that its join is under way.
fn admit(site: &Site, second: &Second<'_>, members: &[Member]) -> Result<(), SiteError> {
    file::replace(&site.dir.join(JOINING), second.name.as_bytes())?;
    let first = Config { members: members.to_vec(), ..site.config.clone() };
    file::replace(&site.dir.join(CONFIG), first.to_toml().as_bytes())
}

fn named(what: &'static str, name: &str) -> Result<(), SiteError> {
    if is_name(name) { Ok(()) } else { Err(SiteError::Name { what, got: name.to_owned() }) }
}

fn address(text: &str) -> Result<(Host, u16), SiteError> {
    parse_address(text).ok_or_else(|| SiteError::Address { got: text.to_owned() })
}

fn listen(text: Option<&str>, port: u16) -> Result<std::net::SocketAddr, SiteError> {
    let Some(text) = text else { return Ok(([0, 0, 0, 0], port).into()) };
    text.parse().map_err(|_| SiteError::Listen { got: text.to_owned() })
}

fn keep(dir: &Path, who: &str, credential: &Credential) -> Result<(), SiteError> {
    file::create(&dir.join(format!("{who}.crt")), credential.certificate.pem().as_bytes())?;
    file::create(&dir.join(format!("{who}.key")), credential.key.serialize_pem().as_bytes())
}

fn certify(
    dir: &Path,
    authority: &Authority,
    config: &Config,
    host: Host,
) -> Result<Signer, SiteError> {
    let role = if config.is_witness() { PeerRole::Witness } else { PeerRole::Server };
    let me = PeerIdentity { site: config.site.clone(), role, name: config.name.clone() };
    let credential = authority.issue(&me, Some(host))?;
    keep(dir, SERVER, &credential)?;
    Signer::new(credential.certificate.der(), credential.key.serialized_der())
}

/// The configuration comes last: a directory without it was never finished.
fn finish(dir: &Path, config: &Config) -> Result<(), SiteError> {
    file::create(&dir.join(CONFIG), config.to_toml().as_bytes())?;
    file::sync_directory(dir)?;
    match dir.parent() {
        Some(parent) => file::sync_directory(parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
