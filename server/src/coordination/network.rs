//! How Raft reaches the other voters: over a transport that the caller brings, which knows connections
//! and certificates and nothing of what is said.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::error::{
    Fatal, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RPCTypes, Snapshot};

use super::error::TransportError;
use super::message::{Answer, Body, Envelope, counted, decode, encode};
use super::shared::lock;
use super::standing::Memory;
use super::types::{LogId, NodeId, Position, TypeConfig, Vote, VoterAddress};

/// Carries messages to other voters. One message at a time is answered by one; nothing is sent twice.
pub trait Transport: Send + Sync + 'static {
    /// Sends a message and returns its answer. The receiver must have proven that it is `to.name`.
    fn send<'a>(
        &'a self,
        to: &'a VoterAddress,
        message: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>>;
}

/// How long Raft waits before it tries a voter again that is not reached.
const BACKOFF: Duration = Duration::from_millis(200);

/// Speaks to the other voters on behalf of this one.
pub(super) struct Caller {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) session: u128,
    /// The other voters by name, where the configuration says that they are reached.
    pub(super) peers: BTreeMap<String, VoterAddress>,
    /// What this voter saw of the others.
    pub(super) memory: Arc<Mutex<Memory>>,
    /// What each node has accepted of this one, under which vote: it has that for good.
    pub(super) accepted: Mutex<Memory>,
}

impl Caller {
    /// Sends a message to the voter of a name, and to the given node id alone where there is one.
    pub(super) async fn call(
        &self,
        from: Option<NodeId>,
        name: &str,
        to: Option<NodeId>,
        body: Body,
    ) -> Result<Answer, TransportError> {
        let address = self.peers.get(name);
        let address = address.ok_or_else(|| TransportError::Unsent(format!("who is {name}?")))?;
        let message = encode(&Envelope { from, to, session: self.session, body });
        let message =
            message.ok_or_else(|| TransportError::Unsent("the message is too long".into()))?;
        let answer = self.transport.send(address, message).await?;
        decode(&answer).map_err(|error| TransportError::Lost(error.to_string()))
    }

    pub(super) fn saw(&self, node: NodeId, position: Position) {
        lock(&self.memory).note(node, position);
    }
}

/// Makes Raft's connections.
#[derive(Clone)]
pub(super) struct Network {
    pub caller: Arc<Caller>,
    pub me: NodeId,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, node: &VoterAddress) -> Connection {
        Connection { network: self.clone(), target, name: node.name.clone() }
    }
}

/// Raft's way to one node.
pub(super) struct Connection {
    network: Network,
    target: NodeId,
    name: String,
}

type Rpc<T> = Result<T, RPCError<NodeId, VoterAddress, RaftError<NodeId>>>;

/// A voter that does not take part counts as one that is not reached: it is tried again after a pause.
fn unreachable(error: &TransportError) -> Unreachable {
    Unreachable::new(error)
}

/// Neither does one count that answers what no voter does: Raft would take it for granted.
fn senseless() -> Unreachable {
    Unreachable::new(&AnyError::error("no voter answers that"))
}

impl Connection {
    async fn call(
        &self,
        action: RPCTypes,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, Result<Timeout<NodeId>, TransportError>> {
        let Self { network: Network { caller, me }, target, name } = self;
        // Cancel-safety: an answer that comes too late is lost, as it is on any network.
        match tokio::time::timeout(limit, caller.call(Some(*me), name, Some(*target), body)).await {
            Ok(answer) => answer.map_err(Err),
            Err(_) => Err(Ok(Timeout { action, id: *me, target: *target, timeout: limit })),
        }
    }

    async fn rpc(&self, action: RPCTypes, body: Body, option: &RPCOption) -> Rpc<Answer> {
        self.call(action, body, option.hard_ttl()).await.map_err(|failed| match failed {
            Ok(timeout) => timeout.into(),
            Err(error) => unreachable(&error).into(),
        })
    }

    fn saw(&self, position: Position) {
        self.network.caller.saw(self.target, position);
    }

    /// The node holds what this one sent under its vote.
    fn accepted(&self, position: Position) {
        self.saw(position);
        lock(&self.network.caller.accepted).note(self.target, position);
    }

    fn has_accepted(&self, position: Position) -> bool {
        lock(&self.network.caller.accepted).of(self.target) >= position
    }

    /// Whether a node can have given a vote, and hold such a log, when it was asked under another vote.
    fn can_be(&self, asked: &Vote, vote: &Vote, last: Option<LogId>) -> bool {
        // This one would know of a later term in which it stood.
        let own = vote.leader_id.node_id == self.network.me;
        let later = vote.leader_id.term > asked.leader_id.term;
        !(own && later) && counted(Position::new(Some(asked), None), vote, last).is_ok()
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<NodeId>> {
        let (vote, prev, sent) = (rpc.vote, rpc.prev_log_id, rpc.entries.len());
        let last = rpc.entries.last().map(|entry| entry.log_id).or(prev);
        let body = Body::Append(rpc);
        // Entries are read in portions that fit; a portion that does not is halved.
        if sent > 1 && encode(&body).is_none() {
            return Err(PayloadTooLarge::new_entries_hint(sent as u64 / 2).into());
        }
        let answer = self.rpc(RPCTypes::AppendEntries, body, &option).await?;
        let Answer::Append(response) = answer else { return Err(senseless().into()) };
        let sensible = match &response {
            AppendEntriesResponse::Success => true,
            AppendEntriesResponse::HigherVote(higher) => {
                *higher > vote && self.can_be(&vote, higher, None)
            }
            AppendEntriesResponse::Conflict => {
                prev.is_some_and(|prev| !self.has_accepted(Position::new(Some(&vote), Some(&prev))))
            }
            // All that is sent is accepted, or nothing.
            AppendEntriesResponse::PartialSuccess(_) => false,
        };
        if !sensible {
            return Err(senseless().into());
        }
        match &response {
            AppendEntriesResponse::Success => {
                self.accepted(Position::new(Some(&vote), last.as_ref()));
            }
            AppendEntriesResponse::HigherVote(vote) => self.saw(Position::new(Some(vote), None)),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::PartialSuccess(_) => {}
        }
        Ok(response)
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<NodeId>,
        RPCError<NodeId, VoterAddress, RaftError<NodeId, openraft::error::InstallSnapshotError>>,
    > {
        // Whole snapshots are sent below; nothing asks for a part.
        Err(senseless().into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<NodeId>> {
        let asked = rpc.vote;
        let answer = self.rpc(RPCTypes::Vote, Body::Vote(rpc), &option).await?;
        let Answer::Vote(response) = answer else { return Err(senseless().into()) };
        if !self.can_be(&asked, &response.vote, response.last_log_id) {
            return Err(senseless().into());
        }
        self.saw(Position::new(Some(&response.vote), response.last_log_id.as_ref()));
        Ok(response)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<TypeConfig, Fatal<NodeId>>> {
        let Snapshot { meta, snapshot } = snapshot;
        let last = meta.last_log_id;
        let body = Body::Snapshot { vote, meta, data: snapshot.into_inner() };
        let sent = self.call(RPCTypes::InstallSnapshot, body, option.hard_ttl());
        // Cancel-safety: a snapshot that is given up may have been installed; that is no harm.
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = sent => answer,
        };
        match answer {
            Ok(Answer::Snapshot(response)) if self.can_be(&vote, &response.vote, None) => {
                if response.vote <= vote {
                    self.accepted(Position::new(Some(&vote), last.as_ref()));
                }
                Ok(response)
            }
            Ok(_) => Err(senseless().into()),
            Err(Ok(timeout)) => Err(timeout.into()),
            Err(Err(error)) => Err(unreachable(&error).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
