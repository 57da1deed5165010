//! What only the leader can do, done here or asked of it: changes, reads, admissions.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, RaftError};
use postern_protocol::role::{RoleVersion, SignedRole};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{Refused, TransportError};
use super::message::{Answer, Body};
use super::shared::{Shared, lock, moment, remembered};
use super::types::{Command, Raft, Reply};
use crate::role::CoordinationError;
use crate::role::decide::MAX_TERM;

/// How long to wait before the voters are asked again who leads.
const PAUSE: Duration = Duration::from_millis(50);

fn unavailable(reason: impl Into<String>) -> CoordinationError {
    CoordinationError::Unavailable(reason.into())
}

fn told(RoleVersion { term, revision }: RoleVersion) -> String {
    format!("role term {term}, revision {revision}")
}

impl Shared {
    /// The document, by way of the leader.
    pub(super) async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        let Answer::Read(role) = self.ask_leader(|pass_on| Body::Read { pass_on }, true).await?
        else {
            return Err(unavailable("the leader answered something else"));
        };
        Ok(role)
    }

    /// Changes the document, by way of the leader.
    pub(super) async fn change(&self, command: Command) -> Result<bool, CoordinationError> {
        // A document that is raised twice is raised once; a swap that happened looks like one that failed
        // when it is tried again.
        let again = matches!(command, Command::Raise { .. });
        // The leader judges it as well; here there is an answer at once.
        self.check(&command).map_err(|refused| unavailable(refused.to_string()))?;
        let body = |pass_on| Body::Change { command: command.clone(), pass_on };
        let answer = self.ask_leader(body, again).await?;
        let Answer::Changed(changed) = answer else {
            return Err(unavailable("the leader answered something else"));
        };
        Ok(changed)
    }

    /// Changes the document, where this voter leads.
    pub(super) async fn change_here(
        self: &Arc<Self>,
        command: Command,
    ) -> Result<bool, CoordinationError> {
        let shared = Arc::clone(self);
        // Cancel-safety: a task of its own brings it to its end if whoever asked goes away.
        match tokio::spawn(async move { shared.change_for(command).await }).await {
            Ok(Ok(Answer::Changed(changed))) => Ok(changed),
            Ok(Ok(Answer::Unknown(reason))) => Err(unavailable(reason)),
            Ok(Ok(_)) => Err(unavailable("this voter does not lead with a majority")),
            Ok(Err(refused)) => Err(unavailable(refused.to_string())),
            Err(ended) => Err(unavailable(ended.to_string())),
        }
    }

    /// Asks the leader, wherever it is, and by way of another voter where it is not reached. What may have been
    /// done is asked a second time only if `again`.
    async fn ask_leader(
        &self,
        body: impl Fn(bool) -> Body,
        again: bool,
    ) -> Result<Answer, CoordinationError> {
        let deadline = Instant::now() + self.patience();
        // One that does not answer must leave time for another one.
        let limit = if again { self.patience() / 3 } else { self.patience() };
        let mut hint = None;
        let mut reason = "no voter leads with a majority".to_owned();
        loop {
            let leader = hint.take().or_else(|| self.leader());
            for name in self.who_might_lead(leader.as_deref()) {
                // Whoever is not taken for the leader may pass it on: the way to the leader may be cut.
                let pass_on = leader.as_ref() != Some(&name);
                let until = deadline.min(Instant::now() + limit);
                // Cancel-safety: given up, the question may still be answered by deeds, which is what an
                // error says.
                let answer = match timeout_at(until, self.ask(&name, body(pass_on))).await {
                    Ok(answer) => answer,
                    Err(_) => Err(TransportError::Lost("it took too long".into())),
                };
                self.note_way(&name, &answer);
                match answer {
                    Ok(Answer::NotLeader(leader)) => hint = hint.or(leader),
                    Ok(Answer::Unknown(why)) | Err(TransportError::Lost(why)) => {
                        reason = format!("{name}: {why}");
                        if !again {
                            return Err(unavailable(reason));
                        }
                    }
                    Err(error) => tracing::debug!(voter = name, %error, "not asked"),
                    Ok(answer) => return Ok(answer),
                }
            }
            let next = Instant::now() + PAUSE;
            if next >= deadline {
                return Err(unavailable(reason));
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// The voters in the order in which to ask them.
    fn who_might_lead(&self, leader: Option<&str>) -> Vec<String> {
        let unheard = lock(&self.unheard).clone();
        let mut order: Vec<String> =
            [&self.name].into_iter().chain(self.caller.peers.keys()).cloned().collect();
        // Stable, and `false` comes first.
        order.sort_by_key(|name| leader != Some(name.as_str()));
        order.sort_by_key(|name| unheard.as_ref() == Some(name));
        order
    }

    /// Keeps in mind which way to the leader to try last from now on.
    fn note_way(&self, asked: &str, answer: &Result<Answer, TransportError>) {
        let mut unheard = lock(&self.unheard);
        match answer {
            Err(TransportError::Lost(_)) => *unheard = Some(asked.to_owned()),
            // Another voter may have passed it on in vain.
            Ok(Answer::Unknown(_)) => *unheard = None,
            Ok(_) if unheard.as_deref() == Some(asked) => *unheard = None,
            Ok(_) | Err(TransportError::Unsent(_) | TransportError::Refused(_)) => {}
        }
    }

    /// What came of a question for the leader, which `next` passes on to it where this voter is not it.
    pub(super) async fn passed_on(
        &self,
        sender: &str,
        next: Option<Body>,
        answer: Answer,
    ) -> Answer {
        let (Some(next), Answer::NotLeader(Some(leader))) = (next, &answer) else { return answer };
        let leader = leader.clone();
        if leader == sender || leader == self.name {
            return answer;
        }
        // Cancel-safety: as with every question, what it led to may be done already.
        match timeout(self.patience(), self.caller.call(self.node(), &leader, None, next)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(TransportError::Lost(why))) => Answer::Unknown(format!("{leader}: {why}")),
            Err(_) => Answer::Unknown(format!("{leader}: it took too long")),
            Ok(Err(TransportError::Unsent(_) | TransportError::Refused(_))) => answer,
        }
    }

    async fn ask(&self, name: &str, body: Body) -> Result<Answer, TransportError> {
        if name != self.name {
            return self.caller.call(self.node(), name, None, body).await;
        }
        let refused = |refused: Refused| TransportError::Refused(refused.to_string());
        match body {
            Body::Read { .. } => self.read_for().await.map_err(refused),
            Body::Change { command, .. } => self.change_for(command).await.map_err(refused),
            Body::Vote(_)
            | Body::Append(_)
            | Body::Snapshot { .. }
            | Body::Tell(_)
            | Body::Found { .. }
            | Body::Admit
            | Body::Join => Err(TransportError::Unsent("a voter does not ask itself that".into())),
        }
    }

    /// The leader's name, as this voter knows it.
    pub(super) fn leader(&self) -> Option<String> {
        let metrics = self.raft()?.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader?;
        let membership = metrics.membership_config.membership();
        membership.get_node(&leader).map(|at| at.name.clone())
    }

    /// Raft, where this voter leads.
    pub(super) fn leading(&self) -> Result<Option<Raft>, Refused> {
        let raft = self.standing_raft()?;
        let leads = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id)
        };
        Ok(leads.then_some(raft))
    }

    /// Changes the document for whoever asked.
    pub(super) async fn change_for(&self, command: Command) -> Result<Answer, Refused> {
        self.check(&command)?;
        let Some(raft) = self.leading()? else { return Ok(Answer::NotLeader(self.leader())) };
        if !self.acknowledged(&raft).await {
            return Ok(Answer::NotLeader(None));
        }
        Ok(match self.write(&raft, command).await {
            Ok(Reply::Changed(changed)) => Answer::Changed(changed),
            Ok(_) => Answer::Unknown("another answer than a change has".into()),
            Err(reason) => Answer::Unknown(reason),
        })
    }

    /// Refuses what must not come into the log. What a voter's certificate alone proves is who asks: a
    /// document counts by its own signature, and under no other version than its own, since a version that
    /// is too high would keep every later document out for good.
    fn check(&self, command: &Command) -> Result<(), Refused> {
        command.check()?;
        let (Command::Swap { version, role, .. } | Command::Raise { version, role, .. }) = command
        else {
            return Ok(());
        };
        let (said, own) =
            (RoleVersion::from(*version), (self.check)(role).map_err(Refused::Document)?);
        if said != own {
            let (said, own) = (told(said), told(own));
            return Err(Refused::Document(format!("it is {own}, and was said to be {said}")));
        }
        if own.term > MAX_TERM {
            return Err(Refused::Document(format!("nobody counts to {}", told(own))));
        }
        Ok(())
    }

    /// Whether a majority acknowledges that this voter leads, before anything is written. Raft's leader writes on
    /// without one, and what nobody else stores is not cut off: its log would grow for as long as it is asked.
    async fn acknowledged(&self, raft: &Raft) -> bool {
        // Lately is enough: asking them costs as much as a heartbeat's time where one of them has just died, and
        // that is when a failover is waited for.
        let age = lock(&self.freshness).age(moment());
        if age.is_some_and(|age| age <= self.timing.shortest()) {
            return true;
        }
        // Whoever asked has as long again to ask another one.
        let deadline = Instant::now() + self.patience() / 2;
        loop {
            match timeout_at(deadline, raft.ensure_linearizable()).await {
                Ok(Ok(_)) => return true,
                // A voter may be late: each is asked for no longer than a heartbeat takes.
                Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) => {
                    let next = Instant::now() + PAUSE;
                    if next >= deadline {
                        return false;
                    }
                    tokio::time::sleep_until(next).await;
                }
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }

    /// Writes to the log. Of an error nobody knows whether the entry is committed later: a leader that was
    /// deposed meanwhile says only who leads now.
    async fn write(&self, raft: &Raft, command: Command) -> Result<Reply, String> {
        match timeout(self.patience(), raft.client_write(command)).await {
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no majority of the voters has stored it".into()),
        }
    }

    /// Reads the document for whoever asked.
    pub(super) async fn read_for(&self) -> Result<Answer, Refused> {
        let Some(raft) = self.leading()? else { return Ok(Answer::NotLeader(self.leader())) };
        match timeout(self.patience(), raft.ensure_linearizable()).await {
            Ok(Ok(_)) => {
                let state = self.applied.borrow().clone();
                Ok(Answer::Read(state.document.as_ref().map(|document| document.role.clone())))
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                Ok(Answer::NotLeader(None))
            }
            Ok(Err(error)) => Ok(Answer::Unknown(error.to_string())),
            Err(_) => Ok(Answer::Unknown("no majority of the voters answers".into())),
        }
    }

    /// Gives a newcomer a node id.
    pub(super) async fn admit(&self, name: &str) -> Result<Answer, Refused> {
        let Some(raft) = self.leading()? else { return Ok(Answer::NotLeader(self.leader())) };
        if !self.acknowledged(&raft).await {
            return Ok(Answer::NotLeader(None));
        }
        Ok(match self.write(&raft, Command::Admit { name: name.to_owned() }).await {
            Ok(Reply::Admitted(node)) => {
                tracing::warn!(name, node, "a voter that had lost its file has a new node id");
                Answer::Admitted { node, memory: remembered(&self.caller.memory) }
            }
            Ok(_) => Answer::Unknown("another answer than a node id".into()),
            Err(reason) => Answer::Unknown(reason),
        })
    }
}
