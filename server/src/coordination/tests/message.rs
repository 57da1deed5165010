//! What a voter does with messages that are not what they should be.

use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{Entry, EntryPayload, LeaderId, LogId};

use super::net::{Site, eventually};
use crate::coordination::message::{Answer, Body, Envelope, decode, encode};
use crate::coordination::standing::{Memory, Told};
use crate::coordination::types::{NodeId, Position, Vote};
use crate::coordination::{MAX_MESSAGE, Refused, Voter};
use crate::role::conformance::version;

async fn say(
    voter: &Voter,
    sender: &str,
    from: Option<NodeId>,
    to: Option<NodeId>,
    session: u128,
    body: Body,
) -> Result<Answer, Refused> {
    let message = encode(&Envelope { from, to, session, body }).unwrap();
    voter.on_message(sender, &message).await.map(|answer| decode(&answer).unwrap())
}

fn tell(node: Option<NodeId>) -> Body {
    let position = Position::default();
    Body::Tell(Told { node, position, empty: false, memory: Memory::default(), replaced: false })
}

fn vote(term: u64, node: NodeId) -> Body {
    Body::Vote(VoteRequest { vote: Vote::new(term, node), last_log_id: None })
}

#[tokio::test]
async fn a_message_counts_only_from_whom_and_to_whom_it_says() {
    let site = Site::with_document().await;
    let members = site.members("a").await;
    let (a, b, w) = (members["a"], members["b"], members["w"]);
    let voter = site.voter("a");
    // As if they were the other voters' processes: another one with their names would be heard instead.
    let session = |name| site.voter(name).shared.caller.session;
    let (as_b, as_w) = (session("b"), session("w"));
    let refused = say(&voter, "x", None, None, 1, tell(None)).await.err().unwrap();
    assert_eq!(refused, Refused::Stranger("x".into()));
    // "b" with the node id of the witness, of this voter itself, and of nobody yet.
    for node in [w, a] {
        let refused =
            say(&voter, "b", Some(node), None, as_b, tell(Some(node))).await.err().unwrap();
        assert!(matches!(refused, Refused::OtherName { .. }), "{refused}");
    }
    assert!(say(&voter, "b", Some(9), None, as_b, tell(Some(9))).await.is_ok());
    let refused = say(&voter, "w", Some(9), None, as_w, tell(Some(9))).await.err().unwrap();
    assert!(matches!(refused, Refused::OtherName { node: 9, .. }), "{refused}");
    // In the name of another one, by what the message itself says.
    let refused = say(&voter, "b", Some(b), None, as_b, tell(Some(w))).await.err().unwrap();
    assert!(matches!(refused, Refused::OtherName { .. }), "{refused}");
    let refused = say(&voter, "b", Some(b), Some(a), as_b, vote(99, w)).await.err().unwrap();
    assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    // For another node, and for none.
    let refused = say(&voter, "b", Some(b), Some(w), as_b, vote(99, b)).await.err().unwrap();
    assert_eq!(refused, Refused::OtherNode { wanted: w, is: Some(a) });
    let refused = say(&voter, "b", Some(b), None, as_b, vote(99, b)).await.err().unwrap();
    assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    // A node that was not admitted does not join, and a founded voter is not founded again.
    let leader = site.voter(site.leader().await);
    let sender = if site.leader().await == "b" { "w" } else { "b" };
    assert!(say(&leader, sender, Some(7), None, session(sender), Body::Join).await.is_err());
    assert!(say(&voter, "b", Some(b), None, as_b, Body::Found { node: a }).await.is_err());
    assert!(say(&voter, "b", Some(b), None, as_b, Body::Found { node: 8 }).await.is_err());
    // Nothing of it did harm.
    assert!(site.swap("b", version(1, 0), version(2, 0)).await.unwrap());
}

#[tokio::test]
async fn of_two_processes_with_one_identity_the_earlier_one_is_refused_and_counted() {
    let site = Site::with_document().await;
    let voter = site.voter("a");
    let present = voter.status().doubled;
    assert!(present.is_empty());
    assert!(say(&voter, "b", None, None, 1, tell(None)).await.is_ok());
    assert!(say(&voter, "b", None, None, 2, tell(None)).await.is_ok());
    let refused = say(&voter, "b", None, None, 1, tell(None)).await.err().unwrap();
    assert_eq!(refused, Refused::Doubled("b".into()));
    assert!(voter.status().doubled["b"] >= 1);
}

/// A voter that does not lead only answered, so a copy of it could run beside it and nobody noticed.
#[tokio::test]
async fn of_two_processes_with_one_identity_the_earlier_one_is_noticed_though_it_does_not_lead() {
    let site = Site::with_document().await;
    let leads = site.leader().await;
    let follows = if leads == "b" { "w" } else { "b" };
    let voter = site.voter(leads);
    assert!(say(&voter, follows, None, None, 1, tell(None)).await.is_ok());
    let refused = || voter.status().doubled.get(follows).copied();
    eventually("the earlier process to be refused", refused).await;
}

#[tokio::test]
async fn hostile_bytes_are_refused_and_nothing_stops() {
    let site = Site::with_document().await;
    let members = site.members("a").await;
    let (a, b) = (members["a"], members["b"]);
    let voter = site.voter("a");
    let session = site.voter("b").shared.caller.session;
    let long = vec![1; MAX_MESSAGE + 1];
    for bytes in [&[][..], &[0], &[1], &[2, 0, 0], &[255; 64], &long] {
        let refused = voter.on_message("b", bytes).await.unwrap_err();
        assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
        assert!(voter.on_position("b", bytes).is_err());
    }
    let at = |term, index| LogId::new(LeaderId::new(term, b), index);
    let append = |vote: Vote, indices: &[u64], previous: Option<LogId<u64>>| {
        let entries = indices.iter();
        Body::Append(AppendEntriesRequest {
            vote,
            prev_log_id: previous,
            entries: entries
                .map(|index| Entry { log_id: at(1, *index), payload: EntryPayload::Blank })
                .collect(),
            leader_commit: None,
        })
    };
    let high = Vote::new_committed(u64::MAX, b);
    for body in [
        vote(u64::MAX, b),
        append(high, &[], None),
        append(Vote::new(1, b), &[3, 5], Some(at(1, 2))),
        append(Vote::new(1, b), &[1], None),
        append(Vote::new(1, b), &[u64::MAX], Some(at(1, u64::MAX - 1))),
        append(Vote::new(1, b), &[], Some(at(1, u64::MAX))),
    ] {
        let refused = say(&voter, "b", Some(b), Some(a), session, body).await.err().unwrap();
        assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    }
    assert_eq!(voter.status().failure, None);
    assert!(site.swap("w", version(1, 0), version(2, 0)).await.unwrap());
}
