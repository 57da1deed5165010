//! The task that lets people swipe, and the switch that stops them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Site, Stopped, lock};
use crate::people::Crowd;

/// How far behind its time the task may be and still catch up. After a longer pause of the process
/// people have gone elsewhere; they do not all come at once.
const MAX_LAG: Duration = Duration::from_secs(2);

/// How busy the site is.
#[derive(Debug)]
pub struct People {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    rate: f64,
    swipes: u64,
}

impl People {
    pub(super) fn new(rate: f64) -> Self {
        Self { state: Mutex::new(State { rate, swipes: 0 }), changed: Notify::new() }
    }

    /// Swipes a second over all controllers, and how many there were.
    pub fn look(&self) -> (f64, u64) {
        let state = lock(&self.state);
        (state.rate, state.swipes)
    }

    /// Sets the swipes a second. When this returns with 0, the last swipe is in the ledger.
    pub fn set_rate(&self, rate: f64) {
        lock(&self.state).rate = rate;
        self.changed.notify_one();
    }
}

pub(super) async fn run(site: Arc<Site>, seed: u64, stop: CancellationToken) {
    let mut crowd = Crowd::new(seed, 0);
    let mut due = Instant::now();
    loop {
        let (rate, _) = site.people.look();
        let next = if rate > 0.0 {
            due = (due + crowd.gap(rate)).max(Instant::now() - MAX_LAG);
            Some(due)
        } else {
            None
        };
        // Cancel-safety: a notification that is lost with its branch was about a rate that the
        // next turn reads anyway.
        tokio::select! {
            () = stop.cancelled() => return,
            () = site.people.changed.notified() => due = Instant::now(),
            () = until(next) => if one_swipe(&site, &mut crowd).is_err() { return },
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Under the lock, so that no swipe follows a rate of 0.
fn one_swipe(site: &Site, crowd: &mut Crowd) -> Result<(), Stopped> {
    let mut state = lock(&site.people.state);
    let boards = site.boards.len();
    let stations = boards + site.stations.len();
    let with_readers = || site.units.values().filter(|unit| unit.has_readers());
    let at = crowd.controller(stations + with_readers().count());
    if state.rate > 0.0 {
        // Boards first, so that a site without lines has the people that it always had.
        if let Some(board) = site.boards.values().nth(at) {
            board.swipe_of_someone()?;
            state.swipes += 1;
        } else if let Some(station) = site.stations.values().nth(at - boards) {
            station.swipe_of_someone()?;
            state.swipes += 1;
        } else if let Some(unit) = with_readers().nth(at - stations) {
            unit.swipe_of_someone()?;
            state.swipes += 1;
        }
    }
    Ok(())
}
