//! Boards on real loopback sockets, over UDP and TCP.

use crate::common::*;
use postern_protocol::uhppote::message::{record_bytes, request};
use postern_protocol::uhppote::{FRAME, NEWEST, OLDEST, Request, Response, TYPE_OVERWRITTEN};
use postern_sim::fault::Faults;
use postern_sim::host::HostError;
use postern_sim::ledger::{Kind, LedgerError, Line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

#[tokio::test]
async fn a_board_answers_over_udp_and_tcp_at_the_same_port() {
    let sim = Sim::start(TWO_BOARDS).await;
    for serial in [SERIAL, OTHER] {
        let client = Client::of(&sim, serial).await;
        let request = get_controller(serial);
        let over_udp = client.ask(request).await;
        assert_eq!(over_udp.controller(), serial);
        let over_tcp = ask_tcp(sim.address(serial), &request.encode(), false).await;
        assert_eq!(Response::decode(&over_tcp), Ok(over_udp));
    }
    assert_ne!(sim.address(SERIAL).port(), sim.address(OTHER).port());
    sim.stop().await;
}

#[tokio::test]
async fn a_search_for_boards_is_answered_and_other_boards_requests_are_not() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    assert_eq!(client.ask(get_controller(0)).await.controller(), SERIAL);
    client.send(&get_controller(OTHER).encode()).await;
    client.send(&get_time(0).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.frames_received, counters.frames_ignored, counters.replies), (3, 2, 1));
    sim.stop().await;
}

#[tokio::test]
async fn garbage_is_ignored_and_counted_and_the_board_goes_on() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    let good = get_time(SERIAL).encode();
    let mut other_start = good;
    other_start[0] = 0x18;
    let mut event_start = good;
    (event_start[0], event_start[1]) = (0x19, 0x20);
    let mut unknown = good;
    unknown[1] = 0xee;
    let garbage: [&[u8]; 8] = [
        &[],
        &[0x17],
        &good[..63],
        &[good, good].concat(),
        &[0xff; FRAME],
        &other_start,
        &event_start,
        &unknown,
    ];
    for bytes in garbage {
        client.send(bytes).await;
    }
    assert_eq!(client.ask(get_time(SERIAL)).await.controller(), SERIAL);
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.frames_received, counters.frames_ignored), (9, 8));

    for bytes in &garbage[1..] {
        assert_eq!(ask_tcp(sim.address(SERIAL), bytes, true).await.len() % FRAME, 0);
    }
    assert_eq!(ask_tcp(sim.address(SERIAL), &good, false).await.len(), FRAME);
    sim.stop().await;
}

#[tokio::test]
async fn a_tcp_connection_is_one_request_and_one_reply_even_half_closed() {
    let sim = Sim::start(TWO_BOARDS).await;
    let address = sim.address(SERIAL);
    let request = get_time(SERIAL).encode();
    assert_eq!(ask_tcp(address, &request, true).await.len(), FRAME);

    // A second request in the same connection is not answered, and does not take the reply away.
    assert_eq!(ask_tcp(address, &[request, request].concat(), false).await.len(), FRAME);

    // A request that comes in pieces is one request.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in request.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply.len(), FRAME);
    sim.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_keep_others_away() {
    let sim = Sim::start(TWO_BOARDS).await;
    let address = sim.address(SERIAL);
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(ask_tcp(address, &get_time(SERIAL).encode(), false).await.len(), FRAME);
    sim.stop().await;
}

#[tokio::test]
async fn what_was_preloaded_has_overflowed_before_anyone_could_connect() {
    let sim = Sim::start(&format!("{TWO_BOARDS}preload = 100\n")).await;
    let client = Client::of(&sim, OTHER).await;
    assert_eq!(client.event(OTHER, OLDEST).await.index, 49);
    assert_eq!(client.event(OTHER, NEWEST).await.index, 100);
    assert_eq!(client.event(OTHER, 48).await.event_type, TYPE_OVERWRITTEN);
    assert_eq!(client.event(OTHER, 101).await.event_type, 0);
    assert_eq!(sim.lines().len(), 100, "the ledger knows of the overwritten ones, too");
    sim.stop().await;
}

#[tokio::test]
async fn no_event_is_on_the_wire_before_it_is_in_the_ledger() {
    let sim = Sim::start(&format!("people.rate = 2000.0\n{TWO_BOARDS}")).await;
    let client = Client::of(&sim, SERIAL).await;
    let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.ask(set_listener(SERIAL, &listener)).await;
    let mut seen = 0;
    while seen < 200 {
        let frame = client.ask(get_event(SERIAL, NEWEST)).await.encode();
        // The file is read after the reply has come: the line must be there by now.
        let known = sim.lines();
        let in_ledger = |index: u32, raw: &[u8]| {
            known.iter().any(|line| match line {
                Line::Event(line) => {
                    line.controller.serial == u64::from(SERIAL)
                        && line.index == u64::from(index)
                        && line.raw.as_slice() == raw
                }
                Line::Restart(_) | Line::Modbus(_) => false,
            })
        };
        let Ok(Response::GetEvent(event)) = Response::decode(&frame) else { panic!() };
        assert!(event.index == 0 || in_ledger(event.index, record_bytes(&frame)), "{event:?}");
        seen = event.index;
    }
    let mut pushed = [0; FRAME];
    for _ in 0..20 {
        listener.recv_from(&mut pushed).await.unwrap();
        let raw = record_bytes(&pushed).to_vec();
        assert!(
            sim.lines()
                .iter()
                .any(|line| matches!(line, Line::Event(l) if l.raw.as_slice() == raw))
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn people_that_were_stopped_swipe_no_more() {
    let sim = Sim::start(&format!("people.rate = 2000.0\n{TWO_BOARDS}")).await;
    let people = sim.running.site().people();
    until("people swipe", || people.look().1 > 50).await;
    people.set_rate(0.0);
    let (rate, swipes) = people.look();
    let lines = sim.lines().len();
    assert_eq!((rate.to_bits(), swipes), (0, u64::try_from(lines).unwrap()));
    let client = Client::of(&sim, SERIAL).await;
    for _ in 0..50 {
        client.ask(get_time(SERIAL)).await;
    }
    assert_eq!((people.look().1, sim.lines().len()), (swipes, lines));
    people.set_rate(500.0);
    until("people come back", || people.look().1 > swipes + 10).await;
    for serial in [SERIAL, OTHER] {
        assert!(sim.board(serial).look(|state| state.controller.recorded()) > 0, "{serial}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn events_are_pushed_to_the_listener_from_the_boards_own_port() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.ask(set_listener(SERIAL, &listener)).await;
    client.ask(open_door(SERIAL, 3)).await;
    let mut pushed = [0; 2 * FRAME];
    let (length, from) = listener.recv_from(&mut pushed).await.unwrap();
    assert_eq!((length, from), (FRAME, sim.address(SERIAL).into()));
    let Ok(Response::GetStatus(status)) = Response::decode(&pushed[..length]) else { panic!() };
    assert_eq!((status.event_index, status.event_door, status.event_reason), (1, 3, 44));

    sim.board(SERIAL).set_faults(Faults { mute_push: true, ..Faults::default() });
    client.ask(open_door(SERIAL, 3)).await;
    sim.board(SERIAL).set_faults(Faults::default());
    client.ask(open_door(SERIAL, 4)).await;
    let (length, _) = listener.recv_from(&mut pushed).await.unwrap();
    let Ok(Response::GetStatus(status)) = Response::decode(&pushed[..length]) else { panic!() };
    assert_eq!(status.event_index, 3, "the one in between was lost and is not repeated");
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.pushes, counters.pushes_lost), (2, 1));
    sim.stop().await;
}

#[tokio::test]
async fn a_board_that_is_its_own_listener_does_not_talk_to_itself() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    let own = sim.address(SERIAL);
    client
        .ask(Request::SetListener(request::SetListener {
            controller: SERIAL,
            address: *own.ip(),
            port: own.port(),
            interval: 0,
        }))
        .await;
    client.ask(open_door(SERIAL, 1)).await;
    for _ in 0..20 {
        client.ask(get_time(SERIAL)).await;
    }
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.pushes, counters.frames_received), (1, 22));
    sim.stop().await;
}

#[tokio::test]
async fn the_same_seed_makes_the_same_events() {
    let run = async |seed| {
        let sim = Sim::start_with_seed(TWO_BOARDS, seed).await;
        for serial in [SERIAL, OTHER] {
            // An unset clock, so that records do not hold when the test ran.
            let board = sim.board(serial);
            board
                .act(|controller, _, _| {
                    controller.clock_mut().unset();
                    Ok(())
                })
                .unwrap();
            board.generate(300).unwrap();
        }
        let raws: Vec<_> = sim
            .lines()
            .into_iter()
            .map(|line| match line {
                Line::Event(line) => (line.controller, line.raw),
                Line::Restart(_) | Line::Modbus(_) => panic!("{line:?}"),
            })
            .collect();
        sim.stop().await;
        raws
    };
    let first = run(7).await;
    assert_eq!(first.len(), 600);
    assert!(first == run(7).await);
    assert!(first != run(8).await);
}

#[tokio::test]
async fn a_restarted_simulator_goes_on_where_its_ledger_ends() {
    let sim = Sim::start(&format!("{TWO_BOARDS}preload = 70\n")).await;
    let client = Client::of(&sim, SERIAL).await;
    client.ask(open_door(SERIAL, 1)).await;
    client.ask(restore_defaults(SERIAL)).await;
    client.ask(open_door(SERIAL, 2)).await;
    let before = Client::of(&sim, OTHER).await.event(OTHER, NEWEST).await;

    let sim = sim.restart().await;
    let client = Client::of(&sim, SERIAL).await;
    assert_eq!(client.event(SERIAL, NEWEST).await.index, 1);
    client.ask(open_door(SERIAL, 3)).await;
    let other = Client::of(&sim, OTHER).await;
    assert_eq!(other.event(OTHER, NEWEST).await, before, "not preloaded again");
    assert_eq!(other.event(OTHER, OLDEST).await.index, 17);

    let tail: Vec<_> = sim.lines().split_off(70);
    let shapes: Vec<_> = tail
        .iter()
        .map(|line| match line {
            Line::Event(line) => (line.life, line.index, Some(line.kind)),
            Line::Restart(line) => (line.life, 0, None),
            Line::Modbus(line) => panic!("{line:?}"),
        })
        .collect();
    let remote = Some(Kind::RemoteOpen);
    assert_eq!(shapes, [(0, 1, remote), (1, 0, None), (1, 1, remote), (1, 2, remote)]);
    sim.stop().await;
}

#[tokio::test]
async fn two_simulators_do_not_share_a_ledger() {
    let sim = Sim::start(TWO_BOARDS).await;
    let error = sim.start_twin().await.unwrap_err();
    assert!(matches!(error, HostError::Ledger(LedgerError::InUse { .. })), "{error}");
    sim.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let sim = Sim::start(TWO_BOARDS).await;
    let taken = sim.address(SERIAL);
    let dir = tempfile::tempdir().unwrap();
    let text = format!("ledger = \"l\"\n[[controller]]\nserial = 9\naddress = \"{taken}\"\n");
    let config = postern_sim::config::Config::parse(&dir.path().join("sim.toml"), &text).unwrap();
    let error = postern_sim::host::Running::start(&config).await.unwrap_err();
    assert_eq!(error.to_string(), format!("controller 9: cannot listen on {taken}"));
    sim.stop().await;
}
