//! Boards that misbehave, on real loopback sockets.

use std::io::ErrorKind;

use crate::common::*;
use postern_protocol::uhppote::{FRAME, Response};
use postern_sim::fault::Faults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const HEALTHY: Faults = Faults {
    deaf: false,
    mute_push: false,
    elsewhere: false,
    delay_ms: 0,
    lose: 0.0,
    drop: 0.0,
    reset: 0.0,
    duplicate: 0.0,
    stale: 0.0,
    reorder: 0.0,
    foreign: 0.0,
    corrupt: 0.0,
    deny: 0,
    drop_push: 0.0,
    duplicate_push: 0.0,
};

#[tokio::test]
async fn a_deaf_board_neither_answers_nor_does_what_it_was_asked() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    sim.board(SERIAL).set_faults(Faults { deaf: true, ..HEALTHY });
    client.send(&open_door(SERIAL, 1).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    let nothing = ask_tcp(sim.address(SERIAL), &open_door(SERIAL, 1).encode(), true).await;
    assert!(nothing.is_empty());
    assert!(sim.lines().is_empty());
    let other = Client::of(&sim, OTHER).await;
    assert_eq!(other.ask(get_time(OTHER)).await.controller(), OTHER, "the other board hears");
    sim.board(SERIAL).set_faults(HEALTHY);
    assert_eq!(client.ask(get_time(SERIAL)).await.controller(), SERIAL);
    sim.stop().await;
}

#[tokio::test]
async fn a_lost_reply_does_not_undo_what_was_done() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    sim.board(SERIAL).set_faults(Faults { drop: 1.0, ..HEALTHY });
    client.send(&open_door(SERIAL, 1).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    assert_eq!(sim.lines().len(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn replies_come_late_twice_stale_and_corrupted() {
    let sim = Sim::start(TWO_BOARDS).await;
    let board = sim.board(SERIAL);
    let client = Client::of(&sim, SERIAL).await;

    board.set_faults(Faults { delay_ms: 150, ..HEALTHY });
    let begun = tokio::time::Instant::now();
    client.ask(get_time(SERIAL)).await;
    assert!(begun.elapsed().as_millis() >= 150);
    let begun = tokio::time::Instant::now();
    ask_tcp(sim.address(SERIAL), &get_time(SERIAL).encode(), false).await;
    assert!(begun.elapsed().as_millis() >= 150);

    board.set_faults(Faults { duplicate: 1.0, ..HEALTHY });
    client.send(&get_event(SERIAL, 1).encode()).await;
    let first = client.receive(DEADLINE).await.unwrap();
    assert_eq!(client.receive(DEADLINE).await, Some(first));

    board.set_faults(Faults { stale: 1.0, ..HEALTHY });
    client.send(&get_controller(SERIAL).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    board.set_faults(HEALTHY);
    client.send(&get_time(SERIAL).encode()).await;
    let functions =
        [client.receive(DEADLINE).await.unwrap()[1], client.receive(DEADLINE).await.unwrap()[1]];
    assert_eq!(functions, [0x94, 0x32], "the reply to the first request comes before the second's");

    let good = client.ask(get_controller(SERIAL)).await.encode();
    board.set_faults(Faults { corrupt: 1.0, ..HEALTHY });
    client.send(&get_controller(SERIAL).encode()).await;
    let bad = frame(&client.receive(DEADLINE).await.unwrap());
    let flipped: u32 = good.iter().zip(bad).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert!((1..=4).contains(&flipped), "{flipped}");
    sim.stop().await;
}

#[tokio::test]
async fn a_lost_request_is_neither_carried_out_nor_answered() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    sim.board(SERIAL).set_faults(Faults { lose: 1.0, ..HEALTHY });
    client.send(&open_door(SERIAL, 1).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None);
    assert!(ask_tcp(sim.address(SERIAL), &open_door(SERIAL, 1).encode(), true).await.is_empty());
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.frames_received, counters.frames_ignored, counters.replies), (2, 2, 0));
    assert!(sim.lines().is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn an_overtaken_reply_comes_just_after_the_next() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    sim.board(SERIAL).set_faults(Faults { reorder: 1.0, ..HEALTHY });
    client.send(&get_controller(SERIAL).encode()).await;
    client.send(&get_time(SERIAL).encode()).await;
    let functions =
        [client.receive(DEADLINE).await.unwrap()[1], client.receive(DEADLINE).await.unwrap()[1]];
    assert_eq!(functions, [0x32, 0x94]);
    sim.stop().await;
}

#[tokio::test]
async fn a_foreign_reply_comes_before_the_boards_own() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    client.ask(open_door(SERIAL, 1)).await;
    sim.board(SERIAL).set_faults(Faults { foreign: 1.0, ..HEALTHY });
    client.send(&get_event(SERIAL, 1).encode()).await;
    let foreign = Response::decode(&client.receive(DEADLINE).await.unwrap()).unwrap();
    let own = Response::decode(&client.receive(DEADLINE).await.unwrap()).unwrap();
    let (Response::GetEvent(foreign), Response::GetEvent(own)) = (foreign, own) else { panic!() };
    assert_eq!((own.controller, own.card), (SERIAL, 0));
    assert_eq!((foreign.controller, foreign.index, foreign.card), (SERIAL ^ 1, 1, 1));
    sim.stop().await;
}

#[tokio::test]
async fn a_reset_ends_the_connection_with_an_error_after_the_request_was_carried_out() {
    let sim = Sim::start(TWO_BOARDS).await;
    sim.board(SERIAL).set_faults(Faults { reset: 1.0, ..HEALTHY });
    let mut stream = TcpStream::connect(sim.address(SERIAL)).await.unwrap();
    stream.write_all(&open_door(SERIAL, 1).encode()).await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let client = Client::of(&sim, SERIAL).await;
    client.send(&open_door(SERIAL, 1).encode()).await;
    assert_eq!(client.receive(SILENCE).await, None, "over UDP it is a lost reply");
    assert_eq!(sim.lines().len(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn replies_from_elsewhere_leave_from_one_other_port() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asked = sim.address(SERIAL);
    let from = async || {
        let mut reply = [0; FRAME];
        client.send_to(&get_time(SERIAL).encode(), asked).await.unwrap();
        client.recv_from(&mut reply).await.unwrap().1
    };
    sim.board(SERIAL).set_faults(Faults { elsewhere: true, ..HEALTHY });
    let elsewhere = from().await;
    assert_eq!(elsewhere.ip(), *asked.ip());
    assert_ne!(elsewhere.port(), asked.port());
    assert_eq!(from().await, elsewhere, "the same each time");
    let over_tcp = ask_tcp(asked, &get_time(SERIAL).encode(), false).await;
    assert_eq!(Response::decode(&over_tcp).unwrap().controller(), SERIAL);
    sim.board(SERIAL).set_faults(HEALTHY);
    assert_eq!(from().await, asked.into());
    sim.stop().await;
}

#[tokio::test]
async fn pushes_are_lost_and_come_twice() {
    let sim = Sim::start(TWO_BOARDS).await;
    let client = Client::of(&sim, SERIAL).await;
    let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.ask(set_listener(SERIAL, &listener)).await;
    sim.board(SERIAL).set_faults(Faults { drop_push: 1.0, ..HEALTHY });
    client.ask(open_door(SERIAL, 1)).await;
    sim.board(SERIAL).set_faults(Faults { duplicate_push: 1.0, ..HEALTHY });
    client.ask(open_door(SERIAL, 2)).await;
    let mut pushed = [[0; FRAME]; 2];
    for frame in &mut pushed {
        listener.recv_from(frame).await.unwrap();
    }
    assert_eq!(pushed[0], pushed[1]);
    let Ok(Response::GetStatus(status)) = Response::decode(&pushed[0]) else { panic!() };
    assert_eq!(status.event_index, 2);
    let counters = sim.board(SERIAL).look(|state| state.counters);
    assert_eq!((counters.pushes, counters.pushes_lost), (2, 1));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_replies_of_two_hundred_boards_do_not_wait_for_each_other() {
    const DELAY_MS: u64 = 100;
    let serials = 400_000_000..400_000_200;
    let boards: Vec<_> =
        serials.clone().map(|serial| format!("[[controller]]\nserial = {serial}\n")).collect();
    let sim = Sim::start(&boards.concat()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for serial in serials.clone() {
        sim.board(serial).set_faults(Faults { delay_ms: DELAY_MS, ..HEALTHY });
    }
    let begun = tokio::time::Instant::now();
    for serial in serials.clone() {
        client.send_to(&get_time(serial).encode(), sim.address(serial)).await.unwrap();
    }
    let mut answered = std::collections::BTreeSet::new();
    let mut reply = [0; FRAME];
    for _ in serials.clone() {
        tokio::time::timeout(DEADLINE, client.recv_from(&mut reply)).await.unwrap().unwrap();
        answered.insert(Response::decode(&reply).unwrap().controller());
    }
    assert!(answered.into_iter().eq(serials), "not every board answered");
    // One after the other they would need 20 seconds.
    let took = begun.elapsed().as_millis();
    assert!((u128::from(DELAY_MS)..2_000).contains(&took), "{took} ms");
    sim.stop().await;
}
