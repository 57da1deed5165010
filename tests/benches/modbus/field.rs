//! A line with units, and what is seen on it.

use std::path::Path;
use std::time::{Duration, Instant};

use postern_sim::line::{Line, LineHandle, Place};

use crate::Outcome;
use crate::kind::{self, Kind, UNITS};
use crate::station::Station;

/// See the module.
pub(crate) struct Field(Line<Station>);

/// What has passed on a line until some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    at: Instant,
    busy: Duration,
    /// The frames with which units answered.
    answers: u64,
}

/// What passed between two such moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) time: Duration,
    /// How long somebody talked.
    pub(crate) busy: Duration,
    pub(crate) answers: u64,
}

impl Passed {
    /// Looks a second at all units.
    pub(crate) fn rate(&self, kind: &Kind) -> f64 {
        kind.looks_in(self.answers) / self.time.as_secs_f64()
    }

    /// How much of the time somebody talked.
    pub(crate) fn share(&self) -> f64 {
        self.busy.as_secs_f64() / self.time.as_secs_f64()
    }
}

impl Field {
    /// A line with all units.
    pub(crate) fn begin(kind: &Kind) -> Outcome<Self> {
        let stations: Outcome<Vec<_>> =
            (1..=UNITS).map(|number| Station::new(number, kind)).collect();
        Ok(Self(Line::on_pty(&kind::line(), stations?, None)?))
    }

    /// Its device.
    pub(crate) fn path(&self) -> Outcome<&Path> {
        match self.0.place() {
            Place::Device(path) => Ok(path),
            Place::Tcp(_) => Err("a pty is no port".into()),
        }
    }

    fn handle(&self) -> LineHandle<Station> {
        self.0.handle()
    }

    /// Does something to a unit.
    pub(crate) fn with<R>(&self, unit: u8, act: impl FnOnce(&mut Station) -> R) -> Outcome<R> {
        let done = self.handle().with_station(usize::from(unit) - 1, |station, _| act(station));
        done.ok_or_else(|| "there is no such unit".into())
    }

    /// What has passed so far.
    pub(crate) fn look(&self) -> Seen {
        let counters = self.handle().counters();
        let answers = counters.stations.iter().map(|station| station.replies).sum();
        Seen { at: Instant::now(), busy: counters.busy, answers }
    }

    /// What passed since then.
    pub(crate) fn since(&self, before: &Seen) -> Passed {
        let now = self.look();
        Passed {
            time: now.at - before.at,
            busy: now.busy.saturating_sub(before.busy),
            answers: now.answers - before.answers,
        }
    }

    /// What passes within such a time from now.
    pub(crate) fn watch(&self, time: Duration) -> Passed {
        let before = self.look();
        std::thread::sleep(time);
        self.since(&before)
    }

    /// Cards that were overwritten before anybody had read them.
    pub(crate) fn lost(&self) -> Outcome<u64> {
        (1..=UNITS).map(|unit| self.with(unit, |station| station.lost())).sum()
    }

    /// Ends it.
    pub(crate) fn end(self) -> Outcome<()> {
        self.0.stop().map_err(|_| "a unit panicked".into())
    }
}
