//! A number beside the newest card.

use super::*;

#[tokio::test]
async fn gaps_are_exact_and_the_number_wraps() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.with(|device| device.set_count(4));
    rig.swipe([50]);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (vec![(0, 5, 50)], vec![(0, 1, Some(4))]));
    rig.swipe([60]);
    assert_eq!(rig.told().await.records, [(0, 6, 60)]);
    rig.swipe([70, 80, 90]);
    let told = rig.told().await;
    assert_eq!((told.records, told.gaps), (vec![(0, 9, 90)], vec![(0, 7, Some(8))]));

    rig.goes_on(65_534, postern_protocol::Digest::of("known", &[]));
    rig.with(|device| device.set_count(65_534));
    for (count, card) in [(65_535, 1), (65_536, 2), (65_537, 3)] {
        rig.swipe([card]);
        assert_eq!(rig.told().await.records, [(0, count, u64::from(card))]);
    }
    rig.with(|device| device.set_count(32_000));
    rig.swipe([4]);
    let told = rig.told().await;
    let (missing, newest) = ((0, 65_538, Some(97_536)), (0, 97_537, 4));
    assert_eq!((told.records, told.gaps), (vec![newest], vec![missing]));
    assert_eq!(rig.contradictions(), 0);
}

/// A gateway that starts with a cursor far beyond what the counter can show goes on from there.
#[tokio::test]
async fn a_gateway_that_starts_anew_goes_on() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.goes_on(200_000, postern_protocol::Digest::of("known", &[]));
    // 200,000 shows as 3,392.
    rig.with(|device| device.set_count(3_393));
    rig.swipe([7]);
    let told = rig.told().await;
    assert_eq!(
        (told.records, told.gaps),
        (vec![(0, 200_002, 7)], vec![(0, 200_001, Some(200_001))])
    );
    rig.crash();
    assert_eq!(rig.told().await, rig::Told::default());
    rig.swipe([8]);
    rig.crash();
    assert_eq!(rig.told().await.records, [(0, 200_003, 8)]);
}

#[tokio::test]
async fn a_device_that_counts_anew_is_another_life() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.with(|device| device.set_count(99));
    rig.swipe([1]);
    assert_eq!(rig.told().await.records, [(0, 100, 1)]);
    rig.with(rig::Device::restart);
    assert_eq!(rig.told().await.records, [], "it has shown nothing yet");
    rig.swipe([2, 3]);
    let told = rig.told().await;
    assert_eq!(told.records, [(1, 2, 3)]);
    assert_eq!(told.gaps, [(0, 101, None), (1, 1, Some(1))]);
    assert_eq!((rig.contradictions(), rig.driver.counters(0).nonsense), (0, 0));
}

/// First the page names another life, and then its ends do.
#[tokio::test]
async fn a_page_names_the_other_life_and_then_its_ends_do() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.swipe([1, 2, 3]);
    let page = rig.page(None).await.unwrap();
    let known = page.records[0].clone();
    assert_eq!((page.epoch, known.index.0), (Some(FIRST), 3));
    rig.with(rig::Device::restart);
    rig.swipe([4, 5]);
    let other = rig.page(Some(&known)).await.unwrap();
    assert_eq!((other.records.len(), other.then), (0, Then::More));
    assert_ne!(other.epoch, Some(FIRST));
    let again = rig.page(Some(&known)).await.unwrap();
    assert_eq!(again, other);
    let ends = rig.driver.bounds(0).await.unwrap().unwrap();
    assert_eq!((ends.epoch, ends.oldest.0, ends.newest.0), (other.epoch, 2, 2));
}

/// A life that nobody could commit anything of, and another one after it: the journal knows the one before both.
#[tokio::test]
async fn a_journal_that_knows_an_earlier_life_is_told_of_the_present_one() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.swipe([1, 2, 3]);
    let known = rig.page(None).await.unwrap().records[0].clone();
    for _ in 0..2 {
        rig.with(rig::Device::restart);
        rig.page(Some(&known)).await.unwrap();
        rig.driver.bounds(0).await.unwrap();
        rig.swipe([4]);
        rig.driver.bounds(0).await.unwrap();
    }
    // By its number alone it goes on from what is known.
    rig.swipe([5, 6, 7, 8, 9]);
    let page = rig.page(Some(&known)).await.unwrap();
    assert_ne!(page.epoch, Some(FIRST));
    assert_eq!(page.records, []);
}

#[tokio::test]
async fn the_same_number_with_another_card_is_another_life_and_with_none_is_nothing() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.swipe([1, 2, 3]);
    assert_eq!(rig.told().await.records, [(0, 3, 3)]);
    rig.with(|device| device.set_card(0));
    rig.crash();
    assert_eq!(rig.told().await, rig::Told::default());
    rig.with(|device| device.set_card(9));
    let told = rig.told().await;
    assert_eq!(told.records, [(1, 3, 9)]);
    assert_eq!(told.gaps, [(0, 4, None), (1, 1, Some(2))]);
}

/// A device writes one register after the other: what was seen between the card and the number was another life.
#[tokio::test]
async fn a_card_that_is_shown_before_its_number_is_no_other_life() {
    let mut rig = Rig::new(How::Sequence).await;
    rig.swipe([1]);
    rig.rests(3).await;
    rig.with(|device| device.set_card(2));
    rig.rests(0).await;
    rig.rests(1).await;
    rig.with(|device| {
        device.set_count(2);
        device.set_card(2);
    });
    let told = rig.told().await;
    assert_eq!((told.epochs, told.records), (vec![FIRST], vec![(0, 2, 2)]));
    // One that is not it when the number comes was by itself.
    rig.with(|device| device.set_card(3));
    rig.rests(1).await;
    rig.swipe([4]);
    assert_eq!(rig.told().await.records, [(1, 3, 4)]);
}

#[tokio::test]
async fn what_could_not_be_committed_is_handed_on_again_though_the_device_has_another_card() {
    // At the first contact, and later; once, and twice in a row.
    for (before, full) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let mut rig = Rig::new(How::Sequence).await;
        rig.swipe(1..=before);
        rig.rests(3).await;
        rig.is_full = full;
        rig.swipe([10]);
        while rig.is_full > 0 {
            let left = rig.is_full;
            let one = rig.next_commit();
            one.await;
            assert!(rig.is_full < left);
            rig.swipe([11]);
        }
        rig.told().await;
        let told = rig::Told::of(&rig.stored);
        let cards: Vec<u64> = told.records.iter().map(|(_, _, card)| *card).collect();
        assert!(cards.contains(&10), "{before} {full}: {told:?}");
        let lost = u64::from(full - 1);
        let missing: u64 = told.gaps.iter().map(|(_, first, last)| last.unwrap() + 1 - first).sum();
        assert_eq!((missing, told.epochs.len()), (lost, 1), "{before} {full}: {told:?}");
    }
}

/// One number that makes no sense is no other life, and no gap either.
#[tokio::test]
async fn one_wrong_number_is_an_error_and_nothing_else() {
    for how in [How::Sequence, How::Ring] {
        for lie in [0, 50, 120, 20_000, 32_000, 33_000, 60_000, 65_535] {
            let mut rig = Rig::new(how).await;
            rig.with(|device| device.set_count(99));
            rig.swipe([1]);
            rig.rests(3).await;
            let before = rig.stored.len();
            rig.with(|device| device.lies.extend([lie]));
            rig.rests(3).await;
            assert_eq!(rig.stored.len(), before, "{how:?} {lie}: {:?}", rig.stored);
            assert_eq!(rig.driver.counters(0).nonsense, 1, "{how:?} {lie}");
            rig.swipe([2]);
            assert_eq!(rig.told().await.records, [(0, 101, 2)], "{how:?} {lie}");
        }
    }
}
