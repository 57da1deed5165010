//! What can become of a voter while the others go on.

use std::fs;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::net::{NAMES, Site, eventually, others};
use crate::coordination::message::Answer;
use crate::coordination::shared::lock;
use crate::coordination::{Leadership, Standing, Words};
use crate::role::conformance::{document, version};

#[tokio::test]
async fn a_leader_dies_and_another_one_goes_on() {
    let site = Site::with_document().await;
    let first = site.leader().await;
    assert!(site.voter(first).quorum_age().is_some());
    let [left, right] = others(first);
    assert!(site.voter(left).quorum_age().is_none());
    site.stop(first).await;
    site.leader().await;
    assert!(site.swap(left, version(1, 0), version(2, 0)).await.unwrap());
    assert!(!site.swap(right, version(1, 0), version(2, 0)).await.unwrap());
    site.start(first).await;
    for name in NAMES {
        site.applies(name, &document(version(2, 0), "")).await;
    }
    site.stands(first, Standing::Voting).await;
}

#[tokio::test]
async fn the_leader_alone_swaps_on_the_spot() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    for name in NAMES {
        let next = document(version(2, 0), "here");
        let swapped =
            site.voter(name).swap_here(version(1, 0), version(2, 0), next, Words::default()).await;
        assert_eq!(swapped.is_ok(), name == leader, "{name}: {swapped:?}");
    }
    let read = site.voter("a").read().await.unwrap();
    assert_eq!(read, Some(document(version(2, 0), "here")));
}

/// Leases were renewed by way of the third voter, and documents were not: with the one line cut, a server
/// was active and could not hand its role over.
#[tokio::test]
async fn a_change_goes_by_way_of_the_third_voter_where_the_line_to_the_leader_is_cut() {
    for quiet in [false, true] {
        let site = Site::with_document().await;
        let leader = site.leader().await;
        let [cut_off, third] = others(leader);
        site.lines.cut_between(cut_off, leader, quiet);
        let swap = || site.swap(cut_off, version(1, 0), version(2, 0));
        let swapped = match swap().await {
            // Nobody knows what became of it, but for this test: it was not delivered.
            Err(_) if quiet => swap().await,
            first => first,
        };
        assert!(swapped.unwrap(), "quiet: {quiet}");
        let next = document(version(2, 0), "");
        assert_eq!(site.voter(cut_off).read().await.unwrap(), Some(next.clone()));
        site.applies(third, &next).await;
    }
}

/// Whoever asks for a claim may hang up in the middle of it.
#[tokio::test]
async fn a_swap_on_the_spot_goes_on_when_its_caller_does_not() {
    let site = Site::with_document().await;
    let voter = site.voter(site.leader().await);
    let next = document(version(2, 0), "here");
    let swap = voter.swap_here(version(1, 0), version(2, 0), next.clone(), Words::default());
    assert!(swap.now_or_never().is_none(), "it was polled once, and dropped");
    for name in NAMES {
        site.applies(name, &next).await;
    }
}

#[tokio::test]
async fn a_follower_that_is_asked_to_holds_an_election_once_the_leader_is_dead() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [left, right] = others(leader);
    site.stop(leader).await;
    let mut leadership = site.voter(left).leadership();
    // The other one refuses until it has not heard the leader for its own time-out.
    let won = async {
        while !matches!(*leadership.borrow_and_update(), Leadership::Leading { .. }) {
            site.voter(left).elect().await;
            if matches!(&*site.voter(right).leadership().borrow(), Leadership::Leading { .. }) {
                return;
            }
            let _ =
                tokio::time::timeout(std::time::Duration::from_millis(20), leadership.changed())
                    .await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), won).await.unwrap();
    assert!(site.swap(left, version(1, 0), version(2, 0)).await.unwrap());
}

/// A copy of a voter's disk was put back while another voter was dead. With its old file it could vote
/// for a leader that lacks what it had helped to commit.
#[tokio::test]
async fn a_voter_with_an_old_file_does_not_vote_and_nothing_is_lost() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [restored, other] = others(leader);
    site.stop(restored).await;
    let copy = fs::read(site.file(restored)).unwrap();
    site.start(restored).await;
    site.stands(restored, Standing::Voting).await;
    assert!(site.swap(other, version(1, 0), version(2, 0)).await.unwrap());
    for name in NAMES {
        site.applies(name, &document(version(2, 0), "")).await;
    }
    // Whoever leads, the other one is told how far it has come; in a running site every half second.
    for from in NAMES {
        let position = site.voter(from).position();
        for to in others(from) {
            site.voter(to).on_position(from, &position).unwrap();
        }
    }
    site.stop(leader).await;
    site.stop(restored).await;
    fs::write(site.file(restored), copy).unwrap();
    let voter = site.start(restored).await;
    site.stands(restored, Standing::Newcomer).await;
    assert!(site.dir(restored).join("voter.redb.outdated-1").exists());
    assert_eq!(voter.status().node, None);
    // It votes for nobody: of three voters one is left.
    assert!(site.voter(other).read().await.is_err());
    let kept = document(version(2, 0), "");
    assert_eq!(site.voter(other).documents().borrow().as_ref(), Some(&kept));

    // The third one returns. Two are a majority, which admits the newcomer.
    site.start(leader).await;
    let members = site.members(restored).await;
    assert_eq!(members[restored], 4);
    for name in NAMES {
        site.applies(name, &kept).await;
        assert_eq!(site.voter(name).read().await.unwrap(), Some(kept.clone()));
        assert_eq!(site.voter(name).status().failure, None);
    }
    assert!(site.swap(restored, version(2, 0), version(3, 0)).await.unwrap());
}

#[tokio::test]
async fn without_a_majority_nothing_is_read_or_changed_and_then_all_goes_on() {
    let site = Site::with_document().await;
    site.stop("a").await;
    site.stop("b").await;
    assert!(site.voter("w").read().await.is_err());
    assert!(site.swap("w", version(1, 0), version(2, 0)).await.is_err());
    // One that starts where nobody answers waits.
    site.stop("w").await;
    site.start("w").await;
    site.stands("w", Standing::Checking).await;
    assert_eq!(site.voter("w").status().leader, None);
    site.start("a").await;
    site.stands("a", Standing::Voting).await;
    site.leader().await;
    // Of the swap that failed nobody knew whether it was stored.
    let read = site.voter("a").read().await.unwrap().unwrap();
    let (first, second) = (document(version(1, 0), "first"), document(version(2, 0), ""));
    assert!(read == first || read == second);
}

/// A server was left alone and led on. Each document that it was to keep became an entry that nobody else had, so
/// that its log grew for as long as it was asked, and it was asked again and again.
#[tokio::test]
async fn a_leader_without_a_majority_writes_nothing() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    for name in others(leader) {
        site.stop(name).await;
    }
    let voter = site.voter(leader);
    let raft = voter.shared.raft().unwrap();
    let entries = || raft.metrics().borrow().last_log_index.unwrap();
    // Whom a majority acknowledged a moment ago is believed without asking.
    let lately = voter.shared.timing.shortest();
    let alone = || voter.quorum_age().is_none_or(|age| age > lately).then_some(());
    eventually("nobody to acknowledge it", alone).await;
    let before = entries();
    let swaps = join_all((0..50).map(|_| site.swap(leader, version(1, 0), version(2, 0))));
    let admissions = join_all((0..50).map(|_| voter.shared.admit(others(leader)[0])));
    let (swaps, admissions) = tokio::join!(swaps, admissions);
    assert!(entries() <= before + 1, "{} entries after {before}", entries());
    assert!(swaps.into_iter().all(|swapped| swapped.is_err()));
    for answer in admissions {
        assert!(matches!(answer, Ok(Answer::NotLeader(_))));
    }
    for name in others(leader) {
        site.start(name).await;
    }
    site.leader().await;
    assert!(site.swap(leader, version(1, 0), version(2, 0)).await.unwrap());
}

#[tokio::test]
async fn a_full_disk_stops_a_voter_until_there_is_room() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [left, _] = others(leader);
    let voter = site.voter(leader);
    let file = lock(&voter.shared.link).file.clone().unwrap();
    let mut alive = voter.alive();
    assert!(alive.borrow().is_none());
    file.fill_disk(true);
    // What it tries to write fails, and the others choose another leader.
    let next = document(version(2, 0), "full");
    let here = voter.swap_here(version(1, 0), version(2, 0), next, Words::default()).await;
    assert!(here.is_err());
    eventually("a failure", || alive.borrow_and_update().clone()).await;
    let failed = voter.status();
    assert!(failed.failure.is_some(), "{failed:?}");
    site.leader().await;
    let present = site.voter(left).read().await.unwrap().unwrap();
    let at =
        if present == document(version(1, 0), "first") { version(1, 0) } else { version(2, 0) };
    assert!(site.swap(left, at, version(3, 0)).await.unwrap());
    // It is opened again, and has what it missed.
    eventually("no failure", || alive.borrow().is_none().then_some(())).await;
    site.applies(leader, &document(version(3, 0), "")).await;
    site.stands(leader, Standing::Voting).await;
}

#[tokio::test]
async fn the_log_is_cut_behind_snapshots_and_who_was_away_gets_one() {
    const CHANGES: u64 = 1_000;

    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [away, _] = others(leader);
    site.stop(away).await;
    let swap = |revision| {
        let (expected, next) = (version(1, revision - 1), version(1, revision));
        let mark = if revision == CHANGES { String::new() } else { "x".repeat(1_000) };
        let voter = site.voter(leader);
        async move {
            let role = document(next, &mark);
            voter.compare_and_swap(expected, next, role, Words::default()).await
        }
    };
    for revision in 1..=CHANGES {
        assert!(swap(revision).await.unwrap(), "{revision}");
    }
    site.start(away).await;
    let last = document(version(1, CHANGES), "");
    for name in NAMES {
        site.applies(name, &last).await;
        let file = lock(&site.voter(name).shared.link).file.clone().unwrap();
        let kept = eventually("a short log", || {
            let kept = file.all_entries(..).unwrap().len();
            (kept <= 300).then_some(kept)
        });
        kept.await;
        // A thousand documents of 3 kB went through it, each of them twice; about 300 of them are still there.
        let len = fs::metadata(site.file(name)).unwrap().len();
        assert!(len < 3_000_000, "{name}: {len} bytes");
    }
    site.stands(away, Standing::Voting).await;
}

/// What a voter promised is on its disk before it says so: whenever it is stopped, others never remember
/// more of it than it does itself.
#[tokio::test]
async fn a_restart_in_the_middle_of_changes_is_no_loss() {
    let site = Site::with_document().await;
    let before = site.members("a").await;
    let (mut present, mut changed) = (version(1, 0), 0);
    for round in 0..6 {
        let stopped = NAMES[round % NAMES.len()];
        let [left, _] = others(stopped);
        let changing = async {
            for _ in 0..10 {
                let next = version(1, present.revision + 1);
                match site.swap(left, present, next).await {
                    Ok(true) => (present, changed) = (next, changed + 1),
                    // It may have happened: the document says.
                    Ok(false) | Err(_) => {
                        if let Some((at, _)) = site.voter(left).last_change() {
                            present = present.max(at);
                        }
                    }
                }
            }
        };
        let restarting = async {
            site.stop(stopped).await;
            site.start(stopped).await;
            site.stands(stopped, Standing::Voting).await;
        };
        tokio::join!(changing, restarting);
    }
    assert!(changed >= 30, "{changed}");
    assert_eq!(site.members("a").await, before);
    let last = site.voter("a").read().await.unwrap().unwrap();
    for name in NAMES {
        site.applies(name, &last).await;
        let names = fs::read_dir(site.dir(name)).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["voter.redb"]);
    }
}
