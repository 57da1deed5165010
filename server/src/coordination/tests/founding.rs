//! How the voters begin, and how one that has nothing joins them.

use std::fs;

use super::net::{NAMES, OTHER, Site, eventually};
use crate::coordination::{Leadership, Standing, VoterFile, Words};
use crate::role::conformance::{document, version};

#[tokio::test]
async fn they_are_founded_when_all_three_are_there_and_empty() {
    let site = Site::new();
    site.start("a").await;
    site.start("b").await;
    site.stands("a", Standing::Founding).await;
    site.stands("b", Standing::Newcomer).await;
    assert_eq!(site.voter("b").status().node, None);
    // It is no matter of time: the third one has not been heard.
    assert!(site.voter("a").read().await.is_err());
    assert!(site.voter("a").status().position.is_empty());
    site.start("w").await;
    let members = site.members("a").await;
    assert_eq!(members.values().copied().collect::<Vec<_>>(), [1, 2, 3]);
    site.leader().await;
    assert_eq!(site.voter("b").read().await.unwrap(), None);
    let first = document(version(1, 0), "first");
    let raise = |name| {
        let (voter, first) = (site.voter(name), first.clone());
        async move { voter.raise(version(1, 0), first, Words::default()).await.unwrap() }
    };
    assert!(raise("w").await);
    assert!(!raise("b").await);
    for name in NAMES {
        site.applies(name, &first).await;
        assert_eq!(site.voter(name).status().node, Some(members[name]));
        assert_eq!(site.voter(name).last_change().unwrap().0, version(1, 0));
    }
}

/// A server that was set up a second time finds its site founded, and must not found another one.
#[tokio::test]
async fn a_founders_empty_file_joins_voters_that_are_founded_already() {
    let site = Site::with_document().await;
    site.stop("a").await;
    fs::remove_file(site.file("a")).unwrap();
    VoterFile::found(site.dir("a"), 1, "a").unwrap();
    site.start("a").await;
    site.applies("a", &document(version(1, 0), "first")).await;
    assert!(site.dir("a").join("voter.redb.outdated-1").exists());
    let members = site.members("a").await;
    assert_eq!(members["a"], 4);
}

#[tokio::test]
async fn a_voter_that_lost_its_file_comes_back_as_another_node_and_its_old_file_stays_out() {
    let site = Site::with_document().await;
    let before = site.members("a").await;
    site.stop("b").await;
    let kept = site.dir("b").join("kept");
    fs::rename(site.file("b"), &kept).unwrap();
    site.start("b").await;
    site.applies("b", &document(version(1, 0), "first")).await;
    let after = site.members("b").await;
    assert_eq!((after["a"], after["w"], after["b"]), (before["a"], before["w"], 4));
    site.stands("b", Standing::Voting).await;
    // Its vote counts: another one dies, and two are enough.
    site.members("a").await;
    site.stop("w").await;
    site.leader().await;
    assert!(site.swap("b", version(1, 0), version(2, 0)).await.unwrap());
    site.start("w").await;
    site.applies("w", &document(version(2, 0), "")).await;

    // The old disk is put back: that node is none of the voters any more.
    site.stop("b").await;
    fs::rename(&kept, site.file("b")).unwrap();
    site.start("b").await;
    site.applies("b", &document(version(2, 0), "")).await;
    assert!(site.dir("b").join("voter.redb.outdated-1").exists());
    assert_eq!(site.members("b").await["b"], 5);
}

/// A witness was set up anew under another name. The earlier one stayed a voter: of four, one dead for ever, so
/// that no second one could be lost.
#[tokio::test]
async fn a_voter_under_another_name_takes_the_place_of_one_that_is_no_longer_configured() {
    let site = Site::with_document().await;
    assert!(site.voter("a").status().unconfigured.is_empty());
    for name in NAMES {
        site.stop(name).await;
    }
    let all = [OTHER, "a", "b"];
    site.start_among("a", all).await;
    site.start_among("b", all).await;
    site.stands("a", Standing::Voting).await;
    site.leader().await;
    assert_eq!(site.voter("a").status().unconfigured, ["w".to_owned()].into());
    site.start_among(OTHER, all).await;
    site.stands(OTHER, Standing::Voting).await;
    for name in all {
        let voter = site.voter(name);
        let only = || {
            let members = voter.status().members;
            let counted = members.values().filter(|at| at.votes).map(|at| at.name.as_str());
            (counted.collect::<Vec<_>>() == ["a", "b", OTHER] && members.len() == 3).then_some(())
        };
        eventually("the members that are configured", only).await;
        assert!(voter.status().unconfigured.is_empty());
    }
    // Two of three are enough again.
    site.stop("b").await;
    let mut leadership = site.voter("a").leadership();
    let follows = |present: &Leadership| match present {
        Leadership::Leading { .. } => true,
        Leadership::Following { leader } => leader == OTHER,
        Leadership::None => false,
    };
    leadership.wait_for(follows).await.unwrap();
    assert!(site.swap("a", version(1, 0), version(2, 0)).await.unwrap());
    site.applies(OTHER, &document(version(2, 0), "")).await;
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_its_voter_joins_anew() {
    let site = Site::with_document().await;
    site.stop("w").await;
    fs::write(site.file("w"), [0; 4_096]).unwrap();
    site.start("w").await;
    site.applies("w", &document(version(1, 0), "first")).await;
    assert!(site.dir("w").join("voter.redb.damaged-1").exists());
    assert_eq!(site.members("w").await["w"], 4);
    let voter = site.voter("w");
    eventually("a vote", || (voter.status().standing == Standing::Voting).then_some(())).await;
}
