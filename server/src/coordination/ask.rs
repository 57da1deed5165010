//! What a voter asks of the others before it takes part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::message::{Answer, Body, MAX_COUNT};
use super::run::Runner;
use super::shared::Shared;
use super::standing::{Memory, Told};
use super::types::{NodeId, VoterAddress};

impl Runner {
    /// Asks all others how far they have come, and tells them the same.
    pub(super) async fn ask_all(&self, node: NodeId) -> BTreeMap<String, Told> {
        let shared = &self.shared;
        let limit = shared.timing.shortest() * 2;
        let asked = shared.caller.peers.keys().map(|name| async move {
            let told = Body::Tell(shared.told(None));
            match timeout(limit, shared.caller.call(Some(node), name, None, told)).await {
                Ok(Ok(Answer::Told(told))) => match shared.heard(name, &told) {
                    Ok(()) => Some((name.clone(), told)),
                    Err(error) => {
                        tracing::warn!(voter = name, %error, "what it told counts for nothing");
                        None
                    }
                },
                Ok(Ok(_)) | Err(_) => None,
                Ok(Err(error)) => {
                    tracing::debug!(voter = name, %error, "it was not asked how far it has come");
                    None
                }
            }
        });
        // Cancel-safety: only asks; whatever was answered is remembered.
        tokio::select! {
            () = self.stop.cancelled() => BTreeMap::new(),
            told = join_all(asked) => told.into_iter().flatten().collect(),
        }
    }

    /// The node ids of the group that this voter founds.
    pub(super) fn founding_members(
        &self,
        me: NodeId,
    ) -> impl Iterator<Item = (NodeId, VoterAddress)> {
        // Where a voter is reached is the configuration's to say.
        let names = std::iter::once(&self.shared.name).chain(self.shared.caller.peers.keys());
        let at = |name: &String| VoterAddress { name: name.clone(), address: String::new() };
        (me..).zip(names.map(at).collect::<Vec<_>>())
    }

    /// Gives the others their node ids; `true` where all have written them down.
    pub(super) async fn give_nodes(&self, me: NodeId) -> bool {
        let shared = &self.shared;
        for (node, at) in self.founding_members(me).skip(1) {
            let offer = shared.caller.call(Some(me), &at.name, None, Body::Found { node });
            match timeout(shared.patience(), offer).await {
                Ok(Ok(Answer::Founded)) => {}
                Ok(Err(error)) => {
                    tracing::info!(voter = at.name, %error, "it does not take its node id yet");
                    return false;
                }
                Ok(Ok(_)) | Err(_) => return false,
            }
        }
        true
    }
}

/// Tells all others how far this one has come. A voter that does not lead only answers otherwise, so nobody would
/// notice that another process has its identity. `true` where all of them answer that this node was given up: the
/// word of a single one is not enough to give it up.
pub(super) async fn tell_all(shared: Arc<Shared>) -> bool {
    let node = shared.node();
    let told = shared.caller.peers.keys().map(|name| {
        let told = Body::Tell(shared.told(None));
        timeout(shared.patience(), shared.caller.call(node, name, None, told))
    });
    let mut given_up = true;
    for answer in join_all(told).await {
        given_up &= matches!(&answer, Ok(Ok(Answer::Told(told))) if told.replaced);
        if let Ok(Err(error)) = answer {
            tracing::debug!(%error, "another voter was not told how far this one has come");
        }
    }
    given_up
}

/// Asks the others in turn to be admitted, with pauses, until one of them is the leader and does it.
pub(super) async fn admitted(shared: &Shared, pause: Duration) -> (NodeId, Memory) {
    loop {
        for name in shared.caller.peers.keys() {
            let asked = shared.caller.call(None, name, None, Body::Admit);
            match timeout(shared.patience(), asked).await {
                Ok(Ok(Answer::Admitted { node, memory }))
                    if node <= MAX_COUNT && memory.is_sane() =>
                {
                    return (node, memory);
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => tracing::debug!(voter = name, %error, "not admitted"),
            }
        }
        sleep(pause).await;
    }
}

/// Asks the leader to make this node a voter. All are asked: one that only says that it does it must not be the last.
pub(super) async fn ask_to_join(shared: Arc<Shared>) {
    let node = shared.node();
    let asked =
        shared.caller.peers.keys().map(|name| {
            timeout(shared.patience(), shared.caller.call(node, name, None, Body::Join))
        });
    join_all(asked).await;
}
