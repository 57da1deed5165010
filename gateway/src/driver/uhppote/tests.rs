use std::net::SocketAddr;
use std::time::Duration;

use postern_protocol::uhppote::TYPE_NONE;
use postern_protocol::uhppote::field::DateTime;

use super::*;

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

/// Whether this is believed as the answer to a request for this index.
fn believed(index: u32, bytes: &[u8]) -> bool {
    let request = Request::GetEvent(request::GetEvent { controller: SERIAL, index });
    Response::decode_reply(bytes, request.function())
        .is_ok_and(|response| request.is_answered_by(&response))
}

#[test]
fn a_record_answers_only_the_index_that_it_carries() {
    assert!(believed(7, &event(7, 1)));
    assert!(!believed(8, &event(7, 1)));
    assert!(believed(OLDEST, &event(7, 1)));
    assert!(believed(NEWEST, &event(7, 1)));
}

#[test]
fn sentinels_answer_any_index() {
    for sentinel in [event(0, TYPE_NONE), event(0, TYPE_OVERWRITTEN)] {
        assert!(believed(7, &sentinel));
    }
    assert!(!believed(7, &event(0, 1)), "index 0 with a real type is no sentinel");
}

#[tokio::test]
async fn every_kind_of_bad_frame_is_refused_and_counted() {
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
        let mut driver = driver(tcp_board(bytes).await, Transport::Tcp);
        let result = driver.fetch(0, span(7, 1)).await;
        // A field that cannot be, in the same bytes each time, is what the board holds.
        assert_eq!(result.is_ok(), ["boolean", "BCD"].contains(&name), "{name}: {result:?}");
        assert_eq!(counter(&driver.counters(0)), 3, "{name}");
    }
}

fn span(from: u64, at_most: usize) -> Span {
    let until = Instant::now() + Duration::from_mins(1);
    Span { from: Index(from), at_most, until, epoch: None, committed: None, shared: false }
}

/// One record, or what is there instead.
async fn read(driver: &mut Uhppote, index: u64) -> Result<Page, DriverError> {
    driver.fetch(0, span(index, 1)).await
}

fn nothing(then: Then) -> Result<Page, DriverError> {
    Ok(Page { epoch: None, records: Vec::new(), then })
}

/// A record whose fields are garbage in the board's own memory once held its board up for ever: it was
/// asked for again and again, until the ring dropped it and left a gap.
#[tokio::test]
async fn a_record_with_impossible_fields_is_kept_as_its_bytes() {
    let mut garbage = event(7, 1);
    garbage[21] = 0xaa;
    for transport in [Transport::Tcp, Transport::Udp] {
        let address = match transport {
            Transport::Tcp => tcp_board(garbage.to_vec()).await,
            Transport::Udp => udp_board(garbage.to_vec()).await,
        };
        let mut driver = driver(address, transport);
        let page = read(&mut driver, 7).await.unwrap();
        let record = &page.records[0];
        assert_eq!(record.raw.as_slice(), &garbage[8..28]);
        assert_eq!((record.kind, record.occurred), (Kind::Other { code: 0x101 }, Occurred::ABSENT));
        assert_eq!(record.credential, None);
        assert_eq!(driver.counters(0).unreadable, 1);
        assert_eq!(read(&mut driver, 8).await, Err(DriverError::Nonsense), "another index");
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
    let target = Target { serial: SERIAL, address, transport, timeout };
    Uhppote::new(Settings { target, zone: TimeZone::UTC, in_flight: 1 })
}

#[tokio::test]
async fn answers_of_another_length_are_refused_over_both_transports() {
    let long = [&event(7, 1)[..], &[0xee; 64]].concat();
    for answer in [event(7, 1)[..63].to_vec(), long] {
        let mut tcp = driver(tcp_board(answer.clone()).await, Transport::Tcp);
        assert_eq!(read(&mut tcp, 7).await, Err(DriverError::Nonsense));
        assert!(tcp.counters(0).bad_length > 0);
        let mut udp = driver(udp_board(answer).await, Transport::Udp);
        assert_eq!(read(&mut udp, 7).await, Err(DriverError::Nonsense));
        assert!(udp.counters(0).bad_length > 0);
    }
    for transport in [Transport::Tcp, Transport::Udp] {
        let address = match transport {
            Transport::Tcp => tcp_board(event(7, 1).to_vec()).await,
            Transport::Udp => udp_board(event(7, 1).to_vec()).await,
        };
        assert_eq!(read(&mut driver(address, transport), 7).await.unwrap().records.len(), 1);
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
    assert_eq!(read(&mut driver, 8).await, nothing(Then::Absent));
    assert_eq!(read(&mut driver, 7).await.unwrap().records.len(), 1);
    board.await.unwrap();
}

/// What a board says of itself may be garbage: its log is read all the same.
#[tokio::test]
async fn a_board_with_an_impossible_clock_or_date_is_read_all_the_same() {
    let mut status = Request::GetStatus(request::GetStatus { controller: SERIAL }).encode();
    status[51] = 0xaa;
    let mut driver_of_it = driver(tcp_board(status.to_vec()).await, Transport::Tcp);
    assert_eq!(driver_of_it.status(0).await, Ok(Status::default()));
    let mut identity =
        Request::GetController(request::GetController { controller: SERIAL }).encode();
    identity[29] = 0xaa;
    let mut driver_of_it = driver(tcp_board(identity.to_vec()).await, Transport::Tcp);
    assert!(!driver_of_it.identify(0).await.unwrap().is_known);
}

/// A board that holds the records 1 to 40, answers some requests not at all and some twice, and gathers
/// up to four requests before it answers them, the last first.
async fn unruly_board() -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut requests = 0u32;
        loop {
            let mut gathered = Vec::new();
            let mut frame = [0; 64];
            let (_, from) = socket.recv_from(&mut frame).await.unwrap();
            gathered.push(frame);
            while gathered.len() < 4 && socket.try_recv_from(&mut frame).is_ok() {
                gathered.push(frame);
            }
            for frame in gathered.iter().rev() {
                requests += 1;
                let Ok(Request::GetEvent(asked)) = Request::decode(frame) else { continue };
                let known = (1..=40).contains(&asked.index);
                let answer = if known { event(asked.index, 1) } else { event(0, TYPE_NONE) };
                let times = if requests.is_multiple_of(11) { 0 } else { 1 + requests % 2 };
                for _ in 0..times {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn requests_in_flight_together_give_the_records_in_order_whatever_the_line_does() {
    for in_flight in [1, 4, 16] {
        let mut driver = driver(unruly_board().await, Transport::Udp);
        driver.settings.in_flight = in_flight;
        let mut records = Vec::new();
        let mut next = 1;
        let then = loop {
            let page = driver.fetch(0, span(next, 15)).await.unwrap();
            next += page.records.len() as u64;
            records.extend(page.records);
            if page.then != Then::More {
                break page.then;
            }
        };
        assert_eq!(then, Then::Absent, "{in_flight} in flight");
        let indices: Vec<u64> = records.iter().map(|record| record.index.0).collect();
        assert_eq!(indices, (1..=40).collect::<Vec<_>>(), "{in_flight} in flight");
    }
}

#[test]
fn behind_the_last_number_of_a_board_comes_1() {
    let last = u64::from(u32::MAX) - 1;
    for (index, number) in [(1, 1), (last, u32::MAX - 1), (last + 1, 1), (2 * last + 7, 7)] {
        assert_eq!(wire(Index(index)), number);
    }
}

/// A board that says that it has this serial number, to whoever asks for it or for any board.
async fn board_named(serial: u32) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut frame = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut frame).await {
            let asked = Request::decode(&frame).unwrap().controller();
            if asked == 0 || asked == serial {
                let mut answer = [0; 64];
                answer[..2].copy_from_slice(&[0x17, 0x94]);
                answer[4..8].copy_from_slice(&serial.to_le_bytes());
                answer[26..28].copy_from_slice(&[0x08, 0x92]);
                answer[28..32].copy_from_slice(&[0x20, 0x18, 0x11, 0x05]);
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_wrong_serial_number_is_told_from_a_dead_board() {
    let mut right = driver(board_named(SERIAL).await, Transport::Udp);
    let identity = right.identify(0).await.unwrap();
    assert_eq!((identity.firmware.as_str(), identity.is_known), ("v8.92", true));
    let mut wrong = driver(board_named(7).await, Transport::Udp);
    assert_eq!(wrong.identify(0).await, Err(DriverError::OtherController { found: 7 }));
}

#[tokio::test]
async fn an_answer_from_another_address_is_told_from_a_dead_board() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let other = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, from) = (socket.local_addr().unwrap(), other.local_addr().unwrap());
    tokio::spawn(async move {
        let mut frame = [0; 64];
        while let Ok((_, to)) = socket.recv_from(&mut frame).await {
            let mut answer = frame;
            answer[28..32].copy_from_slice(&[0x20, 0x18, 0x11, 0x05]);
            other.send_to(&answer, to).await.unwrap();
        }
    });
    let mut driver = driver(address, Transport::Udp);
    assert_eq!(driver.identify(0).await, Err(DriverError::Elsewhere { from }));
}

/// A board that answers each request over UDP with whatever this makes of it.
async fn board_that(answers: impl Fn(Request) -> Vec<Frame> + Send + 'static) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut frame = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut frame).await {
            for answer in answers(Request::decode(&frame).unwrap()) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

fn asked_for(request: &Request) -> u32 {
    let Request::GetEvent(asked) = request else { panic!("{request:?}") };
    asked.index
}

#[tokio::test]
async fn a_foreign_reply_is_not_taken_for_the_controllers() {
    let address = board_that(|request| {
        let right = event(asked_for(&request), 1);
        let mut foreign = right;
        foreign[4] ^= 1;
        foreign[16] ^= 1;
        vec![foreign, right]
    });
    let mut driver = driver(address.await, Transport::Udp);
    let page = read(&mut driver, 7).await.unwrap();
    assert_eq!(page.records[0].raw.as_slice(), record_bytes(&event(7, 1)));
    assert_eq!((driver.counters(0).foreign, driver.counters(0).requests), (1, 1));
}

#[tokio::test]
async fn sentinel_records_are_values_and_never_records() {
    for (event_type, then) in [(TYPE_NONE, Then::Absent), (TYPE_OVERWRITTEN, Then::Overwritten)] {
        let address = board_that(move |_| vec![event(0, event_type)]).await;
        assert_eq!(read(&mut driver(address, Transport::Udp), 7).await, nothing(then));
        let address = tcp_board(event(0, event_type).to_vec()).await;
        assert_eq!(read(&mut driver(address, Transport::Tcp), 7).await, nothing(then));
    }
}

/// A log whose oldest record had an impossible time was once not read at all, until the ring dropped it.
#[tokio::test]
async fn the_ends_of_a_log_are_found_also_where_the_record_there_is_garbage() {
    let address = board_that(|request| {
        let index = if asked_for(&request) == OLDEST { 3 } else { 9 };
        let mut garbage = event(index, 1);
        garbage[21] = 0xaa;
        vec![garbage]
    });
    let mut driver = driver(address.await, Transport::Udp);
    let bounds = driver.bounds(0).await.unwrap().unwrap();
    assert_eq!((bounds.oldest, bounds.newest), (Index(3), Index(9)));
}

/// What was refused earlier says nothing of what is asked now.
#[tokio::test]
async fn garbage_of_an_earlier_request_is_no_answer_to_this_one() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let address = board_that(move |request| {
        let index = asked_for(&request);
        let mut frame = event(index, 1);
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3 {
            frame[21] = 0xaa;
        } else {
            frame[4] ^= 1;
        }
        vec![frame]
    });
    let mut driver = driver(address.await, Transport::Udp);
    assert_eq!(read(&mut driver, 7).await.unwrap().records.len(), 1);
    assert_eq!(read(&mut driver, 7).await, Err(DriverError::Nonsense));
}

/// The index on the board is one for all hosts, and protects nothing.
#[tokio::test]
async fn the_index_on_the_board_is_neither_read_nor_moved() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&asked);
    let address = board_that(move |request| {
        seen.lock().unwrap().push(request.function().0);
        match request {
            Request::GetEvent(asked) => vec![event(asked.index.clamp(1, 9), 1)],
            Request::SetTime(_) => vec![request.encode()],
            _ => Vec::new(),
        }
    });
    let mut driver = driver(address.await, Transport::Udp);
    driver.bounds(0).await.unwrap();
    driver.fetch(0, span(1, 9)).await.unwrap();
    driver.set_time(0, Timestamp(1_790_000_000_000)).await.unwrap();
    let silent = driver.identify(0).await.is_err() && driver.status(0).await.is_err();
    assert!(silent, "a board that says nothing else");
    let (set_index, get_index) = (0xb2, 0xb4);
    let asked = asked.lock().unwrap();
    assert!(!asked.contains(&set_index) && !asked.contains(&get_index), "{asked:x?}");
    let expected = [0xb0, 0x30, 0x94, 0x20];
    assert!(expected.iter().all(|function| asked.contains(function)), "{asked:x?}");
}

#[tokio::test]
async fn an_unknown_firmware_is_told_from_a_known_one() {
    for (version, is_known) in [([0x08, 0x92], true), ([0x06, 0x62], true), ([0x09, 0x01], false)] {
        let address = board_that(move |request| {
            let mut answer = request.encode();
            answer[26..28].copy_from_slice(&version);
            answer[28..32].copy_from_slice(&[0x20, 0x18, 0x11, 0x05]);
            vec![answer]
        });
        let identity = driver(address.await, Transport::Udp).identify(0).await.unwrap();
        assert_eq!(identity.is_known, is_known, "{}", identity.firmware);
    }
}

/// A board that answers nothing until so many requests wait, and says how many were the most.
async fn gathering_board(wanted: usize) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let board = tokio::spawn(async move {
        let (mut most, mut answered) = (0, 0);
        while answered < 8 {
            let mut waiting = Vec::new();
            let mut frame = [0; 64];
            while waiting.len() < wanted {
                let (_, from) = socket.recv_from(&mut frame).await.unwrap();
                waiting.push((Request::decode(&frame).unwrap(), from));
            }
            // Whoever sends more than was allowed has had the time to.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            while let Ok((_, from)) = socket.try_recv_from(&mut frame) {
                waiting.push((Request::decode(&frame).unwrap(), from));
            }
            most = waiting.len().max(most);
            answered += waiting.len();
            for (request, from) in waiting {
                socket.send_to(&event(asked_for(&request), 1), from).await.unwrap();
            }
        }
        most
    });
    (address, board)
}

#[tokio::test]
async fn as_many_requests_are_in_flight_as_are_allowed_and_no_more() {
    for allowed in [1, 4, 8] {
        let (address, board) = gathering_board(allowed).await;
        let mut driver = driver(address, Transport::Udp);
        driver.settings.in_flight = u32::try_from(allowed).unwrap();
        driver.settings.target.timeout = Duration::from_secs(20);
        driver.client = Client::new(driver.settings.target);
        let page = driver.fetch(0, span(1, 8)).await.unwrap();
        assert_eq!(page.records.len(), 8);
        assert_eq!(board.await.unwrap(), allowed);
    }
}

#[tokio::test]
async fn what_is_in_flight_does_not_straddle_the_last_number() {
    let address = board_that(|request| vec![event(asked_for(&request), 1)]);
    let mut driver = driver(address.await, Transport::Udp);
    driver.settings.in_flight = 4;
    let page = driver.fetch(0, span(LAST_INDEX - 5, 12)).await.unwrap();
    let numbers: Vec<u32> = page
        .records
        .iter()
        .map(|record| u32::from_le_bytes(record.raw.as_slice()[..4].try_into().unwrap()))
        .collect();
    let last = u32::try_from(LAST_INDEX).unwrap();
    let expected: Vec<u32> = (last - 5..=last).chain(1..=6).collect();
    assert_eq!(numbers, expected);
}

/// It carries no index, so it could be the answer to anything: nothing late reaches a fresh socket.
#[tokio::test]
async fn a_late_double_of_a_sentinel_answers_nothing() {
    for then in ["a record", "the ends"] {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut request = [0; 64];
            let (_, first) = socket.recv_from(&mut request).await.unwrap();
            socket.send_to(&event(0, TYPE_NONE), first).await.unwrap();
            while let Ok((_, from)) = socket.recv_from(&mut request).await {
                socket.send_to(&event(0, TYPE_NONE), first).await.unwrap();
                socket.send_to(&event(7, 1), from).await.unwrap();
            }
        });
        let mut driver = driver(address, Transport::Udp);
        assert_eq!(read(&mut driver, 8).await, nothing(Then::Absent));
        if then == "a record" {
            assert_eq!(read(&mut driver, 7).await.unwrap().records.len(), 1);
        } else {
            assert!(driver.bounds(0).await.unwrap().is_some());
        }
    }
}

/// After a time-out the answer may still come; whoever is asked next must not be answered by it.
#[tokio::test]
async fn what_comes_after_a_time_out_answers_nothing() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut request = [0; 64];
        // The first request is answered when the second one comes, and to where the first came from.
        let (_, first) = socket.recv_from(&mut request).await.unwrap();
        while let Ok((_, from)) = socket.recv_from(&mut request).await {
            socket.send_to(&event(0, TYPE_OVERWRITTEN), first).await.unwrap();
            socket.send_to(&event(7, 1), from).await.unwrap();
        }
    });
    let mut driver = driver(address, Transport::Udp);
    assert_eq!(read(&mut driver, 7).await.unwrap().records.len(), 1);
    assert_eq!(driver.counters(0).timeouts, 1);
}

#[tokio::test]
async fn no_request_is_begun_after_the_time_for_a_page() {
    let address = board_that(|request| vec![event(asked_for(&request), 1)]);
    let mut driver = driver(address.await, Transport::Udp);
    let until = Instant::now();
    let page = driver.fetch(0, Span { until, ..span(1, 100) }).await.unwrap();
    assert_eq!((page.records.len(), page.then), (1, Then::More));
}

/// A number that no record can have once made the arithmetic of the circle panic.
#[tokio::test]
async fn the_ends_of_a_log_have_numbers_that_records_can_have() {
    let address = board_that(|request| {
        let index = if asked_for(&request) == OLDEST { NEWEST } else { 5 };
        vec![event(index, 1)]
    });
    let mut driver = driver(address.await, Transport::Udp);
    assert_eq!(driver.bounds(0).await, Err(DriverError::Nonsense));
}

/// In flight together they once cost a whole time-out each.
#[tokio::test]
async fn garbage_records_in_flight_together_are_kept_without_a_time_out() {
    let address = board_that(|request| {
        let mut garbage = event(asked_for(&request), 1);
        garbage[21] = 0xaa;
        vec![garbage]
    });
    let mut driver = driver(address.await, Transport::Udp);
    driver.settings.in_flight = 8;
    let page = driver.fetch(0, span(1, 8)).await.unwrap();
    assert_eq!((page.records.len(), driver.counters(0).timeouts), (8, 0));
}
