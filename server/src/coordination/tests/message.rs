//! What a voter does with messages that are not what they should be.

use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{Entry, EntryPayload, LeaderId, LogId};

use postern_protocol::RoleTerm;
use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::uplink::Bytes;

use super::net::{FORGED, Site, eventually};
use crate::coordination::message::{Answer, Body, Envelope, MAX_COUNT, MAX_STEP, decode, encode};
use crate::coordination::shared::remembered;
use crate::coordination::standing::{Memory, Told};
use crate::coordination::types::{Command, NodeId, Position, Vote};
use crate::coordination::{MAX_MESSAGE, Refused, Voter, Words};
use crate::role::conformance::{document, version};
use crate::role::decide::MAX_TERM;

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

/// Sixteen nodes that there never were, told by one voter, and nobody remembered any more what the others had
/// promised: an old file of theirs would have been taken for a current one.
#[tokio::test]
async fn no_voter_makes_another_one_forget() {
    let site = Site::with_document().await;
    let members = site.members("a").await;
    let (b, w) = (members["b"], members["w"]);
    let voter = site.voter("a");
    let session = site.voter("w").shared.caller.session;
    let position = Position { term: 1, voted_for: 1, log_term: 1, log_leader: 1, log_end: 1 };
    let remembers = |nodes: std::ops::Range<NodeId>| {
        let mut memory = Memory::default();
        for node in nodes {
            memory.note(node, position);
        }
        memory
    };
    let told =
        |node, memory| Told { node: Some(node), position, empty: false, memory, replaced: false };
    let kept = || remembered(&voter.shared.caller.memory);
    let true_one = eventually("a memory", || Some(kept().of(b)).filter(|at| !at.is_empty())).await;
    // Of nodes that nobody knows, in one message and in many.
    let hostile = told(w, remembers(100..116));
    voter.on_position("w", &encode(&hostile).unwrap()).unwrap();
    assert!(kept().of(b) >= true_one);
    assert!(kept().of(110).is_empty());
    for node in 200..300 {
        let tell = Body::Tell(told(node, remembers(node..node + 16)));
        say(&voter, "w", Some(node), None, session, tell).await.unwrap();
    }
    assert!(kept().of(b) >= true_one);
    assert!(kept().of(298).is_empty());
    // In the name of a node that it is not, known and admitted or not.
    let other = say(&voter, "w", None, None, session, Body::Tell(told(b, remembers(0..1)))).await;
    assert!(matches!(other, Err(Refused::OtherName { .. })));
    // Of what nobody has counted to.
    for high in [
        Told { position: Position { log_end: u64::MAX, ..position }, ..told(w, Memory::default()) },
        told(u64::MAX, Memory::default()),
    ] {
        let bytes = encode(&high).unwrap();
        assert!(matches!(voter.on_position("w", &bytes), Err(Refused::Malformed(_))));
        let refused = say(&voter, "w", None, None, session, Body::Tell(high)).await.err().unwrap();
        assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    }
    assert!(site.swap("b", version(1, 0), version(2, 0)).await.unwrap());
}

#[tokio::test]
async fn what_is_for_the_leader_is_passed_on_once() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let (third, asks) =
        if leader == "a" { ("b", "w") } else { ("a", if leader == "b" { "w" } else { "b" }) };
    let (voter, session) = (site.voter(third), site.voter(asks).shared.caller.session);
    let read = |pass_on| say(&voter, asks, None, None, session, Body::Read { pass_on });
    assert!(matches!(read(true).await, Ok(Answer::Read(Some(_)))));
    assert!(matches!(read(false).await, Ok(Answer::NotLeader(Some(name))) if name == leader));
    // The leader, asked in its own name, would be asked by itself.
    let session = site.voter(leader).shared.caller.session;
    let own = say(&voter, leader, None, None, session, Body::Read { pass_on: true }).await;
    assert!(matches!(own, Ok(Answer::NotLeader(Some(name))) if name == leader));
}

/// A stolen certificate of the witness was enough to raise the voters to a version above which there is
/// none, and with it the role could never be changed again.
#[tokio::test]
async fn a_document_enters_the_log_only_as_what_a_server_signed() {
    let site = Site::with_document().await;
    let leader = site.leader().await;
    let thief = if leader == "w" { "b" } else { "w" };
    let session = site.voter(thief).shared.caller.session;
    let at = |term, revision| RoleVersion { term: RoleTerm(term), revision };
    let (present, highest) = (version(1, 0), at(u64::MAX, u64::MAX));
    let garbage = SignedRole { document: "garbage".into(), ..document(present, "x") };
    let forged = |version| SignedRole { signature: Bytes(FORGED.into()), ..document(version, "x") };
    let above = at(MAX_TERM.0 + 1, 0);
    for (version, role) in [
        (highest, garbage.clone()),
        (highest, document(version(2, 0), "x")),
        (version(2, 1), document(version(2, 0), "x")),
        (version(2, 0), forged(version(2, 0))),
        (highest, document(highest, "x")),
        (above, document(above, "x")),
    ] {
        let why = Words::default();
        let raise =
            Command::Raise { version: version.into(), role: role.clone(), why: why.clone() };
        let swap = Command::Swap {
            expected: present.into(),
            version: version.into(),
            role: role.clone(),
            why: why.clone(),
        };
        for command in [raise, swap] {
            let voter = site.voter(leader);
            let change = Body::Change { command, pass_on: true };
            let refused = say(&voter, thief, None, None, session, change).await.err().unwrap();
            assert!(matches!(refused, Refused::Document(_)), "{refused}");
        }
        // The leader itself offers no such thing either.
        let voter = site.voter(leader);
        assert!(voter.swap_here(present, version, role.clone(), why.clone()).await.is_err());
        assert!(voter.raise(version, role, why).await.is_err());
    }
    assert_eq!(site.voter(leader).last_change().unwrap().0, present);
    assert!(site.swap("a", present, version(2, 0)).await.unwrap());
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
    let far = voter.status().position.term + 100 + MAX_STEP;
    let request = |last_log_id| {
        Body::Vote(VoteRequest { vote: Vote::new(1, b), last_log_id: Some(last_log_id) })
    };
    for body in [
        vote(u64::MAX, b),
        vote(MAX_COUNT, b),
        vote(far, b),
        request(at(1, u64::MAX)),
        request(at(1, MAX_COUNT)),
        request(at(2, 1)),
        request(LogId::new(LeaderId::new(0, u64::MAX), 1)),
        append(high, &[], None),
        append(Vote::new_committed(far, b), &[], None),
        append(Vote::new(1, b), &[MAX_COUNT], Some(at(1, MAX_COUNT - 1))),
        append(Vote::new(0, b), &[3], Some(at(0, 2))),
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
