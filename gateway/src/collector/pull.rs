//! One pull: the records that are read together and committed together, with the notes before and
//! among them.

use postern_protocol::transaction::{Continuity, Gap, GapReason, ResetCause};
use postern_protocol::{
    ControllerId, Digest, EpochId, Index, Kind, Origin, Timestamp, Transaction,
};

use super::fold::{self, Moment};
use crate::driver::Record;
use crate::journal::{Append, Cursor, EpochRecord};

/// A gap that is known to begin somewhere and ends before the next record that can be read.
#[derive(Clone, Copy, Debug)]
struct OpenGap {
    first: Index,
    reason: GapReason,
    continuity: Continuity,
}

impl OpenGap {
    /// It ends before this index.
    fn until(self, next: Index) -> Gap {
        let Self { first, reason, continuity } = self;
        Gap { first, last: Some(next.previous()), reason, continuity }
    }
}

#[derive(Debug)]
pub(super) struct Pull {
    controller: ControllerId,
    pub(super) epoch: EpochId,
    opens: Option<EpochRecord>,
    /// The next index to read.
    pub(super) next: Index,
    gap: Option<OpenGap>,
    /// Gaps that ended where another one began, for another reason.
    closed: Vec<Gap>,
    /// The first and the last record that were read: their digests prove that one life of the log
    /// gave them all.
    pub(super) first: Option<(Index, Digest)>,
    pub(super) last: Option<(Index, Digest)>,
    transactions: Vec<Transaction>,
    /// The other moment of each transaction whose wall time means two.
    or_at: Vec<Option<Timestamp>>,
    /// The newest moment of it that is beyond doubt.
    pub(super) newest: Option<Timestamp>,
    pub(super) records: usize,
    /// Whether the end of the log was reached.
    pub(super) exhausted: bool,
    pub(super) gaps: u64,
}

impl Pull {
    fn at(controller: ControllerId, epoch: EpochId, next: Index) -> Self {
        Self {
            controller,
            epoch,
            opens: None,
            next,
            gap: None,
            closed: Vec::new(),
            first: None,
            last: None,
            transactions: Vec::new(),
            or_at: Vec::new(),
            newest: None,
            records: 0,
            exhausted: false,
            gaps: 0,
        }
    }

    /// Goes on behind a cursor.
    pub(super) fn behind(controller: ControllerId, cursor: Cursor) -> Self {
        Self::at(controller, cursor.epoch, cursor.index.next())
    }

    /// The first contact of this journal with a controller: a provisional epoch.
    pub(super) fn first_contact(controller: ControllerId, epoch: EpochId, oldest: Index) -> Self {
        let mut pull = Self::at(controller, epoch, Index(1));
        pull.opens = Some(EpochRecord { epoch, controller, predecessor: None, known_as: None });
        if oldest > pull.next {
            pull.skip_to(oldest, GapReason::BeforeFirstContact);
        }
        pull
    }

    /// A log that began anew. What the old life held past the cursor is not known, and says so.
    pub(super) fn restarted(
        controller: ControllerId,
        old: Cursor,
        epoch: EpochId,
        now: Timestamp,
    ) -> Self {
        let predecessor = old.epoch;
        let mut pull = Self::at(controller, epoch, Index(1));
        pull.opens =
            Some(EpochRecord { epoch, controller, predecessor: Some(predecessor), known_as: None });
        let lost = Gap {
            first: old.index.next(),
            last: None,
            reason: GapReason::EpochEnded,
            continuity: Continuity::Unproven,
        };
        pull.note(predecessor, old.index, Kind::Gap(lost), now);
        pull.gaps += 1;
        let reset = Kind::ControllerReset(ResetCause::LogRestarted { predecessor });
        pull.note(epoch, Index(0), reset, now);
        pull
    }

    /// What lies between the next index and `oldest` is gone. A gap that is open already grows; only what
    /// was denied is told apart from what was overwritten.
    pub(super) fn skip_to(&mut self, oldest: Index, reason: GapReason) {
        let continuity = Continuity::Unproven;
        let denied = |reason| reason == GapReason::Unreadable;
        if let Some(open) = self.gap.take_if(|open| denied(open.reason) != denied(reason)) {
            self.closed.push(open.until(self.next));
        }
        self.gap.get_or_insert(OpenGap { first: self.next, reason, continuity });
        self.next = oldest;
    }

    /// The controller itself says that what lies between the next index and `oldest` is lost.
    pub(super) fn told_to_skip_to(&mut self, oldest: Index, continuity: Continuity) {
        let reason = GapReason::Overwritten;
        self.gap.get_or_insert(OpenGap { first: self.next, reason, continuity });
        self.next = oldest;
    }

    /// Whether the ends of the log said that there is a record at the next index.
    pub(super) fn is_promised(&self) -> bool {
        self.gap.is_some() || self.opens.is_some() && self.records == 0
    }

    /// Whether a gap is open because the controller denied a record.
    pub(super) fn denies(&self) -> bool {
        self.gap.is_some_and(|gap| gap.reason == GapReason::Unreadable)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    pub(super) fn push(&mut self, record: Record, now: Timestamp) {
        let open = self.gap.take().map(|gap| gap.until(record.index));
        for gap in std::mem::take(&mut self.closed).into_iter().chain(open) {
            self.note(self.epoch, gap.first.previous(), Kind::Gap(gap), now);
            self.gaps += 1;
        }
        let seen = (record.index, record.raw.digest());
        self.first.get_or_insert(seen);
        self.last = Some(seen);
        self.next = record.index.next();
        self.records += 1;
        self.or_at.push(record.or_at);
        self.transactions.push(Transaction {
            origin: Origin::Controller {
                controller: self.controller,
                epoch: self.epoch,
                index: record.index,
            },
            kind: record.kind,
            occurred: record.occurred,
            received: now,
            door: record.door,
            direction: record.direction,
            credential: record.credential,
            raw: record.raw,
        });
    }

    /// Says that what was read may belong to another life of the log: by the gap that stands in it
    /// anyway (a log without epochs of its own never proves what lies behind one), or by an empty one.
    /// A gap from before the first contact says nothing of what happened while we read.
    pub(super) fn mark_unproven(&mut self, now: Timestamp) {
        let marked = self
            .transactions
            .iter()
            .any(|each| matches!(each.kind, Kind::Gap(Gap { reason: GapReason::Overwritten, .. })));
        let Some((first, _)) = self.first.filter(|_| !marked) else { return };
        let gap = Gap {
            first,
            last: Some(first.previous()),
            reason: GapReason::Overwritten,
            continuity: Continuity::Unproven,
        };
        let (controller, epoch, after) = (self.controller, self.epoch, first.previous());
        let origin = Origin::Gateway { controller, epoch, after };
        // Before the first record, and behind what was noted of the life before.
        let is_record = |each: &Transaction| matches!(each.origin, Origin::Controller { .. });
        let place = self.transactions.iter().position(is_record).unwrap_or(self.transactions.len());
        self.transactions.insert(place, Transaction::noted(origin, Kind::Gap(gap), now));
        self.or_at.insert(place, None);
        self.gaps += 1;
    }

    fn note(&mut self, epoch: EpochId, after: Index, kind: Kind, now: Timestamp) {
        let origin = Origin::Gateway { controller: self.controller, epoch, after };
        self.transactions.push(Transaction::noted(origin, kind, now));
        self.or_at.push(None);
    }

    /// Times that mean two moments get the one that the order of the log leaves them: nothing here is
    /// older than `since` nor newer than `until`.
    pub(super) fn resolve_times(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) {
        let is_record = |each: &Transaction| matches!(each.origin, Origin::Controller { .. });
        let records = || self.transactions.iter().zip(&self.or_at);
        let mut moments: Vec<Moment> = records()
            .filter(|(each, _)| is_record(each))
            .map(|(each, or_at)| (each.occurred, *or_at))
            .collect();
        fold::resolve(&mut moments, since, until);
        let records = self.transactions.iter_mut().filter(|each| is_record(each));
        for (transaction, (occurred, _)) in records.zip(&moments) {
            transaction.occurred = *occurred;
        }
        self.newest = fold::newest(&moments);
    }

    /// Where the cursor stands once this is committed.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        self.last.map(|(index, anchor)| Cursor { epoch: self.epoch, index, anchor })
    }

    pub(super) fn append(&self) -> Option<Append> {
        Some(Append {
            controller: self.controller,
            transactions: self.transactions.clone(),
            cursor: self.cursor()?,
            opens: self.opens,
            drops_held: None,
        })
    }
}
