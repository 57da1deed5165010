//! NATS `JetStream`: three servers, a stream with three replicas. Its leader is killed; a client that is connected
//! to another server publishes on, and the first publication after that which is acknowledged ends the time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use postern_tests::harness::Process;
use serde_json::{Value, json};

use crate::common::Outcome;
use crate::member::{MEMBERS, WITHIN, directory, find, free, wait};
use crate::{Bench, System};

pub(crate) const SYSTEM: System = System {
    key: "nats_kill_median_s",
    name: "NATS JetStream, three replicas: the stream's leader",
    until: "a publication is acknowledged again",
    measure,
};

const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench.events";
const FULL: usize = 10;
const QUICK: usize = 3;

/// How often something is published while nothing is acknowledged: what is sent to a dead leader is lost.
const PUBLISH_EVERY: Duration = Duration::from_millis(20);

/// How long an answer of the API may take before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

fn measure(bench: &Bench) -> Outcome<Option<Vec<f64>>> {
    let Some(program) = find("nats-server", "nats-server")? else { return Ok(None) };
    let mut cluster = Cluster::start(program, bench)?;
    cluster.make_stream()?;
    let mut samples = Vec::new();
    for _ in 0..if bench.quick { QUICK } else { FULL } {
        samples.push(cluster.kill_leader()?.as_secs_f64());
    }
    Ok(Some(samples))
}

/// The servers, by their numbers.
struct Cluster {
    program: PathBuf,
    directory: PathBuf,
    clients: [SocketAddr; MEMBERS],
    processes: Vec<Process>,
    starts: u32,
}

impl Cluster {
    fn start(program: PathBuf, bench: &Bench) -> Outcome<Self> {
        let directory = directory(bench.directory.path(), "nats")?;
        let (clients, routes) = (free()?, free::<MEMBERS>()?);
        let all = routes.map(|route| format!("\"nats://{route}\"")).join(", ");
        for (number, (client, route)) in clients.iter().zip(routes).enumerate() {
            let text = format!(
                "server_name: n{number}\nlisten: \"{client}\"\n\
                 jetstream {{ store_dir: \"{}\" }}\n\
                 cluster {{ name: bench, listen: \"{route}\", routes: [{all}] }}\n",
                directory.join(format!("n{number}")).display()
            );
            std::fs::write(config(&directory, number), text)?;
        }
        let mut cluster = Self { program, directory, clients, processes: Vec::new(), starts: 0 };
        for number in 0..MEMBERS {
            let process = cluster.launch(number)?;
            cluster.processes.push(process);
        }
        Ok(cluster)
    }

    fn launch(&mut self, number: usize) -> Outcome<Process> {
        self.starts += 1;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config(&self.directory, number));
        let name = format!("nats-{number}.{}", self.starts);
        Ok(Process::start(&mut command, &name, &self.directory)?)
    }

    fn make_stream(&self) -> Outcome<()> {
        let made = json!({"name": STREAM, "subjects": [SUBJECT], "num_replicas": MEMBERS});
        wait("a stream with three replicas", || {
            let mut client = Client::connect(self.clients[0])?;
            let answer = client.ask(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &made)?;
            Ok(answer.get("error").is_none().then_some(()))
        })
    }

    /// Kills the leader; how long it takes until a publication is acknowledged again. Then the cluster is made
    /// whole.
    fn kill_leader(&mut self) -> Outcome<Duration> {
        let leader = self.whole()?;
        let mut client = Client::connect(self.clients[(leader + 1) % MEMBERS])?;
        client.publish_until_acknowledged()?;
        let killed = Instant::now();
        self.processes[leader].kill()?;
        client.publish_until_acknowledged()?;
        let took = killed.elapsed();
        self.processes[leader] = self.launch(leader)?;
        Ok(took)
    }

    /// Waits until all replicas are there and up to date; the number of the leader's server.
    fn whole(&self) -> Outcome<usize> {
        wait("three replicas that are up to date", || {
            for address in self.clients {
                let mut client = Client::connect(address)?;
                let info = client.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), &Value::Null)?;
                let cluster = &info["cluster"];
                let replicas =
                    cluster["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
                let current =
                    |replica: &&Value| replica["current"] == true && replica["offline"] != true;
                if replicas.iter().filter(current).count() != MEMBERS - 1 {
                    return Ok(None);
                }
                let leader = cluster["leader"].as_str().and_then(|name| name.strip_prefix('n'));
                if let Some(leader) = leader.and_then(|number| number.parse().ok()) {
                    return Ok(Some(leader));
                }
            }
            Ok(None)
        })
    }
}

fn config(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("n{number}.conf"))
}

/// A connection that speaks the text protocol: enough of it to publish and to ask.
struct Client {
    reader: BufReader<TcpStream>,
    inbox: String,
    number: u64,
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let inbox = format!("_INBOX.{}.{}", std::process::id(), stream.local_addr()?.port());
        let mut client = Self { reader: BufReader::new(stream), inbox, number: 0 };
        client.line()?;
        let hello = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "rust", "version": "0", "protocol": 1,
        });
        let subscribed = format!("CONNECT {hello}\r\nSUB {}.* 1\r\n", client.inbox);
        client.reader.get_mut().write_all(subscribed.as_bytes())?;
        Ok(client)
    }

    /// Asks and waits for the answer.
    fn ask(&mut self, subject: &str, body: &Value) -> Outcome<Value> {
        let reply =
            self.send(subject, &if body.is_null() { String::new() } else { body.to_string() })?;
        loop {
            let (to, payload) = self.message()?;
            if to == reply {
                return Ok(serde_json::from_slice(&payload)?);
            }
        }
    }

    /// Publishes again and again until one of these publications, and none before them, is acknowledged.
    fn publish_until_acknowledged(&mut self) -> Outcome<()> {
        let (begun, first) = (Instant::now(), self.number + 1);
        self.reader.get_ref().set_read_timeout(Some(PUBLISH_EVERY))?;
        while begun.elapsed() < WITHIN {
            self.send(SUBJECT, "an event")?;
            // What does not come in time comes, if at all, with a later look.
            let Some((to, payload)) = self.message_if_any()? else { continue };
            let number = to.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
            let answer: Value = serde_json::from_slice(&payload).unwrap_or_default();
            if number >= Some(first) && answer.get("seq").is_some() {
                self.reader.get_ref().set_read_timeout(Some(ANSWER_WITHIN))?;
                return Ok(());
            }
        }
        Err(format!("nothing was acknowledged within {} s", WITHIN.as_secs()).into())
    }

    /// Sends; where the answer will come to.
    fn send(&mut self, subject: &str, body: &str) -> Outcome<String> {
        self.number += 1;
        let reply = format!("{}.{}", self.inbox, self.number);
        let text = format!("PUB {subject} {reply} {}\r\n{body}\r\n", body.len());
        self.reader.get_mut().write_all(text.as_bytes())?;
        Ok(reply)
    }

    /// The next message, if one has begun to come in time.
    fn message_if_any(&mut self) -> Outcome<Option<(String, Vec<u8>)>> {
        match self.reader.fill_buf() {
            Ok([]) => Err("the server has hung up".into()),
            Ok(_) => {
                self.reader.get_ref().set_read_timeout(Some(ANSWER_WITHIN))?;
                let next = self.next()?;
                self.reader.get_ref().set_read_timeout(Some(PUBLISH_EVERY))?;
                Ok(next)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn message(&mut self) -> Outcome<(String, Vec<u8>)> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
        }
    }

    /// The next line; what it says, where it is a message.
    fn next(&mut self) -> Outcome<Option<(String, Vec<u8>)>> {
        let line = self.line()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        // MSG subject sid length; HMSG subject sid length-of-headers length.
        let (headers, length) = match words.as_slice() {
            ["PING"] => {
                self.reader.get_mut().write_all(b"PONG\r\n")?;
                return Ok(None);
            }
            ["MSG", _, _, length] => (0, length.parse::<usize>()?),
            ["HMSG", _, _, headers, length] => (headers.parse()?, length.parse::<usize>()?),
            ["-ERR", ..] => return Err(line.into()),
            _ => return Ok(None),
        };
        let mut payload = vec![0; length + 2];
        self.reader.read_exact(&mut payload)?;
        payload.truncate(length);
        payload.drain(..headers);
        Ok(Some((words[1].to_owned(), payload)))
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the server has hung up".into());
        }
        Ok(line)
    }
}
