//! The assembled system in one directory, and the evidence that it leaves.
//!
//! A site notes on its way what the checker needs besides the stores: what was promised before
//! each kill, who was seen to be active, how each process ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::message::request::SetListener;
use postern_protocol::{ControllerId, Index, JournalId, Seq};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Board, Configuration, ControllerStatus, Error, Finished, Gateway, GatewayStatus, Host, Line,
    Link, Ports, RoleStatus, Server, Side, Simulator, Transport,
    wait::{LOOK_EVERY, wait_every},
    wait_until,
};
use crate::checker::{
    Evidence, Exit, GapAllowance, Kill, LogSize, ReignSeen, Timing, Told, check, on_board,
};

/// Which address of a site's block the pushes go to; those before it are the servers' and their
/// wires'.
const PUSHES: u16 = 4;

/// What a site is to be.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// Where chance begins.
    pub seed: u64,
    /// The boards; every second one is talked to over TCP.
    pub boards: Vec<Board>,
    /// How many transactions the gateway's journal can hold.
    pub capacity_entries: u64,
    /// Whether the boards push their events to the gateway.
    pub pushes: bool,
    /// How often is looked whether everything was read and stored.
    pub look_every: Duration,
}

impl SiteConfig {
    /// So many boards made by `board` from their serial numbers.
    pub fn new(seed: u64, boards: u32, board: impl Fn(u32) -> Board) -> Self {
        let boards = (0..boards).map(|number| board(405_419_001 + number)).collect();
        let (capacity_entries, look_every) = (1_000_000, LOOK_EVERY);
        Self { seed, boards, capacity_entries, pushes: false, look_every }
    }
}

/// A running site.
#[derive(Debug)]
pub struct Site {
    // Fields are dropped in this order: the processes before the directory that they write to.
    /// The gateway.
    pub gateway: Gateway,
    servers: [Server; 2],
    links: [Link; 2],
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
}

/// Kills whose victims have not been back yet.
#[derive(Debug, Default)]
struct Pending {
    gateway: Option<Kill>,
    server: Vec<(Side, Kill)>,
    number: u32,
}

impl Site {
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
        fs::create_dir_all(&logs).map_err(Error::file("create", &logs))?;
        let ports = Ports::claim()?;
        let simulator = Simulator::start(&dir.join("sim"), &logs, config.seed, &config.boards)?;
        let mut a = Server::init(dir, &logs, "north", Side::A.name(), ports.address(0))?;
        let mut b = Server::join(&a, dir, &logs, Side::B.name(), ports.address(1))?;
        a.start()?;
        b.start()?;
        let links = [
            Link::open_at(ports.address(2), a.address)?,
            Link::open_at(ports.address(3), b.address)?,
        ];
        let gateway = Gateway::new(&dir.join("gateway"), &logs)?;
        a.enrol("g1", &gateway.bundle())?;
        gateway.reach_servers_at(&links.each_ref().map(Link::address))?;
        let site = Self {
            gateway,
            servers: [a, b],
            links,
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
        };
        site.gateway.configure(&site.configuration())?;
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
        Host::new()?.ask(*board, &request).map(drop)
    }

    /// No gaps but those that the ledger proves, of the boards as they are.
    pub fn proven_gaps(&self) -> GapAllowance {
        let extent = |board: &Board| {
            let (capacity, chunk) = (u64::from(board.capacity), u64::from(board.chunk));
            (ControllerId::uhppote(board.serial), LogSize { capacity, chunk })
        };
        GapAllowance::Proven(self.config.boards.iter().map(extent).collect())
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

    /// The gateway's wire to it.
    pub fn link(&self, side: Side) -> &Link {
        let [a, b] = &self.links;
        if side == Side::A { a } else { b }
    }

    /// Kills the gateway without warning. What it had promised is noted and is compared with what
    /// is left once it was started again.
    pub fn kill_gateway(&mut self) -> Result<(), Error> {
        self.note_promises()?;
        self.crash_gateway()
    }

    /// Notes what the gateway has promised by now: it is about to end, and is compared with what is
    /// left once it was started again.
    pub fn note_promises(&mut self) -> Result<(), Error> {
        let read = self.gateway.controllers()?;
        let journal = self.gateway.status()?.journal;
        let read = read.iter().filter_map(|line| {
            let (controller, told) = (line.controller, line.position()?);
            Some(Told::Read { controller, told, kept: None })
        });
        let (journal, forgotten) = (journal.id, journal.oldest.previous());
        let told = read.chain([Told::Forgotten { journal, forgotten, stored: Seq(0) }]).collect();
        self.pending.number += 1;
        let victim = format!("gateway (kill {})", self.pending.number);
        self.pending.gateway = Some(Kill { victim, told });
        Ok(())
    }

    /// Starts the gateway again. The boards are deaf until it has told its cursors, so that these
    /// are what the kill left: a cursor that was lost would move again with the first answer.
    /// Afterwards they misbehave as they did before, see [`Site::misbehave`].
    pub fn restart_gateway(&mut self) -> Result<(), Error> {
        let Some(mut kill) = self.pending.gateway.take() else { return self.gateway.start() };
        self.all_boards(&json!({ "deaf": true }))?;
        self.gateway.start()?;
        let now = self.gateway.controllers()?;
        self.heal_after_restart()?;
        for told in &mut kill.told {
            if let Told::Read { controller, kept, .. } = told {
                let line = now.iter().find(|line| line.controller == *controller);
                *kept = line.and_then(ControllerStatus::position);
            }
        }
        self.kills.push(kill);
        Ok(())
    }

    /// How a board misbehaves from now on, kills of the gateway included; `{}` heals it.
    pub fn misbehave(&mut self, serial: u32, faults: &Value) -> Result<(), Error> {
        self.simulator.faults(serial, faults)?;
        self.faults.insert(serial, faults.clone());
        Ok(())
    }

    fn heal_after_restart(&self) -> Result<(), Error> {
        let healthy = json!({});
        self.simulator.addresses.keys().try_for_each(|serial| {
            self.simulator.faults(*serial, self.faults.get(serial).unwrap_or(&healthy))
        })
    }

    fn all_boards(&self, faults: &Value) -> Result<(), Error> {
        self.simulator
            .addresses
            .keys()
            .try_for_each(|serial| self.simulator.faults(*serial, faults))
    }

    /// Kills a server without warning. What it had acknowledged is noted and is compared with what
    /// is left once it was started again.
    pub fn kill_server(&mut self, side: Side) -> Result<(), Error> {
        self.ask_servers()?;
        let told = self.acknowledged_by(side)?;
        let exit = self.server(side).kill()?;
        self.exits.push(exit);
        self.pending.number += 1;
        let victim = format!("server {} (kill {})", side.name(), self.pending.number);
        self.pending.server.push((side, Kill { victim, told }));
        Ok(())
    }

    /// What the gateway was told by this server, if it is the active one.
    fn acknowledged_by(&self, side: Side) -> Result<Vec<Told>, Error> {
        let Ok(GatewayStatus { journal, uplink, .. }) = self.gateway.status() else {
            // It does not run: nobody was told anything since.
            return Ok(Vec::new());
        };
        let is_active = uplink.active.as_deref() == Some(side.name());
        let Some(told) = uplink.stored.filter(|_| is_active) else { return Ok(Vec::new()) };
        // The server is asked after the gateway, so it has more, unless the gateway's figure is
        // still that of the server before.
        let own = self.stored_by(side, journal.id)?.unwrap_or_default();
        Ok(vec![Told::Stored { journal: journal.id, told: told.min(own), kept: Seq(0) }])
    }

    /// Starts a server again and looks what it has left, before the gateway can send it anything.
    pub fn restart_server(&mut self, side: Side) -> Result<(), Error> {
        let was_open = self.link(side).is_open();
        self.link(side).cut();
        self.server(side).start()?;
        let left = self.server(side).journals()?;
        for (_, mut kill) in self.pending.server.extract_if(.., |(dead, _)| *dead == side) {
            for told in &mut kill.told {
                if let Told::Stored { journal, kept, .. } = told {
                    let known = left.iter().find(|known| known.journal == *journal);
                    *kept = known.map_or(Seq(0), |known| known.stored);
                }
            }
            self.kills.push(kill);
        }
        if was_open { self.link(side).open() } else { Ok(()) }
    }

    /// Asks a server to end.
    pub fn stop_server(&mut self, side: Side) -> Result<(), Error> {
        let exit = self.server(side).stop()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Asks both servers to end.
    pub fn stop_servers(&mut self) -> Result<(), Error> {
        Side::BOTH.into_iter().try_for_each(|side| self.stop_server(side))
    }

    /// Starts both servers again.
    pub fn restart_servers(&mut self) -> Result<(), Error> {
        Side::BOTH.into_iter().try_for_each(|side| self.restart_server(side))
    }

    /// Kills the gateway without warning and promises nothing: for scenarios that damage its journal
    /// afterwards, so that it may come back with less than it told.
    pub fn crash_gateway(&mut self) -> Result<(), Error> {
        let exit = self.gateway.kill()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Asks the gateway to end.
    pub fn stop_gateway(&mut self) -> Result<(), Error> {
        let exit = self.gateway.stop()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Notes how a process ended that the scenario started by itself, and with which code it had to.
    pub fn note_exit(&mut self, exit: Exit, expected: i32) {
        self.exits.push(Exit { expected, ..exit });
    }

    /// Notes how long something took, and how long it may take.
    pub fn note_time(&mut self, what: &str, since: Instant, bound: Duration) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (took_ms, bound_ms) = (ms(since.elapsed()), ms(bound));
        self.times.push(Timing { what: what.to_owned(), took_ms, bound_ms });
    }

    /// The gateway's status; who is active in its eyes is noted.
    pub fn look(&mut self) -> Result<GatewayStatus, Error> {
        let status = self.gateway.status()?;
        let uplink = &status.uplink;
        if let (Some(active), Some(role_term)) = (uplink.active.clone(), uplink.role_term) {
            self.note_reign(ReignSeen { observer: "gateway".to_owned(), active, role_term });
        }
        self.ask_servers()?;
        Ok(status)
    }

    /// Notes who is active in the eyes of the servers that run. Whoever is about to change the role
    /// asks first, so that every role term under which anything was stored has been seen.
    fn ask_servers(&mut self) -> Result<(), Error> {
        for side in Side::BOTH {
            if self.server(side).is_running() {
                let RoleStatus { active, role_term } = self.server(side).role()?;
                let observer = format!("server {}", side.name());
                self.note_reign(ReignSeen { observer, active, role_term });
            }
        }
        Ok(())
    }

    /// The same observer saying the same again is nothing new.
    fn note_reign(&mut self, seen: ReignSeen) {
        let last = self.reigns.iter().rev().find(|known| known.observer == seen.observer);
        if last != Some(&seen) {
            self.reigns.push(seen);
        }
    }

    /// Makes a server the active one, and waits until the gateway knows.
    pub fn fail_over(&mut self, to: Side, force: bool) -> Result<(), Error> {
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

    /// Waits until so many transactions more were generated: the way to a random moment without
    /// a clock.
    pub fn wait_for_traffic(&self, more: u64) -> Result<(), Error> {
        let before = self.simulator.generated()?;
        wait_until(&format!("{more} more transactions"), Duration::from_mins(1), || {
            Ok((self.simulator.generated()? >= before + more).then_some(()))
        })
    }

    /// Stops the people and waits until the gateway has read every log to its end and the active
    /// server has stored all of it.
    pub fn settle(&mut self, within: Duration) -> Result<(), Error> {
        self.simulator.people(0.0)?;
        self.drained(within)
    }

    /// So many swipes at every board, at once.
    pub fn generate(&self, count: u64) -> Result<(), Error> {
        let mut boards = self.simulator.addresses.keys();
        boards.try_for_each(|serial| self.simulator.generate(*serial, count))
    }

    /// Waits until every log was read to its end.
    pub fn collected(&self, within: Duration) -> Result<(), Error> {
        let collected = wait_every(self.config.look_every, "every log read", within, || {
            Ok(self.all_read()?.then_some(()))
        });
        self.with_standing(collected)
    }

    /// Waits until every log was read to its end and the active server has all of it.
    pub fn drained(&self, within: Duration) -> Result<(), Error> {
        let what = "every log read and every transaction stored";
        let drained = wait_every(self.config.look_every, what, within, || {
            Ok((self.all_read()? && self.all_stored()?).then_some(()))
        });
        self.with_standing(drained)
    }

    /// The same of a gateway that may change its journal meanwhile: then nobody answers for a moment.
    pub fn recovered(&mut self, within: Duration) -> Result<(), Error> {
        let recovered = wait_until("every log read again and everything stored", within, || {
            if !self.gateway.is_running() {
                return Err(Error::Scenario("the gateway ended; read its log".to_owned()));
            }
            let is_whole = self.all_read().and_then(|read| Ok(read && self.all_stored()?));
            Ok(is_whole.is_ok_and(|whole| whole).then_some(()))
        });
        self.with_standing(recovered)
    }

    fn with_standing(&self, waited: Result<(), Error>) -> Result<(), Error> {
        match waited {
            Err(Error::Timeout { what, waited, .. }) => {
                let last = self.standing();
                Err(Error::Timeout { what, waited, last })
            }
            other => other,
        }
    }

    /// Whether the gateway has read every log to its end.
    fn all_read(&self) -> Result<bool, Error> {
        let read = cursors(&self.gateway.controllers()?);
        let boards = self.simulator.status()?.controllers;
        Ok(boards.iter().all(|board| {
            let cursor = read.get(&ControllerId::uhppote(board.serial));
            on_board(cursor.copied().unwrap_or_default()) == Index(board.newest)
        }))
    }

    /// Whether the active server has the whole journal, as the gateway and the server itself say:
    /// right after a change of the role the gateway's word is still about the server before.
    fn all_stored(&self) -> Result<bool, Error> {
        let GatewayStatus { journal, uplink, .. } = self.gateway.status()?;
        let Some(active) = uplink.active.as_deref().and_then(Side::named) else { return Ok(false) };
        Ok(uplink.backlog == Some(0) && self.stored_by(active, journal.id)? == Some(journal.head))
    }

    /// How far a running server has a journal.
    fn stored_by(&self, side: Side, journal: JournalId) -> Result<Option<Seq>, Error> {
        let [a, b] = &self.servers;
        let journals = if side == Side::A { a } else { b }.journals()?;
        Ok(journals.iter().find(|known| known.journal == journal).map(|known| known.stored))
    }

    /// How things stand, for an error: what lags behind, and where to look.
    fn standing(&self) -> String {
        let mut text = String::new();
        if let (Ok(boards), Ok(lines)) = (self.simulator.status(), self.gateway.controllers()) {
            let read = cursors(&lines);
            for board in boards.controllers {
                let id = ControllerId::uhppote(board.serial);
                let cursor = read.get(&id).copied().unwrap_or_default();
                if on_board(cursor) != Index(board.newest) {
                    let _ = write!(text, "\n{id} was read up to {cursor} of {}", board.newest);
                }
            }
        }
        if let Ok(GatewayStatus { journal, uplink, .. }) = self.gateway.status() {
            let (active, stored) = (uplink.active.unwrap_or_default(), uplink.stored);
            let stored = stored.map_or_else(|| "?".to_owned(), |stored| stored.to_string());
            let _ = write!(
                text,
                "\nthe uplink is {}, server {active} has {stored} of {}",
                uplink.state, journal.head
            );
        }
        format!("{text}\nhint: each process's log is in {}/logs", self.dir.display())
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
    pub fn finish(mut self, active: Side, gaps: GapAllowance) -> Result<Finished, Error> {
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
        let standby = self.server(active.other()).store()?;
        let active = self.server(active).store()?;
        for side in Side::BOTH {
            self.stop_server(side)?;
        }
        let exit = self.simulator.stop()?;
        self.exits.push(exit);

        let journals: Vec<_> = active.journals.iter().chain(&standby.journals).collect();
        for told in self.kills.iter_mut().flat_map(|kill| &mut kill.told) {
            if let Told::Forgotten { journal, stored, .. } = told {
                let held = journals.iter().filter(|held| held.journal == *journal);
                *stored = held.map(|held| held.stored).max().unwrap_or_default();
            }
        }
        let ledger = self.simulator.ledger()?;
        let standby = Some(standby);
        let evidence = Evidence {
            ledger,
            active,
            standby,
            replicated: false,
            kills: self.kills,
            reigns: self.reigns,
            exits: self.exits,
            times: self.times,
            gaps,
        };
        let verdict = check(&evidence);
        Ok(Finished { verdict, evidence, dir: self.dir, is_temporary: self.is_temporary })
    }
}

fn cursors(lines: &[ControllerStatus]) -> BTreeMap<ControllerId, Index> {
    lines.iter().filter_map(|line| Some((line.controller, line.cursor?))).collect()
}
