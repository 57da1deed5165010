//! The driver against stations behind a connection.

use std::fmt::Write;

use postern_protocol::Kind as What;
use postern_protocol::link::event::MAX_EVENT;
use postern_protocol::link::log::{EventLog, Slot};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::rig::{FIRST, KEY, rig, swipe, swipe_at, swiped};
use super::*;
use crate::driver::Reading;
use crate::driver::line::{Parity, StopBits};

/// What the first life of station 0's log is called outside of the link.
fn first() -> EpochId {
    epoch_of(1, FIRST, 0)
}

/// The digest of a record of the first swipes at a station.
fn digest(index: u64) -> postern_protocol::Digest {
    let event = swiped(u32::try_from(index).unwrap_or(1));
    record_of(Index(index), event.encode(&mut [0; MAX_EVENT])).unwrap().raw.digest()
}

fn span(from: u64, committed: u64) -> Span {
    Span {
        from: Index(from),
        at_most: 1_000,
        until: Instant::now() + Duration::from_mins(1),
        epoch: Some(first()),
        committed: (committed > 0).then(|| (Index(committed), digest(committed))),
        shared: false,
    }
}

#[tokio::test]
async fn a_backlog_is_read_in_a_row_and_what_is_durable_is_told() {
    let (mut link, stations) = rig(2).await;
    for (station, number) in [(0, 1), (1, 2)] {
        swipe(&stations, station, 50);
        let span = Span { epoch: Some(epoch_of(number, FIRST, 0)), ..span(5, 3) };
        let page = link.fetch(station, span).await.unwrap();
        assert_eq!((page.epoch, page.then), (Some(epoch_of(number, FIRST, 0)), Then::Absent));
        let indices: Vec<u64> = page.records.iter().map(|record| record.index.0).collect();
        assert_eq!(indices, (5..=50).collect::<Vec<u64>>());
        assert!(page.records.iter().all(|record| record.kind == What::Granted));
        assert_eq!(stations.lock().unwrap()[station].firmware.log.committed(), Index(3));
        assert_eq!(link.counters(station).broken, 0);
    }
    assert!(link.stats.look().stations[0].is_sealed && !link.stats.look().stations[1].is_sealed);
    let page = link.fetch(0, Span { at_most: 3, ..span(1, 0) }).await.unwrap();
    assert_eq!((page.records.len(), page.then), (3, Then::More));
}

#[tokio::test]
async fn what_is_overwritten_shows_in_the_indices() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 100);
    let page = link.fetch(0, span(1, 0)).await.unwrap();
    assert_eq!(page.records[0].index, Index(37));
    let bounds = link.bounds(0).await.unwrap().unwrap();
    assert_eq!(
        (bounds.oldest, bounds.newest, bounds.epoch),
        (Index(37), Index(100), Some(first()))
    );
}

#[tokio::test]
async fn one_life_of_a_log_is_never_told_what_is_durable_of_another() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 20);
    link.fetch(0, span(1, 0)).await.unwrap();
    let named = EpochId([2; 16]);
    stations.lock().unwrap()[0].firmware.log.restart(named);
    let second = epoch_of(1, named, 0);
    swipe(&stations, 0, 30);
    let page = link.fetch(0, span(21, 20)).await.unwrap();
    assert_eq!((page.epoch, page.records.len(), page.then), (Some(second), 0, Then::More));
    let page = link.fetch(0, span(21, 20)).await.unwrap();
    assert_eq!((page.epoch, page.records.len()), (Some(second), 0));
    assert_eq!(stations.lock().unwrap()[0].firmware.log.committed(), Index(0));
    let page = link.fetch(0, Span { epoch: Some(second), committed: None, ..span(1, 0) }).await;
    assert_eq!(page.unwrap().records.len(), 30);
}

#[tokio::test]
async fn who_they_are_and_what_their_clocks_read() {
    let (mut link, _) = rig(1).await;
    let identity = link.identify(0).await.unwrap();
    assert_eq!((&*identity.model, &*identity.firmware), ("door?", "1.2"));
    assert_eq!(link.status(0).await.unwrap().clock, Some(Reading::Unset));
    assert_eq!(link.bounds(0).await, Ok(None));
    link.set_time(0, Timestamp(946_684_803_500)).await.unwrap();
    let clock = Some(Reading::At { at: Timestamp(946_684_803_000), or_at: None });
    assert_eq!(link.status(0).await.unwrap().clock, clock);
    assert_eq!(link.set_time(0, Timestamp(0)).await, Err(DriverError::Refused));
}

#[tokio::test]
async fn silence_a_closed_connection_and_a_missing_key_are_told_apart() {
    let (mut link, stations) = rig(2).await;
    link.status(0).await.unwrap();
    stations.lock().unwrap()[0].is_dead = true;
    assert_eq!(link.status(0).await, Err(DriverError::TimedOut));
    let before = link.counters(0).timeouts;
    assert_eq!(link.status(0).await, Err(DriverError::TimedOut));
    assert_eq!(link.counters(0).timeouts, before + 1, "one wait for a station that is dead");
    link.status(1).await.unwrap();

    link.settings.stations[1].access = None;
    let requests = link.counters(1).requests;
    assert_eq!(link.status(1).await, Err(DriverError::NoKey));
    assert_eq!(link.counters(1).requests, requests);

    // Three stations: the server hangs up after each answer.
    let (mut link, _) = rig(3).await;
    let mut errors = 0;
    for _ in 0..12 {
        match link.status(0).await {
            Ok(_) => {}
            Err(DriverError::Line(_)) => errors += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(errors > 0 && link.counters(0).line_errors == errors);
    assert!(link.counters(0).replies >= errors, "it comes back each time");
}

#[tokio::test]
async fn a_line_that_only_babbles_is_given_up_within_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let noise: Vec<u8> = (0..4_096u32).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
        while stream.write_all(&noise).await.is_ok() {}
    });
    let station = StationSettings { address: 1, serial: 1, access: Some(Access::Keyed(KEY)) };
    let settings = Settings {
        line: LineSettings::Tcp { address },
        reply: Duration::from_millis(50),
        stations: vec![station],
    };
    let mut link = Link::new(settings, Stats::new(1), Tap::default());
    assert_eq!(link.status(0).await, Err(DriverError::Damaged));
    assert!(link.counters(0).broken > 0);
}

#[tokio::test]
async fn who_listens_sees_frames_both_ways_and_no_card() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 1);
    let mut ear = link.tap.listen();
    link.fetch(0, span(1, 0)).await.unwrap();
    let mut seen = String::new();
    while let Ok(heard) = ear.try_recv() {
        let kind = heard.header.unwrap().kind;
        writeln!(seen, "{:?} {kind:?} {:?}", heard.from, heard.meaning).unwrap();
    }
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 6, "{seen}");
    assert!(lines[4].starts_with("Gateway Sealed Some(\"poll behind 0, "), "{seen}");
    assert!(lines[5].starts_with("Station Sealed Some(\"1 event, 0 more"), "{seen}");
    assert!(lines[0].starts_with("Gateway Hello Some(\"who is there?"), "{seen}");
    assert!(lines[3].starts_with("Station Open Some(\"session sealed"), "{seen}");
}

/// An adapter that takes no more bytes, as one does whose firmware hangs: the kernel's buffer fills up.
#[tokio::test]
async fn a_line_that_takes_no_bytes_is_given_up() {
    let (_master, slave) = tokio_serial::SerialStream::pair().unwrap();
    let path = tokio_serial::SerialPort::name(&slave).unwrap().into();
    drop(slave);
    let station = StationSettings { address: 1, serial: 1, access: Some(Access::Keyed(KEY)) };
    let settings = Settings {
        line: LineSettings::Serial {
            path,
            baud: 921_600,
            parity: Parity::None,
            stop_bits: StopBits::One,
            rs485: false,
        },
        reply: Duration::from_micros(10),
        stations: vec![station],
    };
    let mut link = Link::new(settings, Stats::new(1), Tap::default());
    for asked in 0..20_000 {
        let status = tokio::time::timeout(Duration::from_secs(10), link.status(0)).await;
        match status.unwrap_or_else(|_| panic!("hangs after {asked} questions")) {
            Err(DriverError::TimedOut) => {}
            Err(DriverError::Line(io::ErrorKind::TimedOut)) => return,
            other => panic!("{other:?} after {asked} questions"),
        }
    }
    panic!("it takes all bytes");
}

/// The record with the highest number was read and journalled again with each look, as no number follows it.
#[tokio::test]
async fn numbers_that_nobody_counts_are_not_read() {
    let (mut link, stations) = rig(1).await;
    for (newest, can) in [(i64::MAX.cast_unsigned(), true), (i64::MAX.cast_unsigned() + 1, false)] {
        let log = EventLog::resume(vec![Slot::EMPTY; 64], FIRST, Index(newest - 1), 0);
        stations.lock().unwrap()[0].firmware.log = log;
        swipe(&stations, 0, 1);
        let page = link.fetch(0, span(newest, newest - 1)).await;
        if can {
            assert_eq!(page.unwrap().records[0].index, Index(newest));
        } else {
            assert_eq!(page.unwrap_err(), DriverError::Nonsense);
        }
    }
}

/// A device that was switched off in the middle of a connection: what came back was found only with the
/// kernel's next repetition on the old one, minutes later.
#[tokio::test]
async fn a_connection_over_which_nothing_comes_is_opened_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let dead = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 9, 9, 0]).await.unwrap();
        let _ = (dead, stream, listener.accept().await);
    });
    let station = StationSettings { address: 1, serial: 1, access: Some(Access::Keyed(KEY)) };
    let settings = Settings {
        line: LineSettings::Tcp { address },
        reply: Duration::from_millis(100),
        stations: vec![station],
    };
    let mut link = Link::new(settings, Stats::new(1), Tap::default());
    let began = Instant::now();
    while link.status(0).await == Err(DriverError::TimedOut) {
        assert!(began.elapsed() < Duration::from_secs(10), "still on the dead one");
    }
    assert!(began.elapsed() >= SILENT_CONNECTION, "not for one lost answer");
}

#[tokio::test]
async fn what_was_read_when_another_life_begins_is_of_the_one_before() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 50);
    let second = EpochId([2; 16]);
    // Behind hello, opening and the first page.
    stations.lock().unwrap()[0].lives.extend([None, None, Some(second)]);
    let page = link.fetch(0, span(1, 0)).await.unwrap();
    assert_eq!((page.epoch, page.then), (Some(first()), Then::More));
    let indices: Vec<u64> = page.records.iter().map(|record| record.index.0).collect();
    assert!((1..50).contains(&indices.len()));
    assert_eq!(indices, (1..).take(indices.len()).collect::<Vec<u64>>());
    let page = link.fetch(0, span(1, 0)).await.unwrap();
    assert_eq!((page.epoch, page.records.len()), (Some(epoch_of(1, second, 0)), 0));
}

#[tokio::test]
async fn no_page_is_begun_after_its_time_and_each_is_as_long_as_a_turn() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 50);
    let page = link.fetch(0, Span { until: Instant::now(), ..span(1, 0) }).await.unwrap();
    assert!((1..50).contains(&page.records.len()), "one page");
    assert_eq!(page.then, Then::More);
    link.settings.line = LineSettings::Serial {
        path: "/dev/null".into(),
        baud: 2_000,
        parity: Parity::None,
        stop_bits: StopBits::One,
        rs485: false,
    };
    assert_eq!((link.room(0, true), link.room(0, false)), (100, 200));
}

#[tokio::test]
async fn what_was_read_before_a_station_falls_silent_is_kept() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 50);
    // Hello, opening, one page.
    stations.lock().unwrap()[0].answers = Some(3);
    let page = link.fetch(0, span(1, 0)).await.unwrap();
    assert!((1..50).contains(&page.records.len()));
    assert_eq!(page.then, Then::Failed(DriverError::TimedOut));
}

/// A log that lost its last events in a power cut and went on under the old name: what stood under those
/// numbers then was never read, and nobody heard of it.
#[tokio::test]
async fn a_log_that_goes_back_under_one_name_is_another_life_of_it() {
    for behind in [0, 2, 6] {
        let (mut link, stations) = rig(1).await;
        swipe(&stations, 0, 10);
        let page = link.fetch(0, span(1, 0)).await.unwrap();
        let anchor = page.records[9].raw.digest();
        let at = |epoch| Span {
            epoch: Some(epoch),
            committed: Some((Index(10), anchor)),
            ..span(11, 10)
        };
        assert_eq!(link.fetch(0, at(first())).await.unwrap().then, Then::Absent);
        // The power fails, and the last two are gone; then others are recorded.
        {
            let mut stations = stations.lock().unwrap();
            stations[0].reboot();
            let log = &mut stations[0].firmware.log;
            let slots = std::mem::replace(log, EventLog::new(Vec::new(), FIRST)).into_slots();
            *log = EventLog::resume(slots, FIRST, Index(8), 8);
        }
        stations.lock().unwrap()[0].firmware.clock = Stamp(1);
        swipe_at(&stations, 0, 900, behind);
        // The first look finds that the session is gone.
        let page = link.fetch(0, at(first())).await.unwrap();
        assert_eq!((page.records.len(), page.then), (0, Then::More), "{behind}");
        let page = link.fetch(0, at(first())).await.unwrap();
        let again = epoch_of(1, FIRST, 1);
        assert_eq!((page.epoch, page.records.len()), (Some(again), 0), "{behind}");
        let bounds = link.bounds(0).await.unwrap().unwrap();
        assert_eq!((bounds.epoch, bounds.oldest), (Some(again), Index(1)));
        let all = Span { epoch: Some(again), committed: None, ..span(1, 0) };
        let page = link.fetch(0, all).await.unwrap();
        assert_eq!(page.records.len() as u64, 8 + u64::from(behind));
        // A gateway that starts again knows it by its journal.
        let seats = std::mem::take(&mut link.settings.stations);
        let at = link.settings.line.clone();
        let settings = Settings { line: at, reply: Duration::from_millis(300), stations: seats };
        drop(link);
        let mut link = Link::new(settings, Stats::new(1), Tap::default());
        let last = page.records.last().unwrap();
        let committed = Some((last.index, last.raw.digest()));
        let rest = Span { epoch: Some(again), committed, ..span(last.index.0 + 1, 0) };
        let page = link.fetch(0, rest).await.unwrap();
        assert_eq!((page.epoch, page.then), (Some(again), Then::Absent));
    }
}

#[tokio::test]
async fn a_log_that_is_whole_after_a_reboot_goes_on_and_so_does_one_that_overwrote_what_was_known()
{
    for more in [3, 100] {
        let (mut link, stations) = rig(1).await;
        swipe(&stations, 0, 10);
        let page = link.fetch(0, span(1, 0)).await.unwrap();
        let committed = Some((Index(10), page.records[9].raw.digest()));
        stations.lock().unwrap()[0].reboot();
        swipe_at(&stations, 0, 900, more);
        let at = Span { committed, ..span(11, 10) };
        assert_eq!(link.fetch(0, at).await.unwrap().then, Then::More);
        let page = link.fetch(0, at).await.unwrap();
        assert_eq!(page.epoch, Some(first()));
        assert_eq!(page.records.last().unwrap().index, Index(10 + u64::from(more)));
    }
}

/// The log went back behind the cursor, but only into what had been read and was not durable yet: the numbers
/// that were given anew would have been passed over. Nor may the proof tell that to be durable.
#[tokio::test]
async fn what_is_read_and_not_durable_yet_is_compared_as_well() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 10);
    let read = link.fetch(0, Span { at_most: 4, ..span(5, 4) }).await.unwrap();
    assert_eq!(read.records.last().unwrap().index, Index(8));
    {
        let mut stations = stations.lock().unwrap();
        stations[0].reboot();
        let log = &mut stations[0].firmware.log;
        let slots = std::mem::replace(log, EventLog::new(Vec::new(), FIRST)).into_slots();
        *log = EventLog::resume(slots, FIRST, Index(6), 6);
    }
    swipe_at(&stations, 0, 900, 6);
    // The same pull goes on: nothing of it is durable.
    let mut page = link.fetch(0, span(9, 4)).await.unwrap();
    if page.epoch == Some(first()) {
        assert_eq!((page.records.len(), page.then), (0, Then::More));
        page = link.fetch(0, span(9, 4)).await.unwrap();
    }
    assert_eq!((page.epoch, page.records.len()), (Some(epoch_of(1, FIRST, 1)), 0));
    assert_eq!(stations.lock().unwrap()[0].firmware.log.committed(), Index(4));
}
