//! Pages of records, and whether what was read may be committed.

use postern_protocol::{Digest, Index};

use super::{HOLE_LOOKS, MAX_PULL, Machine, Search, Stage, State, Witness};
use crate::collector::now::Now;
use crate::driver::{DriverError, Log, Page, Record, Then};

/// What a page of one record says of the record that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Record(Digest),
    Absent,
    Overwritten,
    Failed(DriverError),
    Nothing,
}

impl Seen {
    fn of(page: &Page) -> Self {
        match (page.records.first(), page.then) {
            (Some(record), _) => Self::Record(record.raw.digest()),
            (None, Then::Absent) => Self::Absent,
            (None, Then::Overwritten) => Self::Overwritten,
            (None, Then::Failed(error)) => Self::Failed(error),
            (None, Then::More) => Self::Nothing,
        }
    }
}

impl Machine {
    /// The answer to [`super::Action::Fetch`].
    pub fn on_page(&mut self, result: Result<Page, DriverError>, now: Now) {
        let page = match result {
            Ok(page) => page,
            Err(error) => return self.on_failed_read(error, now),
        };
        self.contact(now);
        match self.state {
            State::Drain => self.on_records(page, now),
            State::Recheck { digest, witness, .. } => {
                self.on_recheck(Seen::of(&page), digest, witness, now);
            }
            State::Confirm { digest, oldest, .. } => {
                self.on_confirm(Seen::of(&page), digest, oldest, now);
            }
            State::Idle { .. }
            | State::Identify
            | State::Status
            | State::FindBounds(_)
            | State::Commit
            | State::Committing
            | State::Note { .. }
            | State::Noting
            | State::SetTime => {}
        }
    }

    /// What was read before the line failed is kept, if it can be shown to be one life of the log.
    fn on_failed_read(&mut self, error: DriverError, now: Now) {
        let some = self.pull.as_ref().is_some_and(|pull| pull.records > 0);
        if self.state == State::Drain && some {
            self.failing = Some(error);
            self.verify(now);
        } else {
            self.fail(error, now);
        }
    }

    fn on_records(&mut self, page: Page, now: Now) {
        let Some(pull) = &mut self.pull else { return };
        if matches!(self.log, Log::Named { .. }) && page.epoch != Some(pull.epoch) {
            // Another life. What this pull has of the one before is kept; the next one looks where the
            // new one begins.
            if pull.records > 0 {
                return self.verify(now);
            }
            self.pull = None;
            self.state = State::FindBounds(Search::Replaced);
            return;
        }
        for record in page.records {
            if !self.push(record, now) {
                return self.contradiction(now);
            }
        }
        self.follow(page.then, now);
    }

    /// Takes a record into the pull; false where it is not the one that comes next.
    fn push(&mut self, record: Record, now: Now) -> bool {
        let Some(pull) = &mut self.pull else { return false };
        match self.log {
            Log::Reread { .. } if record.index != pull.next => return false,
            Log::Named { .. } | Log::Volatile if record.index < pull.next => return false,
            Log::Named { .. } | Log::Volatile if record.index > pull.next => {
                pull.told_to_skip_to(record.index, self.log.continuity());
            }
            Log::Reread { .. } | Log::Named { .. } | Log::Volatile => {}
        }
        pull.push(record, now.utc);
        true
    }

    fn follow(&mut self, then: Then, now: Now) {
        let Some(pull) = &mut self.pull else { return };
        match then {
            Then::More => {
                let known = self.enough >= pull.next.previous() && self.enough < pull.next;
                let full = pull.records >= MAX_PULL || now.monotonic >= self.pull_until;
                // What can be read only once is kept before anything else is asked.
                let once = self.log == Log::Volatile;
                if pull.records > 0 && (full || known || once) {
                    if full {
                        self.report.stage = Stage::Draining;
                    }
                    self.verify(now);
                }
            }
            // The ends of the log said that there is something here. They are asked again.
            Then::Absent if pull.is_promised() && self.log != Log::Volatile => {
                self.state = State::FindBounds(Search::Overrun);
            }
            Then::Absent => {
                pull.exhausted = true;
                self.verify(now);
            }
            Then::Overwritten => self.state = State::FindBounds(Search::Overrun),
            Then::Failed(error) => self.on_failed_read(error, now),
        }
    }

    /// All was read: is it one life of the log?
    pub(super) fn verify(&mut self, now: Now) {
        let Some(pull) = &self.pull else { return };
        let is_proven = match self.log {
            Log::Reread { .. } => false,
            Log::Named { .. } | Log::Volatile => true,
        };
        let same_epoch = self.cursor.filter(|cursor| cursor.epoch == pull.epoch);
        let ((index, digest), witness) = match (same_epoch, pull.first) {
            (_, None) if is_proven && pull.is_empty() => {
                if self.unseen && matches!(self.log, Log::Named { .. }) {
                    return self.search(Search::Unseen);
                }
                return self.rest(now);
            }
            (_, Some(_)) if is_proven => {
                self.state = State::Commit;
                return;
            }
            // Also where nothing was found: a log that was emptied has nothing there either.
            (Some(cursor), _) => ((cursor.index, cursor.anchor), Witness::Anchor),
            (None, Some(first)) => (first, Witness::First),
            // Notes without a record behind them: the log changed again while we looked.
            (None, None) => return self.contradiction(now),
        };
        self.witness = witness;
        self.state = State::Recheck { index, digest, witness };
    }

    fn on_recheck(&mut self, seen: Seen, wanted: Digest, witness: Witness, now: Now) {
        let Some(pull) = &mut self.pull else { return };
        let nothing = pull.records == 0;
        // A record that is denied for good is as good as overwritten.
        let is_denied = |cursor: crate::journal::Cursor| {
            self.hole.is_some_and(|(at, looks)| at == cursor.index && looks >= HOLE_LOOKS)
        };
        let at_anchor = seen == Seen::Absent && witness == Witness::Anchor && !nothing;
        let seen =
            if at_anchor && self.cursor.is_some_and(is_denied) { Seen::Overwritten } else { seen };
        let next = match witness {
            Witness::Anchor => pull.first.map(|first| (first, Witness::First)),
            Witness::First => pull.last.map(|last| (last, Witness::Last)),
            Witness::Last => None,
        };
        match (seen, next) {
            (Seen::Record(digest), _) if digest == wanted && nothing => match self.failing.take() {
                Some(error) => self.fail(error, now),
                None if self.unseen => self.search(Search::Unseen),
                None => self.rest(now),
            },
            (Seen::Record(digest), _) if digest == wanted => {
                // What was read is kept, since it may be gone by now; but where the record before it
                // could not be compared, a log that was emptied and overran in between cannot be
                // ruled out.
                if witness != self.witness {
                    pull.mark_unproven(now.utc);
                }
                self.state = State::Commit;
            }
            (Seen::Overwritten, Some(((index, digest), witness))) => {
                self.state = State::Recheck { index, digest, witness };
            }
            (Seen::Overwritten, None) if nothing => self.search(Search::AnchorGone),
            (Seen::Overwritten, None) => {
                pull.mark_unproven(now.utc);
                self.state = State::Commit;
            }
            (Seen::Record(_), _) if witness == Witness::Anchor => self.search(Search::Replaced),
            (Seen::Absent, _) if witness == Witness::Anchor => self.search(Search::Shorter),
            (Seen::Record(_) | Seen::Absent | Seen::Nothing, _) => self.contradiction(now),
            (Seen::Failed(error), _) => self.fail(error, now),
        }
    }

    fn search(&mut self, search: Search) {
        self.pull = None;
        self.failing = None;
        self.state = State::FindBounds(search);
    }

    fn on_confirm(&mut self, seen: Seen, digest: Digest, oldest: Index, now: Now) {
        let Some(cursor) = self.cursor else { return };
        match seen {
            Seen::Record(found) if found != digest => {}
            Seen::Absent => {}
            // It is there after all; or the ring turned over meanwhile, and the next look begins with
            // that.
            Seen::Record(_) | Seen::Overwritten | Seen::Nothing => return self.contradiction(now),
            Seen::Failed(error) => return self.fail(error, now),
        }
        let epoch = (self.mint)();
        self.restart(cursor, epoch, oldest, now);
    }
}
