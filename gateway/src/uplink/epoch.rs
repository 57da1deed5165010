//! Provisional epochs: whether the log that a new journal met is the one that the active server
//! already knows. Pure.
//!
//! A journal that does not know a controller reads it under a provisional epoch. Before the first
//! entry of that epoch is sent, the server is asked for its newest record at or below our highest, and
//! that is compared with our own journalled record (never with a fresh read). So a replaced gateway
//! neither doubles what is stored nor hides what is new.

use std::collections::BTreeMap;

use postern_protocol::transaction::{Continuity, Gap, GapReason};
use postern_protocol::uplink::Last;
use postern_protocol::{
    ControllerId, Digest, EpochId, Index, Kind, Origin, Timestamp, Transaction,
};

use crate::journal::EpochRecord;

/// What a provisional epoch is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolution {
    /// The epoch that the server knows.
    Continues(EpochId),
    /// A new one; and what its predecessor may have lost past what the server holds.
    New(Vec<Transaction>),
}

/// `records` are the records of the epoch in the batch that is about to be sent, which begins with
/// the first of them.
///
/// An epoch that this journal saw begin behind another one was never overwritten before it was read,
/// so it continues a known one only where the same record is there: that happens when the journal
/// was put back to an older state and met the restart a second time. It never continues the one
/// `before` it, as that is known to the server, however alike their first records are.
///
/// An epoch that its controller named is what it is: the server knows it by that name, or not at all.
pub(super) fn resolve(
    epoch: &EpochRecord,
    before: Option<EpochId>,
    records: &BTreeMap<Index, Digest>,
    last: &Last,
    now: Timestamp,
) -> Resolution {
    let lowest = records.keys().next().copied();
    if epoch.controller.is_known_by_epoch() {
        let is_known = last.newest.is_some_and(|(known, _)| known == epoch.epoch)
            || last.record.is_some_and(|record| record.epoch == epoch.epoch);
        return if is_known { Resolution::Continues(epoch.epoch) } else { new(epoch, last, now) };
    }
    match (last.record, lowest) {
        (Some(known), Some(lowest))
            if known.index < lowest
                && epoch.predecessor.is_none()
                && epoch.controller.protocol.numbers_go_on() =>
        {
            // Overwritten since: our log goes on above what is known. The gap before it stands in
            // the journal already, marked as unproven.
            Resolution::Continues(known.epoch)
        }
        (Some(known), Some(_))
            if records.get(&known.index) == Some(&known.digest) && before != Some(known.epoch) =>
        {
            Resolution::Continues(known.epoch)
        }
        _ => new(epoch, last, now),
    }
}

/// An epoch that the server does not know.
fn new(epoch: &EpochRecord, last: &Last, now: Timestamp) -> Resolution {
    // That its predecessor ended was noted when it began.
    let before = last.newest.filter(|_| epoch.predecessor.is_none());
    let ended = before.map(|(known, index)| ended(epoch.controller, known, index, now));
    Resolution::New(ended.into_iter().collect())
}

fn ended(controller: ControllerId, epoch: EpochId, after: Index, now: Timestamp) -> Transaction {
    let gap = Gap {
        first: after.next(),
        last: None,
        reason: GapReason::EpochEnded,
        continuity: Continuity::Unproven,
    };
    Transaction::noted(Origin::Gateway { controller, epoch, after }, Kind::Gap(gap), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::RoleTerm;
    use postern_protocol::uplink::LastRecord;

    const FIRST: EpochRecord = EpochRecord {
        epoch: EpochId([1; 16]),
        controller: ControllerId::uhppote(1),
        predecessor: None,
        known_as: None,
    };
    const KNOWN: EpochId = EpochId([9; 16]);

    fn digest(index: u64) -> Digest {
        Digest::of("test", &[&index.to_be_bytes()])
    }

    fn ours(range: std::ops::RangeInclusive<u64>) -> BTreeMap<Index, Digest> {
        range.map(|index| (Index(index), digest(index))).collect()
    }

    fn last(at: u64, record: Digest, newest: u64) -> Last {
        Last {
            role_term: RoleTerm(1),
            record: Some(LastRecord { epoch: KNOWN, index: Index(at), digest: record }),
            newest: Some((KNOWN, Index(newest))),
        }
    }

    fn resolved(records: &BTreeMap<Index, Digest>, last: &Last) -> Resolution {
        resolve(&FIRST, None, records, last, Timestamp(0))
    }

    #[test]
    fn the_same_record_continues_the_epoch() {
        assert_eq!(
            resolved(&ours(1..=20), &last(20, digest(20), 90)),
            Resolution::Continues(KNOWN)
        );
        assert_eq!(
            resolved(&ours(1..=200), &last(90, digest(90), 90)),
            Resolution::Continues(KNOWN)
        );
    }

    #[test]
    fn another_record_is_a_new_epoch_and_the_old_one_ends_with_a_gap() {
        let Resolution::New(notes) = resolved(&ours(1..=20), &last(20, digest(7), 90)) else {
            panic!()
        };
        let [Transaction { kind: Kind::Gap(gap), origin, .. }] = &notes[..] else { panic!() };
        assert_eq!((gap.first, gap.last), (Index(91), None));
        assert_eq!(gap.reason, GapReason::EpochEnded);
        assert_eq!(origin.epoch(), KNOWN);
    }

    #[test]
    fn an_overwritten_record_continues_the_epoch() {
        assert_eq!(
            resolved(&ours(500..=520), &last(90, digest(90), 90)),
            Resolution::Continues(KNOWN)
        );
    }

    #[test]
    fn a_controller_nobody_knew_is_a_new_epoch_without_a_gap() {
        let nothing = Last { role_term: RoleTerm(1), record: None, newest: None };
        assert_eq!(resolved(&ours(1..=20), &nothing), Resolution::New(Vec::new()));
    }

    #[test]
    fn a_log_that_is_shorter_than_anything_known_is_a_new_epoch() {
        let above = Last { role_term: RoleTerm(1), record: None, newest: Some((KNOWN, Index(90))) };
        assert!(
            matches!(resolved(&ours(1..=20), &above), Resolution::New(notes) if notes.len() == 1)
        );
    }

    #[test]
    fn an_epoch_with_a_predecessor_continues_only_where_the_same_record_is_known() {
        let restarted = EpochRecord { predecessor: Some(EpochId([2; 16])), ..FIRST };
        let resolved = |records: &BTreeMap<_, _>, last: &Last| {
            resolve(&restarted, restarted.predecessor, records, last, Timestamp(0))
        };
        // Met a second time, by a journal that was put back.
        assert_eq!(
            resolved(&ours(1..=20), &last(20, digest(20), 20)),
            Resolution::Continues(KNOWN)
        );
        // The server knows its predecessor only; its end is noted already.
        assert_eq!(resolved(&ours(1..=20), &last(20, digest(7), 90)), Resolution::New(Vec::new()));
        assert_eq!(resolved(&ours(30..=40), &last(20, digest(7), 20)), Resolution::New(Vec::new()));
    }

    /// Two lives of a log with the same first events, or one that went on above what is known, would have
    /// been stored as one.
    #[test]
    fn an_epoch_that_its_controller_named_is_never_taken_for_another() {
        let named = EpochRecord { controller: ControllerId::link(1), ..FIRST };
        let resolved = |named: &EpochRecord, records: &BTreeMap<_, _>, last: &Last| {
            resolve(named, named.predecessor, records, last, Timestamp(0))
        };
        for records in [ours(1..=20), ours(500..=520)] {
            let last = last(20, digest(20), 90);
            let Resolution::New(notes) = resolved(&named, &records, &last) else { panic!() };
            assert_eq!(notes.len(), 1, "the known one ended");
            let known = EpochRecord { epoch: KNOWN, ..named };
            assert_eq!(resolved(&known, &records, &last), Resolution::Continues(KNOWN));
            let restarted = EpochRecord { predecessor: Some(KNOWN), ..named };
            assert_eq!(resolved(&restarted, &records, &last), Resolution::New(Vec::new()));
        }
    }

    #[test]
    fn an_epoch_never_continues_the_one_before_it() {
        let restarted = EpochRecord { predecessor: Some(EpochId([2; 16])), ..FIRST };
        let alike = last(1, digest(1), 90);
        let resolved = resolve(&restarted, Some(KNOWN), &ours(1..=1), &alike, Timestamp(0));
        assert_eq!(resolved, Resolution::New(Vec::new()));
    }
}
