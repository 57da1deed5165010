//! What a voter is started with.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::coordination::voter::raft_config;
use crate::coordination::*;
use crate::liveness::Timing;

struct Nobody;

impl Transport for Nobody {
    fn send<'a>(
        &'a self,
        to: &'a VoterAddress,
        _: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        async move { Err(TransportError::Unsent(to.name.clone())) }.boxed()
    }
}

fn config(dir: &tempfile::TempDir, name: &str, peers: &[&str]) -> VoterConfig {
    let address = |name: &&str| VoterAddress { name: (*name).into(), address: String::new() };
    VoterConfig {
        dir: dir.path().to_owned(),
        name: name.into(),
        ordinal_of_timeouts: 1,
        peers: peers.iter().map(address).collect(),
        timing: RaftTiming::from(&Timing::NEAR),
        transport: Arc::new(Nobody),
        check: Arc::new(super::net::genuine),
    }
}

#[test]
fn no_two_voters_try_to_lead_at_the_same_time() {
    for (timing, expected) in
        [(Timing::NEAR, [400, 500, 600]), (Timing::FAR, [2_000, 2_500, 3_000])]
    {
        let timing = RaftTiming::from(&timing);
        for (ordinal, expected) in (0..).zip(expected) {
            let config = raft_config(timing, ordinal).unwrap();
            assert_eq!(config.election_timeout_min, expected);
            assert_eq!(config.election_timeout_max, expected + 1);
            assert!(config.election_timeout_min >= 4 * config.heartbeat_interval);
        }
    }
    let near = RaftTiming::from(&Timing::NEAR);
    assert!(raft_config(RaftTiming { heartbeat: near.election[0], ..near }, 0).is_err());
    assert!(raft_config(near, 3).is_err());
}

#[tokio::test]
async fn a_voter_has_two_others_and_a_file_of_its_own_that_nobody_else_has() {
    let dir = tempfile::tempdir().unwrap();
    let start = |config| Voter::start(config, CancellationToken::new());
    for peers in [&["b"][..], &["b", "b"], &["a", "b"], &["b", "w", "x"]] {
        let refused = start(config(&dir, "a", peers)).await.err().unwrap();
        assert!(matches!(refused, VoterError::Peers(_)), "{refused}");
    }
    VoterFile::found(dir.path(), 1, "a").unwrap();
    let other = start(config(&dir, "b", &["a", "w"])).await.err().unwrap();
    assert!(matches!(other, VoterError::File(FileError::OtherVoter { .. })), "{other}");

    let stop = CancellationToken::new();
    let voter = Voter::start(config(&dir, "a", &["b", "w"]), stop.clone()).await.unwrap();
    let doubled = start(config(&dir, "a", &["b", "w"])).await.err().unwrap();
    assert!(matches!(doubled, VoterError::File(FileError::InUse { .. })), "{doubled}");
    // Nobody answers: it asks on, and stops when it is told to.
    assert!(voter.read().await.is_err());
    stop.cancel();
    voter.stopped().await;
    assert_eq!(*voter.standing().borrow(), Standing::Stopped);
    drop(VoterFile::open(dir.path()).unwrap().unwrap());
}
