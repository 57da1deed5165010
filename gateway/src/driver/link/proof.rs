//! Whether a log still is the one that was read: its controller names the lives of it, and firmware may
//! break its word. A log that lost its last events in a power cut and went on under the old name would give
//! other events for numbers that we have already.
//!
//! So the first thing that is read in a session is the record before those that are read next: the last one that
//! was handed on, durable or not, or the one at the cursor. Other bytes there, or nothing, is another life of the log, whatever it is called; it gets a name that says which.

use postern_protocol::link::gateway::{Failure, MIN_ROOM};
use postern_protocol::link::message::{Refusal, Reply, Request};
use postern_protocol::{Digest, EpochId, Index};

use super::{Ended, Link, record};
use crate::driver::{DriverError, Page, Span, Station};

/// How often a log may go back under one name until it is no log any more.
const MAX_RETURNS: u8 = 16;

/// What is known of a station's log.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    /// How often it went back under this name.
    returns: Option<(EpochId, u8)>,
    /// The session, by its number, in which the record before what is read next was seen.
    session: u64,
    /// The last record that was handed on, and of which life: it may not be durable yet.
    last: Option<(EpochId, Index, Digest)>,
}

impl Link {
    /// What a life of a station's log is called outside of here.
    pub(super) fn epoch(&self, station: Station, named: EpochId) -> EpochId {
        let serial = self.settings.stations.get(station).map_or(0, |station| station.serial);
        let known = self.known.get(station).and_then(|known| known.returns);
        let returns = known.filter(|(of, _)| *of == named).map_or(0, |(_, returns)| returns);
        record::epoch(serial, named, returns)
    }

    /// Which session a station is in.
    pub(super) fn session_number(&self, station: Station) -> u64 {
        self.peers.get(station).map_or(0, |peer| peer.counters().sessions)
    }

    /// Makes sure that a session gives the log that was read so far; what that is called now.
    pub(super) async fn prove(
        &mut self,
        station: Station,
        span: &Span,
        named: EpochId,
    ) -> Result<EpochId, DriverError> {
        let session = self.session_number(station);
        self.recall(station, span, named);
        let epoch = self.epoch(station, named);
        let Some(known) = self.known.get_mut(station) else { return Ok(epoch) };
        let last = known.last.filter(|(of, index, _)| *of == epoch && index.next() == span.from);
        let last = last.map(|(_, index, digest)| (index, digest));
        let anchor = last.or(span.committed).filter(|(index, _)| index.0 > 0);
        let Some((index, digest)) = anchor.filter(|_| known.session != session) else {
            // What is read from its beginning on is what this session gives.
            known.session = session;
            return Ok(epoch);
        };
        if span.epoch != Some(epoch) {
            return Ok(epoch);
        }
        let durable = span.committed.map_or(Index(0), |(durable, _)| durable);
        let holds = match self.holds(station, named, durable, (index, digest)).await {
            Ok(holds) => holds,
            Err(Ended::Failed(Failure::Life { epoch: named })) => {
                return Ok(self.epoch(station, named));
            }
            Err(ended) => return Err(ended.error()),
        };
        // The one that gave the answer, which may have been opened for it.
        let session = self.session_number(station);
        let Some(known) = self.known.get_mut(station) else { return Ok(epoch) };
        if holds {
            known.session = session;
            return Ok(epoch);
        }
        let returns = known.returns.map_or(0, |(_, returns)| returns) + 1;
        if returns > MAX_RETURNS {
            return Err(DriverError::Nonsense);
        }
        known.returns = Some((named, returns));
        let serial = self.settings.stations.get(station).map_or(0, |station| station.serial);
        tracing::error!(serial, %index, "its log gives another record for a number that it had given \
            before, under the same name: read from its beginning");
        Ok(self.epoch(station, named))
    }

    /// These records were handed on.
    pub(super) fn hand_on(&mut self, station: Station, page: &Page) {
        let (Some(epoch), Some(record)) = (page.epoch, page.records.last()) else { return };
        if let Some(known) = self.known.get_mut(station) {
            known.last = Some((epoch, record.index, record.raw.digest()));
        }
    }

    /// After a start of ours the journal knows how often it went back.
    fn recall(&mut self, station: Station, span: &Span, named: EpochId) {
        let serial = self.settings.stations.get(station).map_or(0, |station| station.serial);
        let Some(known) = self.known.get_mut(station) else { return };
        if known.returns.is_some_and(|(of, _)| of == named) {
            return;
        }
        let is_it = |returns: &u8| span.epoch == Some(record::epoch(serial, named, *returns));
        known.returns = Some((named, (0..=MAX_RETURNS).find(is_it).unwrap_or(0)));
    }

    /// Whether the log holds this record still, or has overwritten it.
    async fn holds(
        &mut self,
        station: Station,
        named: EpochId,
        durable: Index,
        (index, digest): (Index, Digest),
    ) -> Result<bool, Ended> {
        // Nothing is told to be committed that is not, nor what is asked for.
        let read = index.previous();
        let committed = durable.min(read);
        let skip = read.0 - committed.0;
        let request = Request::Poll { committed: committed.0, skip, room: MIN_ROOM };
        match self.ask(station, &request, Some(named)).await {
            Ok(()) => {}
            // It never had so many.
            Err(Ended::Failed(Failure::Refused(Refusal::Index))) => return Ok(false),
            Err(ended) => return Err(ended),
        }
        let Some((Reply::Events { lost, .. }, mut events)) = self.peer(station)?.answer() else {
            return Err(DriverError::Nonsense.into());
        };
        let found = events.next().and_then(|event| record::record(index, event));
        Ok(lost > 0 || found.is_some_and(|found| found.raw.digest() == digest))
    }
}
