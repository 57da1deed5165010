//! Levels that a scenario waits for: so much traffic, every log read, everything stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use postern_protocol::{ControllerId, JournalId, Seq};

use super::Site;
use crate::checker::{Position, own_number};
use crate::harness::{
    BoardStatus, ControllerStatus, Error, GatewayStatus, RoleStatus, Side, wait_every, wait_until,
};

/// For what a standby fetches by itself; a store of a test is small.
const REPLICATED_WITHIN: Duration = Duration::from_mins(1);

impl Site {
    /// Waits until so many transactions more were generated: the way to a random moment without
    /// a clock.
    pub fn wait_for_traffic(&self, more: u64) -> Result<(), Error> {
        let before = self.simulator.generated()?;
        let within = Duration::from_mins(1) + Duration::from_millis(more * 10);
        wait_until(&format!("{more} more transactions"), within, || {
            Ok((self.simulator.generated()? >= before + more).then_some(()))
        })
    }

    /// Stops the people and waits until the gateway has read every log to its end and the active
    /// server has stored all of it.
    pub fn settle(&mut self, within: Duration) -> Result<(), Error> {
        self.simulator.people(0.0)?;
        self.drained(within)
    }

    /// So many swipes at every controller, at once.
    pub fn generate(&self, count: u64) -> Result<(), Error> {
        let mut all = self.simulator.addresses.keys().copied().chain(self.stations());
        all.try_for_each(|serial| self.simulator.generate(serial, count))
    }

    /// Waits until every log was read to its end.
    pub fn collected(&self, within: Duration) -> Result<(), Error> {
        let collected = wait_every(self.config.look_every, "every log read", within, || {
            Ok(self.all_read()?.then_some(()))
        });
        self.with_standing(collected)
    }

    /// Waits until the logs of these were read to their ends, however the others are.
    pub fn collected_of(&self, serials: &[u32], within: Duration) -> Result<(), Error> {
        let what = format!("the logs of {serials:?} read");
        let collected = wait_every(self.config.look_every, &what, within, || {
            let read = cursors(&self.gateway.controllers()?);
            let boards = self.simulator.status()?.controllers;
            let mut wanted = boards.iter().filter(|board| serials.contains(&board.serial));
            let all = wanted.all(|board| is_read(board, read.get(&board.controller)));
            Ok(all.then_some(()))
        });
        self.with_standing(collected)
    }

    /// Waits until the gateway reports this problem of this controller, or does so no more.
    pub fn health(
        &self,
        controller: ControllerId,
        code: &str,
        is_there: bool,
        within: Duration,
    ) -> Result<(), Error> {
        let what = if is_there { "to be reported" } else { "to be over" };
        wait_until(&format!("{code} of {controller} {what}"), within, || {
            let status = self.gateway.status()?;
            Ok((status.problem(code, controller).is_some() == is_there).then_some(()))
        })
    }

    /// Waits until every log was read to its end and the active server has all of it.
    pub fn drained(&self, within: Duration) -> Result<(), Error> {
        let what = "every log read and every transaction stored";
        let drained = wait_every(self.config.look_every, what, within, || {
            Ok((self.all_read()? && self.all_stored()?).then_some(()))
        });
        self.with_standing(drained)
    }

    /// The same of a gateway that may change its journal meanwhile: then nobody answers for a moment.
    pub fn recovered(&mut self, within: Duration) -> Result<(), Error> {
        let recovered = wait_until("every log read again and everything stored", within, || {
            if !self.gateway.is_running() {
                return Err(Error::Scenario("the gateway ended; read its log".to_owned()));
            }
            let is_whole = self.all_read().and_then(|read| Ok(read && self.all_stored()?));
            Ok(is_whole.is_ok_and(|whole| whole).then_some(()))
        });
        self.with_standing(recovered)
    }

    /// Waits until both servers' stores count: before that the role is handed over to nobody.
    pub fn in_sync(&mut self, active: Side) -> Result<(), Error> {
        wait_until("both stores to be in sync", REPLICATED_WITHIN, || {
            let (here, there) = (self.server(active).role()?, self.server(active.other()).role()?);
            Ok((here.copies == 2 && there.copies == 2).then_some(()))
        })
    }

    /// Waits until all three voters take part, and both servers hear the others.
    pub fn all_vote(&mut self) -> Result<(), Error> {
        wait_until("all three voters to take part", REPLICATED_WITHIN, || {
            for side in Side::BOTH {
                let voters = self.server(side).role()?.voters;
                let takes_part = voters.is_some_and(|voters| {
                    voters.standing == "voting"
                        && voters.leader.is_some()
                        && voters.others.iter().all(|other| other.sight == "connected")
                });
                if !takes_part {
                    return Ok(None);
                }
            }
            Ok(self.witness()?.healthy("/ready")?.map(drop))
        })
    }

    /// Waits until the standby, with the store that it has now, follows the active server's log, has come as
    /// far as that is at this moment, and counts: the role can go either way.
    pub fn caught_up(&mut self, active: Side) -> Result<(), Error> {
        let aim = self.server(active).role()?.log.position;
        wait_until("the standby to have caught up and to count", REPLICATED_WITHIN, || {
            let (here, there) = (self.server(active).role()?, self.server(active.other()).role()?);
            let named = here.in_sync.iter().any(|name| name.store == there.store);
            let follows = there.following.as_ref().is_some_and(|now| now.phase == "following");
            let whole = follows && there.log.position >= aim;
            Ok((named && whole && here.copies == 2 && there.copies == 2).then_some(()))
        })
    }

    /// Waits until the standby counts with the store that it has now. It is an error if it ever did before it had
    /// come as far as `aim`.
    pub fn counted(&mut self, active: Side, aim: u64) -> Result<(), Error> {
        wait_until("the standby to count", REPLICATED_WITHIN, || {
            // In this order: what counts and has come too short a way a moment later, counted too early.
            let here = self.server(active).role()?;
            let RoleStatus { store, log, .. } = self.server(active.other()).role()?;
            if !here.in_sync.iter().any(|name| name.store == store) {
                return Ok(None);
            }
            if log.position < aim {
                let name = active.other().name();
                let what = format!("server {name} counts at {} of {aim}", log.position);
                return Err(Error::Scenario(what));
            }
            Ok(Some(()))
        })
    }

    /// Waits until the standby holds what the active server holds.
    pub fn replicated(&mut self, active: Side) -> Result<(), Error> {
        let what = format!("server {} to hold what {} holds", active.other().name(), active.name());
        wait_until(&what, REPLICATED_WITHIN, || {
            let (here, there) = (self.server(active).role()?, self.server(active.other()).role()?);
            Ok((here.log == there.log).then_some(()))
        })
    }

    fn with_standing(&self, waited: Result<(), Error>) -> Result<(), Error> {
        match waited {
            Err(Error::Timeout { what, waited, .. }) => {
                let last = self.standing();
                Err(Error::Timeout { what, waited, last })
            }
            other => other,
        }
    }

    /// Whether the gateway has read every log to its end.
    fn all_read(&self) -> Result<bool, Error> {
        let read = cursors(&self.gateway.controllers()?);
        let boards = self.simulator.status()?.controllers;
        Ok(boards.iter().all(|board| is_read(board, read.get(&board.controller))))
    }

    /// Whether the active server has the whole journal, as the gateway and the server itself say:
    /// right after a change of the role the gateway's word is still about the server before.
    fn all_stored(&self) -> Result<bool, Error> {
        let GatewayStatus { journal, uplink, .. } = self.gateway.status()?;
        let Some(active) = uplink.active.as_deref().and_then(Side::named) else { return Ok(false) };
        Ok(uplink.backlog == Some(0) && self.stored_by(active, journal.id)? == Some(journal.head))
    }

    /// How far a running server has a journal.
    pub(super) fn stored_by(&self, side: Side, journal: JournalId) -> Result<Option<Seq>, Error> {
        let [a, b] = &self.servers;
        let journals = if side == Side::A { a } else { b }.journals()?;
        Ok(journals.iter().find(|known| known.journal == journal).map(|known| known.stored))
    }

    /// How things stand, for an error: what lags behind, and where to look.
    fn standing(&self) -> String {
        let mut text = String::new();
        if let (Ok(boards), Ok(lines)) = (self.simulator.status(), self.gateway.controllers()) {
            let read = cursors(&lines);
            for board in boards.controllers {
                let (id, position) = (board.controller, read.get(&board.controller));
                if !is_read(&board, position) {
                    let cursor = position.map(|read| read.index).unwrap_or_default();
                    let _ = write!(text, "\n{id} was read up to {cursor} of {}", board.newest);
                }
            }
        }
        if let Ok(GatewayStatus { journal, uplink, .. }) = self.gateway.status() {
            let (active, stored) = (uplink.active.unwrap_or_default(), uplink.stored);
            let stored = stored.map_or_else(|| "?".to_owned(), |stored| stored.to_string());
            let _ = write!(
                text,
                "\nthe uplink is {}, server {active} has {stored} of {}",
                uplink.state, journal.head
            );
        }
        format!("{text}\nhint: each process's log is in {}/logs", self.dir.display())
    }
}

fn cursors(lines: &[ControllerStatus]) -> BTreeMap<ControllerId, Position> {
    lines.iter().filter_map(|line| Some((line.controller, line.position()?))).collect()
}

/// Whether a log was read to its end. One that names its lives was, where that is the life: until then the
/// position of another life only looks like it. One in which nothing stands has nothing to be read.
fn is_read(board: &BoardStatus, read: Option<&Position>) -> bool {
    let is_of_it = board.epoch.is_none_or(|epoch| read.is_some_and(|read| read.epoch == epoch));
    let index = read.map(|read| read.index).unwrap_or_default();
    match board.epoch {
        Some(_) if board.newest == 0 => true,
        _ => is_of_it && own_number(board.controller, index).0 == board.newest,
    }
}
