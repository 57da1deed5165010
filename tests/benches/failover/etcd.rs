//! etcd: three members, a key with a lease that a process keeps alive, as leaders are elected with it. The process
//! is killed; the time ends when somebody who watches the key is told that it is gone.
//!
//! The JSON gateway is asked. The lease is kept alive every third of its life, as etcd's own client does; each
//! kill comes at another moment between two of these.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use postern_tests::harness::Process;
use serde_json::{Value, json};

use crate::common::Outcome;
use crate::member::{MEMBERS, WITHIN, directory, find, free, wait};
use crate::{Bench, System};

pub(crate) const SYSTEM: System = System {
    key: "etcd_lease_s",
    name: "etcd, a lease of 5 s: its holder",
    until: "the key is gone for a watcher",
    measure,
};

/// The argument by which this program holds a lease.
pub(crate) const HOLD: &str = "--hold-etcd-lease";

const TTL: Duration = Duration::from_secs(5);
const KEEP_EVERY: Duration = Duration::from_millis(1_667);
const FULL: usize = 12;
const QUICK: usize = 3;

fn measure(bench: &Bench) -> Outcome<Option<Vec<f64>>> {
    let Some(program) = find("etcd", "etcd-server")? else { return Ok(None) };
    let cluster = Cluster::start(&program, bench)?;
    let mut samples = Vec::new();
    let count = if bench.quick { QUICK } else { FULL };
    for number in 0..count {
        let moment = KEEP_EVERY * (2 * u32::try_from(number)? + 1) / (2 * u32::try_from(count)?);
        samples.push(cluster.kill_holder(number, moment)?.as_secs_f64());
    }
    Ok(Some(samples))
}

struct Cluster {
    clients: [SocketAddr; MEMBERS],
    _processes: Vec<Process>,
}

impl Cluster {
    fn start(program: &PathBuf, bench: &Bench) -> Outcome<Self> {
        let directory = directory(bench.directory.path(), "etcd")?;
        let (clients, peers) = (free()?, free::<MEMBERS>()?);
        let members = peers.iter().enumerate().map(|(number, at)| format!("e{number}=http://{at}"));
        let members = members.collect::<Vec<_>>().join(",");
        let mut processes = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let (name, client, peer) =
                (format!("e{number}"), format!("http://{client}"), format!("http://{peer}"));
            let mut command = Command::new(program);
            command.args(["--name", &name, "--data-dir"]).arg(directory.join(&name));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &members, "--initial-cluster-state", "new"]);
            processes.push(Process::start(&mut command, &name, &directory)?);
        }
        let cluster = Self { clients, _processes: processes };
        wait("an etcd that answers", || {
            let ready = json!({"key": encoded("ready"), "value": encoded("yes")});
            Ok(ask(cluster.clients[0], "/v3/kv/put", &ready)?.get("header").map(drop))
        })?;
        Ok(cluster)
    }

    /// Has a process hold a key and kills it, so long after the lease was last kept alive; how long it takes until
    /// the key is gone.
    fn kill_holder(&self, number: usize, moment: Duration) -> Outcome<Duration> {
        let [first, second, _] = self.clients;
        let lease = ask(first, "/v3/lease/grant", &json!({"TTL": TTL.as_secs()}))?;
        let lease = lease["ID"].as_str().ok_or("no lease was granted")?.to_owned();
        let key = encoded(&format!("holder-{number}"));
        let held = json!({"key": key, "value": encoded("here"), "lease": lease});
        ask(first, "/v3/kv/put", &held)?;
        // Somebody else watches, at another member.
        let mut watcher = Watcher::open(second, &key)?;
        let mut holder = Holder::start(first, &lease)?;
        holder.kept()?;
        holder.kept()?;
        thread::sleep(moment);
        let killed = Instant::now();
        holder.0.kill()?;
        watcher.deleted()?;
        Ok(killed.elapsed())
    }
}

/// The process that holds the lease: this program once more.
struct Holder(Child);

impl Holder {
    fn start(at: SocketAddr, lease: &str) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([HOLD, &at.to_string(), lease]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    }

    /// Waits until it has kept the lease alive once more.
    fn kept(&mut self) -> Outcome<()> {
        let stdout = self.0.stdout.as_mut().ok_or("the holder says nothing")?;
        match stdout.read(&mut [0])? {
            0 => Err("the holder has ended".into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps a lease alive until it is killed, and writes a byte each time that it was.
pub(crate) fn hold(address: &str, lease: &str) -> Outcome<()> {
    let address = address.parse()?;
    loop {
        let kept = ask(address, "/v3/lease/keepalive", &json!({"ID": lease}))?;
        if kept["result"]["TTL"].is_null() {
            return Err(format!("the lease was not kept alive: {kept}").into());
        }
        let mut out = io::stdout().lock();
        out.write_all(b".")?;
        out.flush()?;
        thread::sleep(KEEP_EVERY);
    }
}

/// Who watches a key.
struct Watcher(BufReader<TcpStream>);

impl Watcher {
    fn open(at: SocketAddr, key: &str) -> Outcome<Self> {
        let request = json!({"create_request": {"key": key}});
        let mut watcher = Self(BufReader::new(send(at, "/v3/watch", &request)?));
        watcher.until("\"created\":true")?;
        Ok(watcher)
    }

    fn deleted(&mut self) -> Outcome<()> {
        self.until("\"type\":\"DELETE\"")
    }

    /// Reads until a line has this: each message is one.
    fn until(&mut self, wanted: &str) -> Outcome<()> {
        let mut line = String::new();
        while self.0.read_line(&mut line)? > 0 {
            if line.contains(wanted) {
                return Ok(());
            }
            line.clear();
        }
        Err("the watch has ended".into())
    }
}

/// One question and its answer, of which only the JSON is looked at.
fn ask(at: SocketAddr, path: &str, body: &Value) -> Outcome<Value> {
    let mut text = String::new();
    send(at, path, body)?.read_to_string(&mut text)?;
    let (_, answer) = text.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let json = answer.find('{').zip(answer.rfind('}'));
    let json = json.and_then(|(begin, end)| answer.get(begin..=end)).ok_or("no JSON")?;
    Ok(serde_json::from_str(json)?)
}

fn send(at: SocketAddr, path: &str, body: &Value) -> Outcome<TcpStream> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
