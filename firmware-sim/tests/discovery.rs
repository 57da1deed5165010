//! A broadcast reaches every board, and each answers from its own socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::common::*;
use postern_protocol::uhppote::{FRAME, Request, Response};
use postern_sim::fault::Faults;
use postern_sim::host::HostError;
use tokio::net::UdpSocket;
use tokio::time::timeout;

fn with_discovery(address: &str) -> String {
    format!("discovery = \"{address}\"\n{TWO_BOARDS}")
}

async fn broadcaster() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

/// Who answers, and from where.
async fn answers(
    socket: &UdpSocket,
    request: Request,
    to: SocketAddr,
) -> BTreeMap<u32, SocketAddr> {
    socket.send_to(&request.encode(), to).await.unwrap();
    let mut found = BTreeMap::new();
    let mut reply = [0; FRAME];
    while let Ok(received) = timeout(SILENCE, socket.recv_from(&mut reply)).await {
        let (_, from) = received.unwrap();
        found.insert(Response::decode(&reply).unwrap().controller(), from);
    }
    found
}

#[tokio::test]
async fn every_board_answers_a_broadcast_from_its_own_socket() {
    let sim = Sim::start(&with_discovery("127.255.255.255:0")).await;
    let to = sim.running.site().discovery().unwrap();
    assert_ne!(to.port(), 0);
    let socket = broadcaster().await;
    let all = [OTHER, SERIAL].map(|serial| (serial, SocketAddr::from(sim.address(serial))));
    assert_eq!(answers(&socket, get_controller(0), to).await, BTreeMap::from(all));
    let one = BTreeMap::from([all[1]]);
    assert_eq!(answers(&socket, get_time(SERIAL), to).await, one, "it reaches all, one answers");
    let counters = sim.board(OTHER).look(|state| state.counters);
    assert_eq!((counters.frames_received, counters.frames_ignored), (2, 1));

    socket.send_to(b"garbage", to).await.unwrap();
    sim.board(OTHER).set_faults(Faults { deaf: true, ..Faults::default() });
    sim.board(SERIAL).set_faults(Faults { delay_ms: 20, ..Faults::default() });
    assert_eq!(answers(&socket, get_controller(0), to).await, one);
    sim.stop().await;
}

#[tokio::test]
async fn two_simulators_on_one_network_can_have_two_boards_with_one_serial_number() {
    let one = Sim::start(&with_discovery("127.255.255.255:0")).await;
    let to = one.running.site().discovery().unwrap();
    let other = format!("discovery = \"{to}\"\n[[controller]]\nserial = {SERIAL}\n");
    let other = Sim::start(&other).await;
    let socket = broadcaster().await;
    socket.send_to(&get_controller(0).encode(), to).await.unwrap();
    let mut found = Vec::new();
    let mut reply = [0; FRAME];
    for _ in 0..3 {
        let (_, from) = timeout(DEADLINE, socket.recv_from(&mut reply)).await.unwrap().unwrap();
        found.push((Response::decode(&reply).unwrap().controller(), from));
    }
    found.sort_unstable();
    let mut wanted = [(OTHER, &one), (SERIAL, &one), (SERIAL, &other)]
        .map(|(serial, sim)| (serial, SocketAddr::from(sim.address(serial))));
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_taken_discovery_address_is_named() {
    let sim = Sim::start(&with_discovery("127.0.0.1:0")).await;
    let taken = sim.running.site().discovery().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let text = format!("ledger = \"l\"\n{}", with_discovery(&taken.to_string()));
    let config = postern_sim::config::Config::parse(&dir.path().join("sim.toml"), &text).unwrap();
    let error = postern_sim::host::Running::start(&config).await.unwrap_err();
    assert!(matches!(error, HostError::Bind { .. }));
    assert_eq!(error.to_string(), format!("discovery: cannot listen on {taken}"));
    sim.stop().await;
}
