use postern_protocol::transaction::{Continuity, Gap, GapReason, RawRecord};
use postern_protocol::{Kind, Timestamp};

use super::*;
use crate::journal::{Append, Capacity, Cursor, Options};

const CONTROLLER: ControllerId = ControllerId::uhppote(1);

fn append(transactions: Vec<Transaction>, opens: EpochRecord) -> Append {
    let cursor = Cursor { epoch: opens.epoch, index: Index(1), anchor: Digest::default() };
    Append { controller: CONTROLLER, transactions, cursor, opens: Some(opens), drops_held: None }
}

fn record(epoch: EpochId) -> Transaction {
    let origin = Origin::Controller { controller: CONTROLLER, epoch, index: Index(1) };
    let raw = RawRecord::new(&epoch.0).unwrap();
    Transaction { raw, ..Transaction::noted(origin, Kind::Granted, Timestamp(0)) }
}

/// A journal put back to after an epoch's records and before it was known what they are, whose log
/// then restarts: the end of that epoch stands at the beginning of the next batch, and nothing of the
/// gateway was ever sent again.
#[tokio::test]
async fn a_batch_that_begins_with_a_note_of_an_unsettled_epoch_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = crate::journal::path(directory.path());
    let capacity = Capacity { entries: 1_000, bytes: 1_000_000 };
    let options =
        Options { path, gateway: "hall".to_owned(), capacity, syncs_per_second: None, reserve: 0 };
    let journal = Journal::open(&options).unwrap();
    let (old, new) = (EpochId([1; 16]), EpochId([2; 16]));
    let opens =
        EpochRecord { epoch: old, controller: CONTROLLER, predecessor: None, known_as: None };
    journal.append(append(vec![record(old)], opens)).await.unwrap();
    let ended = Gap {
        first: Index(2),
        last: None,
        reason: GapReason::EpochEnded,
        continuity: Continuity::Unproven,
    };
    let origin = Origin::Gateway { controller: CONTROLLER, epoch: old, after: Index(1) };
    let note = Transaction::noted(origin, Kind::Gap(ended), Timestamp(0));
    let restarted = EpochRecord { epoch: new, predecessor: Some(old), ..opens };
    journal.append(append(vec![note, record(new)], restarted)).await.unwrap();

    let client = Client::to_nobody();
    let step = batch(&client, &journal, &mut BTreeMap::new(), Seq(1)).await;
    // The new epoch's record is there, so the server is asked about it.
    assert!(matches!(step, Err(Step::Failed(_))), "nothing to send");
    let settled = journal.reader().epochs().unwrap();
    assert!(settled.contains(&EpochRecord { known_as: Some(old), ..opens }), "{settled:?}");
}
