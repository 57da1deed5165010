//! The task of a bus with several controllers: nobody pays for his neighbour but a turn.

use std::sync::{Arc, Mutex};

use postern_protocol::Seq;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::driver::{Doorbell, Driver, LineCounters, Station};
use crate::journal::{self, Capacity, Journal, Options};

const STATIONS: usize = 8;
const DEAD: Station = 3;
const RECORDS: u64 = 300;

/// What silence costs on this line.
const TIMEOUT: Duration = Duration::from_millis(40);

/// A line with eight stations, of which one says nothing.
struct SharedLine {
    log: Log,
    /// Every request, and when it was made.
    asked: Arc<Mutex<Vec<(Station, Instant)>>>,
}

impl SharedLine {
    async fn ask<T>(&self, station: Station, answer: T) -> Result<T, DriverError> {
        self.asked.lock().unwrap().push((station, Instant::now()));
        if station == DEAD {
            tokio::time::sleep(TIMEOUT).await;
            return Err(DriverError::TimedOut);
        }
        Ok(answer)
    }
}

impl Driver for SharedLine {
    fn log(&self, _: Station) -> LogKind {
        LogKind::Reread { last_index: LAST }
    }

    async fn identify(&mut self, station: Station) -> Result<Identity, DriverError> {
        self.ask(station, identity()).await
    }

    async fn status(&mut self, station: Station) -> Result<Status, DriverError> {
        self.ask(station, self.log.status()).await
    }

    async fn bounds(&mut self, station: Station) -> Result<Option<Bounds>, DriverError> {
        self.ask(station, self.log.bounds()).await
    }

    async fn fetch(&mut self, station: Station, span: Span) -> Result<Page, DriverError> {
        self.ask(station, self.log.page(span.from, span.at_most.min(20))).await
    }

    async fn set_time(&mut self, station: Station, _: Timestamp) -> Result<(), DriverError> {
        self.ask(station, ()).await
    }

    fn counters(&self, _: Station) -> LineCounters {
        LineCounters::default()
    }
}

fn journal_in(directory: &tempfile::TempDir) -> Journal {
    Journal::open(&Options {
        path: journal::path(directory.path()),
        gateway: "hall".to_owned(),
        capacity: Capacity { entries: 100_000, bytes: 100_000_000 },
        syncs_per_second: None,
        reserve: 0,
    })
    .unwrap()
}

/// Where each controller was last seen to stand.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<Station, Report>>>);

struct Eye(Seen, Station);

impl Observer for Eye {
    fn observe(&mut self, report: Report, _: LineCounters) {
        self.0.0.lock().unwrap().insert(self.1, report);
    }
}

#[tokio::test]
async fn a_dead_station_costs_its_line_one_time_out_for_each_of_its_back_off_periods() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_in(&directory);
    let mut log = Log::new(1_000, 16);
    log.push(RECORDS);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let driver = SharedLine { log, asked: Arc::clone(&asked) };
    let (bell, seen, stop) = (Arc::new(Notify::new()), Seen::default(), CancellationToken::new());
    let mut bells = Vec::new();
    let lines = (0..STATIONS)
        .map(|station| {
            let doorbell = Arc::new(Doorbell::of(&bell));
            bells.push(Arc::clone(&doorbell));
            Line {
                controller: ControllerId::uhppote(1 + u32::try_from(station).unwrap()),
                cursor: None,
                settings: Settings { poll: Duration::from_millis(50), ..settings() },
                doorbell,
                observer: Eye(seen.clone(), station),
                orders: orders(&bell).1,
            }
        })
        .collect();
    let own_clock: OwnClock = Arc::new(|| true);
    let task = collect(driver, lines, journal.clone(), bell, own_clock, stop.clone());
    let task = tokio::spawn(task);

    let wanted = Seq(RECORDS * (STATIONS as u64 - 1));
    let mut state = journal.state();
    let all = state.wait_for(|state| state.head.seq >= wanted);
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    let collected = |seen: &Seen| {
        let seen = seen.0.lock().unwrap();
        seen.values().filter(|report| report.collected == RECORDS).count()
    };
    let within = Instant::now() + Duration::from_secs(30);
    while collected(&seen) < STATIONS - 1 {
        assert!(Instant::now() < within, "what is durable is not said");
        tokio::task::yield_now().await;
    }
    // Pushes of the dead one shorten nothing, and those of the others reach the right machine.
    for _ in 0..50 {
        bells[DEAD].ring(Index(0));
        tokio::task::yield_now().await;
    }
    let before = asked.lock().unwrap().len();
    bells[5].ring(Index(0));
    let within = Instant::now() + Duration::from_secs(30);
    while !asked.lock().unwrap()[before..].iter().any(|(station, _)| *station == 5) {
        assert!(Instant::now() < within, "nobody answered the bell");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    task.await.unwrap().unwrap();

    let asked = asked.lock().unwrap();
    let dead: Vec<Instant> =
        asked.iter().filter(|(station, _)| *station == DEAD).map(|(_, at)| *at).collect();
    assert!(!dead.is_empty());
    for (n, pair) in dead.windows(2).enumerate() {
        let least = Duration::from_millis(50) * (1 << n.min(9)) + TIMEOUT;
        assert!(pair[1] - pair[0] >= least, "asked again within its back-off period {n}");
    }
    let turns: std::collections::BTreeSet<Station> =
        asked.iter().take(2 * STATIONS).map(|(station, _)| *station).collect();
    assert_eq!(turns.len(), STATIONS, "somebody had the line twice before everybody had it once");
    assert_eq!(collected(&seen), STATIONS - 1);
    assert_eq!(seen.0.lock().unwrap()[&DEAD].stage, Stage::Offline);
    assert_eq!(journal.state().borrow().head.seq, wanted);
}

/// A bus on which nothing ever comes back, and no time-out ends the waiting either.
struct Stuck;

impl Driver for Stuck {
    fn log(&self, _: Station) -> LogKind {
        LogKind::Reread { last_index: LAST }
    }

    async fn identify(&mut self, _: Station) -> Result<Identity, DriverError> {
        std::future::pending().await
    }

    async fn status(&mut self, _: Station) -> Result<Status, DriverError> {
        std::future::pending().await
    }

    async fn bounds(&mut self, _: Station) -> Result<Option<Bounds>, DriverError> {
        std::future::pending().await
    }

    async fn fetch(&mut self, _: Station, _: Span) -> Result<Page, DriverError> {
        std::future::pending().await
    }

    async fn set_time(&mut self, _: Station, _: Timestamp) -> Result<(), DriverError> {
        std::future::pending().await
    }

    fn counters(&self, _: Station) -> LineCounters {
        LineCounters::default()
    }
}

#[tokio::test]
async fn a_bus_that_is_stuck_costs_another_one_nothing_and_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_in(&directory);
    let mut log = Log::new(1_000, 16);
    log.push(RECORDS);
    let driver = SharedLine { log, asked: Arc::default() };
    let stop = CancellationToken::new();
    let line = |serial, bell: &Arc<Notify>| Line {
        controller: ControllerId::uhppote(serial),
        cursor: None,
        settings: settings(),
        doorbell: Arc::new(Doorbell::of(bell)),
        observer: Eye(Seen::default(), 0),
        orders: orders(bell).1,
    };
    let own_clock: OwnClock = Arc::new(|| true);
    let bells = [(); 2].map(|()| Arc::new(Notify::new()));
    let [stuck, other] = &bells;
    let stuck = collect(
        Stuck,
        vec![line(1, stuck)],
        journal.clone(),
        Arc::clone(stuck),
        Arc::clone(&own_clock),
        stop.clone(),
    );
    let other = collect(
        driver,
        vec![line(2, other)],
        journal.clone(),
        Arc::clone(other),
        own_clock,
        stop.clone(),
    );
    let tasks = [tokio::spawn(stuck), tokio::spawn(other)];
    let mut state = journal.state();
    let all = state.wait_for(|state| state.head.seq >= Seq(RECORDS));
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    stop.cancel();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap().unwrap();
    }
}
