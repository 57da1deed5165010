use super::*;
use postern_protocol::uhppote::field::DateTime;

const SERIAL: u32 = 405_419_896;

fn event(index: u32, event_type: u8) -> Frame {
    Response::GetEvent(response::GetEvent {
        controller: SERIAL,
        index,
        event_type,
        granted: event_type == 1,
        door: 1,
        direction: 1,
        card: 8_165_538,
        timestamp: "2026-11-01 12:00:00".parse::<DateTime>().unwrap(),
        reason: 1,
    })
    .encode()
}

fn asked(index: u32, bytes: &[u8]) -> (bool, LineCounters) {
    let mut counters = LineCounters::default();
    (accept(&mut counters, SERIAL, index, bytes).is_some(), counters)
}

#[test]
fn a_record_answers_only_the_index_that_it_carries() {
    assert!(asked(7, &event(7, 1)).0);
    let (accepted, counters) = asked(8, &event(7, 1));
    assert!(!accepted);
    assert_eq!(counters.unexpected, 1);
    assert!(asked(OLDEST, &event(7, 1)).0);
    assert!(asked(NEWEST, &event(7, 1)).0);
}

#[test]
fn sentinels_answer_any_index() {
    for sentinel in [event(0, TYPE_NONE), event(0, TYPE_OVERWRITTEN)] {
        assert!(asked(7, &sentinel).0);
    }
    assert!(!asked(7, &event(0, 1)).0, "index 0 with a real type is no sentinel");
}

#[test]
fn every_kind_of_bad_frame_is_refused_and_counted() {
    type Counter = fn(&LineCounters) -> u64;
    let mut start = event(7, 1);
    start[0] = 0x18;
    let mut late_event = event(7, 1);
    late_event[0] = 0x19;
    let mut foreign = event(7, 1);
    foreign[4] ^= 1;
    let mut boolean = event(7, 1);
    boolean[13] = 2;
    let mut bcd = event(7, 1);
    bcd[21] = 0xaa;
    let mut function = event(7, 1);
    function[1] = 0xb4;
    let cases: [(&str, Vec<u8>, Counter); 9] = [
        ("short", event(7, 1)[..63].to_vec(), |c| c.bad_length),
        ("long", [&event(7, 1)[..], &[0]].concat(), |c| c.bad_length),
        ("empty", Vec::new(), |c| c.bad_length),
        ("first byte", start.to_vec(), |c| c.bad_start),
        ("first byte of an event", late_event.to_vec(), |c| c.bad_start),
        ("foreign serial number", foreign.to_vec(), |c| c.foreign),
        ("boolean", boolean.to_vec(), |c| c.bad_field),
        ("BCD", bcd.to_vec(), |c| c.bad_field),
        ("other function", function.to_vec(), |c| c.unexpected),
    ];
    for (name, bytes, counter) in cases {
        let (accepted, counters) = asked(7, &bytes);
        assert!(!accepted, "{name}");
        assert_eq!(counter(&counters), 1, "{name}");
    }
}

/// A board that answers every request with these bytes, over TCP.
async fn tcp_board(answer: Vec<u8>) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_exact(&mut [0; 64]).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

/// The same over UDP.
async fn udp_board(answer: Vec<u8>) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]).await {
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

fn driver(address: SocketAddr, transport: Transport) -> Uhppote {
    let timeout = Duration::from_millis(300);
    Uhppote::new(Settings { serial: SERIAL, address, transport, zone: TimeZone::UTC, timeout })
}

#[tokio::test]
async fn answers_of_another_length_are_refused_over_both_transports() {
    let long = [&event(7, 1)[..], &[0xee; 64]].concat();
    for answer in [event(7, 1)[..63].to_vec(), long] {
        let mut tcp = driver(tcp_board(answer.clone()).await, Transport::Tcp);
        assert_eq!(tcp.read(Index(7)).await, Err(DriverError::Nonsense));
        assert_eq!(tcp.counters().bad_length, 1);
        let mut udp = driver(udp_board(answer).await, Transport::Udp);
        assert_eq!(udp.read(Index(7)).await, Err(DriverError::Nonsense));
        assert!(udp.counters().bad_length > 0);
    }
    for transport in [Transport::Tcp, Transport::Udp] {
        let address = match transport {
            Transport::Tcp => tcp_board(event(7, 1).to_vec()).await,
            Transport::Udp => udp_board(event(7, 1).to_vec()).await,
        };
        assert!(matches!(driver(address, transport).read(Index(7)).await, Ok(Read::Record(_))));
    }
}

#[tokio::test]
async fn a_repeated_answer_is_not_read_as_the_next_one() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let board = tokio::spawn(async move {
        let mut request = [0; 64];
        // The first request is answered three times with "no such record", the second properly.
        let (_, from) = socket.recv_from(&mut request).await.unwrap();
        for _ in 0..3 {
            socket.send_to(&event(0, TYPE_NONE), from).await.unwrap();
        }
        let (_, from) = socket.recv_from(&mut request).await.unwrap();
        socket.send_to(&event(7, 1), from).await.unwrap();
    });
    let mut driver = driver(address, Transport::Udp);
    assert_eq!(driver.read(Index(8)).await, Ok(Read::Absent));
    assert!(matches!(driver.read(Index(7)).await, Ok(Read::Record(_))));
    board.await.unwrap();
}
