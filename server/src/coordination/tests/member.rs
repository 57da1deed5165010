//! Changes of the members that did not go as they should.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use futures_util::FutureExt;

use super::net::{NAMES, Site, eventually, others};
use crate::coordination::Standing;
use crate::coordination::message::{Answer, Body, Envelope, decode, encode};
use crate::coordination::types::{Command, VoterAddress};
use crate::role::conformance::{document, version};

/// A leader was lost between the two steps in which the members change. From then on each decision needed a majority
/// of both sets, one of which had a dead voter in it: the next failure would have been one too many, and nothing
/// said so.
#[tokio::test]
async fn a_change_of_the_members_that_a_leader_left_half_done_is_ended_by_the_next_one() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [lost, third] = others(leader);
    let voter = site.voter(leader);
    // Nobody makes the newcomer a voter but this test.
    let mut held = Vec::new();
    for name in [leader, third] {
        held.push(site.voter(name).shared.changing.clone().lock_owned().await);
    }
    site.stop(lost).await;
    fs::remove_file(site.file(lost)).unwrap();
    site.start(lost).await;
    site.stands(lost, Standing::Joining).await;
    let newcomer = site.voter(lost).status().node.unwrap();
    let raft = voter.shared.raft().unwrap();
    let address = VoterAddress { name: lost.into(), address: String::new() };
    raft.add_learner(newcomer, address, true).await.unwrap();
    let node = |name: &str| site.voter(name).status().node.unwrap();
    let next = BTreeSet::from([node(leader), node(third), newcomer]);
    // Polled once, the first step is under way, and the second one never comes.
    assert!(raft.change_membership(next.clone(), false).now_or_never().is_none());
    let sets = |name| {
        let state = site.voter(name).shared.applied.borrow().clone();
        state.membership.membership().get_joint_config().clone()
    };
    eventually("both sets", || (sets(leader).len() == 2).then_some(())).await;
    site.stop(leader).await;
    drop(held);
    site.start(leader).await;
    for name in NAMES {
        eventually("one set", || (sets(name) == [next.clone()]).then_some(())).await;
        site.stands(name, Standing::Voting).await;
    }
    assert_eq!(site.members(third).await[lost], newcomer);
    // And of that set any two decide.
    site.stop(leader).await;
    site.leader().await;
    assert!(site.swap(third, version(1, 0), version(2, 0)).await.unwrap());
    site.applies(lost, &document(version(2, 0), "")).await;
}

/// A newcomer asked twice, since the first answer did not come, and what it had asked first was done last. It waited
/// under a node id that was not the latest one, until somebody restarted it.
#[tokio::test]
async fn a_newcomer_that_was_admitted_twice_begins_anew() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [lost, _] = others(leader);
    let mut held = Vec::new();
    for name in NAMES.into_iter().filter(|name| *name != lost) {
        held.push(site.voter(name).shared.changing.clone().lock_owned().await);
    }
    site.stop(lost).await;
    fs::remove_file(site.file(lost)).unwrap();
    site.start(lost).await;
    site.stands(lost, Standing::Joining).await;
    assert_eq!(site.voter(lost).status().node, Some(4));
    let raft = site.voter(leader).shared.raft().unwrap();
    raft.client_write(Command::Admit { name: lost.into() }).await.unwrap();
    drop(held);
    let node = || site.voter(lost).status().node.filter(|node| *node == 6);
    eventually("another node id", node).await;
    site.stands(lost, Standing::Voting).await;
    assert_eq!(site.members(leader).await[lost], 6);
    site.applies(lost, &document(version(1, 0), "first")).await;
}

/// Whoever was asked first said that it made the newcomer a voter, and the leader was never asked.
#[tokio::test]
async fn a_newcomer_joins_whatever_the_voter_says_that_does_not_lead() {
    let site = Site::with_document().await;
    let hostile = NAMES.into_iter().min().unwrap();
    // It is asked first, and must not lead.
    site.stop(hostile).await;
    site.leader().await;
    site.start(hostile).await;
    site.stands(hostile, Standing::Voting).await;
    let leader = site.leader().await;
    let lost = others(hostile).into_iter().find(|name| *name != leader).unwrap();
    let lie = |message: &[u8]| {
        let Envelope { body: Body::Join, .. } = decode(message).ok()? else { return None };
        encode(&Answer::Joining)
    };
    site.lines.lies(Some((hostile, Arc::new(lie))));
    site.stop(lost).await;
    fs::remove_file(site.file(lost)).unwrap();
    site.start(lost).await;
    site.stands(lost, Standing::Voting).await;
    assert_eq!(site.members(leader).await[lost], 4);
}

/// The same as of one that was admitted twice, after it had become a voter: it was set aside at its next start, though nothing had taken its place.
#[tokio::test]
async fn a_voter_whose_earlier_admission_is_carried_out_late_stays_one() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [again, _] = others(leader);
    let node = site.voter(again).status().node;
    let raft = site.voter(leader).shared.raft().unwrap();
    raft.client_write(Command::Admit { name: again.into() }).await.unwrap();
    for name in NAMES {
        let applied = || {
            let state = site.voter(name).shared.applied.borrow().clone();
            state.admitted.contains_key(again).then_some(())
        };
        eventually("the admission", applied).await;
    }
    site.stop(again).await;
    site.start(again).await;
    site.stands(again, Standing::Voting).await;
    assert_eq!(site.voter(again).status().node, node);
    assert!(!site.dir(again).join("voter.redb.outdated-1").exists());
}
