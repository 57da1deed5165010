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
    /// Who says nothing.
    dead: Option<Station>,
    /// Whose log is long.
    long: Option<(Vec<Station>, Log)>,
    /// Whether each read was told that others wait for the line.
    shared: Arc<Mutex<Vec<(Station, bool)>>>,
    /// Every request, and when it was made.
    asked: Arc<Mutex<Vec<(Station, Instant)>>>,
}

impl SharedLine {
    async fn ask<T>(&self, station: Station, answer: T) -> Result<T, DriverError> {
        self.asked.lock().unwrap().push((station, Instant::now()));
        // As a line does: others get to run meanwhile.
        tokio::task::yield_now().await;
        if self.dead == Some(station) {
            tokio::time::sleep(TIMEOUT).await;
            return Err(DriverError::TimedOut);
        }
        Ok(answer)
    }

    fn log_of(&self, station: Station) -> &Log {
        match &self.long {
            Some((stations, log)) if stations.contains(&station) => log,
            _ => &self.log,
        }
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
        self.ask(station, self.log_of(station).status()).await
    }

    async fn bounds(&mut self, station: Station) -> Result<Option<Bounds>, DriverError> {
        self.ask(station, self.log_of(station).bounds()).await
    }

    async fn fetch(&mut self, station: Station, span: Span) -> Result<Page, DriverError> {
        self.shared.lock().unwrap().push((station, span.shared));
        self.ask(station, self.log_of(station).page(span.from, span.at_most.min(20))).await
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
    let driver = SharedLine {
        log,
        dead: Some(DEAD),
        long: None,
        shared: Arc::default(),
        asked: Arc::clone(&asked),
    };
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
    let driver =
        SharedLine { log, dead: None, long: None, shared: Arc::default(), asked: Arc::default() };
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

/// How many records the long logs have.
const MANY: u64 = 3_000;

/// The draining ones among eight.
const LONG: [Station; 2] = [2, 6];

/// After so many exchanges a station with five records has been read and its first commit was waited for.
const AT_THE_END: usize = 8;

/// Runs eight stations of which two have long logs until all is read, and tells who had the line when
/// and whether each read knew that others want it.
async fn drained() -> (Vec<Station>, Vec<(Station, bool)>) {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_in(&directory);
    let [mut short, mut long] = [(); 2].map(|()| Log::new(10_000, 16));
    short.push(5);
    long.push(MANY);
    let (asked, shared) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let driver = SharedLine {
        log: short,
        dead: None,
        long: Some((LONG.to_vec(), long)),
        shared: Arc::clone(&shared),
        asked: Arc::clone(&asked),
    };
    let (bell, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let lines = (0..STATIONS)
        .map(|station| Line {
            controller: ControllerId::uhppote(1 + u32::try_from(station).unwrap()),
            cursor: None,
            // Everybody is due all the time.
            settings: Settings { poll: Duration::ZERO, quiet_poll: Duration::ZERO, ..settings() },
            doorbell: Arc::new(Doorbell::of(&bell)),
            observer: Eye(Seen::default(), station),
            orders: orders(&bell).1,
        })
        .collect();
    let own_clock: OwnClock = Arc::new(|| true);
    let task = collect(driver, lines, journal.clone(), bell, own_clock, stop.clone());
    let task = tokio::spawn(task);
    let wanted = Seq(MANY * LONG.len() as u64 + 5 * (STATIONS - LONG.len()) as u64);
    let mut state = journal.state();
    let all = state.wait_for(|state| state.head.seq >= wanted);
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    stop.cancel();
    task.await.unwrap().unwrap();
    let asked = asked.lock().unwrap().iter().map(|(station, _)| *station).collect();
    let shared = shared.lock().unwrap().clone();
    (asked, shared)
}

#[tokio::test]
async fn live_ones_come_first_and_a_backlog_is_worked_off_all_the_same() {
    let (asked, shared) = drained().await;
    // Long before the end the quiet ones are at theirs, and the two are not.
    let reads = asked.iter().filter(|station| LONG.contains(station)).count();
    assert!(reads > 100, "{reads}");
    let quiet: Vec<Station> = (0..STATIONS).filter(|each| !LONG.contains(each)).collect();
    let turns = |station: Station| -> Vec<usize> {
        let of = asked.iter().enumerate().filter(|(_, each)| **each == station);
        of.map(|(at, _)| at).collect()
    };
    // Once they are at their end, none of the quiet ones has to wait for more than the one backlog turn
    // of a round, and for what the two have to ask between two pulls.
    for station in quiet {
        for pair in turns(station)[AT_THE_END..].windows(2) {
            let between = &asked[pair[0] + 1..pair[1]];
            let of_long = between.iter().filter(|each| LONG.contains(each)).count();
            assert!(of_long <= 1 + 2 * LONG.len(), "{station} waited for {between:?}");
        }
    }
    // Each backlog gets its turn within two rounds, but for the time in which a commit of its own syncs: one for each pull,
    // and a pull is shorter where the machine is slow.
    for station in LONG {
        let turns = turns(station);
        let long = turns.windows(2).filter(|pair| pair[1] - pair[0] > 3 * STATIONS).count();
        assert!(long * 4 <= turns.len(), "{station} starves: {long} of {}", turns.len());
    }
    assert!(shared.iter().all(|(_, shared)| *shared), "others want the line all the time");
}

#[tokio::test]
async fn whoever_is_alone_on_a_line_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_in(&directory);
    let mut log = Log::new(1_000, 16);
    log.push(RECORDS);
    let shared = Arc::new(Mutex::new(Vec::new()));
    // The other one is dead: while it is left alone it wants nothing of the line.
    let driver = SharedLine {
        log,
        dead: Some(1),
        long: None,
        shared: Arc::clone(&shared),
        asked: Arc::default(),
    };
    let (bell, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let lines = (0..2)
        .map(|station| Line {
            controller: ControllerId::uhppote(1 + u32::try_from(station).unwrap()),
            cursor: None,
            settings: Settings { poll: Duration::from_millis(200), ..settings() },
            doorbell: Arc::new(Doorbell::of(&bell)),
            observer: Eye(Seen::default(), station),
            orders: orders(&bell).1,
        })
        .collect();
    let own_clock: OwnClock = Arc::new(|| true);
    let task = tokio::spawn(collect(driver, lines, journal.clone(), bell, own_clock, stop.clone()));
    let mut state = journal.state();
    let all = state.wait_for(|state| state.head.seq >= Seq(RECORDS));
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    stop.cancel();
    task.await.unwrap().unwrap();
    let shared = shared.lock().unwrap();
    assert!(!shared.is_empty() && shared.iter().any(|(_, shared)| !shared), "{shared:?}");
}
