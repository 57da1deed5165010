//! What was once wrong.

use super::*;

/// A counter that had gone far and began anew was taken for one that wrapped: tens of thousands of cards were lost that never
/// were, and registers of zeros were records.
#[tokio::test]
async fn a_device_that_had_counted_far_and_restarts_loses_nothing_and_makes_nothing_up() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.goes_on(40_000, postern_protocol::Digest::of("known", &[]));
    rig.with(|device| device.set_count(40_000));
    rig.swipe([7]);
    assert_eq!(rig.told().await.records, [(0, 40_001, 7)]);
    rig.with(rig::Device::restart);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (vec![], vec![]));
    let mut rig = Rig::new(How::Ring).await;
    rig.swipe(1..=40_000);
    rig.rests(3).await;
    rig.with(rig::Device::restart);
    assert_eq!(rig.told().await.records, vec![]);
}
