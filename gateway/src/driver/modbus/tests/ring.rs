//! Records in a ring of registers, and the number of the newest.

use postern_protocol::Index;

use super::*;
use rig::RECORDS;

const KEPT: u64 = RECORDS as u64 - 1;

fn cards(from: u64, to: u64) -> Vec<(usize, u64, u64)> {
    (from..=to).map(|number| (0, number, number)).collect()
}

async fn rig(swipes: u32) -> Rig {
    let rig = Rig::new(How::Ring).await;
    rig.swipe(1..=swipes);
    rig
}

#[tokio::test]
async fn it_is_drained_and_what_was_overwritten_is_a_gap() {
    let mut rig = rig(40).await;
    let told = rig.told().await;
    let oldest = 40 - KEPT + 1;
    assert_eq!((told.records, told.gaps), (cards(oldest, 40), vec![(0, 1, Some(oldest - 1))]));
    rig.swipe(41..=50);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(41, 50), vec![]));
    rig.swipe(51..=90);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(76, 90), vec![(0, 51, Some(75))]));
    rig.crash();
    assert_eq!(rig.told().await, rig::Told::default(), "what is known is there still");
    assert_eq!(rig.contradictions(), 0);
}

/// More than a pull takes lay between what is known and what is there: nothing was read, for ever, as fast as the line
/// went.
#[tokio::test]
async fn an_overrun_of_more_than_a_pull_is_one_gap() {
    let mut rig = rig(3).await;
    rig.rests(3).await;
    rig.swipe(4..=10_000);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(9_986, 10_000), vec![(0, 4, Some(9_985))]));
}

#[tokio::test]
async fn the_number_wraps_and_so_does_the_ring() {
    let mut rig = rig(65_530).await;
    rig.rests(3).await;
    rig.swipe(65_531..=65_540);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(65_531, 65_540), vec![]));
    // A gateway that starts with that goes on.
    rig.swipe(65_541..=65_545);
    rig.crash();
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(65_541, 65_545), vec![]));
}

#[tokio::test]
async fn what_is_overwritten_while_it_is_read_is_a_gap_and_never_another_record() {
    let mut rig = rig(3).await;
    rig.rests(3).await;
    rig.swipe(4..=16);
    // The counter was read; now the records are, and before they are, eight more came.
    rig.with(|device| {
        let mut next = 17;
        device.hook = Some(Box::new(move |device, address| {
            if address > 101 && next == 17 {
                (next..next + 8).for_each(|card| device.swipe(card));
                next += 8;
            }
        }));
    });
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(10, 24), vec![(0, 4, Some(9))]));
}

#[tokio::test]
async fn a_record_that_is_known_and_is_another_now_is_another_life() {
    let mut rig = rig(5).await;
    rig.rests(3).await;
    rig.with(rig::Device::restart);
    rig.swipe(101..=107);
    rig.crash();
    let told = rig.told().await;
    let anew: Vec<_> = (1..=7).map(|number| (1, number, number + 100)).collect();
    assert_eq!((told.records, told.gaps), (anew, vec![(0, 6, None)]));
    assert_eq!(rig.contradictions(), 0);
}

#[tokio::test]
async fn a_device_that_counts_anew_is_read_from_its_first_record() {
    let mut rig = rig(300).await;
    rig.rests(3).await;
    rig.with(rig::Device::restart);
    rig.swipe([1, 2]);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (vec![(1, 1, 1), (1, 2, 2)], vec![(0, 301, None)]));
}

#[tokio::test]
async fn a_commit_that_failed_is_read_again_and_what_is_gone_by_then_is_a_gap() {
    let mut rig = rig(3).await;
    rig.rests(3).await;
    rig.is_full = 1;
    rig.swipe(4..=8);
    rig.next_commit().await;
    rig.swipe(9..=20);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (cards(6, 20), vec![(0, 4, Some(5))]));
}

/// What was known stood in the last place of the ring, by itself in what one request reads; on a busy line there was no
/// time for another. It was read again and again, and nothing behind it, for ever.
#[tokio::test]
async fn a_pull_that_has_no_time_left_reads_what_is_behind_the_record_that_is_known() {
    let known = u64::from(RECORDS);
    let mut rig = rig(u32::from(RECORDS)).await;
    rig.rests(3).await;
    let newest = rig.stored.last().expect("a record of the ring");
    let committed = Some((Index(known), newest.record_digest()));
    rig.swipe(17..=20);
    let (from, epoch, until) = (Index(known + 1), Some(rig::FIRST), Instant::now());
    let span = Span { from, at_most: 64, until, epoch, committed, shared: true };
    let page = rig.driver.fetch(0, span).await.expect("a page");
    let read: Vec<_> = page.records.iter().map(|record| record.index.0).collect();
    assert_eq!(read, [17, 18, 19, 20]);
}
