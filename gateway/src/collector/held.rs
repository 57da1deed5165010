//! Entries that a salvage held back: they stood behind a hole in a damaged journal, and their
//! controller is read again from before that hole. What it still has is taken from it; what it has
//! overwritten meanwhile is taken from here, in the order of the log. Pure, but for [`release`].

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{Continuity, Gap, GapReason};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Transaction};

use crate::clock;
use crate::journal::{Append, Cursor, EpochRecord, Journal, JournalError};

/// How many are looked at and appended together.
pub(super) const CHUNK: usize = 128;

/// A held entry and its place among those of its controller.
pub(super) type Row = (u64, Transaction);

/// What is to happen with held entries before a pull is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Commit the pull; these are in it and no longer needed.
    Commit { drops: Option<u64> },
    /// Append these first, then look at the controller again from behind them.
    Release { upto: u64 },
    /// The pull has a gap within: commit what stands before it, then look again.
    CutAt(usize),
}

/// What a pull is, apart from what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Its epoch began when this journal met the controller as if for the first time: whether the log
    /// is the one whose entries are held is told by the records alone.
    pub(super) met_anew: bool,
    /// It reached the end of the log.
    pub(super) exhausted: bool,
}

/// Compares a pull with the first held entries of its controller.
pub(super) fn plan(pull: &Append, of: Circumstances, rows: &[Row]) -> Plan {
    let Some((all, _)) = rows.last() else { return Plan::Commit { drops: None } };
    let (epoch, read) = (pull.cursor.epoch, records(&pull.transactions));
    let Some(first) = read.keys().next().copied() else { return Plan::Commit { drops: None } };
    let (mut drops, mut below) = (None, None);
    // Where the controller names the lives of its log, their names alone tell them apart.
    let is_told_by_name = !of.met_anew || pull.controller.is_known_by_epoch();
    for (order, row) in rows {
        if row.origin.epoch() != epoch && is_told_by_name {
            // The log began anew since: all of what is held came before that.
            return Plan::Release { upto: *all };
        }
        let index = match row.origin {
            Origin::Controller { index, .. } => index,
            // A note goes with what stands before it.
            Origin::Gateway { after, .. } if after < first => {
                below = Some(*order);
                continue;
            }
            // Its turn comes when that was committed.
            Origin::Gateway { .. } => break,
        };
        match read.get(&index) {
            _ if index < first => below = Some(*order),
            Some(record) if record.record_digest() == row.record_digest() => drops = Some(*order),
            Some(_) if of.met_anew => return Plan::Release { upto: *all },
            Some(_) => drops = Some(*order),
            // A log never gets shorter: this is another one.
            None if index > pull.cursor.index && of.met_anew && of.exhausted => {
                return Plan::Release { upto: *all };
            }
            None if index > pull.cursor.index => break,
            None => return cut(pull),
        }
    }
    below.map_or(Plan::Commit { drops }, |upto| Plan::Release { upto })
}

fn records(transactions: &[Transaction]) -> BTreeMap<Index, &Transaction> {
    let index = |transaction: &Transaction| match transaction.origin {
        Origin::Controller { index, .. } => Some(index),
        Origin::Gateway { .. } => None,
    };
    transactions.iter().filter_map(|each| Some((index(each)?, each))).collect()
}

/// Before the first note that stands behind a record.
fn cut(pull: &Append) -> Plan {
    let is_record = |each: &Transaction| matches!(each.origin, Origin::Controller { .. });
    let record = pull.transactions.iter().position(is_record).unwrap_or(0);
    let rest = pull.transactions.get(record..).unwrap_or_default();
    let note = rest.iter().position(|each| !is_record(each));
    note.map_or(Plan::Commit { drops: None }, |note| Plan::CutAt(record + note))
}

/// The part of a pull before this transaction.
pub(super) fn cut_at(mut pull: Append, at: usize) -> Append {
    pull.transactions.truncate(at);
    if let Some(last) = pull.transactions.last()
        && let Origin::Controller { epoch, index, .. } = last.origin
    {
        pull.cursor = Cursor { epoch, index, anchor: last.record_digest() };
    }
    pull
}

/// The append of held entries behind a cursor, with a gap wherever one is missing. What the cursor covers
/// already is let go: `earlier` are the epochs before the cursor's. A cursor never goes back.
pub(super) fn append(
    controller: ControllerId,
    before: Option<Cursor>,
    earlier: &BTreeSet<EpochId>,
    rows: &[Row],
) -> Option<Append> {
    let mut transactions = Vec::new();
    let mut cursor = before;
    let mut next = before.map_or((None, Index(1)), |at| (Some(at.epoch), at.index.next()));
    let covered = |row: &Transaction| {
        let (epoch, at) = match row.origin {
            Origin::Controller { epoch, index, .. } => (epoch, index),
            // A note stands behind the record that it names.
            Origin::Gateway { epoch, after, .. } => (epoch, after.next()),
        };
        earlier.contains(&epoch)
            || before.is_some_and(|before| before.epoch == epoch && at <= before.index)
    };
    for (_, row) in rows.iter().filter(|(_, row)| !covered(row)) {
        match (row.origin, row.kind) {
            (Origin::Controller { epoch, index, .. }, _) => {
                if next.0.is_some_and(|known| known != epoch) {
                    next.1 = Index(1);
                }
                if index > next.1 {
                    let reason = match before {
                        None => GapReason::BeforeFirstContact,
                        Some(_) => GapReason::Overwritten,
                    };
                    transactions.push(gap(controller, epoch, next.1, index, reason));
                }
                let anchor = row.record_digest();
                cursor = Some(Cursor { epoch, index, anchor });
                next = (Some(epoch), index.next());
            }
            (Origin::Gateway { epoch, .. }, Kind::Gap(Gap { last: Some(last), .. })) => {
                next = (Some(epoch), last.next());
            }
            (Origin::Gateway { .. }, _) => {}
        }
        transactions.push(row.clone());
    }
    let drops_held = rows.last().map(|(order, _)| *order);
    Some(Append { controller, transactions, cursor: cursor?, opens: None, drops_held })
}

fn gap(
    controller: ControllerId,
    epoch: EpochId,
    first: Index,
    before: Index,
    reason: GapReason,
) -> Transaction {
    let last = Some(before.previous());
    let gap = Gap { first, last, reason, continuity: Continuity::Unproven };
    let origin = Origin::Gateway { controller, epoch, after: first.previous() };
    Transaction::noted(origin, Kind::Gap(gap), clock::utc())
}

/// The epochs of the log before the cursor's.
fn earlier(cursor: Option<Cursor>, epochs: &[EpochRecord]) -> BTreeSet<EpochId> {
    let before = |epoch: EpochId| {
        let record = epochs.iter().find(|record| record.epoch == epoch);
        record.and_then(|record| record.predecessor)
    };
    let mut found = BTreeSet::new();
    let mut next = cursor.and_then(|cursor| before(cursor.epoch));
    while let Some(epoch) = next.filter(|epoch| found.insert(*epoch)) {
        next = before(epoch);
    }
    found
}

/// Appends the held entries of a controller up to this one; where its cursor then stands.
pub(super) async fn release(
    journal: &Journal,
    controller: ControllerId,
    mut cursor: Option<Cursor>,
    upto: u64,
) -> Result<Option<Cursor>, JournalError> {
    let epochs = journal.reader().epochs()?;
    loop {
        let mut rows = journal.reader().held(controller, None, CHUNK)?;
        rows.retain(|(order, _)| *order <= upto);
        if rows.is_empty() {
            return Ok(cursor);
        }
        let earlier = earlier(cursor, &epochs);
        // Without a cursor the first of them is a record, and gives one.
        let Some(append) = append(controller, cursor, &earlier, &rows) else { return Ok(cursor) };
        cursor = Some(append.cursor);
        journal.append(append).await?;
    }
}

/// Appends all that is held of a controller that is not read any more. Waits while the journal is full.
pub(crate) async fn release_all(
    journal: Journal,
    controller: ControllerId,
    cursor: Option<Cursor>,
) -> Result<(), JournalError> {
    let mut state = journal.state();
    let mut cursor = cursor;
    loop {
        match release(&journal, controller, cursor, u64::MAX).await {
            Err(JournalError::Full { .. }) => {
                let room = state.wait_for(|state| state.ring.full.is_none()).await;
                if room.is_err() {
                    return Ok(());
                }
                cursor = journal.reader().cursors()?.get(&controller).copied();
            }
            Ok(_) => {
                tracing::info!(%controller, "held entries of a controller that is not configured were appended");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::transaction::RawRecord;
    use postern_protocol::{Digest, Timestamp};

    use super::*;

    const CONTROLLER: ControllerId = ControllerId::uhppote(1);
    const KNOWN: Circumstances = Circumstances { met_anew: false, exhausted: true };
    const ANEW: Circumstances = Circumstances { met_anew: true, exhausted: false };
    const E: EpochId = EpochId([1; 16]);

    fn record(epoch: EpochId, index: u64, life: u8) -> Transaction {
        let origin = Origin::Controller { controller: CONTROLLER, epoch, index: Index(index) };
        let raw = RawRecord::new(&[&[life][..], &index.to_be_bytes()].concat()).unwrap();
        Transaction { raw, ..Transaction::noted(origin, Kind::Granted, Timestamp(0)) }
    }

    fn pull(epoch: EpochId, indices: &[u64], opens: Option<EpochRecord>) -> Append {
        let transactions: Vec<_> = indices.iter().map(|index| record(epoch, *index, 1)).collect();
        let last = transactions.last().unwrap();
        let index = Index(*indices.last().unwrap());
        let cursor = Cursor { epoch, index, anchor: last.record_digest() };
        Append { controller: CONTROLLER, transactions, cursor, opens, drops_held: None }
    }

    fn rows(indices: &[u64]) -> Vec<Row> {
        indices.iter().map(|index| (*index, record(E, *index, 1))).collect()
    }

    fn first_contact(epoch: EpochId) -> Option<EpochRecord> {
        Some(EpochRecord { epoch, controller: CONTROLLER, predecessor: None, known_as: None })
    }

    #[test]
    fn what_is_read_again_is_dropped_and_what_follows_stays() {
        assert_eq!(
            plan(&pull(E, &[11, 12, 13, 14], None), KNOWN, &rows(&[13, 14, 15])),
            Plan::Commit { drops: Some(14) }
        );
        assert_eq!(
            plan(&pull(E, &[11, 12], None), KNOWN, &rows(&[13])),
            Plan::Commit { drops: None }
        );
    }

    #[test]
    fn what_the_controller_has_overwritten_comes_first() {
        assert_eq!(
            plan(&pull(E, &[15, 16], None), KNOWN, &rows(&[12, 13, 14, 15])),
            Plan::Release { upto: 14 }
        );
    }

    #[test]
    fn a_gap_within_a_pull_is_filled_before_what_stands_behind_it() {
        let mut broken = pull(E, &[11, 12, 20], None);
        broken
            .transactions
            .insert(2, gap(CONTROLLER, E, Index(13), Index(20), GapReason::Overwritten));
        assert_eq!(plan(&broken, KNOWN, &rows(&[14, 15])), Plan::CutAt(2));
        let part = cut_at(broken, 2);
        assert_eq!((part.transactions.len(), part.cursor.index), (2, Index(12)));
    }

    #[test]
    fn another_life_of_the_log_comes_behind_all_that_is_held() {
        let other = EpochId([2; 16]);
        let restarted = EpochRecord { predecessor: Some(E), ..first_contact(other).unwrap() };
        let pull = pull(other, &[1, 2], Some(restarted));
        assert_eq!(plan(&pull, KNOWN, &rows(&[12, 13])), Plan::Release { upto: 13 });
    }

    /// Nothing of the controller was left before the hole: it is met as if for the first time.
    #[test]
    fn a_controller_that_is_met_anew_is_known_by_its_records() {
        let new = EpochId([2; 16]);
        let same = pull(new, &[1, 2, 3], first_contact(new));
        assert_eq!(plan(&same, ANEW, &rows(&[2, 3, 4])), Plan::Commit { drops: Some(3) });
        let mut other = same;
        other.transactions[1] = record(new, 2, 9);
        assert_eq!(plan(&other, ANEW, &rows(&[2, 3, 4])), Plan::Release { upto: 4 });
    }

    /// The second pull opens no epoch, and was once taken for another life of the log: everything that
    /// was held came in mid-reading, behind a gap that claimed what was still there.
    #[test]
    fn a_controller_that_is_met_anew_is_read_up_to_what_is_held_however_many_pulls_that_takes() {
        let new = EpochId([2; 16]);
        let held = rows(&[10, 11]);
        assert_eq!(plan(&pull(new, &[3, 4], None), ANEW, &held), Plan::Commit { drops: None });
        let reached = plan(&pull(new, &[9, 10], None), ANEW, &held);
        assert_eq!(reached, Plan::Commit { drops: Some(10) });
        let end = Circumstances { exhausted: true, ..ANEW };
        assert_eq!(plan(&pull(new, &[3, 4], None), end, &held), Plan::Release { upto: 11 });
    }

    /// Two lives of such a log may begin with the same bytes: "powered on" by a clock that was not set. The
    /// held one was let go as if it had been read again.
    #[test]
    fn what_is_held_of_a_named_life_is_never_taken_for_what_another_one_gave() {
        let link = ControllerId::link(1);
        let other = EpochId([2; 16]);
        let opens = EpochRecord { controller: link, ..first_contact(other).unwrap() };
        let mut pull = pull(other, &[1, 2], Some(opens));
        pull.controller = link;
        let held = rows(&[1, 2]);
        for of in [ANEW, Circumstances { exhausted: true, ..ANEW }] {
            assert_eq!(plan(&pull, of, &held), Plan::Release { upto: 2 });
        }
    }

    #[test]
    fn released_entries_stand_between_exact_gaps() {
        let before =
            Cursor { epoch: E, index: Index(10), anchor: record(E, 10, 1).record_digest() };
        let append =
            append(CONTROLLER, Some(before), &BTreeSet::new(), &rows(&[13, 14, 17])).unwrap();
        let gaps: Vec<_> = append
            .transactions
            .iter()
            .filter_map(|each| match each.kind {
                Kind::Gap(gap) => Some((gap.first.0, gap.last.unwrap().0)),
                _ => None,
            })
            .collect();
        assert_eq!(gaps, [(11, 12), (15, 16)]);
        assert_eq!((append.cursor.index, append.drops_held), (Index(17), Some(17)));
    }

    fn note(after: u64) -> Transaction {
        let origin = Origin::Gateway { controller: CONTROLLER, epoch: E, after: Index(after) };
        let ended = Gap {
            first: Index(after + 1),
            last: None,
            reason: GapReason::EpochEnded,
            continuity: Continuity::Unproven,
        };
        Transaction::noted(origin, Kind::Gap(ended), Timestamp(0))
    }

    /// A note behind the last held record was never let go, and every pull looked at it again.
    #[test]
    fn a_held_note_has_its_turn_when_what_it_stands_behind_was_committed() {
        let held = vec![(13, record(E, 13, 1)), (14, record(E, 14, 1)), (15, note(14))];
        let reached = plan(&pull(E, &[13, 14], None), KNOWN, &held);
        assert_eq!(reached, Plan::Commit { drops: Some(14) });
        let then = plan(&pull(E, &[15, 16], None), KNOWN, &held[2..]);
        assert_eq!(then, Plan::Release { upto: 15 });
        let before = Cursor { epoch: E, index: Index(14), anchor: Digest::default() };
        let append = append(CONTROLLER, Some(before), &BTreeSet::new(), &held[2..]).unwrap();
        assert_eq!((append.cursor, append.transactions.len()), (before, 1));
    }

    /// Held entries that come back although they were let go, from pages of a file that rotted again.
    #[test]
    fn a_release_never_takes_a_cursor_back() {
        let held = rows(&[12, 13, 14, 15]);
        let before = Cursor { epoch: E, index: Index(14), anchor: Digest::default() };
        let same = append(CONTROLLER, Some(before), &BTreeSet::new(), &held).unwrap();
        assert_eq!((same.cursor.index, same.transactions.len()), (Index(15), 1));
        let later = Cursor { epoch: EpochId([2; 16]), index: Index(3), ..before };
        let epochs =
            [EpochRecord { predecessor: Some(E), ..first_contact(EpochId([2; 16])).unwrap() }];
        let earlier = earlier(Some(later), &epochs);
        let other = append(CONTROLLER, Some(later), &earlier, &held).unwrap();
        assert_eq!((other.cursor, other.transactions.len()), (later, 0));
        assert_eq!(other.drops_held, Some(15));
    }
}
