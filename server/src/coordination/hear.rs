//! What a voter does with a message.

use openraft::Snapshot;

use super::error::Refused;
use super::machine::read_snapshot;
use super::message::{Answer, Body, Envelope, decode, encode};
use super::shared::{Shared, lock, moment};
use super::status::Standing;
use super::types::{NodeId, Position, Raft, Vote};

use tokio::sync::oneshot;

impl Shared {
    /// Judges a message and answers it.
    pub(super) async fn on_message(&self, sender: &str, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        self.known(sender)?;
        let Envelope { from, to, session, body } = decode(bytes)?;
        let me = self.node();
        if let Some(wanted) = to.filter(|_| to != me) {
            return Err(Refused::OtherNode { wanted, is: me });
        }
        if let Some(node) = from {
            self.is_who_it_says(sender, node)?;
        }
        body.check(self.position())?;
        let heard = lock(&self.sessions).hear(sender, session, moment().boot);
        if let Err(refused) = heard {
            // A few of them are what was under way when it was restarted.
            if refused.is_power_of_two() {
                tracing::warn!(sender, refused, "two processes have the identity of this voter");
            }
            return Err(Refused::Doubled(sender.to_owned()));
        }
        let answer = self.answer(sender, from, to, body).await?;
        encode(&answer).ok_or(Refused::Malformed("its answer is too long"))
    }

    async fn answer(
        &self,
        sender: &str,
        from: Option<NodeId>,
        to: Option<NodeId>,
        body: Body,
    ) -> Result<Answer, Refused> {
        // The messages of Raft are from a node to a node.
        let raft = |vote: &Vote| {
            let from = from.filter(|_| to.is_some()).filter(|from| *from == vote.leader_id.node_id);
            let from = from.ok_or(Refused::Malformed("it is not from the node it speaks for"))?;
            if !self.present_nodes().contains(&from) {
                return Err(Refused::Malformed("it is from a node that was given up"));
            }
            Ok((from, self.standing_raft()?))
        };
        match body {
            Body::Vote(request) => {
                let (from, raft) = raft(&request.vote)?;
                let seen = Position::new(Some(&request.vote), request.last_log_id.as_ref());
                self.caller.saw(from, seen);
                raft.vote(request).await.map(Answer::Vote).map_err(failed)
            }
            Body::Append(request) => {
                let (from, raft) = raft(&request.vote)?;
                let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
                self.caller.saw(from, Position::new(Some(&request.vote), last.as_ref()));
                raft.append_entries(request).await.map(Answer::Append).map_err(failed)
            }
            Body::Snapshot { vote, meta, data } => {
                let (from, raft) = raft(&vote)?;
                if read_snapshot(&meta, &data).is_none() {
                    return Err(Refused::Malformed("the snapshot is not what its name says"));
                }
                self.caller.saw(from, Position::new(Some(&vote), meta.last_log_id.as_ref()));
                let snapshot = Snapshot { meta, snapshot: Box::new(std::io::Cursor::new(data)) };
                raft.install_full_snapshot(vote, snapshot)
                    .await
                    .map(Answer::Snapshot)
                    .map_err(failed)
            }
            Body::Tell(told) => {
                self.heard(sender, &told)?;
                Ok(Answer::Told(self.told(told.node.map(|node| (sender, node)))))
            }
            Body::Found { node } => self.be_founded(node).await,
            Body::Admit => self.admit(sender).await,
            Body::Join => match from {
                Some(node) => self.join(sender, node),
                None => Err(Refused::Malformed("a voter without a node id cannot join")),
            },
            Body::Change { command, pass_on } => {
                let next =
                    pass_on.then(|| Body::Change { command: command.clone(), pass_on: false });
                let answer = self.change_for(command).await?;
                Ok(self.passed_on(sender, next, answer).await)
            }
            Body::Read { pass_on } => {
                let next = pass_on.then_some(Body::Read { pass_on: false });
                let answer = self.read_for().await?;
                Ok(self.passed_on(sender, next, answer).await)
            }
        }
    }

    /// Raft, where this voter may take part.
    pub(super) fn standing_raft(&self) -> Result<Raft, Refused> {
        self.raft().ok_or_else(|| Refused::NotStanding(self.standing.borrow().word()))
    }

    /// Takes the node id that the founder gives, once it is written down.
    async fn be_founded(&self, node: NodeId) -> Result<Answer, Refused> {
        let standing = *self.standing.borrow();
        let refused = || Refused::NotStanding(standing.word());
        match self.node() {
            // It was given before, and the founder does not know.
            Some(given) if given == node && self.position().is_empty() => Ok(Answer::Founded),
            None if standing == Standing::Newcomer => {
                let (written, told) = oneshot::channel();
                self.offers.try_send((node, written)).map_err(|_| refused())?;
                told.await.map_err(|_| refused())?;
                Ok(Answer::Founded)
            }
            _ => Err(refused()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}
