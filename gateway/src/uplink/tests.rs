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

fn journal(directory: &std::path::Path) -> Journal {
    let path = crate::journal::path(directory);
    let capacity = Capacity { entries: 1_000, bytes: 1_000_000 };
    let options =
        Options { path, gateway: "hall".to_owned(), capacity, syncs_per_second: None, reserve: 0 };
    Journal::open(&options).unwrap()
}

/// The newest, not the greatest: what was received while the clock stood ahead is passed over as soon
/// as something newer is there.
#[tokio::test]
async fn the_newest_entry_tells_the_time_below_which_no_certificate_is_judged() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    assert_eq!(newest(&journal), None, "an empty journal knows no time");
    let epoch = EpochId([1; 16]);
    let opens = EpochRecord { epoch, controller: CONTROLLER, predecessor: None, known_as: None };
    for (received, seconds) in [(9_000_999, Some(9_000)), (5_000_000, Some(5_000)), (-1, None)] {
        let transaction = Transaction { received: Timestamp(received), ..record(epoch) };
        let append = Append { opens: None, ..append(vec![transaction], opens) };
        journal.append(append).await.unwrap();
        assert_eq!(newest(&journal).map(|at| at.as_secs()), seconds);
    }
}

/// A journal put back to after an epoch's records and before it was known what they are, whose log
/// then restarts: the end of that epoch stands at the beginning of the next batch, and nothing of the
/// gateway was ever sent again.
#[tokio::test]
async fn a_batch_that_begins_with_a_note_of_an_unsettled_epoch_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
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
