//! Lines with link controllers, asked by the gateway's side of the protocol over a serial device and
//! over TCP.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::*;
use postern_protocol::link::frame::Receiver;
use postern_protocol::link::gateway::{Access, Failure, Peer, Settings, Step, Window};
use postern_protocol::link::message::{Reply, Request};
use postern_protocol::{ControllerId, EpochId};
use postern_sim::api;
use postern_sim::client::{ClientError, call};
use postern_sim::ledger::{Kind, Line};
use postern_sim::line::Place;
use postern_sim::link::{LogAfter, epoch_of};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const KEY: [u8; 32] = [0xa5; 32];

/// What a gateway waits for an answer. Generous: the machine has other things to do.
const PATIENCE: Duration = Duration::from_secs(2);
/// … where none is expected.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// A serial line with four stations, of which the last overwrote events, and a serial device server
/// with two, of which the last talks in clear.
fn two_lines() -> String {
    let key = "a5".repeat(32);
    let mut text = "[[line]]\nname = \"hall\"\npty = \"hall.tty\"\nbaud = 1_000_000\n".to_owned();
    for (address, preload) in [(1, 40), (2, 0), (3, 300), (126, 90)] {
        let _ = write!(
            text,
            "[[line.station]]\naddress = {address}\nserial = {}\nkey = \"{key}\"\ncapacity = {}\n\
             preload = {preload}\n",
            70_000 + address,
            if address == 126 { 64 } else { 1_000 }
        );
    }
    text + &format!(
        "[[line]]\nname = \"yard\"\ntcp = \"127.0.0.1:0\"\nreply_us = 0\n\
         [[line.station]]\naddress = 1\nserial = 80001\nkey = \"{key}\"\npreload = 25\n\
         [[line.station]]\naddress = 2\nserial = 80002\nplaintext = true\npreload = 10\n"
    )
}

const HALL: [u32; 4] = [70_001, 70_002, 70_003, 70_126];
const YARD: [u32; 2] = [80_001, 80_002];

/// The end of a line that a gateway has.
struct Host {
    line: Box<dyn Write>,
    heard: mpsc::Receiver<Vec<u8>>,
}

impl Host {
    /// Plugs in.
    fn of(sim: &Sim, line: &str) -> Self {
        let place = sim.running.site().lines()[line].place();
        match place {
            Place::Device(path) => {
                let device = File::options().read(true).write(true).open(path).unwrap();
                Self::new(device.try_clone().unwrap(), device)
            }
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                Self::new(stream.try_clone().unwrap(), stream)
            }
        }
    }

    fn new(mut from: impl Read + Send + 'static, to: impl Write + 'static) -> Self {
        let (sender, heard) = mpsc::channel();
        // Ends when the line does.
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { line: Box::new(to), heard }
    }
}

/// A gateway's idea of one station.
struct Gateway {
    peer: Peer,
    receiver: Receiver<1_024>,
    patience: Duration,
    secret: u8,
}

impl Gateway {
    fn new(serial: u32) -> Self {
        let address = u8::try_from(serial % 1_000).unwrap();
        let access = if serial == 80_002 { Access::Plain } else { Access::Keyed(KEY) };
        Self {
            peer: Peer::new(Settings { address, serial, access }),
            receiver: Receiver::default(),
            patience: PATIENCE,
            secret: 0,
        }
    }

    fn open(&mut self, host: &mut Host) -> Result<EpochId, Failure> {
        let step = self.peer.open(Duration::ZERO);
        self.carry_out(step, host)?;
        Ok(self.peer.welcome().unwrap().epoch)
    }

    fn ask(
        &mut self,
        request: &Request<'_>,
        epoch: Option<EpochId>,
        host: &mut Host,
    ) -> Result<(), Failure> {
        let step = self.peer.ask(request, epoch, Duration::ZERO);
        self.carry_out(step, host)
    }

    fn carry_out(&mut self, first: Step, host: &mut Host) -> Result<(), Failure> {
        let mut step = first;
        loop {
            step = match step {
                Step::Answered => return Ok(()),
                Step::Failed(failure) => return Err(failure),
                Step::Send(Window::Usual | Window::Handshake) => self.exchange(host),
            };
        }
    }

    fn exchange(&mut self, host: &mut Host) -> Step {
        while host.heard.try_recv().is_ok() {}
        self.receiver.clear();
        host.line.write_all(self.peer.wire()).unwrap();
        while let Ok(bytes) = host.heard.recv_timeout(self.patience) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (taken, is_whole) = self.receiver.push(rest);
                rest = &rest[taken..];
                if !is_whole {
                    continue;
                }
                let secret = &mut self.secret;
                let step = match self.receiver.frame() {
                    Err(_) => Some(self.peer.on_broken()),
                    Ok((header, plain)) => self.peer.on_frame(header, plain, &mut || {
                        *secret += 1;
                        [*secret; 32]
                    }),
                };
                if let Some(step) = step {
                    return step;
                }
            }
        }
        self.peer.on_silence()
    }

    /// All events that there are behind this index, with their own indices.
    fn read(&mut self, behind: u64, host: &mut Host) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let epoch = self.open(host)?;
        let (mut committed, mut all) = (behind, Vec::new());
        loop {
            let room = self.peer.room();
            self.ask(&Request::Poll { committed, skip: 0, room }, Some(epoch), host)?;
            let Some((Reply::Events { lost, behind, .. }, runs)) = self.peer.answer() else {
                panic!("no events")
            };
            committed += lost;
            for event in runs {
                committed += 1;
                all.push((committed, event.to_vec()));
            }
            if behind == 0 {
                return Ok(all);
            }
        }
    }
}

/// The event lines of one life of one controller, as a gateway keeps events.
fn in_ledger(sim: &Sim, serial: u32, which: u64) -> Vec<(u64, Vec<u8>)> {
    let id = ControllerId::link(serial);
    let lines = sim.lines().into_iter().filter_map(|line| match line {
        Line::Event(line) if line.controller == id && line.life == which => {
            let (index, event) = line.raw.link_event().unwrap();
            assert_eq!(index.0, line.index);
            Some((index.0, event.to_vec()))
        }
        Line::Event(_) | Line::Restart(_) | Line::Modbus(_) => None,
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_every_station_can_be_read_and_is_the_one_in_the_ledger() {
    let sim = Sim::start(&two_lines()).await;
    for (line, serials) in [("hall", &HALL[..]), ("yard", &YARD[..])] {
        let mut host = Host::of(&sim, line);
        for serial in serials {
            let events = Gateway::new(*serial).read(0, &mut host).unwrap();
            let kept = in_ledger(&sim, *serial, 0);
            let overwritten = kept.len() - events.len();
            assert_eq!(overwritten, if *serial == 70_126 { 26 } else { 0 }, "{serial}");
            assert_eq!(events, kept[overwritten..], "{serial}");
        }
    }
    assert_eq!(sim.lines().len(), 40 + 300 + 90 + 25 + 10);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_a_gateway_reads_is_read_too() {
    let sim = Sim::start(&format!("people.rate = 500.0\n{}", two_lines())).await;
    let mut host = Host::of(&sim, "hall");
    let mut gateway = Gateway::new(70_002);
    let mut all = Vec::new();
    while all.len() < 60 {
        let behind = all.last().map_or(0, |(index, _)| *index);
        all.extend(gateway.read(behind, &mut host).unwrap());
        let kept = in_ledger(&sim, 70_002, 0);
        assert_eq!(all, kept[..all.len()], "it was in the ledger before");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_begins_another_epoch() {
    let sim = Sim::start(&two_lines()).await;
    let mut host = Host::of(&sim, "hall");
    let mut gateway = Gateway::new(70_001);
    let epoch = gateway.open(&mut host).unwrap();
    assert_eq!(epoch, epoch_of(7, 70_001, 0));
    let station = &sim.running.site().stations()[&70_001];
    station.act(|controller, now, truth| controller.reset(now, truth)).unwrap();
    let poll = Request::Poll { committed: 40, skip: 0, room: 200 };
    let present = epoch_of(7, 70_001, 1);
    assert_eq!(gateway.ask(&poll, Some(epoch), &mut host), Err(Failure::Life { epoch: present }));
    station.swipe_of_someone().unwrap();
    let events = gateway.read(0, &mut host).unwrap();
    assert_eq!(events, in_ledger(&sim, 70_001, 1));
    assert_eq!((events.len(), events[0].0), (1, 1));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulator_that_is_started_again_has_the_same_epochs_and_logs() {
    let sim = Sim::start(&two_lines()).await;
    let station = &sim.running.site().stations()[&70_003];
    station.act(|to, now, truth| to.power_cut(LogAfter::Lost, now, truth)).unwrap();
    station.generate(70).unwrap();
    let read = |sim: &Sim| {
        let mut host = Host::of(sim, "hall");
        HALL.map(|serial| {
            let mut gateway = Gateway::new(serial);
            let events = gateway.read(0, &mut host).unwrap();
            (gateway.peer.welcome().unwrap().epoch, events)
        })
    };
    let before = read(&sim);
    assert_eq!(before[2].0, epoch_of(7, 70_003, 1));
    assert_eq!(before[2].1.len(), 71);
    let sim = sim.restart().await;
    assert_eq!(read(&sim), before);
    assert_eq!(sim.lines().len(), 40 + 300 + 90 + 25 + 10 + 1 + 71, "and preloads nothing more");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_swipe_at_boards_and_on_lines_alike() {
    let text = format!("people.rate = 2000.0\n{}\n{TWO_BOARDS}", two_lines());
    let sim = Sim::start(&text).await;
    let swipes = |sim: &Sim, id: ControllerId| {
        let lines = sim.lines();
        lines.iter().filter(|line| matches!(line, Line::Event(l) if l.controller == id)).count()
    };
    let all = [SERIAL, OTHER].map(ControllerId::uhppote);
    let on_lines = HALL.into_iter().chain(YARD).map(ControllerId::link);
    let before: Vec<_> = all.into_iter().chain(on_lines).map(|id| (id, swipes(&sim, id))).collect();
    until("people came to all of them", || {
        before.iter().all(|(id, count)| swipes(&sim, *id) > *count)
    })
    .await;
    sim.stop().await;
}

/// The control API of a simulator.
struct Api {
    sim: Sim,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Api {
    async fn start(text: &str) -> Self {
        let sim = Sim::start(text).await;
        let listener = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(api::serve(listener, sim.running.site().clone(), stop.clone()));
        Self { sim, address, stop }
    }

    async fn get(&self, path: &str) -> Value {
        call(self.address, path, None).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        call(self.address, path, Some(body)).await.unwrap()
    }

    async fn refused(&self, path: &str, body: Value) -> (u16, String) {
        match call(self.address, path, Some(body)).await {
            Err(ClientError::Refused { status, refusal }) => {
                assert!(!refusal.message.is_empty() && !refusal.hint.is_empty());
                (status, refusal.code)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_boards_and_controllers_on_lines() {
    let api = Api::start(&format!("{}\n{TWO_BOARDS}", two_lines())).await;
    let status = api.get("/status").await;
    let controllers = status["controllers"].as_array().unwrap();
    let serials: Vec<_> = controllers.iter().map(|each| each["serial"].as_u64().unwrap()).collect();
    assert_eq!(serials, [303_986_753, 405_419_896, 70_001, 70_002, 70_003, 70_126, 80_001, 80_002]);
    assert!(controllers[0]["port"].as_u64().unwrap() > 0);
    let small = &controllers[5];
    assert_eq!(small["controller"], "link-70126");
    assert_eq!((&small["line"], &small["station"]), (&json!("hall"), &json!(126)));
    for (field, value) in [
        ("life", 0),
        ("oldest", 27),
        ("newest", 90),
        ("stored", 64),
        ("capacity", 64),
        ("generated", 90),
        ("cards", 24),
    ] {
        assert_eq!(small[field], value, "{field}");
    }
    assert_eq!(small["epoch"], epoch_of(7, 70_126, 0).to_string());
    assert!(small["address"].is_null() && small["port"].is_null());
    assert_eq!((&controllers[3]["oldest"], &controllers[3]["newest"]), (&json!(0), &json!(0)));

    let one = api.get("/controllers/70126").await;
    assert_eq!((&one["serial"], &one["settings"]["role_term"]), (&json!(70_126), &json!(0)));
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_a_controller_on_a_line_can_be_ordered() {
    let api = Api::start(&two_lines()).await;
    let at = |what: &str| format!("/controllers/70002/{what}");
    let mut kinds = Vec::new();
    for (what, body) in [
        ("swipe", json!({"card": 8_165_501, "door": 1})),
        ("force-door", json!({"door": 2})),
        ("hold-door", json!({"door": 3})),
        ("button", json!({"door": 4})),
        ("power-cycle", json!({})),
        ("power-cut", json!({"log": "kept"})),
    ] {
        let reply = api.post(&at(what), body).await;
        let events = reply["events"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{what}");
        kinds.push(events[0]["kind"].as_str().unwrap().to_owned());
        assert_eq!(events[0]["index"], kinds.len());
    }
    assert_eq!(kinds, ["swipe", "forced", "held", "button", "power-on", "power-on"]);
    let generated = api.post(&at("generate"), json!({"count": 300})).await;
    assert_eq!((&generated["events"], &generated["newest"]), (&json!(300), &json!(306)));
    let cut = api.post(&at("power-cut"), json!({"log": "lost"})).await;
    assert_eq!(
        (&cut["events"][0]["index"], &cut["events"][0]["kind"]),
        (&json!(1), &json!("power-on"))
    );
    assert_eq!(api.post(&at("reset"), json!({})).await["life"], 2);
    assert_eq!(api.post(&at("clock"), json!({"unset": true})).await["clock"], "");
    let clock = api.post(&at("clock"), json!({"offset_s": -86_400})).await;
    assert!(clock["clock"].as_str().unwrap().starts_with("20"), "{clock}");

    for (what, body, status, code) in [
        ("faults", json!({"deaf": true}), 409, "other-kind"),
        ("trap", json!({}), 409, "other-kind"),
        ("replace", json!({}), 409, "other-kind"),
        ("event-index", json!({"index": 1}), 409, "other-kind"),
        ("clock", json!({"summer_time": false}), 409, "other-kind"),
        ("swipe", json!({"card": 1, "door": 5}), 400, "bad-value"),
        ("power-cut", json!({}), 400, "bad-request"),
        ("power-cut", json!({"log": "half"}), 400, "bad-request"),
    ] {
        assert_eq!(api.refused(&at(what), body).await, (status, code.to_owned()), "{what}");
    }
    let before = api.sim.lines().len();
    for (path, body, status, code) in [
        ("/lines/attic", json!({}), 405, "method-not-allowed"),
        ("/lines/attic/faults", json!({}), 404, "no-such-line"),
        ("/lines/hall/faults", json!({"noise": {"drop_rate": 2}}), 400, "bad-value"),
        ("/lines/hall/faults", json!({"nose": {}}), 400, "bad-request"),
        ("/lines/hall/faults", json!({"stations": {"80001": {}}}), 400, "bad-value"),
        ("/lines/hall/faults", json!({"stations": {"70001": {"deaf": -1}}}), 400, "bad-value"),
        ("/lines/hall/faults", json!({"stations": {"70001": {"def": 1}}}), 400, "bad-request"),
    ] {
        assert_eq!(api.refused(path, body).await, (status, code.to_owned()), "{path}");
    }
    assert_eq!(api.sim.lines().len(), before);
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_misbehaves_by_order_and_behaves_again() {
    let api = Api::start(&two_lines()).await;
    let mut host = Host::of(&api.sim, "hall");
    let faults = json!({
        "noise": {"burst_rate": 0.5, "burst_bits": 5},
        "stations": {"70001": {"deaf": 1.0}},
    });
    let set = api.post("/lines/hall/faults", faults).await;
    assert_eq!(set["stations"].as_object().unwrap().len(), 4);
    assert_eq!(
        (&set["stations"]["70001"]["deaf"], &set["stations"]["70003"]["deaf"]),
        (&json!(1.0), &json!(0.0))
    );
    let mut gateway = Gateway::new(70_001);
    gateway.patience = IMPATIENCE;
    assert_eq!(gateway.open(&mut host), Err(Failure::Silent));
    let line = api.get("/lines/hall").await;
    assert!(line["pty"].as_str().unwrap().ends_with("/hall.tty"), "{line}");
    assert_eq!(
        (&line["baud"], &line["reply_us"], &line["echo"]),
        (&json!(1_000_000), &json!(1_000), &json!(false))
    );
    assert_eq!(line["noise"]["burst_bits"], 5);
    assert_eq!(
        (&line["stations"][0]["serial"], &line["stations"][0]["missed"]),
        (&json!(70_001), &json!(1))
    );
    assert!(line["counters"]["bursts"].as_u64().unwrap() > 0);
    assert_eq!(api.get("/status").await["controllers"][0]["faults"]["deaf"], 1.0);

    let set = api.post("/lines/hall/faults", json!({})).await;
    assert_eq!(set["noise"]["burst_rate"], 0.0);
    gateway.patience = PATIENCE;
    assert_eq!(gateway.read(0, &mut host).unwrap().len(), 40);
    assert_eq!(api.get("/lines/yard").await["baud"], 0);
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_within_a_reply_can_cost_the_log() {
    let api = Api::start(&two_lines()).await;
    let mut host = Host::of(&api.sim, "yard");
    let mut gateway = Gateway::new(80_001);
    let epoch = gateway.open(&mut host).unwrap();
    for (log, life) in [("kept", 0), ("lost", 1)] {
        let faults = json!({"stations": {"80001": {"cut": 1.0, "cut_log": log}}});
        api.post("/lines/yard/faults", faults).await;
        gateway.patience = IMPATIENCE;
        let before = api.sim.lines().len();
        let step = gateway.peer.ask(&Request::Status, None, Duration::ZERO);
        assert_eq!(step, Step::Send(Window::Usual));
        gateway.exchange(&mut host);
        until("its power was cut", || api.sim.lines().len() > before).await;
        api.post("/lines/yard/faults", json!({})).await;
        gateway = Gateway::new(80_001);
        let present = gateway.open(&mut host).unwrap();
        assert_eq!(present, epoch_of(7, 80_001, life));
        assert_eq!(present == epoch, life == 0);
        let cut = api.sim.lines().pop().unwrap();
        assert!(
            matches!(cut, Line::Event(line) if (line.kind, line.life) == (Kind::PowerOn, life))
        );
    }
    api.end().await;
}
