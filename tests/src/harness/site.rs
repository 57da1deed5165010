//! The assembled system in one directory, and the evidence that it leaves.
//!
//! A site notes on its way what the checker needs besides the stores: what was promised before
//! each kill, who was seen to be active, how each process ended.
//!
//! - `apart`: the wires of voters in different data centres.
//! - `config`: what it is to be.
//! - `kill`: how processes end, and what they had promised.
//! - `level`: what is waited for.
//! - `seen`: what is noted on the way.

mod apart;
mod config;
mod kill;
mod level;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::message::request::SetListener;
use postern_protocol::{ControllerId, EpochId, RoleTerm};
use serde_json::Value;
use tempfile::TempDir;

use self::apart::Apart;
pub use self::config::SiteConfig;
use super::{
    Board, Bus, Claims, Configuration, Error, Finished, Gateway, Host, Line, Link, Namespace,
    Network, Plug, Ports, Server, Side, Simulator, Station, Transport, Wired, namespace::run_at,
    wait_until,
};
use crate::checker::{
    Evidence, Exit, GapAllowance, Kill, LedgerLine, LogSize, ReignSeen, StoreView, Timing, Told,
    check,
};

/// Which address of a site's block the pushes go to; those before it are the servers' and their
/// wires'.
const PUSHES: u16 = 4;
/// From which on the device servers of lines have theirs.
const LINES: u16 = 5;
/// From which on the wires between the servers begin, where there are any.
const BETWEEN: u16 = 7;
/// The witness's address.
const WITNESS: u16 = 9;
/// Its name.
const WITNESS_NAME: &str = "w";

/// The host of the gateway and its boards.
const GATEWAY: &str = "g";
/// Where servers listen that have a host to themselves.
const PORT: u16 = 7_443;

/// A running site.
#[derive(Debug)]
pub struct Site {
    // Fields are dropped in this order: the processes before the directory that they write to.
    /// The gateway.
    pub gateway: Gateway,
    servers: [Server; 2],
    witness: Option<Server>,
    claims: Option<Claims>,
    /// The role terms that their servers handed over while they lived.
    handed: BTreeSet<RoleTerm>,
    links: Option<[Link; 2]>,
    between: Option<[Link; 2]>,
    /// The wires between all voters, where they are far apart.
    _apart: Option<Apart>,
    /// The boards.
    pub simulator: Simulator,
    /// Its directory.
    pub dir: PathBuf,
    ports: Ports,
    is_temporary: bool,
    config: SiteConfig,
    exits: Vec<Exit>,
    kills: Vec<Kill>,
    reigns: Vec<ReignSeen>,
    times: Vec<Timing>,
    pending: Pending,
    faults: BTreeMap<u32, Value>,
    buses: Vec<Wired>,
    line_faults: BTreeMap<String, Value>,
    epochs: BTreeMap<(ControllerId, u64), EpochId>,
}

/// Kills whose victims have not been back yet.
#[derive(Debug, Default)]
struct Pending {
    gateway: Option<Kill>,
    server: Vec<(Side, Kill)>,
    number: u32,
}

impl Site {
    /// What the network of a site has to have: the servers, their witness, and the gateway with its boards.
    pub const HOSTS: [&str; 4] = ["a", "b", "w", GATEWAY];

    /// Starts everything in a fresh temporary directory. It is removed when the run was judged good
    /// ([`Finished::expect_ok`]) and kept in every other case.
    pub fn start(config: SiteConfig) -> Result<Self, Error> {
        let mut site = Self::prepare(config)?;
        site.gateway.start()?;
        Ok(site)
    }

    /// The same, but for the gateway, which is enrolled and configured and not started.
    pub fn prepare(config: SiteConfig) -> Result<Self, Error> {
        let mut site = Self::prepare_in(&Self::temporary_dir()?, config)?;
        site.is_temporary = true;
        Ok(site)
    }

    /// A fresh directory, which is the caller's to remove.
    pub fn temporary_dir() -> Result<PathBuf, Error> {
        let made = tempfile::Builder::new().prefix("postern-").tempdir();
        made.map(TempDir::keep).map_err(Error::file("create a directory in", std::env::temp_dir()))
    }

    /// The same in a given directory, which is kept.
    pub fn prepare_in(dir: &Path, config: SiteConfig) -> Result<Self, Error> {
        let logs = dir.join("logs");
        if logs.exists() {
            let what = format!("{} holds an earlier run; name another directory", dir.display());
            return Err(Error::Scenario(what));
        }
        if config.wired_pair && config.network.is_some() {
            return Err(Error::Scenario("a pair on a network has no wires".to_owned()));
        }
        if config.apart.is_some() && (config.wired_pair || config.network.is_some()) {
            return Err(Error::Scenario("who is far apart has wires already".to_owned()));
        }
        fs::create_dir_all(&logs).map_err(Error::file("create", &logs))?;
        let ports = Ports::claim()?;
        let mut gateway = Gateway::new(&dir.join("gateway"), &logs)?;
        let beside_boards = config.host(GATEWAY)?;
        gateway.move_to_host(beside_boards);
        let buses = wire(&config.buses, dir, &ports);
        let keys = enrol(&gateway, &buses, dir)?;
        let (sim, boards) = (dir.join("sim"), &config.boards);
        let simulator =
            Simulator::start(&sim, &logs, beside_boards, config.seed, boards, &buses, &keys)?;
        let [at_a, at_b] = [config.host(Side::A.name())?, config.host(Side::B.name())?];
        let at = |host: Option<&Namespace>, number| {
            host.map_or(ports.address(number), |host| SocketAddr::from((host.address, PORT)))
        };
        let mut a = Server::init(dir, &logs, "north", Side::A.name(), at(at_a, 0))?;
        let mut b = Server::join(&a, dir, &logs, Side::B.name(), at(at_b, 1))?;
        a.move_to_host(at_a);
        b.move_to_host(at_b);
        let at_witness = config.host(WITNESS_NAME)?;
        let witness = || {
            let at = at(at_witness, WITNESS);
            let mut witness = Server::witness([&a, &b], dir, &logs, WITNESS_NAME, at)?;
            witness.move_to_host(at_witness);
            Ok(witness)
        };
        let mut witness = config.automatic.then(witness).transpose()?;
        let between = config.wired_pair.then(|| lay_between(&a, &b, &ports)).transpose()?;
        let voters: Vec<&Server> = [&a, &b].into_iter().chain(&witness).collect();
        let apart = config.apart.map(|distance| Apart::lay(&voters, distance)).transpose()?;
        a.start()?;
        b.start()?;
        if let Some(witness) = &mut witness {
            witness.start()?;
        }
        a.enrol("g1", &gateway.bundle())?;
        let lay = || {
            let to_a = Link::open_at(ports.address(2), a.address)?;
            let links = [to_a, Link::open_at(ports.address(3), b.address)?];
            if let Some(distance) = config.apart {
                for link in &links {
                    link.lengthen(distance);
                }
            }
            gateway.reach_servers_at(&links.each_ref().map(Link::address))?;
            Ok(links)
        };
        let links = config.network.is_none().then(lay).transpose()?;
        let mut site = Self {
            gateway,
            servers: [a, b],
            witness,
            claims: None,
            handed: BTreeSet::new(),
            links,
            between,
            _apart: apart,
            simulator,
            dir: dir.to_owned(),
            ports,
            is_temporary: false,
            config,
            exits: Vec::new(),
            kills: Vec::new(),
            reigns: Vec::new(),
            times: Vec::new(),
            pending: Pending::default(),
            faults: BTreeMap::new(),
            buses,
            line_faults: BTreeMap::new(),
            epochs: BTreeMap::new(),
        };
        site.gateway.configure(&site.configuration())?;
        site.in_sync(Side::A)?;
        if site.witness.is_some() {
            site.all_vote()?;
            site.server(Side::A).rules(&["--mode", "automatic"])?;
            site.claims = Some(Claims::begin(&site.servers)?);
        }
        for serial in site.simulator.addresses.keys() {
            site.listen(*serial)?;
        }
        Ok(site)
    }

    /// The gateway's configuration: which board is where, and how it is talked to.
    pub fn configuration(&self) -> Configuration {
        let transports = [Transport::Udp, Transport::Tcp].into_iter().cycle();
        let lines = self.simulator.addresses.iter().zip(transports);
        let line = |((serial, address), transport): ((&u32, &SocketAddr), _)| {
            Line::new(*serial, *address, transport)
        };
        Configuration {
            capacity_entries: self.config.capacity_entries,
            listen: self.pushes_to(),
            clocks: None,
            controllers: lines.map(line).collect(),
            buses: self.buses.clone(),
            modbus: None,
        }
    }

    /// Where the boards push their events to, if they do.
    pub fn pushes_to(&self) -> Option<SocketAddr> {
        self.config.pushes.then(|| self.ports.address(PUSHES))
    }

    /// Has a board push its events to the gateway, where the site is made so. Whoever restores its
    /// defaults has to do so again.
    pub fn listen(&self, serial: u32) -> Result<(), Error> {
        let (Some(SocketAddr::V4(to)), Some(board)) =
            (self.pushes_to(), self.simulator.addresses.get(&serial))
        else {
            return Ok(());
        };
        let request = Request::SetListener(SetListener {
            controller: serial,
            address: *to.ip(),
            port: to.port(),
            interval: 0,
        });
        let ask = || Host::new()?.ask(*board, &request).map(drop);
        run_at(self.config.host(GATEWAY)?, ask)
    }

    /// No gaps but those that the ledger proves, of the boards as they are.
    pub fn proven_gaps(&self) -> GapAllowance {
        let extent = |board: &Board| {
            let (capacity, chunk) = (u64::from(board.capacity), u64::from(board.chunk));
            (ControllerId::uhppote(board.serial), LogSize { capacity, chunk })
        };
        let stations = self.config.buses.iter().flat_map(|bus| &bus.stations);
        let on_lines = stations.map(|station| (station.controller(), station.log_size()));
        GapAllowance::Proven(self.config.boards.iter().map(extent).chain(on_lines).collect())
    }

    /// The serial numbers of what hangs on lines.
    pub fn stations(&self) -> impl Iterator<Item = u32> {
        let stations = self.config.buses.iter().flat_map(|bus| &bus.stations);
        stations.map(|station| station.serial)
    }

    /// Notes how the controllers that name the lives of their logs call the present ones. Whoever is about
    /// to end a life does so first.
    pub fn note_epochs(&mut self) -> Result<(), Error> {
        for status in self.simulator.status()?.controllers {
            if let Some(epoch) = status.epoch {
                self.epochs.insert((status.controller, status.life), epoch);
            }
        }
        Ok(())
    }

    /// The power of a station goes and comes back; its log is `kept` or `lost`.
    pub fn cut_power(&mut self, serial: u32, log: &str) -> Result<(), Error> {
        self.note_epochs()?;
        self.simulator.power_cut(serial, log)
    }

    /// Ends the simulator and starts it again: the devices of all lines vanish and come back.
    pub fn restart_simulator(&mut self) -> Result<(), Error> {
        self.stop_simulator()?;
        self.simulator.restart()
    }

    /// Ends the simulator: the devices of all lines vanish.
    pub fn stop_simulator(&mut self) -> Result<(), Error> {
        self.note_epochs()?;
        let exit = self.simulator.stop()?;
        self.exits.push(exit);
        Ok(())
    }

    /// The boards.
    pub fn boards(&self) -> Vec<u32> {
        self.simulator.addresses.keys().copied().collect()
    }

    /// One of the servers.
    pub fn server(&mut self, side: Side) -> &mut Server {
        let [a, b] = &mut self.servers;
        if side == Side::A { a } else { b }
    }

    /// The witness.
    pub fn witness(&mut self) -> Result<&mut Server, Error> {
        let witness = self.witness.as_mut();
        witness.ok_or_else(|| Error::Scenario("the site has no witness".to_owned()))
    }

    /// An address that nobody else of a site without lines listens at.
    pub fn spare_address(&self) -> SocketAddr {
        self.ports.address(LINES)
    }

    /// The gateway's wire to it.
    ///
    /// # Panics
    /// In a site with a network, where faults are made in that.
    pub fn link(&self, side: Side) -> &Link {
        let links = self.links.as_ref();
        let [a, b] = links.expect("invariant: a scenario knows whether its site has wires");
        if side == Side::A { a } else { b }
    }

    /// The network, where the site is made so.
    pub fn network(&self) -> Result<&Network, Error> {
        let network = self.config.network.as_deref();
        network.ok_or_else(|| Error::Scenario("the site has no network".to_owned()))
    }

    /// The wire over which a server asks its peer, where the site is made so.
    pub fn between(&self, side: Side) -> Result<&Link, Error> {
        let between = self.between.as_ref();
        let [a, b] = between.ok_or_else(|| Error::Scenario("the pair is not wired".to_owned()))?;
        Ok(if side == Side::A { a } else { b })
    }

    /// Makes a server anew that has lost its whole directory: it joins the other one.
    pub fn join_anew(&mut self, side: Side) -> Result<(), Error> {
        let [a, b] = &mut self.servers;
        let (lost, peer) = if side == Side::A { (a, b) } else { (b, a) };
        lost.join_anew(peer)
    }

    /// Makes a server the active one, and waits until the gateway knows.
    pub fn fail_over(&mut self, to: Side, force: bool) -> Result<(), Error> {
        self.expect_overlap(to.other())?;
        self.ask_servers()?;
        let name = to.name();
        let program = format!("postern-server failover --to {name}");
        self.server(to).failover(force)?.success(&program)?;
        if self.gateway.is_running() {
            let what = format!("the gateway to follow server {name}");
            wait_until(&what, Duration::from_secs(30), || {
                let status = self.look()?;
                Ok((status.uplink.active.as_deref() == Some(name)).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Ends every process at once and removes the directory, where it is a temporary one: for
    /// scenarios that are no matter of the checker.
    pub fn remove(self) -> Result<(), Error> {
        let (dir, is_temporary) = (self.dir.clone(), self.is_temporary);
        drop(self);
        if is_temporary {
            fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))?;
        }
        Ok(())
    }

    /// Ends every process and judges the run. `active` is the server that must have everything.
    pub fn finish(self, active: Side, gaps: GapAllowance) -> Result<Finished, Error> {
        self.finish_with(active, gaps, |_| Vec::new())
    }

    /// The same of a site with devices that are none of its simulator's: `more` is their ledger, told in the
    /// checker's words by the help of what the active server holds.
    pub fn finish_with(
        mut self,
        active: Side,
        gaps: GapAllowance,
        more: impl FnOnce(&StoreView) -> Vec<LedgerLine>,
    ) -> Result<Finished, Error> {
        if self.gateway.is_running() {
            self.look()?;
            self.stop_gateway()?;
        }
        for side in Side::BOTH {
            if !self.server(side).is_running() {
                self.restart_server(side)?;
            }
        }
        self.ask_servers()?;
        self.replicated(active)?;
        self.judge_claims()?;
        self.read_reigns(active)?;
        let standing = active.other();
        let standby = self.server(standing).store()?;
        let active = self.server(active).store()?;
        // The standby first: the active server would hand over to it.
        self.stop_server(standing)?;
        self.stop_server(standing.other())?;
        if self.witness.as_mut().is_some_and(Server::is_running) {
            let exit = self.witness()?.stop()?;
            self.exits.push(exit);
        }
        self.stop_simulator()?;

        let journals: Vec<_> = active.journals.iter().chain(&standby.journals).collect();
        for told in self.kills.iter_mut().flat_map(|kill| &mut kill.told) {
            if let Told::Forgotten { journal, stored, .. } = told {
                let held = journals.iter().filter(|held| held.journal == *journal);
                *stored = held.map(|held| held.stored).max().unwrap_or_default();
            }
        }
        let mut ledger = self.simulator.ledger()?;
        ledger.extend(more(&active));
        let standby = Some(standby);
        let evidence = Evidence {
            ledger,
            active,
            standby,
            replicated: true,
            kills: self.kills,
            reigns: self.reigns,
            exits: self.exits,
            times: self.times,
            epochs: self.epochs,
            gaps,
        };
        let verdict = check(&evidence);
        Ok(Finished { verdict, evidence, dir: self.dir, is_temporary: self.is_temporary })
    }
}

/// Lays a wire from each server to the other.
fn lay_between(a: &Server, b: &Server, ports: &Ports) -> Result<[Link; 2], Error> {
    let from_a = Link::open_at(ports.address(BETWEEN), b.address)?;
    let from_b = Link::open_at(ports.address(BETWEEN + 1), a.address)?;
    a.find_peer(b, from_a.address())?;
    b.find_peer(a, from_b.address())?;
    Ok([from_a, from_b])
}

/// Where each line is.
fn wire(buses: &[Bus], dir: &Path, ports: &Ports) -> Vec<Wired> {
    let mut addresses = (LINES..).map(|number| ports.address(number).to_string());
    let mut place = |bus: &Bus| match bus.plug {
        Plug::Pty => dir.join("sim").join(format!("{}.tty", bus.name)).display().to_string(),
        Plug::Tcp => addresses.next().unwrap_or_default(),
    };
    buses.iter().map(|bus| Wired { bus: bus.clone(), at: place(bus) }).collect()
}

/// Has the gateway make a key for each station that is to have one, as a person does: the files for the
/// controllers are in `keys`.
fn enrol(gateway: &Gateway, buses: &[Wired], dir: &Path) -> Result<BTreeMap<u32, String>, Error> {
    if buses.is_empty() {
        return Ok(BTreeMap::new());
    }
    gateway.configure(&Configuration {
        capacity_entries: 1_000,
        listen: None,
        clocks: None,
        controllers: Vec::new(),
        buses: buses.to_vec(),
        modbus: None,
    })?;
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).map_err(Error::file("create", &keys))?;
    let stations = buses.iter().flat_map(|wired| &wired.bus.stations);
    let enrol = |station: &Station| {
        let file = keys.join(station.controller().to_string());
        Ok((station.serial, gateway.enrol(station.controller(), &file)?))
    };
    stations.filter(|station| !station.plaintext).map(enrol).collect()
}
