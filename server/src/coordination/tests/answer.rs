//! What a voter makes of answers that are not what they should be.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::error::ReplicationClosed;
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{LeaderId, Snapshot, SnapshotMeta};

use super::net::{Site, eventually, others};
use crate::coordination::message::{Answer, Body, Envelope, MAX_COUNT, MAX_STEP, decode, encode};
use crate::coordination::network::{Caller, Connection, Network};
use crate::coordination::shared::lock;
use crate::coordination::types::{LogId, NodeId, Vote, VoterAddress};
use crate::coordination::{Transport, TransportError};
use crate::role::conformance::version;

const ME: NodeId = 1;
const OTHER: NodeId = 2;

/// The term in which this node asks.
const TERM: u64 = 5;

type Appended = AppendEntriesResponse<NodeId>;

/// Answers whatever it was told to.
#[derive(Clone, Default)]
struct Liar(Arc<Mutex<Vec<u8>>>);

impl Transport for Liar {
    fn send<'a>(
        &'a self,
        _: &'a VoterAddress,
        _: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        let answer = lock(&self.0).clone();
        async move { Ok(answer) }.boxed()
    }
}

impl Liar {
    async fn connection(&self) -> Connection {
        let address = VoterAddress { name: "w".into(), address: "nowhere".into() };
        let caller = Caller {
            transport: Arc::new(self.clone()),
            session: 1,
            peers: BTreeMap::from([("w".into(), address.clone())]),
            memory: Arc::default(),
            accepted: Mutex::default(),
        };
        Network { caller: Arc::new(caller), me: ME }.new_client(OTHER, &address).await
    }

    fn answers(&self, answer: &Answer) {
        *lock(&self.0) = encode(answer).unwrap();
    }
}

fn at(term: u64, node: NodeId, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, node), index)
}

fn limit() -> RPCOption {
    RPCOption::new(Duration::from_secs(10))
}

/// Votes that nobody can have given, of whom this node asks in its term.
fn senseless_votes() -> Vec<Vote> {
    vec![
        Vote::new_committed(u64::MAX, OTHER),
        Vote::new(u64::MAX - 1, OTHER),
        Vote::new(MAX_COUNT, OTHER),
        Vote::new(TERM + MAX_STEP, OTHER),
        Vote::new(TERM + 1, u64::MAX),
        // This node never stood in that term, and would know of it.
        Vote::new_committed(TERM + 1, ME),
    ]
}

/// The highest that is heard of another one.
fn highest() -> Vote {
    Vote::new(TERM + MAX_STEP - 1, OTHER)
}

/// A hostile witness answered a heartbeat with the highest vote that there is. The leader wrote it down, and could
/// not count on from it at its next election, nor ever after.
#[tokio::test]
async fn answers_that_no_voter_gives_are_none() {
    let liar = Liar::default();
    let mut connection = liar.connection().await;
    let append = |prev_log_id| AppendEntriesRequest {
        vote: Vote::new_committed(TERM, ME),
        prev_log_id,
        entries: Vec::new(),
        leader_commit: None,
    };
    let mut hear = async |answer: Appended, prev| {
        liar.answers(&Answer::Append(answer));
        connection.append_entries(append(prev), limit()).await
    };
    for vote in senseless_votes() {
        let heard = hear(Appended::HigherVote(vote), None).await;
        assert!(heard.is_err(), "{vote}");
    }
    for vote in [Vote::new(TERM, 0), Vote::new_committed(TERM, ME), Vote::default()] {
        let heard = hear(Appended::HigherVote(vote), None).await;
        assert!(heard.is_err(), "{vote} is no higher one");
    }
    for matching in [None, Some(at(TERM, ME, u64::MAX)), Some(at(TERM, ME, 7))] {
        assert!(hear(Appended::PartialSuccess(matching), Some(at(4, ME, 7))).await.is_err());
    }
    assert!(hear(Appended::Conflict, None).await.is_err(), "with nothing there is no conflict");
    // It is looked for what they have in common, and then nothing of that is taken back.
    assert!(hear(Appended::Conflict, Some(at(4, ME, 7))).await.is_ok());
    assert!(hear(Appended::Success, Some(at(4, ME, 5))).await.is_ok());
    assert!(hear(Appended::Conflict, Some(at(4, ME, 5))).await.is_err());
    assert!(hear(Appended::Conflict, Some(at(3, ME, 2))).await.is_err());
    assert!(hear(Appended::Conflict, Some(at(4, ME, 6))).await.is_ok());
    assert!(hear(Appended::HigherVote(highest()), None).await.is_ok());

    let mut connection = liar.connection().await;
    let mut hear = async |vote, last_log_id| {
        let answer = VoteResponse { vote, vote_granted: true, last_log_id };
        liar.answers(&Answer::Vote(answer));
        let request = VoteRequest::new(Vote::new(TERM, ME), None);
        connection.vote(request, limit()).await
    };
    for vote in senseless_votes() {
        assert!(hear(vote, None).await.is_err(), "{vote}");
    }
    let own = Vote::new(TERM, ME);
    for last in [at(1, OTHER, u64::MAX), at(u64::MAX, OTHER, 1), at(1, u64::MAX, 1)] {
        assert!(hear(own, Some(last)).await.is_err(), "{last}");
    }
    assert!(hear(own, Some(at(4, OTHER, 9))).await.is_ok());
    assert!(hear(highest(), Some(at(4, OTHER, 9))).await.is_ok());
}

#[tokio::test]
async fn an_answer_to_a_snapshot_is_judged_as_well() {
    let liar = Liar::default();
    let mut connection = liar.connection().await;
    let mut hear = async |vote| {
        liar.answers(&Answer::Snapshot(SnapshotResponse { vote }));
        let meta = SnapshotMeta { last_log_id: Some(at(4, ME, 7)), ..SnapshotMeta::default() };
        let snapshot = Snapshot { meta, snapshot: Box::new(Cursor::new(Vec::new())) };
        let cancel = std::future::pending::<ReplicationClosed>();
        connection.full_snapshot(Vote::new_committed(TERM, ME), snapshot, cancel, limit()).await
    };
    for vote in senseless_votes() {
        assert!(hear(vote).await.is_err(), "{vote}");
    }
    assert!(hear(Vote::new_committed(TERM, ME)).await.is_ok());
    assert!(hear(highest()).await.is_ok());
}

#[tokio::test]
async fn voters_go_on_whatever_one_of_them_answers() {
    type Lie = fn(&AppendEntriesRequest<crate::coordination::types::TypeConfig>) -> Appended;

    let site = Site::with_document().await;
    let leader = site.leader().await;
    let [hostile, honest] = others(leader);
    let told = Arc::new(AtomicUsize::new(0));
    let lies: [Lie; 6] = [
        |_| Appended::HigherVote(Vote::new_committed(u64::MAX, 9)),
        |request| Appended::HigherVote(Vote::new(request.vote.leader_id.term + 1 + MAX_STEP, 9)),
        |request| {
            let Vote { leader_id: LeaderId { term, node_id }, .. } = request.vote;
            Appended::HigherVote(Vote::new_committed(term + 1, node_id))
        },
        |_| Appended::HigherVote(Vote::default()),
        |_| Appended::PartialSuccess(Some(at(1, 1, u64::MAX))),
        |_| Appended::Conflict,
    ];
    let mut present = version(1, 0);
    for (number, lie) in lies.into_iter().enumerate() {
        let (before, count) = (told.load(Ordering::SeqCst), Arc::clone(&told));
        let answer = move |message: &[u8]| {
            let Envelope { body: Body::Append(request), .. } = decode(message).ok()? else {
                return None;
            };
            count.fetch_add(1, Ordering::SeqCst);
            encode(&Answer::Append(lie(&request)))
        };
        site.lines.lies(Some((hostile, Arc::new(answer))));
        eventually("three lies", || (told.load(Ordering::SeqCst) >= before + 3).then_some(()))
            .await;
        let next = version(2 + u64::try_from(number).unwrap(), 0);
        assert!(site.swap(honest, present, next).await.unwrap(), "lie {number}");
        present = next;
        for name in [leader, honest] {
            assert_eq!(site.voter(name).status().failure, None, "lie {number}");
        }
    }

    // The same in an election.
    let count = Arc::clone(&told);
    let answer = move |message: &[u8]| {
        let Envelope { body: Body::Vote(_), .. } = decode(message).ok()? else { return None };
        count.fetch_add(1, Ordering::SeqCst);
        let vote = Vote::new_committed(u64::MAX, 9);
        encode(&Answer::Vote(VoteResponse { vote, vote_granted: false, last_log_id: None }))
    };
    let before = told.load(Ordering::SeqCst);
    site.lines.lies(Some((hostile, Arc::new(answer))));
    site.stop(leader).await;
    let voter = site.voter(honest);
    let asked = async {
        while told.load(Ordering::SeqCst) < before + 3 {
            voter.elect().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked).await.unwrap();
    site.start(leader).await;
    site.leader().await;
    let next = version(present.term.0 + 1, 0);
    assert!(site.swap(honest, present, next).await.unwrap());
    for name in [leader, honest] {
        let status = site.voter(name).status();
        assert_eq!(status.failure, None);
        assert!(status.position.term < MAX_STEP, "{}", status.position);
    }
}
