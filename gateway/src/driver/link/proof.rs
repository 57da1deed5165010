//! Whether a log still is the one that was read: its controller names the lives of it, and firmware may
//! break its word. A log that lost its last events in a power cut and went on under the old name would give
//! other events for numbers that we have already.
//!
//! So the first thing that is read in a session is the record at the cursor. Other bytes there, or nothing,
//! is another life of the log, whatever it is called; it gets a name that says which.

use postern_protocol::link::gateway::{Failure, MIN_ROOM};
use postern_protocol::link::message::{Refusal, Reply, Request};
use postern_protocol::{Digest, EpochId, Index};

use super::{Ended, Link, record};
use crate::driver::{DriverError, Span, Station};

/// How often a log may go back under one name until it is no log any more.
const MAX_RETURNS: u8 = 16;

/// What is known of a station's log.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    /// How often it went back under this name.
    returns: Option<(EpochId, u8)>,
    /// The session, by its number, in which its record at the cursor was seen.
    session: u64,
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
        let anchor = span.committed.filter(|(index, _)| index.0 > 0);
        let Some((index, digest)) = anchor.filter(|_| known.session != session) else {
            // What is read from its beginning on is what this session gives.
            known.session = session;
            return Ok(epoch);
        };
        if span.epoch != Some(epoch) {
            return Ok(epoch);
        }
        let holds = match self.holds(station, named, index, digest).await {
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
        index: Index,
        digest: Digest,
    ) -> Result<bool, Ended> {
        let committed = index.previous().0;
        let request = Request::Poll { committed, skip: 0, room: MIN_ROOM };
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
