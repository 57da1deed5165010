//! The pure machine of one controller: what to read next and what follows from the answers.
//!
//! A pull is: the record at the cursor is read and compared; records are read behind it; the record
//! is read once more. Only if it still is what it was did one life of the log give all that was read
//! in between, and only then is anything committed. A log that was emptied in the middle of a pull,
//! even one whose new index has overtaken the cursor, is therefore always noticed.

use std::time::Duration;

use postern_protocol::transaction::GapReason;
use postern_protocol::{ControllerId, Digest, EpochId, Index, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use super::pull::Pull;
use crate::driver::{Bounds, DriverError, Read};
use crate::journal::{Append, Cursor};

/// The most records of one pull: two reads of the anchor then cost under 2 %, and what a crash makes
/// us read again stays small.
const MAX_PULL: usize = 128;

/// The longest pause after failures. A controller that comes back is noticed within this.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// Now, on both clocks; order and deadlines use the monotonic one alone.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For the receive time of transactions.
    pub utc: Timestamp,
}

/// What the task is to do.
#[derive(Debug)]
pub enum Action {
    /// Nothing until then, unless woken.
    Wait {
        /// When to ask again.
        until: Instant,
    },
    /// Nothing until the journal has room, see [`Machine::set_room`].
    AwaitRoom,
    /// Read this record, then call [`Machine::on_read`].
    Read(Index),
    /// Find the ends of the log, then call [`Machine::on_bounds`].
    FindBounds,
    /// Commit this, then call [`Machine::on_commit`].
    Commit(Append),
}

/// Why the journal did not take a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is full.
    Full,
}

/// Times of one controller.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often to look when nothing wakes us.
    pub poll: Duration,
}

/// How a controller stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not talked to yet.
    Starting,
    /// Read to its end.
    Online,
    /// More is there than was read.
    Draining,
    /// It does not answer, or not sensibly.
    Offline,
    /// Its answers contradict each other; it is asked again.
    Disputed,
    /// The journal is full: its log holds what it has.
    Paused,
}

/// What is known of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub stage: Stage,
    /// Where its log was read to.
    pub cursor: Option<Cursor>,
    /// Records committed since the start of the process.
    pub collected: u64,
    /// Gaps recorded since the start of the process.
    pub gaps: u64,
    /// Epochs begun since the start of the process, the first contact not counted.
    pub restarts: u64,
    /// Answers that contradicted each other: a late datagram, or a log that changed while it was
    /// read. Nothing was concluded from them.
    pub contradictions: u64,
    /// The last failure, until the next success.
    pub failure: Option<DriverError>,
    /// When it last answered.
    pub last_contact: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    FirstContact,
    /// The record at the cursor is another one.
    Replaced,
    /// There is no record at the cursor.
    Shorter,
    /// The record at the cursor was overwritten.
    AnchorGone,
    /// The next record was overwritten while we read.
    Overrun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle {
        until: Option<Instant>,
    },
    CheckAnchor {
        index: Index,
        digest: Digest,
    },
    FindBounds(Search),
    /// The log seems to have begun anew: its anchor is asked for once more, by the fresh socket that
    /// the ends of the log came through.
    Confirm {
        index: Index,
        digest: Digest,
        oldest: Index,
    },
    Drain,
    Recheck {
        index: Index,
        digest: Digest,
        witness: Witness,
    },
    Commit,
}

/// Which record is read again to show that one life of the log gave the whole pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    /// The record at the cursor.
    Anchor,
    /// The first record of the pull, where there is no anchor or it is gone.
    First,
    /// The last one, where both are gone: the ring turned over while we read.
    Last,
}

/// Mints epoch ids; random in the gateway, counted in tests.
pub type Mint = Box<dyn FnMut() -> EpochId + Send>;

/// See the module.
pub struct Machine {
    controller: ControllerId,
    settings: Settings,
    mint: Mint,
    state: State,
    pull: Option<Pull>,
    cursor: Option<Cursor>,
    limit: usize,
    failures: u32,
    woken: bool,
    /// Whether the journal takes appends.
    room: bool,
    /// The witness that this pull began with.
    witness: Witness,
    report: Report,
}

impl Machine {
    /// A machine that goes on from the journal's cursor, if there is one.
    pub fn new(
        controller: ControllerId,
        cursor: Option<Cursor>,
        settings: Settings,
        mint: Mint,
    ) -> Self {
        let report = Report {
            stage: Stage::Starting,
            cursor,
            collected: 0,
            gaps: 0,
            restarts: 0,
            contradictions: 0,
            failure: None,
            last_contact: None,
        };
        Self {
            controller,
            settings,
            mint,
            state: State::Idle { until: None },
            pull: None,
            cursor,
            limit: MAX_PULL,
            failures: 0,
            woken: false,
            room: true,
            witness: Witness::Anchor,
            report,
        }
    }

    /// How the controller stands.
    pub fn report(&self) -> Report {
        Report { cursor: self.cursor, ..self.report }
    }

    /// What to do now. Asking again changes nothing.
    pub fn action(&mut self, now: Now) -> Action {
        if let State::Idle { until } = self.state {
            match until {
                Some(until) if !self.woken && until > now.monotonic => {
                    return Action::Wait { until };
                }
                // Its log holds what it has: reading it now would be for nothing.
                _ if !self.room => {
                    self.report.stage = Stage::Paused;
                    return Action::AwaitRoom;
                }
                _ => self.begin(),
            }
        }
        match (self.state, &self.pull) {
            (
                State::CheckAnchor { index, .. }
                | State::Confirm { index, .. }
                | State::Recheck { index, .. },
                _,
            ) => Action::Read(index),
            (State::FindBounds(_), _) => Action::FindBounds,
            (State::Drain, Some(pull)) => Action::Read(pull.next),
            (State::Commit, Some(pull)) => pull
                .append()
                .map_or(Action::Wait { until: now.monotonic + self.settings.poll }, Action::Commit),
            (State::Drain | State::Commit | State::Idle { .. }, _) => {
                Action::Wait { until: now.monotonic + self.settings.poll }
            }
        }
    }

    /// Whether the journal takes appends at present.
    pub fn set_room(&mut self, room: bool) {
        self.room = room;
    }

    /// Whether the pull that waits to be committed reached the end of the log.
    pub fn at_the_end(&self) -> bool {
        self.pull.as_ref().is_some_and(|pull| pull.exhausted)
    }

    /// Somebody says that there is news.
    pub fn on_wake(&mut self) {
        // Not while it is offline: a push does not shorten the back-off of a board that is silent.
        if self.failures == 0 {
            self.woken = true;
        }
    }

    fn begin(&mut self) {
        self.woken = false;
        self.state = match self.cursor {
            None => State::FindBounds(Search::FirstContact),
            Some(Cursor { index, anchor, .. }) => State::CheckAnchor { index, digest: anchor },
        };
    }

    /// The answer to [`Action::Read`].
    pub fn on_read(&mut self, result: Result<Read, DriverError>, now: Now) {
        let read = match result {
            Ok(read) => read,
            Err(error) => return self.fail(error, now),
        };
        self.contact(now);
        match self.state {
            State::CheckAnchor { digest, .. } => self.on_anchor(&read, digest),
            State::Confirm { digest, oldest, .. } => self.on_confirm(&read, digest, oldest, now),
            State::Drain => self.on_record(read, now),
            State::Recheck { digest, witness, .. } => {
                self.on_recheck(&read, digest, witness, now);
            }
            State::Idle { .. } | State::FindBounds(_) | State::Commit => {}
        }
    }

    fn on_anchor(&mut self, read: &Read, digest: Digest) {
        let Some(cursor) = self.cursor else { return };
        self.state = match read {
            Read::Record(record) if record.raw.digest() == digest => {
                self.pull = Some(Pull::behind(self.controller, cursor));
                State::Drain
            }
            Read::Record(_) => State::FindBounds(Search::Replaced),
            Read::Absent => State::FindBounds(Search::Shorter),
            Read::Overwritten => State::FindBounds(Search::AnchorGone),
        };
    }

    fn on_confirm(&mut self, read: &Read, digest: Digest, oldest: Index, now: Now) {
        let Some(cursor) = self.cursor else { return };
        let disproved = match read {
            Read::Record(record) => record.raw.digest() == digest,
            // The ring turned over meanwhile: the next look begins with that.
            Read::Overwritten => true,
            Read::Absent => false,
        };
        if disproved {
            return self.contradiction(now);
        }
        let epoch = (self.mint)();
        let pull = Pull::restarted(self.controller, cursor, epoch, oldest, now.utc);
        self.drain(pull);
    }

    fn on_record(&mut self, read: Read, now: Now) {
        let Some(pull) = &mut self.pull else { return };
        match read {
            Read::Record(record) if record.index == pull.next => {
                pull.push(*record, now.utc);
                if pull.records >= self.limit {
                    self.report.stage = Stage::Draining;
                    self.verify(now);
                }
            }
            Read::Record(_) => self.contradiction(now),
            // The ends of the log said that there is something behind the gap.
            Read::Absent if pull.has_open_gap() => self.contradiction(now),
            Read::Absent => {
                pull.exhausted = true;
                self.verify(now);
            }
            Read::Overwritten => self.state = State::FindBounds(Search::Overrun),
        }
    }

    /// All was read: is it one life of the log?
    fn verify(&mut self, now: Now) {
        let Some(pull) = &self.pull else { return };
        let Some(first) = pull.first else {
            // Notes without a record behind them: the log changed again while we looked.
            return if pull.is_empty() { self.rest(now) } else { self.contradiction(now) };
        };
        let same_epoch = self.cursor.filter(|cursor| cursor.epoch == pull.epoch);
        let ((index, digest), witness) = match same_epoch {
            Some(cursor) => ((cursor.index, cursor.anchor), Witness::Anchor),
            None => (first, Witness::First),
        };
        self.witness = witness;
        self.state = State::Recheck { index, digest, witness };
    }

    fn on_recheck(&mut self, read: &Read, wanted: Digest, witness: Witness, now: Now) {
        let Some(pull) = &mut self.pull else { return };
        let next = match witness {
            Witness::Anchor => pull.first.map(|first| (first, Witness::First)),
            Witness::First => pull.last.map(|last| (last, Witness::Last)),
            Witness::Last => None,
        };
        match (read, next) {
            (Read::Record(record), _) if record.raw.digest() == wanted => {
                // What was read is kept, since it may be gone by now; but where the record before it
                // could not be compared, a log that was emptied and overran in between cannot be
                // ruled out.
                if witness != self.witness {
                    pull.mark_unproven(now.utc);
                }
                self.state = State::Commit;
            }
            (Read::Overwritten, Some(((index, digest), witness))) => {
                self.state = State::Recheck { index, digest, witness };
            }
            (Read::Overwritten, None) => {
                pull.mark_unproven(now.utc);
                self.state = State::Commit;
            }
            (Read::Record(_) | Read::Absent, _) => self.contradiction(now),
        }
    }

    /// The answer to [`Action::FindBounds`].
    pub fn on_bounds(&mut self, result: Result<Option<Bounds>, DriverError>, now: Now) {
        let bounds = match result {
            Ok(bounds) => bounds,
            Err(error) => return self.fail(error, now),
        };
        self.contact(now);
        let State::FindBounds(search) = self.state else { return };
        match (search, self.cursor, bounds) {
            // An empty log has nothing to read; it is a restart once there is a first record. A board
            // that is still booting may say so for a moment.
            (Search::FirstContact, _, None) | (Search::Shorter, Some(_), None) => self.rest(now),
            (Search::FirstContact, _, Some(bounds)) => {
                let epoch = (self.mint)();
                self.drain(Pull::first_contact(self.controller, epoch, bounds.oldest));
            }
            // "No such record" carries no index and may be a late answer; the ends of the log,
            // freshly asked, must agree that the log is shorter than the cursor.
            (Search::Shorter, Some(cursor), Some(bounds)) if bounds.newest >= cursor.index => {
                self.contradiction(now);
            }
            (
                Search::Shorter | Search::Replaced,
                Some(Cursor { index, anchor: digest, .. }),
                Some(Bounds { oldest, .. }),
            ) => self.state = State::Confirm { index, digest, oldest },
            (Search::AnchorGone, Some(cursor), Some(bounds)) if bounds.oldest > cursor.index => {
                let mut pull = Pull::behind(self.controller, cursor);
                pull.skip_to(bounds.oldest, GapReason::Overwritten);
                self.drain(pull);
            }
            (Search::Overrun, _, Some(bounds)) => match self.pull.take() {
                Some(mut pull) if bounds.oldest > pull.next => {
                    pull.skip_to(bounds.oldest, GapReason::Overwritten);
                    self.drain(pull);
                }
                _ => self.contradiction(now),
            },
            (Search::AnchorGone | Search::Overrun | Search::Shorter | Search::Replaced, _, _) => {
                self.contradiction(now);
            }
        }
    }

    fn drain(&mut self, pull: Pull) {
        self.state = State::Drain;
        self.pull = Some(pull);
    }

    /// What came of [`Action::Commit`].
    pub fn on_commit(&mut self, result: Result<(), Refused>, now: Now) {
        let Some(pull) = self.pull.take() else { return };
        match result {
            Ok(()) => {
                let restarted = self.cursor.is_some_and(|cursor| cursor.epoch != pull.epoch);
                self.report.restarts += u64::from(restarted);
                self.report.collected += pull.records as u64;
                self.report.gaps += pull.gaps;
                self.cursor = pull.cursor();
                self.limit = (self.limit * 2).min(MAX_PULL);
                if pull.exhausted {
                    self.rest(now);
                } else {
                    self.begin();
                }
            }
            // Nothing moved: the same records are read again when there is room.
            Err(Refused::Full) => {
                self.report.stage = Stage::Paused;
                self.room = false;
                self.state = State::Idle { until: None };
            }
        }
    }

    fn rest(&mut self, now: Now) {
        self.pull = None;
        self.report.stage = Stage::Online;
        self.state = State::Idle { until: Some(now.monotonic + self.settings.poll) };
    }

    fn contact(&mut self, now: Now) {
        self.report.last_contact = Some(now.utc);
        self.report.failure = None;
        self.failures = 0;
    }

    fn contradiction(&mut self, now: Now) {
        self.report.contradictions += 1;
        self.report.stage = Stage::Disputed;
        self.pull = None;
        self.state = State::Idle { until: Some(now.monotonic + self.settings.poll) };
    }

    /// What was read is dropped and read again; a smaller pull gets through a worse line.
    fn fail(&mut self, error: DriverError, now: Now) {
        self.pull = None;
        self.report.failure = Some(error);
        self.report.stage = Stage::Offline;
        self.limit = (self.limit / 2).max(1);
        self.failures = self.failures.saturating_add(1);
        self.woken = false;
        let factor = 1u32 << (self.failures - 1).min(10);
        let pause = (self.settings.poll * factor).min(MAX_BACK_OFF);
        self.state = State::Idle { until: Some(now.monotonic + pause) };
    }
}
