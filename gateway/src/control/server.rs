//! The daemon's side of the control socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::{ControllerId, Seq};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::send;
use super::bus;
use super::journal::{self, Facts};
use super::{MAX_REQUEST, Request};
use crate::board::{Board, controller_json};
use crate::clock::{self, Known};
use crate::collector::{Order, Orderer};
use crate::health::Tracker;
use crate::journal::{Journal, JournalError, Verification};

/// How many commands may be served at once: more than anybody types, few enough to be harmless.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to send its line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How many entries `tail` reads at a time.
const TAIL_BATCH: usize = 256;

/// How many bytes of entries: as many of the longest.
const TAIL_BYTES: usize = 64 * 1024;

/// The most entries of the past that `tail` gives.
const MAX_TAIL: u64 = 100_000;

/// What answers are made of.
#[derive(Clone)]
pub struct Control {
    /// What the tasks say.
    pub board: Board,
    /// The journal.
    pub journal: Journal,
    /// Who this gateway is.
    pub gateway: String,
    /// Of which group.
    pub group: String,
    /// Of which site.
    pub site: String,
    /// Since when problems are there.
    pub health: Arc<Mutex<Tracker>>,
    /// Ways to give orders to collectors.
    pub orderers: Arc<BTreeMap<ControllerId, Orderer>>,
}

/// Opens the socket at `path`: from then on commands are heard, if not answered yet.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    // Left by a process that was killed; the journal's lock says that no other one is alive.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket at `path` until cancelled, then removes it.
pub async fn serve(
    listener: UnixListener,
    path: &Path,
    control: Control,
    cancel: CancellationToken,
) -> io::Result<()> {
    let clients = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        // Cancel-safety: an accepted connection is never lost by `accept`.
        let stream = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (control, cancel) = (control.clone(), cancel.clone());
        clients.spawn(async move {
            // Cancel-safety: an answer that is broken off has no effect on anything.
            tokio::select! {
                () = cancel.cancelled() => {}
                // A client that went away is no event.
                _ = control.answer(stream) => {}
            }
            drop(place);
        });
    }
    // They hold the journal's file open.
    clients.close();
    clients.wait().await;
    fs::remove_file(path)
}

impl Control {
    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(MAX_REQUEST));
        tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Status) => self.status(),
            Ok(Request::Controllers) => self.controllers(),
            Ok(Request::Tail { last, follow, show_cards }) => {
                return self.tail(&mut write, last.min(MAX_TAIL), follow, show_cards).await;
            }
            Ok(Request::SetClock { controller, any_step, trust_gateway }) => {
                let order = Order { any_step, trust_gateway };
                self.set_clock(controller, order).await
            }
            Ok(Request::Buses) => {
                bus::stats(&self.board, clock::utc(), tokio::time::Instant::now())
            }
            Ok(Request::Sniff { bus, show_cards }) => {
                let mut read = reader.into_inner().into_inner();
                return bus::sniff(&self.board, &bus, show_cards, &mut read, &mut write).await;
            }
            Ok(Request::JournalInfo) => self.info().unwrap_or_else(|error| failed(&error)),
            Ok(Request::JournalVerify) => return self.verify(&mut write).await,
            Ok(Request::JournalExport { first, last, show_cards }) => {
                return self.export(&mut write, first, last, show_cards).await;
            }
            Err(error) => json!({ "error": format!("request not understood: {error}") }),
        };
        send(&mut write, &reply).await
    }

    fn status(&self) -> Value {
        let journal = self.journal.state().borrow().clone();
        let problems =
            self.health.lock().unwrap_or_else(PoisonError::into_inner).check(&self.board, &journal);
        let uplink = self.board.uplink();
        // Not known until the active server has said what it has: null, not a guess.
        let backlog = uplink.stored.map(|stored| journal.head.seq.0.saturating_sub(stored.0));
        json!({
            "schema": "postern.status.v1",
            "site": self.site,
            "group": self.group,
            "gateway": self.gateway,
            "journal": {
                "id": journal.id,
                "head": journal.head.seq,
                "oldest": journal.oldest(),
                "safe": journal.safe(),
                "entries": journal.ring.held().entries,
                "bytes": journal.ring.held().bytes,
                "unsafe_entries": journal.unsafe_entries(),
                "unsafe_bytes": journal.ring.unsafe_part().bytes,
                "capacity_entries": journal.ring.capacity.entries,
                "capacity_bytes": journal.ring.capacity.bytes,
                "full": journal.ring.full,
                "held": journal.held,
            },
            "uplink": {
                "state": uplink.state,
                "active": uplink.active,
                "role_term": uplink.role_term,
                "stored": uplink.stored,
                "backlog": backlog,
                "bad_roles": uplink.bad_roles,
                "servers": self.board.servers(),
            },
            "clock": self.clock(),
            "controllers": self.board.controllers().len(),
            "health": problems,
        })
    }

    async fn set_clock(&self, controller: ControllerId, order: Order) -> Value {
        let Some(orderer) = self.orderers.get(&controller) else {
            let hint = "see `postern controllers` for those that are";
            return json!({ "error": format!("{controller} is not configured\nhint: {hint}") });
        };
        match orderer.set_clock(order).await {
            Some(Ok(done)) => json!({
                "schema": "postern.clock_set.v1",
                "controller": controller,
                "before_s": done.before_s,
                "after_s": done.after_s,
            }),
            Some(Err(why)) => json!({ "error": why.to_string() }),
            None => json!({
                "error": format!("{controller} takes no orders now\nhint: try again in a moment"),
            }),
        }
    }

    fn clock(&self) -> Value {
        let (known, server, why) = match self.board.clock.known() {
            Known::Kernel => (Some("kernel"), None, None),
            Known::Server { name, .. } => (Some("server"), Some(name), None),
            Known::Unknown { why } => (None, None, Some(why)),
        };
        json!({
            "now": clock::text(clock::utc()),
            "known": known,
            "server": server,
            "why": why,
            "server_offsets_ms": self.board.clock.offsets_ms(),
        })
    }

    fn info(&self) -> Result<Value, JournalError> {
        let state = self.journal.state().borrow().clone();
        let facts = Facts {
            id: state.id,
            gateway: &format!("{}/{}/{}", self.site, self.group, self.gateway),
            ring: state.ring,
            held: state.held,
            reader: self.journal.reader(),
            traffic: Some(self.journal.traffic()),
        };
        journal::info(&facts, clock::utc())
    }

    /// Lines of progress, then the result.
    async fn verify(&self, write: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
        let state = self.journal.state().borrow().clone();
        let mut verification = Verification::upto(state.head);
        loop {
            match verification.step(self.journal.reader()) {
                Ok(true) => {
                    let done = verification.report().last;
                    send(write, &json!({ "progress": done, "head": state.head.seq })).await?;
                    // A socket that takes every line at once would never let a stop through.
                    tokio::task::yield_now().await;
                }
                Ok(false) => {
                    let verified = verification.report();
                    return send(write, &journal::verified(Some(state.id), Ok(verified))).await;
                }
                Err(error) => {
                    return send(write, &journal::verified(Some(state.id), Err(&error))).await;
                }
            }
        }
    }

    /// The entries from `first` to `last`, or to where the journal ends now, and a line that says that
    /// this is all: without it the export broke off. Nothing of the journal is held while a line waits
    /// to be taken.
    async fn export(
        &self,
        write: &mut (impl AsyncWriteExt + Unpin),
        first: Seq,
        last: Seq,
        show_cards: bool,
    ) -> io::Result<()> {
        let last = last.min(self.journal.state().borrow().head.seq);
        let (mut next, mut given_up) = (first.max(self.journal.state().borrow().oldest()), 0);
        let mut lines = String::new();
        while next <= last {
            let batch = match self.journal.reader().batch(next, TAIL_BATCH, TAIL_BYTES) {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => return send(write, &failed(&error)).await,
            };
            given_up += batch.before.seq.next().0.saturating_sub(next.0);
            lines.clear();
            for (seq, bytes) in batch.iter().take_while(|(seq, _)| *seq <= last) {
                lines.push_str(&journal::entry(seq, bytes, show_cards).to_string());
                lines.push('\n');
            }
            write.write_all(lines.as_bytes()).await?;
            next = batch.last().next();
            tokio::task::yield_now().await;
        }
        send(write, &json!({ "end": { "given_up": given_up } })).await
    }

    fn controllers(&self) -> Value {
        let lines = self.board.controllers();
        let list: Vec<Value> =
            lines.iter().map(|(controller, line)| controller_json(*controller, line)).collect();
        json!({
            "schema": "postern.controllers.v1",
            "controllers": list,
            "refused_pushes": self.board.refused_pushes.load(Ordering::Relaxed),
        })
    }

    async fn tail(
        &self,
        write: &mut (impl AsyncWriteExt + Unpin),
        last: u64,
        follow: bool,
        show_cards: bool,
    ) -> io::Result<()> {
        let mut state = self.journal.state();
        let mut next = Seq(state.borrow().head.seq.0.saturating_sub(last) + 1);
        loop {
            let batch = self
                .journal
                .reader()
                .batch(next, TAIL_BATCH, TAIL_BYTES)
                .map_err(|error| io::Error::other(error.to_string()))?;
            if let Some(batch) = batch {
                for (seq, bytes) in batch.iter() {
                    next = seq.next();
                    send(write, &journal::entry(seq, bytes, show_cards)).await?;
                }
                continue;
            }
            if !follow || state.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

fn failed(error: &JournalError) -> Value {
    json!({ "error": error.to_string(), "journal": true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BusLine;
    use crate::control::{self, client};
    use crate::driver::link::{Stats, Tap};
    use crate::journal::{Append, Capacity, Cursor, Options};
    use postern_protocol::link::frame::{From, Header, Kind as Sort};
    use postern_protocol::transaction::{Credential, Occurred, RawRecord};
    use postern_protocol::{
        ControllerId, Digest, EpochId, Index, Kind, Origin, Timestamp, Transaction,
    };

    const CARD: u64 = 8_165_536;

    fn swipe() -> Append {
        let controller = ControllerId::uhppote(1);
        let epoch = EpochId([1; 16]);
        let origin = Origin::Controller { controller, epoch, index: Index(1) };
        let swipe = Transaction {
            credential: Some(Credential(CARD)),
            occurred: Occurred::ABSENT,
            raw: RawRecord::new(&CARD.to_be_bytes()).unwrap(),
            ..Transaction::noted(origin, Kind::Granted, Timestamp(0))
        };
        let cursor = Cursor { epoch, index: Index(1), anchor: Digest::default() };
        Append { controller, transactions: vec![swipe], cursor, opens: None, drops_held: None }
    }

    async fn ask(directory: &Path, request: Request) -> Vec<Value> {
        let directory = directory.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            client::ask(&directory, &request, |line| {
                lines.push(line);
                Ok(())
            })
            .unwrap()
            .unwrap();
            lines
        });
        asked.await.unwrap()
    }

    /// A gateway that answers on the socket in a directory of its own.
    struct Rig {
        directory: tempfile::TempDir,
        stop: CancellationToken,
        server: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn rig(board: Board) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(&Options {
            path: crate::journal::path(directory.path()),
            gateway: "hall".to_owned(),
            capacity: Capacity { entries: 1_000, bytes: 1_000_000 },
            syncs_per_second: None,
            reserve: 0,
        })
        .unwrap();
        journal.append(swipe()).await.unwrap();
        let control = Control {
            board,
            journal,
            gateway: "hall".to_owned(),
            group: "main".to_owned(),
            site: "north".to_owned(),
            health: Arc::default(),
            orderers: Arc::default(),
        };
        let path = control::socket(directory.path());
        // Left by a process that was killed.
        fs::write(&path, "").unwrap();
        let stop = CancellationToken::new();
        let listener = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the socket is not private");
        let server = tokio::spawn({
            let stop = stop.clone();
            async move { serve(listener, &path, control, stop).await }
        });
        Rig { directory, stop, server }
    }

    #[tokio::test]
    async fn the_socket_is_private_and_cards_are_masked_unless_asked_for() {
        let board = Board::default();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&"2001-09-09T01:46:40Z".parse().unwrap())
            .unwrap();
        board.clock.note_server("a", &date, tokio::time::Instant::now());
        let Rig { directory, stop, server } = rig(board).await;

        let status = ask(directory.path(), Request::Status).await;
        assert_eq!(status[0]["journal"]["head"], 1);
        assert_eq!(status[0]["uplink"]["backlog"], Value::Null, "a guess");
        let clock = &status[0]["clock"];
        assert!(clock["server_offsets_ms"]["a"].as_i64().unwrap() < -700_000_000_000, "{clock}");
        // Nobody but the kernel of the machine under test can say that it is right.
        assert_eq!(clock["known"] == "kernel", clock["why"].is_null(), "{clock}");
        for (show_cards, follow) in [(false, false), (true, false)] {
            let tail = ask(directory.path(), Request::Tail { last: 5, follow, show_cards }).await;
            assert_eq!(tail.len(), 1);
            let text = tail[0].to_string();
            assert_eq!(text.contains(&CARD.to_string()), show_cards, "{text}");
            assert_eq!(text.contains("00000000007c98a0"), show_cards, "{text}");
        }
        stop.cancel();
        server.await.unwrap().unwrap();
        let path = control::socket(directory.path());
        assert!(!path.exists(), "the socket was left behind");
    }

    /// A line with one station, and the board that it is on.
    fn bus() -> (Board, BusLine) {
        let bus = BusLine {
            name: "hall".to_owned(),
            transport: "serial",
            address: "/dev/ttyUSB0".to_owned(),
            baud: Some(115_200),
            stations: vec![(5, ControllerId::link(70_001))],
            stats: Stats::new(1),
            tap: Tap::default(),
        };
        let board = Board::default();
        board.add_bus(bus.clone());
        (board, bus)
    }

    #[tokio::test]
    async fn what_was_counted_on_a_line_is_told_by_station() {
        let (board, _) = bus();
        let rig = rig(board).await;
        let stats = ask(rig.directory.path(), Request::Buses).await;
        assert_eq!((stats.len(), &stats[0]["schema"]), (1, &json!("postern.bus.stats.v1")));
        let bus = &stats[0]["buses"][0];
        assert_eq!((&bus["bus"], &bus["utilisation_percent"]), (&json!("hall"), &json!(0.0)));
        let station = &bus["stations"][0];
        assert_eq!(
            (&station["station"], &station["controller"]),
            (&json!(5), &json!("link-70001"))
        );
        assert_eq!((&station["requests"], &station["sealed"]), (&json!(0), &json!(false)));
        rig.stop.cancel();
        rig.server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_listens_hears_what_is_said_and_is_let_go_when_he_leaves() {
        let (board, bus) = bus();
        let rig = rig(board).await;
        let unknown = Request::Sniff { bus: "cellar".to_owned(), show_cards: false };
        let answer = ask(rig.directory.path(), unknown).await;
        assert_eq!(answer, [json!({ "listening": null, "buses": ["hall"] })]);

        let request = Request::Sniff { bus: "hall".to_owned(), show_cards: false };
        let (first, mut lines) = tokio::sync::mpsc::channel(8);
        let directory = rig.directory.path().to_owned();
        let client = tokio::task::spawn_blocking(move || {
            client::ask(&directory, &request, |line| {
                let is_last = line["meaning"] == "last";
                first.blocking_send(line).unwrap();
                // As Ctrl-C or a closed pipe does.
                if is_last { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
            })
        });
        assert_eq!(lines.recv().await.unwrap()["listening"], "hall");
        let header = Header { address: 5, from: From::Station, kind: Sort::Plain, sequence: 1 };
        for meaning in ["first", "last"] {
            let said = || Some(meaning.to_owned());
            bus.tap.hear(From::Station, Ok(header), &[0x85, 0x61, 1, 2, 3], said);
            let frame = lines.recv().await.unwrap();
            assert_eq!((&frame["meaning"], &frame["hex"]), (&json!(meaning), &json!("8561")));
            assert_eq!(frame["masked"], 3);
        }
        assert!(client.await.unwrap().unwrap().is_err());
        // Although nothing more is said on the line.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !bus.tap.is_idle() {
            assert!(tokio::time::Instant::now() < deadline, "it still listens");
            tokio::task::yield_now().await;
        }
        rig.stop.cancel();
        rig.server.await.unwrap().unwrap();
    }
}
