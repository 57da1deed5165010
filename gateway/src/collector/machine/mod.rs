//! The pure machine of one controller: what to do next and what follows from the answers.
//!
//! A pull is: records are read behind the cursor; then the record at the cursor is read again. Only if
//! it still is what it was did one life of the log give all that was read in between, and only then is
//! anything committed. A log that was emptied in the middle of a pull, or before it, even one whose new
//! index has overtaken the cursor, is therefore always noticed. Logs that name their epoch on each page
//! need no such proof, and those that can be read only once can have none.
//!
//! - `reading`: pages, and whether what was read may be committed.
//! - `searching`: where the log lies when it is not where it was.
//! - `setting`: the controller's clock, set by itself or by an order.
//! - `report`: how it stands, for people.

use std::time::Duration;

use postern_protocol::transaction::GapReason;
use postern_protocol::{ControllerId, Digest, EpochId, Index, Timestamp};
use tokio::time::Instant;

use super::clock::{ClockSettings, Done, NotSet, Order, Outcome, Skew, Watch};
use super::now::Now;
use super::pull::Pull;
use crate::driver::{DriverError, Identity, Log, Span, Status};
use crate::journal::{Append, Cursor, SMALLEST};

mod reading;
mod report;
mod searching;
mod setting;

pub use report::{Report, Stage};

/// The most records of one pull. Reading the anchor again and the commit then cost little, and what a crash
/// makes us read again stays small.
const MAX_PULL: usize = 512;

/// Regression: a pull of 1,024 was refused by the smallest journal for good, however empty that was, and every
/// controller of the site with it. Its notes come along.
const _: () = assert!(MAX_PULL as u64 * 3 / 2 <= SMALLEST);

/// The longest time of a pull: after that, what was read becomes durable. Also bounds what a station
/// that answers slowly takes of a shared line at a time.
const MAX_PULL_TIME: Duration = Duration::from_millis(250);

/// The longest pause after failures. A controller that comes back is noticed within this.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// After a push that brought nothing the next one is answered this much later: forged ones must not make
/// us wear a board out.
const CALM: Duration = Duration::from_millis(50);

/// So often in a row, asked anew each time and less and less often, a controller has to deny a record that
/// lies between its oldest and its newest before it is believed: one answer may be a late one.
const HOLE_LOOKS: u32 = 5;

/// A controller that is busy all the time is asked for its clock this often all the same.
const STATUS_AT_LEAST: Duration = Duration::from_secs(10);

/// … or earlier, by its serial number: whoever was met together would else be asked together ever after,
/// which holds up a line of many for twice its round.
const STATUS_SOONER: Duration = Duration::from_millis(80);
const STATUS_PLACES: u64 = 32;

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
    /// Nothing until the commit that was asked for is done.
    AwaitCommit,
    /// Ask who it is, then call [`Machine::on_identity`].
    Identify,
    /// Ask how it is, then call [`Machine::on_status`].
    Status,
    /// Read this, then call [`Machine::on_page`].
    Fetch(Span),
    /// Find the ends of the log, then call [`Machine::on_bounds`].
    FindBounds,
    /// Commit this, then call [`Machine::on_commit`]. Asked for once.
    Commit(Append),
    /// Commit the note that the clock is about to be set, then call [`Machine::on_note`]. Asked for once.
    Note(Append),
    /// Set the clock to the present time, then call [`Machine::on_time_set`].
    SetTime,
}

/// Why the journal did not take a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is full.
    Full,
}

/// What is set for one controller.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often to look while something happens.
    pub poll: Duration,
    /// How often when nothing has happened for a while: what a lost push can cost.
    pub quiet_poll: Duration,
    /// Its clock.
    pub clock: ClockSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    FirstContact,
    /// The record at the cursor is another one.
    Replaced,
    /// There is no record at the cursor.
    Shorter,
    /// The record at the cursor was overwritten, and there is none behind it.
    AnchorGone,
    /// The next record was overwritten.
    Overrun,
    /// There is no record behind the cursor, but the newest is another one than that at the cursor.
    Unseen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle {
        until: Option<Instant>,
    },
    Identify,
    Status,
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
    Committing,
    /// The clock is to be moved by so many seconds.
    Note {
        step_s: i64,
    },
    Noting,
    SetTime,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact by itself; what excludes another is a state"
)]
pub struct Machine {
    controller: ControllerId,
    log: Log,
    settings: Settings,
    mint: Mint,
    state: State,
    pull: Option<Pull>,
    cursor: Option<Cursor>,
    failures: u32,
    /// What went wrong behind the records of the pull.
    failing: Option<DriverError>,
    identified: bool,
    /// Somebody said that there is news, up to this index or 0.
    woken: Option<Index>,
    /// The index at which the present pull may end without having seen the end of the log.
    enough: Index,
    /// Looks in a row that found nothing.
    quiet: u32,
    /// Whether the present look is a push's.
    by_push: bool,
    /// Pushes are not answered before this.
    calm_until: Instant,
    /// Whether the journal takes appends.
    room: bool,
    /// Whether the controller showed a newest record that is not the one at the cursor.
    unseen: bool,
    /// Whether it showed a newest record at all.
    shows_newest: bool,
    /// A record that it denies although it lies within its log, and how often in a row.
    hole: Option<(Index, u32)>,
    /// The witness that this pull began with.
    witness: Witness,
    /// When the present pull is long enough.
    pull_until: Instant,
    /// The newest moment of the log that is beyond doubt.
    newest: Option<Timestamp>,
    clock: Watch,
    /// When its status was asked for last, on both clocks.
    asked_status: Option<Now>,
    order: Option<Order>,
    /// How far the clock was off when it was set, until it was looked at again.
    set_from: Option<Skew>,
    outcome: Option<Outcome>,
    report: Report,
}

impl Machine {
    /// A machine that goes on from the journal's cursor, if there is one.
    pub fn new(
        controller: ControllerId,
        log: Log,
        cursor: Option<Cursor>,
        settings: Settings,
        mint: Mint,
        now: Now,
    ) -> Self {
        let report = Report::starting(cursor);
        Self {
            controller,
            log,
            settings,
            mint,
            state: State::Idle { until: None },
            pull: None,
            cursor,
            failures: 0,
            failing: None,
            identified: false,
            woken: None,
            enough: Index(0),
            quiet: 0,
            by_push: false,
            calm_until: now.monotonic,
            room: true,
            unseen: false,
            shows_newest: false,
            hole: None,
            witness: Witness::Anchor,
            pull_until: now.monotonic,
            newest: None,
            clock: Watch::new(settings.clock),
            asked_status: None,
            order: None,
            set_from: None,
            outcome: None,
            report,
        }
    }

    /// The journal has something else than what was to be committed: the controller is looked at again
    /// from here. What is known of it stays, and so does an order.
    pub fn go_on_from(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.pull = None;
        self.failing = None;
        self.newest = None;
        self.unseen = false;
        self.hole = None;
        self.state = State::Idle { until: None };
    }

    /// How the controller stands.
    pub fn report(&self) -> Report {
        Report { cursor: self.cursor, clock: self.clock.report(), ..self.report.clone() }
    }

    /// Where its log was read to.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// What to do now. Asking again changes nothing but for commits, which are asked for once.
    pub fn action(&mut self, now: Now) -> Action {
        if let State::Idle { until } = self.state {
            match until {
                Some(until)
                    if self.woken.is_none() && self.order.is_none() && until > now.monotonic =>
                {
                    return Action::Wait { until };
                }
                Some(until)
                    if self.order.is_none() && until.min(self.calm_until) > now.monotonic =>
                {
                    return Action::Wait { until: until.min(self.calm_until) };
                }
                // Its log holds what it has: reading it now would be for nothing.
                _ if !self.room => {
                    self.report.stage = Stage::Paused;
                    self.end_order(Err(NotSet::JournalFull));
                    return Action::AwaitRoom;
                }
                _ => self.begin(now),
            }
        }
        match self.state {
            State::Identify => Action::Identify,
            State::Status => Action::Status,
            State::FindBounds(_) => Action::FindBounds,
            State::Confirm { index, .. } | State::Recheck { index, .. } => {
                Action::Fetch(self.span(index, 1, now))
            }
            State::Drain => self.fetch(now),
            State::Commit => self.commit(now),
            State::Note { step_s } => self.note(step_s, now),
            State::SetTime => self.set_time(now),
            State::Committing | State::Noting => Action::AwaitCommit,
            State::Idle { .. } => Action::Wait { until: now.monotonic + self.settings.poll },
        }
    }

    fn span(&self, from: Index, at_most: usize, now: Now) -> Span {
        let pull = self.pull.as_ref().map(|pull| pull.epoch);
        let epoch = pull.or(self.cursor.map(|cursor| cursor.epoch));
        // An index of another life acknowledged would throw away what nobody has read.
        let cursor = self.cursor.filter(|cursor| Some(cursor.epoch) == epoch);
        let committed = cursor.map(|cursor| (cursor.index, cursor.anchor));
        let until = self.pull_until.max(now.monotonic);
        // Whether the line is shared is the task's to say.
        Span { from, at_most, until, epoch, committed, shared: false }
    }

    fn fetch(&self, now: Now) -> Action {
        let Some(pull) = &self.pull else {
            return Action::Wait { until: now.monotonic + self.settings.poll };
        };
        let room = MAX_PULL.saturating_sub(pull.records).max(1);
        let enough = self.enough.0.saturating_sub(pull.next.previous().0);
        let wanted = usize::try_from(enough).ok().filter(|wanted| *wanted > 0).unwrap_or(room);
        Action::Fetch(self.span(pull.next, wanted.min(room), now))
    }

    fn commit(&mut self, now: Now) -> Action {
        // A clock of ours that may be wrong says nothing of what cannot have happened yet.
        let until = self
            .clock
            .tolerance()
            .filter(|_| now.utc_is_right)
            .map(|tolerance| now.utc.0 + i64::try_from(tolerance.as_millis()).unwrap_or(0))
            .map(Timestamp);
        let append = self.pull.as_mut().and_then(|pull| {
            pull.resolve_times(self.newest, until);
            pull.append()
        });
        match append {
            Some(append) => {
                self.state = State::Committing;
                Action::Commit(append)
            }
            None => Action::Wait { until: now.monotonic + self.settings.poll },
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

    /// Whether what it wants now is to read more of what has piled up. Nothing does where a log can be read only once: to
    /// look there is short, also for the first time, and what nobody looks at is lost.
    pub fn is_draining(&self) -> bool {
        let goes_on = || self.pull.as_ref().is_some_and(|pull| pull.records > 0);
        let is_behind = || self.log != Log::Volatile && self.report.stage != Stage::Online;
        self.state == State::Drain && (is_behind() || goes_on())
    }

    /// Whether it has its log read next.
    pub fn reads_next(&self) -> bool {
        self.state == State::Drain
    }

    /// Whether it failed last, and is asked less and less often.
    pub fn is_backed_off(&self) -> bool {
        self.failures > 0
    }

    /// Somebody says that there is news, up to this index or 0.
    pub fn on_wake(&mut self, newest: Index) {
        // Not while it is offline: a push does not shorten the back-off of a board that is silent.
        if self.failures == 0 {
            self.woken = Some(newest.max(self.woken.unwrap_or_default()));
            self.quiet = 0;
        }
    }

    fn begin(&mut self, now: Now) {
        let woken = self.woken.take();
        self.by_push = woken.is_some();
        if !self.identified {
            self.state = State::Identify;
        } else if self.order.is_some() || !(woken.is_some() || self.needs_no_status(now)) {
            self.state = State::Status;
        } else {
            self.begin_pull(woken.unwrap_or_default(), now);
        }
    }

    /// A page of a named log says itself whether there is anything new and of which life it is: a quiet
    /// look is one exchange then.
    fn needs_no_status(&self, now: Now) -> bool {
        matches!(self.log, Log::Named { .. }) && !self.unseen && self.looked(now)
    }

    /// Reads what stands behind the cursor, up to an index that is known to be there.
    fn begin_pull(&mut self, known: Index, now: Now) {
        self.pull_until = now.monotonic + MAX_PULL_TIME;
        self.enough = Index(0);
        let pull = match (self.cursor, self.log) {
            (Some(cursor), _) => {
                self.enough = known;
                Pull::behind(self.controller, cursor)
            }
            (None, Log::Volatile) => {
                let epoch = (self.mint)();
                Pull::first_contact(self.controller, epoch, Index(1))
            }
            (None, Log::Reread { .. } | Log::Named { .. }) => {
                self.state = State::FindBounds(Search::FirstContact);
                return;
            }
        };
        self.drain(pull);
    }

    fn drain(&mut self, pull: Pull) {
        self.state = State::Drain;
        self.pull = Some(pull);
    }

    /// The answer to [`Action::Identify`].
    pub fn on_identity(&mut self, result: Result<Identity, DriverError>, now: Now) {
        match result {
            Ok(identity) => {
                self.contact(now);
                self.report.identity = Some(identity);
                self.identified = true;
                self.state = State::Status;
            }
            Err(error) => self.fail(error, now),
        }
    }

    /// The answer to [`Action::Status`], which was asked at `asked`.
    pub fn on_status(&mut self, result: Result<Status, DriverError>, asked: Timestamp, now: Now) {
        let status = match result {
            Ok(status) => status,
            Err(error) => return self.fail(error, now),
        };
        self.contact(now);
        self.asked_status = Some(now);
        if let Some(reading) = status.clock {
            self.clock.on_reading(reading, asked, now);
        }
        if let Some(before) = self.set_from.take() {
            let (before_s, after_s) = (before.seconds(), self.clock.skew().and_then(Skew::seconds));
            self.end_order(Ok(Done { before_s, after_s }));
        }
        let anchor = self.cursor.map(|cursor| cursor.anchor);
        let nothing_new = status.newest.is_some() && status.newest == anchor;
        self.shows_newest = status.newest.is_some();
        self.unseen = status.newest.is_some() && anchor.is_some() && !nothing_new;
        // The end of the log first: a note about the clock stands behind what the old time was given to.
        if nothing_new { self.rest(now) } else { self.begin_pull(Index(0), now) }
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
                self.newest = pull.newest.or(self.newest);
                self.quiet = 0;
                self.unseen = false;
                self.progress();
                self.by_push = false;
                match (self.failing.take(), pull.exhausted) {
                    (Some(error), _) => self.fail(error, now),
                    (None, true) => self.rest(now),
                    // Also while there is much to read: a clock is looked at now and then.
                    (None, false) if !self.looked(now) => self.state = State::Status,
                    (None, false) => self.begin_pull(Index(0), now),
                }
            }
            // Nothing moved: the same records are read again when there is room.
            Err(Refused::Full) => {
                self.report.stage = Stage::Paused;
                self.room = false;
                self.failing = None;
                self.state = State::Idle { until: None };
            }
        }
    }

    /// The log was read to its end.
    fn rest(&mut self, now: Now) {
        self.pull = None;
        self.progress();
        self.report.stage = Stage::Online;
        if !self.looked(now) {
            self.state = State::Status;
            return;
        }
        if let Some(step_s) = self.step_due(now) {
            self.state = State::Note { step_s };
            return;
        }
        if self.by_push {
            self.calm_until = now.monotonic + CALM;
        }
        let longer = self.settings.poll * (1 << self.quiet.min(10));
        self.quiet = self.quiet.saturating_add(1);
        let pause = longer.min(self.settings.quiet_poll.max(self.settings.poll));
        self.state = State::Idle { until: Some(now.monotonic + pause) };
    }

    /// Whether its status was asked for not long ago, and our clock did not jump since.
    fn looked(&self, now: Now) -> bool {
        let place = u32::try_from(self.controller.serial % STATUS_PLACES).unwrap_or(0);
        let often = STATUS_AT_LEAST.saturating_sub(STATUS_SOONER * place).max(self.settings.poll);
        self.asked_status.is_some_and(|at| now.monotonic < at.monotonic + often && now.follows(at))
    }

    fn contact(&mut self, now: Now) {
        self.report.last_contact = Some(now.utc);
    }

    /// Something was achieved: not merely answered, since a controller may answer everything but what
    /// matters.
    fn progress(&mut self) {
        self.report.failure = None;
        self.failures = 0;
        self.hole = None;
        if matches!(self.report.stage, Stage::Offline | Stage::Disputed) {
            self.report.stage = Stage::Draining;
        }
    }

    fn contradiction(&mut self, now: Now) {
        self.report.contradictions += 1;
        self.report.stage = Stage::Disputed;
        self.pull = None;
        self.failing = None;
        self.calm_until = now.monotonic + CALM;
        self.state = State::Idle { until: Some(now.monotonic + self.settings.poll) };
    }

    /// A record that lies within the log was denied once more: it is asked for again, later each time.
    fn look_again(&mut self, index: Index, now: Now) {
        let before = self.hole.filter(|(at, _)| *at == index).map_or(0, |(_, looks)| looks);
        self.hole = Some((index, before.saturating_add(1)));
        self.contradiction(now);
        let pause = (self.settings.poll * (1 << before.min(10))).min(MAX_BACK_OFF);
        self.calm_until = now.monotonic + pause;
        self.state = State::Idle { until: Some(self.calm_until) };
    }

    /// The controller denies a record that lies within its log. Once that is beyond doubt, it becomes a
    /// gap; nothing behind it would ever be read otherwise.
    fn on_hole(&mut self, mut pull: Pull, now: Now) {
        let index = pull.next;
        if !pull.denies() {
            let looks = self.hole.filter(|(at, _)| *at == index).map_or(0, |(_, looks)| looks);
            if looks + 1 < HOLE_LOOKS {
                return self.look_again(index, now);
            }
            self.hole = Some((index, HOLE_LOOKS));
        }
        pull.skip_to(index.next(), GapReason::Unreadable);
        self.enough = Index(0);
        self.drain(pull);
    }

    /// What was read and not committed is dropped and read again.
    fn fail(&mut self, error: DriverError, now: Now) {
        self.pull = None;
        self.failing = None;
        self.report.failure = Some(error);
        // One lost answer makes no board dead, on a line that loses some.
        if self.failures > 0 || self.report.stage == Stage::Starting || error.is_certain() {
            self.report.stage = Stage::Offline;
        }
        // Somebody is there, and the line spoils what he says: when the others had their turn, it goes on.
        let goes_on = error == DriverError::Damaged && self.failures == 0;
        self.identified &= goes_on;
        self.set_from = None;
        self.end_order(Err(NotSet::Silent(error)));
        self.failures = self.failures.saturating_add(1);
        self.woken = None;
        let factor = 1u32 << (self.failures - 1).min(10);
        let pause = (self.settings.poll * factor).min(MAX_BACK_OFF);
        let pause = if goes_on { Duration::ZERO } else { pause };
        self.state = State::Idle { until: Some(now.monotonic + pause) };
    }
}
