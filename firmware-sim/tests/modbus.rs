//! Modbus units as a host has them: behind a TCP port, on a serial device, and on the port of a serial device server.
//! What behaves is asked by a client that we did not write, what misbehaves by bytes.

use std::path::PathBuf;
use std::time::Duration;

use crate::common::*;
use postern_protocol::transaction::Credential;
use postern_sim::host::line::Disturbance;
use postern_sim::host::unit::ModbusUnit;
use postern_sim::ledger::{Line, ModbusLine, What};
use postern_sim::line::{Noise, Place};
use postern_sim::link::StationFaults;
use postern_sim::modbus::{UnitFaults, rtu, tcp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Context, rtu as client_rtu, tcp as client_tcp};
use tokio_modbus::prelude::*;
use tokio_serial::SerialStream;

/// Behind a TCP port: a reader that counts, a board of relays and a reader with a flag. On a serial device the same and
/// a ring; on the port of a serial device server one more.
const SITE: &str = r#"
[profile.ring]
model = "a controller with a ring"
[[profile.ring.readers]]
door = 1
events = { ring = { counter = { table = "input_register", address = 0 }, table = "input_register", first = 100, records = 8, words = 4 } }
card = { table = "input_register", address = 1, count = 3, format = "wiegand34", align = "left", bytes = "low" }

[[line]]
name = "gate"
protocol = "modbus"
tcp = "127.0.0.1:0"
[[line.unit]]
unit = 1
serial = 70101
profile = "rfideas-tcp"
[[line.unit]]
unit = 7
serial = 70107
profile = "relay-board"
[[line.unit]]
unit = 255
serial = 70109
profile = "inveo-rfid"

[[line]]
name = "hall"
protocol = "modbus"
pty = "hall.tty"
reply_us = 0
[[line.unit]]
unit = 1
serial = 70201
profile = "inveo-rfid"
[[line.unit]]
unit = 2
serial = 70202
profile = "relay-board"
[[line.unit]]
unit = 3
serial = 70203
profile = "ring"

[[line]]
name = "yard"
protocol = "modbus"
framing = "rtu"
tcp = "127.0.0.1:0"
[[line.unit]]
unit = 1
serial = 70301
profile = "rfideas-tcp"
"#;

fn unit(sim: &Sim, serial: u32) -> &ModbusUnit {
    &sim.running.site().units()[&serial]
}

/// A connection to the units behind the TCP port.
async fn gate(sim: &Sim) -> TcpStream {
    TcpStream::connect(sim.running.site().servers()["gate"].address()).await.unwrap()
}

/// The serial device's other end.
fn hall(sim: &Sim) -> SerialStream {
    let Place::Device(path) = sim.running.site().lines()["hall"].place() else { panic!() };
    SerialStream::open(&tokio_serial::new(path.to_str().unwrap(), 115_200)).unwrap()
}

async fn yard(sim: &Sim) -> TcpStream {
    let Place::Tcp(address) = sim.running.site().lines()["yard"].place() else { panic!() };
    TcpStream::connect(address).await.unwrap()
}

/// What a client is told: values, or the code of an exception.
fn answered<T>(result: tokio_modbus::Result<T>) -> Result<T, u8> {
    result.unwrap().map_err(u8::from)
}

/// What a host owes a line before it asks another unit, which has heard the answer of the one before and waits for
/// the silence behind it. This client leaves none by itself.
async fn gap() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Whatever answers in time.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("an answer in time")
}

fn shown(sim: &Sim, serial: u32) -> Vec<ModbusLine> {
    let id = format!("modbus-{serial}");
    let of_modbus = |line: Line| match line {
        Line::Modbus(line) if line.controller.to_string().starts_with(&id) => Some(line),
        Line::Modbus(_) | Line::Event(_) | Line::Restart(_) => None,
    };
    sim.lines().into_iter().filter_map(of_modbus).collect()
}

fn whats(sim: &Sim, serial: u32) -> Vec<What> {
    shown(sim, serial).iter().map(|line| line.what).collect()
}

/// A board of relays, whatever is between.
async fn asks_a_board(sim: &Sim, serial: u32, client: &mut Context) {
    let board = unit(sim, serial);
    board.open_door(2, true).unwrap();
    board.press(4, true).unwrap();
    let inputs = in_time(client.read_discrete_inputs(0, 8)).await;
    assert_eq!(answered(inputs), Ok([false, true, false, false, false, false, false, true].into()));
    assert_eq!(answered(in_time(client.write_single_coil(3, true)).await), Ok(()));
    assert_eq!(answered(in_time(client.write_multiple_coils(0, &[true, false])).await), Ok(()));
    let relays = in_time(client.read_coils(0, 4)).await;
    assert_eq!(answered(relays), Ok(vec![true, false, false, true]));
    board.release(3, true).unwrap();
    assert_eq!(answered(in_time(client.read_coils(2, 2)).await), Ok(vec![true, true]));
    assert_eq!(answered(in_time(client.read_holding_registers(0, 1)).await), Err(2));
    assert_eq!(answered(in_time(client.read_coils(0, 9)).await), Err(2));
    assert_eq!(answered(in_time(client.masked_write_register(0, 0, 0)).await), Err(1));
    let told = [What::Started, What::Opened, What::Pressed];
    let of_relays = [What::Released, What::Released, What::Released];
    assert_eq!(whats(sim, serial), [told, of_relays].concat());
}

/// A reader with a flag, whatever is between.
async fn asks_a_latch(sim: &Sim, serial: u32, client: &mut Context) {
    let reader = unit(sim, serial);
    reader.swipe(1, 0x0102_0304_0506).unwrap();
    assert_eq!(answered(in_time(client.read_coils(1_004, 2)).await), Ok(vec![true, true]));
    let card = in_time(client.read_holding_registers(1_000, 5)).await;
    assert_eq!(answered(card), Ok(vec![0, 0, 0x0102, 0x0304, 0x0506]));
    assert_eq!(answered(in_time(client.write_single_coil(1_004, false)).await), Ok(()));
    assert_eq!(answered(in_time(client.write_single_register(1_000, 1)).await), Err(2));
    reader.swipe(1, 7).unwrap();
    reader.swipe(1, 8).unwrap();
    let told = whats(sim, serial);
    assert_eq!(
        told[1..],
        [What::CardRead, What::CardTaken, What::CardRead, What::CardLost, What::CardRead]
    );
    assert_eq!(shown(sim, serial)[4].card, Some(Credential(7)));
    reader.restart().unwrap();
    assert_eq!(answered(in_time(client.read_coils(1_004, 2)).await), Ok(vec![false, true]));
}

/// A reader that counts, whatever is between.
async fn asks_a_counter(sim: &Sim, serial: u32, client: &mut Context) {
    unit(sim, serial).swipe(1, 8_165_501).unwrap();
    unit(sim, serial).swipe(1, 0x0002_0001).unwrap();
    let read = answered(in_time(client.read_input_registers(0, 19)).await).unwrap();
    assert_eq!((read[0], read[2], &read[17..]), (2, 18, &[2, 1][..]));
    let numbers: Vec<_> = shown(sim, serial).iter().map(|line| line.number).collect();
    assert_eq!(numbers, [None, Some(1), Some(2)]);
    let own = shown(sim, serial)[1].controller.to_string();
    assert_eq!(own, format!("modbus-{serial}.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn units_behind_a_tcp_port_answer_an_independent_client() {
    let sim = Sim::start(SITE).await;
    let address = sim.running.site().servers()["gate"].address();
    let mut client = client_tcp::connect_slave(address, Slave(7)).await.unwrap();
    asks_a_board(&sim, 70_107, &mut client).await;
    client.set_slave(Slave(255));
    asks_a_latch(&sim, 70_109, &mut client).await;
    client.set_slave(Slave(1));
    asks_a_counter(&sim, 70_101, &mut client).await;
    client.set_slave(Slave(2));
    assert_eq!(answered(in_time(client.read_coils(0, 1)).await), Err(0x0b), "nobody is there");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_on_a_serial_device_answer_an_independent_client() {
    let sim = Sim::start(SITE).await;
    let mut client = client_rtu::attach_slave(hall(&sim), Slave(2));
    asks_a_board(&sim, 70_202, &mut client).await;
    gap().await;
    client.set_slave(Slave(1));
    asks_a_latch(&sim, 70_201, &mut client).await;
    gap().await;
    client.set_slave(Slave(3));
    for card in [100_001, 200_002, 300_003] {
        unit(&sim, 70_203).swipe(1, card).unwrap();
    }
    assert_eq!(answered(in_time(client.read_input_registers(0, 1)).await), Ok(vec![3]));
    let ring = answered(in_time(client.read_input_registers(100, 32)).await).unwrap();
    let layout = unit(&sim, 70_203)
        .look(|state| state.unit.device().setup().profile.readers[0].card.layout());
    let cards: Vec<_> =
        ring.chunks(4).take(3).map(|record| layout.read(&record[1..], None).unwrap().0).collect();
    assert_eq!(cards, [100_001, 200_002, 300_003]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_behind_a_serial_device_server_answers_an_independent_client() {
    let sim = Sim::start(SITE).await;
    let mut client = client_rtu::attach_slave(yard(&sim).await, Slave(1));
    asks_a_counter(&sim, 70_301, &mut client).await;
    sim.stop().await;
}

/// Reads the card of the reader with a flag, or the relays of the board.
const READ_CARD: [u8; 5] = [3, 3, 0xe8, 0, 5];
const READ_RELAYS: [u8; 5] = [1, 0, 0, 0, 8];
const RELEASE: [u8; 5] = [5, 0, 0, 0xff, 0];

async fn exactly<const N: usize>(from: &mut (impl AsyncRead + Unpin)) -> [u8; N] {
    let mut bytes = [0; N];
    in_time(from.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Whether nothing comes for a while.
async fn is_silent(from: &mut (impl AsyncRead + Unpin)) -> bool {
    timeout(SILENCE, from.read_u8()).await.is_err()
}

async fn ask_rtu(to: &mut (impl AsyncWrite + Unpin), unit: u8, request: &[u8]) {
    to.write_all(&rtu::frame(unit, request)).await.unwrap();
}

fn always(name: &str) -> UnitFaults {
    serde_json::from_value(serde_json::json!({ name: 1.0, "late_ms": 150 })).unwrap()
}

/// Whether an answer is as healthy as this.
async fn is_healthy_rtu(line: &mut SerialStream) -> bool {
    ask_rtu(line, 1, &READ_CARD).await;
    let answer = exactly::<15>(line).await;
    rtu::open(&answer).is_some_and(|(unit, pdu)| unit == 1 && pdu.ends_with(&[0x12, 0x34]))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_is_on_the_serial_wire() {
    let sim = Sim::start(SITE).await;
    let mut line = hall(&sim);
    let reader = unit(&sim, 70_201);
    reader.swipe(1, 0x1234).unwrap();
    assert!(is_healthy_rtu(&mut line).await);
    let healthy = [3, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34];

    for name in ["deaf", "silent", "hang_up"] {
        reader.set_faults(always(name)).unwrap();
        ask_rtu(&mut line, 1, &READ_CARD).await;
        assert!(is_silent(&mut line).await, "{name}");
    }
    for (name, unit, answer) in [
        ("exception", 1, &[0x83, 4][..]),
        ("wrong_unit", 124, &healthy),
        ("short", 1, &healthy[..10]),
        ("long", 1, &[&healthy[..], &[0, 0]].concat()),
        ("other_count", 1, &[&[3, 12][..], &healthy[2..], &[0, 0]].concat()),
    ] {
        reader.set_faults(always(name)).unwrap();
        ask_rtu(&mut line, 1, &READ_CARD).await;
        let mut heard = vec![0; answer.len() + 3];
        in_time(line.read_exact(&mut heard)).await.unwrap();
        assert_eq!(rtu::open(&heard), Some((unit, answer)), "{name}");
    }
    reader.set_faults(always("zero")).unwrap();
    ask_rtu(&mut line, 1, &READ_CARD).await;
    let heard = exactly::<16>(&mut line).await;
    assert_eq!((heard[0], rtu::open(&heard[1..])), (0, Some((1, &healthy[..]))));
    reader.set_faults(always("garbage")).unwrap();
    ask_rtu(&mut line, 1, &READ_CARD).await;
    assert_eq!(rtu::open(&exactly::<15>(&mut line).await), None);
    reader.set_faults(always("nonsense")).unwrap();
    ask_rtu(&mut line, 1, &READ_CARD).await;
    let heard = exactly::<15>(&mut line).await;
    let (_, pdu) = rtu::open(&heard).expect("the checksum of nonsense is right");
    assert!(pdu.starts_with(&[3, 10]) && pdu != healthy);
    reader.set_faults(always("late")).unwrap();
    let asked = tokio::time::Instant::now();
    assert!(is_healthy_rtu(&mut line).await);
    assert!(asked.elapsed().as_millis() >= 150);
    reader.set_faults(UnitFaults::default()).unwrap();
    assert!(is_healthy_rtu(&mut line).await);
    sim.stop().await;
}

/// Asks the board behind the TCP port; the transaction is 0x0a0b.
async fn ask_tcp_unit(to: &mut TcpStream, request: &[u8]) {
    to.write_all(&tcp::frame(0x0a0b, 7, request)).await.unwrap();
}

/// An answer with another unit's number is a request to that unit, once silence follows: it cannot know better.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_another_units_name_is_a_request_to_that_unit() {
    let site = SITE.replace("unit = 2\n", "unit = 124\n");
    let sim = Sim::start(&site).await;
    let mut line = hall(&sim);
    unit(&sim, 70_201).set_faults(always("wrong_unit")).unwrap();
    ask_rtu(&mut line, 1, &READ_CARD).await;
    assert!(rtu::open(&exactly::<15>(&mut line).await).is_some_and(|(unit, _)| unit == 124));
    assert_eq!(rtu::open(&exactly::<5>(&mut line).await), Some((124, &[0x83, 3][..])));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_is_on_the_network() {
    let sim = Sim::start(SITE).await;
    let board = unit(&sim, 70_107);
    let mut host = gate(&sim).await;
    ask_tcp_unit(&mut host, &READ_RELAYS).await;
    let none = exactly::<9>(&mut host).await;
    assert_eq!(none, [0x0a, 0x0b, 0, 0, 0, 3, 7, 0x81, 2], "there are four relays, not eight");
    let read: &[u8] = &[2, 0, 0, 0, 8];
    board.open_door(1, true).unwrap();
    for (name, answer) in [
        ("requests", &[0x0a, 0x0b, 0, 0, 0, 4, 7, 2, 1, 1][..]),
        ("exception", &[0x0a, 0x0b, 0, 0, 0, 3, 7, 0x82, 4]),
        ("wrong_unit", &[0x0a, 0x0b, 0, 0, 0, 4, 130, 2, 1, 1]),
        ("short", &[0x0a, 0x0b, 0, 0, 0, 3, 7, 2, 1]),
        ("long", &[0x0a, 0x0b, 0, 0, 0, 5, 7, 2, 1, 1, 0]),
        ("other_count", &[0x0a, 0x0b, 0, 0, 0, 5, 7, 2, 2, 1, 0]),
        ("zero", &[0, 0x0a, 0x0b, 0, 0, 0, 4, 7, 2, 1, 1]),
    ] {
        let faults = if name == "requests" { UnitFaults::default() } else { always(name) };
        board.set_faults(faults).unwrap();
        ask_tcp_unit(&mut host, read).await;
        let mut heard = vec![0; answer.len()];
        in_time(host.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, answer, "{name}");
    }
    for name in ["deaf", "silent"] {
        board.set_faults(always(name)).unwrap();
        ask_tcp_unit(&mut host, read).await;
        assert!(is_silent(&mut host).await, "{name}");
    }
    board.set_faults(always("garbage")).unwrap();
    ask_tcp_unit(&mut host, read).await;
    assert_ne!(exactly::<10>(&mut host).await, [0x0a, 0x0b, 0, 0, 0, 4, 7, 2, 1, 1]);
    board.set_faults(always("late")).unwrap();
    let asked = tokio::time::Instant::now();
    ask_tcp_unit(&mut host, read).await;
    assert_eq!(exactly::<10>(&mut host).await[7..], [2, 1, 1]);
    assert!(asked.elapsed().as_millis() >= 150);

    // What it closes for was done; and other hosts stay.
    let mut other = gate(&sim).await;
    let once = UnitFaults { requests: Some(1), ..always("hang_up") };
    board.set_faults(once).unwrap();
    ask_tcp_unit(&mut host, &RELEASE).await;
    assert_eq!(in_time(host.read(&mut [0; 16])).await.unwrap(), 0);
    ask_tcp_unit(&mut other, &[1, 0, 0, 0, 1]).await;
    assert_eq!(exactly::<10>(&mut other).await[7..], [1, 1, 1]);
    assert_eq!(board.look(|state| state.unit.faults()), UnitFaults::default());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_does_what_a_broadcast_says_and_nobody_answers() {
    let sim = Sim::start(SITE).await;
    let mut host = gate(&sim).await;
    // The relay board and the reader with a flag have coil 0 and coil 1000; the third has neither.
    for coil in [0_u16, 1_000] {
        let [a, b] = coil.to_be_bytes();
        host.write_all(&tcp::frame(1, 0, &[5, a, b, 0xff, 0])).await.unwrap();
    }
    assert!(is_silent(&mut host).await);
    assert_eq!(whats(&sim, 70_107), [What::Started, What::Released]);
    assert_eq!(whats(&sim, 70_109), [What::Started, What::Released]);
    let mut line = hall(&sim);
    ask_rtu(&mut line, 0, &RELEASE).await;
    assert!(is_silent(&mut line).await);
    assert_eq!(whats(&sim, 70_202), [What::Started, What::Released]);
    ask_rtu(&mut line, 9, &READ_CARD).await;
    assert!(is_silent(&mut line).await, "of another unit's frames nobody takes notice");
    ask_rtu(&mut line, 2, &[1, 0, 0, 0, 4]).await;
    assert_eq!(rtu::open(&exactly::<6>(&mut line).await), Some((2, &[1, 1, 1][..])));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_serial_line_only_silence_ends_a_frame() {
    let sim = Sim::start(SITE).await;
    let mut line = hall(&sim);
    let request = rtu::frame(2, &[1, 0, 0, 0, 4]);
    let answer = rtu::frame(2, &[1, 1, 0]);
    for (before, why) in [
        (&[0][..], "a zero byte before a frame, at once"),
        (&request[..5], "half a frame before a frame, at once"),
        (&rtu::frame(9, &RELEASE), "another unit's frame before it, at once"),
        (&rtu::frame(2, &[1; 256]), "what is too long for any frame"),
    ] {
        line.write_all(&[before, &request].concat()).await.unwrap();
        assert!(is_silent(&mut line).await, "{why}");
        // And it does no harm to the next.
        line.write_all(&request).await.unwrap();
        assert_eq!(exactly::<6>(&mut line).await[..], answer, "after {why}");
    }
    // A frame with a gap is none, nor is its end.
    line.write_all(&request[..4]).await.unwrap();
    assert!(is_silent(&mut line).await);
    line.write_all(&request[4..]).await.unwrap();
    assert!(is_silent(&mut line).await);
    line.write_all(&request).await.unwrap();
    assert_eq!(exactly::<6>(&mut line).await[..], answer);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disturbed_line_disturbs_what_is_asked_on_it() {
    let sim = Sim::start(SITE).await;
    let hall_line = &sim.running.site().lines()["hall"];
    let mut line = hall(&sim);
    let healthy = hall_line.disturbance();
    let noise = Noise { drop_rate: 1.0, ..Noise::default() };
    hall_line.disturb(Disturbance { noise, ..healthy.clone() }).unwrap();
    ask_rtu(&mut line, 2, &RELEASE).await;
    assert!(is_silent(&mut line).await);
    assert_eq!(whats(&sim, 70_202), [What::Started], "nobody has heard of it");
    // A station's own faults are those of every line.
    let mut stations = healthy.stations.clone();
    stations[1] = StationFaults { cut: 1.0, ..StationFaults::default() };
    hall_line.disturb(Disturbance { stations, ..healthy.clone() }).unwrap();
    ask_rtu(&mut line, 2, &RELEASE).await;
    let restarted = [What::Started, What::Released, What::Started];
    until("its power is cut within its answer", || whats(&sim, 70_202) == restarted).await;
    hall_line.disturb(healthy).unwrap();
    while !is_silent(&mut line).await {}
    ask_rtu(&mut line, 2, &[1, 0, 0, 0, 4]).await;
    assert_eq!(rtu::open(&exactly::<6>(&mut line).await), Some((2, &[1, 1, 0][..])));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_requests_end_a_connection_and_nothing_else() {
    let sim = Sim::start(SITE).await;
    let mut host = gate(&sim).await;
    host.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // Closing over bytes that were not read is a reset.
    let _ = in_time(host.read_to_end(&mut heard)).await;
    assert!(heard.is_empty());
    let mut host = gate(&sim).await;
    // Two at once are answered in their order.
    let both = [tcp::frame(1, 7, &[1, 0, 0, 0, 1]), tcp::frame(2, 9, &[1, 0, 0, 0, 1])].concat();
    host.write_all(&both).await.unwrap();
    let first = [0, 1, 0, 0, 0, 4, 7, 1, 1, 0];
    let second = [0, 2, 0, 0, 0, 3, 9, 0x81, 0x0b];
    assert_eq!(exactly::<19>(&mut host).await[..], [&first[..], &second].concat());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulator_that_is_started_again_has_devices_that_have_restarted() {
    let sim = Sim::start(SITE).await;
    unit(&sim, 70_101).swipe(1, 5).unwrap();
    unit(&sim, 70_107).open_door(3, true).unwrap();
    let sim = sim.restart().await;
    assert_eq!(unit(&sim, 70_101).look(|state| state.unit.device().life()), 1);
    let address = sim.running.site().servers()["gate"].address();
    let mut client = client_tcp::connect_slave(address, Slave(1)).await.unwrap();
    assert_eq!(answered(in_time(client.read_input_registers(0, 1)).await), Ok(vec![0]));
    client.set_slave(Slave(7));
    let contacts = in_time(client.read_discrete_inputs(0, 4)).await;
    assert_eq!(answered(contacts), Ok(vec![false, false, true, false]), "a door stays open");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_swipe_where_there_are_readers() {
    let sim = Sim::start(&format!("[people]\nrate = 500.0\n{SITE}")).await;
    let cards = |serial| whats(&sim, serial).iter().filter(|what| **what == What::CardRead).count();
    let with_readers = [70_101, 70_109, 70_201, 70_203, 70_301];
    until("somebody has been everywhere", || with_readers.iter().all(|at| cards(*at) > 2)).await;
    sim.running.site().people().set_rate(0.0);
    for serial in [70_107, 70_202] {
        assert_eq!(whats(&sim, serial), [What::Started]);
    }
    let before = cards(70_101);
    assert_eq!(unit(&sim, 70_101).generate(1_000).unwrap(), 1_000);
    assert_eq!(cards(70_101), before + 1_000);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_of_a_line_is_where_it_was_asked_for() {
    let sim = Sim::start(SITE).await;
    let Place::Device(path) = sim.running.site().lines()["hall"].place() else { panic!() };
    let asked_for: PathBuf = sim.ledger.with_file_name("hall.tty");
    assert_eq!(*path, asked_for);
    assert!(sim.running.site().lines()["yard"].stations().len() == 1);
    sim.stop().await;
}
