//! A network that a scenario has to itself: one network namespace for each host, all on one bridge that is in
//! a namespace of its own too, so nothing of the machine's own network is touched. Between any two hosts, each
//! way by itself, packets can be lost, refused or cut off; nobody but the receiver's kernel is asked.
//!
//! Needs root, `ip` (iproute2) and `nft` (nftables). The names carry the process's id: what a process left
//! behind that was killed itself is removed by the next.
//!
//! - [`Network`]: the hosts, and what goes wrong between them.
//! - [`Namespace`]: one host: what is run there.

mod fault;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use self::fault::Fault;
use self::fault::rules;
use super::Error;
use super::skip::skip;

/// Where the system keeps the names of network namespaces.
const NAMES: &str = "/run/netns";
/// What all of ours begin with.
const PREFIX: &str = "postern";
/// The host that is the bridge.
const BRIDGE: &str = "bridge";
/// The network of the hosts, the same in each scenario: they cannot see each other.
const NETWORK: [u8; 3] = [10, 77, 0];

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Namespace {
    /// What stands before a command that is to run there. The process is the command's own.
    fn words(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs something of this program there, in a thread of its own. What it opens stays there: sockets, and
    /// threads that it starts.
    pub fn run<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let path = Path::new(NAMES).join(&self.name);
        let there = File::open(&path).map_err(Error::file("open", &path))?;
        let enter = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(there.as_fd(), network).map(|()| run())
        };
        let ran = thread::scope(|scope| scope.spawn(enter).join());
        match ran {
            Ok(ran) => ran.map_err(|error| Error::file("enter", &path)(error.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn ip(&self, batch: &str) -> Result<(), Error> {
        feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), batch)
    }
}

/// See the module. Dropping it removes everything.
#[derive(Debug)]
pub struct Network {
    hosts: BTreeMap<&'static str, Namespace>,
    bridge: Namespace,
    /// What is wrong on the way from the first to the second.
    faults: Mutex<BTreeMap<(&'static str, &'static str), Fault>>,
}

impl Network {
    /// A network of these hosts, which all reach each other. `None`, with a line on stderr that begins with
    /// `SKIPPED`, where this machine does not let us; an error where the environment says that nothing may be
    /// skipped.
    pub fn make(hosts: &[&'static str]) -> Result<Option<Self>, Error> {
        let hint = "run as root, with Debian's packages iproute2 and nftables";
        let skipped = |why: &str| skip("no network of its own can be made", why, hint);
        if !rustix::process::geteuid().is_root() {
            return skipped("only root may");
        }
        for tool in ["ip", "nft"] {
            let mut version = Command::new(tool);
            version.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
            if !version.status().is_ok_and(|status| status.success()) {
                return skipped(&format!("there is no {tool}"));
            }
        }
        sweep();
        // Root in a container may be kept from it all the same.
        let network = Self::named(hosts);
        if let Err(error) =
            feed(Command::new("ip").args(["netns", "add", &network.bridge.name]), "")
        {
            return skipped(&error.to_string());
        }
        network.lay()?;
        Ok(Some(network))
    }

    /// The names, of which none is there yet.
    fn named(hosts: &[&'static str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |host: &str| format!("{PREFIX}-{}-{number}-{host}", process::id());
        let [first, second, third] = NETWORK;
        let each = hosts.iter().zip(1..).map(|(host, last)| {
            let address = Ipv4Addr::new(first, second, third, last);
            (*host, Namespace { name: name(host), address })
        });
        let bridge = Namespace { name: name(BRIDGE), address: Ipv4Addr::UNSPECIFIED };
        Self { hosts: each.collect(), bridge, faults: Mutex::default() }
    }

    /// Lays the wires. What was begun is removed by `drop` where it fails.
    fn lay(&self) -> Result<(), Error> {
        self.bridge.ip("link add br0 type bridge\nlink set br0 up\n")?;
        for (number, host) in self.hosts.values().enumerate() {
            let Namespace { name, address } = host;
            feed(Command::new("ip").args(["netns", "add", name]), "")?;
            self.bridge.ip(&format!(
                "link add port{number} type veth peer name eth0 netns {name}\n\
                 link set port{number} master br0\nlink set port{number} up\n"
            ))?;
            host.ip(&format!(
                "link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\n"
            ))?;
        }
        Ok(())
    }

    /// One of the hosts.
    pub fn host(&self, name: &str) -> Result<&Namespace, Error> {
        let unknown = || Error::Scenario(format!("the network has no host {name}"));
        self.hosts.get(name).ok_or_else(unknown)
    }

    /// What is wrong on the way from one to the other.
    pub fn fault(&self, from: &str, to: &str) -> Option<Fault> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults
            .iter()
            .find(|((sender, at), _)| (*sender, *at) == (from, to))
            .map(|(_, fault)| *fault)
    }

    /// From now on this is wrong on the way from one to the other, and nothing else; with `None` nothing. The
    /// way back is another one.
    pub fn set(&self, from: &str, to: &str, fault: Option<Fault>) -> Result<(), Error> {
        let known = |name: &str| {
            let found = self.hosts.keys().copied().find(|host| *host == name);
            found.ok_or_else(|| Error::Scenario(format!("the network has no host {name}")))
        };
        let (from, to) = (known(from)?, known(to)?);
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert((from, to), fault),
            None => faults.remove(&(from, to)),
        };
        let wrong = faults.iter().filter(|((_, at), _)| *at == to);
        let wrong = wrong
            .filter_map(|((sender, _), fault)| Some((self.hosts.get(sender)?.address, *fault)));
        let [ip, netns, exec, name] = self.host(to)?.words();
        feed(Command::new(ip).args([netns, exec, name, "nft", "-f", "-"]), &rules(wrong))
    }

    /// Nothing of what one sends comes to the other. The way back is another one.
    pub fn cut(&self, from: &str, to: &str) -> Result<(), Error> {
        self.set(from, to, Some(Fault::Cut))
    }

    /// Nothing passes between the two.
    pub fn part(&self, one: &str, other: &str) -> Result<(), Error> {
        self.cut(one, other)?;
        self.cut(other, one)
    }

    /// Everything passes again, both ways.
    pub fn heal(&self, one: &str, other: &str) -> Result<(), Error> {
        self.set(one, other, None)?;
        self.set(other, one, None)
    }

    /// Nothing passes anywhere, from one moment to the next, and nobody is told.
    pub fn stall(&self) -> Result<(), Error> {
        self.bridge.ip("link set br0 down\n")
    }

    /// Everything passes again that passed before it stalled.
    pub fn go_on(&self) -> Result<(), Error> {
        self.bridge.ip("link set br0 up\n")
    }

    /// Everything passes everywhere.
    pub fn heal_all(&self) -> Result<(), Error> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        faults.keys().try_for_each(|(from, to)| self.set(from, to, None))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.hosts.values().chain([&self.bridge]).for_each(|host| remove(&host.name));
    }
}

/// A command that runs a program at a host, or in this program's own network, behind these words.
pub(super) fn command_at(host: Option<&Namespace>, words: &[String], program: &Path) -> Command {
    let host = host.map(Namespace::words);
    let words = host.iter().flatten().copied().chain(words.iter().map(String::as_str));
    let mut all = words.map(OsStr::new).chain([program.as_os_str()]);
    let mut command = Command::new(all.next().unwrap_or(program.as_os_str()));
    command.args(all);
    command
}

/// Runs something at a host, or here.
pub(super) fn run_at<T: Send>(
    host: Option<&Namespace>,
    run: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    match host {
        Some(host) => host.run(run)?,
        None => run(),
    }
}

/// Removes the name of a namespace, which is gone with it once nobody runs there.
fn remove(name: &str) {
    // It may not be there: it was never made, or somebody else has swept.
    let mut command = Command::new("ip");
    let _ = command.args(["netns", "delete", name]).stderr(Stdio::null()).status();
}

/// Removes what processes left that are no more.
fn sweep() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.filter_map(|name| name.ok()?.file_name().into_string().ok()) {
        let mut parts = name.split('-');
        let Some(owner) = parts.next().filter(|part| *part == PREFIX).and_then(|_| parts.next())
        else {
            continue;
        };
        let is_number = owner.parse::<u32>().is_ok();
        if is_number && !Path::new("/proc").join(owner).exists() {
            remove(&name);
        }
    }
}

/// Runs a command with this on its stdin.
fn feed(command: &mut Command, input: &str) -> Result<(), Error> {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let program = format!("ip {}", words.collect::<Vec<_>>().join(" "));
    let mut run = || {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        written.transpose()?;
        Ok(output)
    };
    let output = run().map_err(|source| Error::Start { process: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let what = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Answer { program, what })
}

#[cfg(test)]
mod tests;
