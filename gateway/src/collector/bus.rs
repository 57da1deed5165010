//! The task of one bus: carries out what the machines of its controllers want, one thing at a time, and
//! tells them what came of it.
//!
//! Whoever wants the line gets it in turn, live ones first (`turn`), so a busy controller delays its
//! neighbours by one read at most, and a dead one by one time-out for each of its back-off periods. Commits do not take the line:
//! it goes on while the journal syncs.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use postern_protocol::{ControllerId, EpochId, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::{Order, Outcome};
use super::commit::{Committed, commit};
use super::machine::{Action, Machine, Refused, Report, Settings};
use super::now::Now;
use super::turn::{Haste, Turn};
use crate::clock;
use crate::driver::{
    Bounds, Doorbell, Driver, DriverError, Identity, LineCounters, Page, Station, Status,
};
use crate::journal::{Append, Cursor, Journal, JournalError};

/// How many orders wait for one controller: people give one at a time.
const MAX_ORDERS: usize = 4;

/// Tells how a collector stands, after each step that changed it.
pub trait Observer: Send {
    /// Called with the machine's report and the driver's counters.
    fn observe(&mut self, report: Report, counters: LineCounters);
}

/// Says whether the gateway's own clock is known to be right.
pub type OwnClock = Arc<dyn Fn() -> bool + Send + Sync>;

/// One controller of a bus.
pub struct Line<O> {
    /// Which.
    pub controller: ControllerId,
    /// Where the journal says that its log was read to.
    pub cursor: Option<Cursor>,
    /// What is set for it.
    pub settings: Settings,
    /// Wakes the collector.
    pub doorbell: Arc<Doorbell>,
    /// Is told how it stands.
    pub observer: O,
    /// Orders for it.
    pub orders: Orders,
}

/// The collector's end of [`Orderer`].
pub struct Orders(mpsc::Receiver<(Order, oneshot::Sender<Outcome>)>);

/// Gives orders to the collector of one controller.
#[derive(Clone, Debug)]
pub struct Orderer {
    sender: mpsc::Sender<(Order, oneshot::Sender<Outcome>)>,
    bus: Arc<Notify>,
}

/// A way to give orders to a controller of this bus.
pub fn orders(bus: &Arc<Notify>) -> (Orderer, Orders) {
    let (sender, receiver) = mpsc::channel(MAX_ORDERS);
    (Orderer { sender, bus: Arc::clone(bus) }, Orders(receiver))
}

impl Orderer {
    /// Has the clock set; `None` where nobody collects from the controller any more, or too many orders
    /// wait.
    pub async fn set_clock(&self, order: Order) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.sender.try_send((order, reply)).ok()?;
        self.bus.notify_one();
        outcome.await.ok()
    }
}

/// A controller with its machine.
struct Place<O> {
    machine: Machine,
    line: Line<O>,
    reply: Option<oneshot::Sender<Outcome>>,
}

/// What a commit was for.
#[derive(Clone, Copy)]
enum Kept {
    Pull,
    Note,
}

type Commits =
    FuturesUnordered<BoxFuture<'static, (Station, Kept, Result<Committed, JournalError>)>>;

/// What came of what a machine wanted of the line.
enum Answer {
    Identity(Result<Identity, DriverError>),
    Status(Result<Status, DriverError>, Timestamp),
    Bounds(Result<Option<Bounds>, DriverError>),
    Page(Result<Page, DriverError>),
    TimeSet(Result<(), DriverError>),
}

/// What all controllers of a bus share.
struct Bus<D> {
    driver: D,
    journal: Journal,
    own_clock: OwnClock,
    commits: Commits,
}

/// Collects from the controllers of one bus until cancelled.
///
/// # Errors
/// Where the journal cannot be used any more.
pub async fn collect<D: Driver, O: Observer>(
    driver: D,
    lines: Vec<Line<O>>,
    journal: Journal,
    bell: Arc<Notify>,
    own_clock: OwnClock,
    cancel: CancellationToken,
) -> Result<(), JournalError> {
    let mut bus = Bus { driver, journal, own_clock, commits: Commits::new() };
    let mut places: Vec<Place<O>> = Vec::with_capacity(lines.len());
    for (station, line) in lines.into_iter().enumerate() {
        let machine = bus.machine(station, &line);
        places.push(Place { machine, line, reply: None });
    }
    let mut state = bus.journal.state();
    let mut turn = Turn::default();
    loop {
        let room = state.borrow().ring.full.is_none();
        let (wants, until, awaits_room) = bus.ask_all(&mut places, room);
        let Some((station, action)) = next(&mut turn, &places, wants) else {
            let room = async {
                // A level: also where the room came back, or the journal died, before this.
                let _ = state.wait_for(|now| now.ring.full.is_none() || now.dead.is_some()).await;
            };
            // Cancel-safety: nothing is in flight while waiting; a ring of the bell that arrives at the
            // same time is kept for the next wait, and a commit stays in the set.
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(until) => {}
                () = bell.notified() => {}
                () = room, if awaits_room => {}
                Some(done) = bus.commits.next() => bus.committed(&mut places, done)?,
            }
            if awaits_room && let Some(reason) = state.borrow().dead.clone() {
                return Err(JournalError::Dead { reason });
            }
            continue;
        };
        let Bus { driver, commits, .. } = &mut bus;
        let mut done = Vec::new();
        let answer = {
            let carried_out = carry_out(driver, station, action);
            tokio::pin!(carried_out);
            loop {
                // Cancel-safety: an abandoned read moved nothing; a commit stays in the set.
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    answer = &mut carried_out => break answer,
                    Some(kept) = commits.next() => done.push(kept),
                }
            }
        };
        for kept in done {
            bus.committed(&mut places, kept)?;
        }
        if let (Some(place), Some(answer)) = (places.get_mut(station), answer) {
            let was_status = matches!(answer, Answer::Status(..));
            tell(&mut place.machine, answer, bus.now());
            // Else everybody's clock would cost him a round. What follows is a read, which counts.
            if was_status && place.machine.reads_next() {
                turn.still_owed(station);
            }
            bus.observe(station, place);
        }
    }
}

impl<D: Driver> Bus<D> {
    fn now(&self) -> Now {
        let utc_is_right = (self.own_clock)();
        Now { monotonic: Instant::now(), utc: clock::utc(), utc_is_right }
    }

    fn machine<O>(&self, station: Station, line: &Line<O>) -> Machine {
        let mint = || EpochId(uuid::Uuid::new_v4().into_bytes());
        let (log, Line { controller, cursor, settings, .. }) = (self.driver.log(station), line);
        Machine::new(*controller, log, *cursor, *settings, Box::new(mint), self.now())
    }

    /// Asks every machine what it wants; begins the commits among that. Answers with who wants the line,
    /// when to ask again at the latest, and whether somebody waits for room in the journal.
    fn ask_all<O: Observer>(
        &mut self,
        places: &mut [Place<O>],
        room: bool,
    ) -> (Vec<(Station, Action)>, Instant, bool) {
        let now = self.now();
        let mut until = now.monotonic + std::time::Duration::from_hours(1);
        let (mut wants, mut awaits_room) = (Vec::new(), false);
        for (station, place) in places.iter_mut().enumerate() {
            if let Some(newest) = place.line.doorbell.answer() {
                place.machine.on_wake(newest);
            }
            if place.reply.is_none()
                && let Ok((order, reply)) = place.line.orders.0.try_recv()
            {
                place.machine.on_order(order);
                place.reply = Some(reply);
            }
            place.machine.set_room(room);
            match place.machine.action(now) {
                Action::Wait { until: at } => until = until.min(at),
                Action::AwaitRoom => {
                    awaits_room = true;
                    self.observe(station, place);
                }
                Action::AwaitCommit => {}
                Action::Commit(append) => self.begin_commit(station, place, append),
                Action::Note(append) => {
                    let journal = self.journal.clone();
                    self.commits.push(Box::pin(async move {
                        let result = journal.append(append).await.map(|_| Committed::AsItIs);
                        (station, Kept::Note, result)
                    }));
                }
                action @ (Action::Identify
                | Action::Status
                | Action::Fetch(_)
                | Action::FindBounds
                | Action::SetTime) => wants.push((station, action)),
            }
            if let Some(outcome) = place.machine.take_outcome()
                && let Some(reply) = place.reply.take()
            {
                // Whoever asked may have gone away.
                let _ = reply.send(outcome);
            }
        }
        (wants, until, awaits_room)
    }

    fn begin_commit<O>(&mut self, station: Station, place: &Place<O>, append: Append) {
        let journal = self.journal.clone();
        let (before, exhausted) = (place.machine.cursor(), place.machine.at_the_end());
        self.commits.push(Box::pin(async move {
            (station, Kept::Pull, commit(&journal, before, append, exhausted).await)
        }));
    }

    /// A commit is done.
    ///
    /// # Errors
    /// Where the journal cannot be used any more.
    fn committed<O: Observer>(
        &mut self,
        places: &mut [Place<O>],
        (station, kept, result): (Station, Kept, Result<Committed, JournalError>),
    ) -> Result<(), JournalError> {
        let Some(place) = places.get_mut(station) else { return Ok(()) };
        let result = match result {
            Ok(Committed::AsItIs) => Ok(()),
            Ok(Committed::Otherwise(cursor)) => {
                place.machine.go_on_from(cursor);
                return Ok(());
            }
            Err(JournalError::Full { .. }) => Err(Refused::Full),
            Err(error) => return Err(error),
        };
        let now = self.now();
        match kept {
            Kept::Pull => place.machine.on_commit(result, now),
            Kept::Note => place.machine.on_note(result, now),
        }
        self.observe(station, place);
        Ok(())
    }

    fn observe<O: Observer>(&self, station: Station, place: &mut Place<O>) {
        place.line.observer.observe(place.machine.report(), self.driver.counters(station));
    }
}

/// Who gets the line, and for what.
fn next<O>(
    turn: &mut Turn,
    places: &[Place<O>],
    wants: Vec<(Station, Action)>,
) -> Option<(Station, Action)> {
    let machine = |station: Station| places.get(station).map(|place| &place.machine);
    let haste = |station| {
        let drains = machine(station).is_some_and(Machine::is_draining);
        if drains { Haste::Backlog } else { Haste::Live }
    };
    let ask: Vec<_> = wants.iter().map(|(station, _)| (*station, haste(*station))).collect();
    let (station, mut action) = wants.into_iter().nth(turn.give(&ask)?)?;
    if let Action::Fetch(span) = &mut action {
        let is_due = |other: Station| ask.iter().any(|(each, _)| *each == other);
        span.shared = places.iter().enumerate().any(|(other, place)| {
            other != station && (is_due(other) || !place.machine.is_backed_off())
        });
    }
    Some((station, action))
}

/// One thing on the line; `None` for what is none.
async fn carry_out<D: Driver>(driver: &mut D, station: Station, action: Action) -> Option<Answer> {
    Some(match action {
        Action::Identify => Answer::Identity(driver.identify(station).await),
        Action::Status => {
            let asked = clock::utc();
            Answer::Status(driver.status(station).await, asked)
        }
        Action::FindBounds => Answer::Bounds(driver.bounds(station).await),
        Action::Fetch(span) => Answer::Page(driver.fetch(station, span).await),
        Action::SetTime => Answer::TimeSet(driver.set_time(station, clock::utc()).await),
        Action::Wait { .. }
        | Action::AwaitRoom
        | Action::AwaitCommit
        | Action::Commit(_)
        | Action::Note(_) => return None,
    })
}

fn tell(machine: &mut Machine, answer: Answer, now: Now) {
    match answer {
        Answer::Identity(result) => machine.on_identity(result, now),
        Answer::Status(result, asked) => machine.on_status(result, asked, now),
        Answer::Bounds(result) => machine.on_bounds(result, now),
        Answer::Page(result) => machine.on_page(result, now),
        Answer::TimeSet(result) => machine.on_time_set(result, now),
    }
}
