//! Where the log lies when it is not where it was: overwritten, emptied, replaced.

use postern_protocol::transaction::GapReason;
use postern_protocol::{EpochId, Index};

use super::{MAX_PULL_TIME, Machine, Search, State};
use crate::collector::circle::{Place, place};
use crate::collector::now::Now;
use crate::collector::pull::Pull;
use crate::driver::{Bounds, DriverError, Log};
use crate::journal::Cursor;

impl Machine {
    /// The answer to [`super::Action::FindBounds`].
    pub fn on_bounds(&mut self, result: Result<Option<Bounds>, DriverError>, now: Now) {
        let bounds = match result {
            Ok(bounds) => bounds,
            Err(error) => return self.fail(error, now),
        };
        self.contact(now);
        let State::FindBounds(search) = self.state else { return };
        // What was read of the log so far is not what a new pull's time is counted from.
        self.pull_until = self.pull_until.max(now.monotonic + MAX_PULL_TIME / 2);
        match (search, self.cursor, bounds) {
            // An empty log has nothing to read; it is a restart once there is a first record. A board
            // that is still booting may say so for a moment.
            (Search::FirstContact, _, None) | (Search::Shorter, Some(_), None)
                if !self.shows_newest =>
            {
                self.rest(now);
            }
            // Another life, by its name, that has nothing yet.
            (Search::Replaced, Some(_), None) if matches!(self.log, Log::Named { .. }) => {
                self.rest(now);
            }
            (Search::FirstContact, _, Some(bounds)) => {
                let epoch = bounds.epoch.unwrap_or_else(|| (self.mint)());
                self.drain(Pull::first_contact(self.controller, epoch, bounds.oldest));
            }
            (Search::Replaced, Some(cursor), Some(Bounds { epoch: Some(epoch), oldest, .. })) => {
                if epoch == cursor.epoch {
                    self.contradiction(now);
                } else {
                    self.restart(cursor, epoch, oldest, now);
                }
            }
            // "No such record" carries no index and may be a late answer: the ends of the log, freshly
            // asked, must agree that the record is not there.
            (Search::Shorter, Some(cursor), Some(bounds))
                if self.place(bounds, cursor.index) == Place::Around =>
            {
                self.look_again(cursor.index, now);
            }
            (
                Search::Shorter | Search::Replaced,
                Some(Cursor { index, anchor: digest, .. }),
                Some(Bounds { oldest, .. }),
            ) => self.state = State::Confirm { index, digest, oldest },
            (Search::AnchorGone, Some(cursor), Some(bounds)) => {
                let place = self.place(bounds, cursor.index);
                match place {
                    Place::Ahead { .. } => {
                        self.skip(Pull::behind(self.controller, cursor), place, now);
                    }
                    // Denied, and nothing stands behind it yet.
                    Place::Around | Place::Behind => self.contradiction(now),
                }
            }
            (Search::Overrun, _, Some(bounds)) => match self.pull.take() {
                Some(pull) => {
                    let place = self.place(bounds, pull.next);
                    self.skip(pull, place, now);
                }
                None => self.contradiction(now),
            },
            (Search::Unseen, Some(cursor), Some(bounds)) => {
                match self.place(bounds, cursor.index.next()) {
                    Place::Around => self.on_hole(Pull::behind(self.controller, cursor), now),
                    // It shows its newest record otherwise than when it is asked for it.
                    Place::Behind => self.rest(now),
                    Place::Ahead { .. } => self.contradiction(now),
                }
            }
            (
                Search::AnchorGone
                | Search::Overrun
                | Search::Shorter
                | Search::Replaced
                | Search::Unseen
                | Search::FirstContact,
                _,
                _,
            ) => self.contradiction(now),
        }
    }

    /// Goes on behind what was overwritten.
    fn skip(&mut self, mut pull: Pull, place: Place, now: Now) {
        match place {
            Place::Ahead { oldest } => {
                pull.skip_to(oldest, GapReason::Overwritten);
                self.enough = Index(0);
                self.drain(pull);
            }
            // What stands before it is kept first.
            Place::Around if pull.records > 0 => {
                self.pull = Some(pull);
                self.verify(now);
            }
            Place::Around => self.on_hole(pull, now),
            Place::Behind => self.contradiction(now),
        }
    }

    /// Reads another life of the log from its beginning.
    pub(super) fn restart(&mut self, before: Cursor, epoch: EpochId, oldest: Index, now: Now) {
        self.enough = Index(0);
        self.newest = None;
        let mut pull = Pull::restarted(self.controller, before, epoch, now.utc);
        if oldest > pull.next {
            match self.log {
                // It said of which life its ends are.
                Log::Named { .. } | Log::Volatile => {
                    pull.told_to_skip_to(oldest, self.log.continuity());
                }
                Log::Reread { .. } => pull.skip_to(oldest, GapReason::Overwritten),
            }
        }
        self.drain(pull);
    }

    fn place(&self, bounds: Bounds, index: Index) -> Place {
        let last = match self.log {
            Log::Reread { last_index } => last_index,
            Log::Named { .. } | Log::Volatile => u64::MAX,
        };
        place(bounds, index, last)
    }
}
