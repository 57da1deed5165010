//! The task of a server that is not active: it fetches the active one's log and applies it.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::RoleTerm;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::wire::{Answer, Ask};
use super::{copy, recover};
use crate::api::Server;
use crate::peer::PeerError;
use crate::role::{Belief, State};
use crate::site::Member;
use crate::store::backup::Unsound;
use crate::store::change::{Head, Position};
use crate::store::{NotApplied, StoreError};

/// How long the active server may keep a question for news. Well below the time after which it
/// takes this store for absent.
const LONG_POLL: Duration = Duration::from_secs(2);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(300);

/// The pause after a full copy failed; it doubles.
const REBUILD_PAUSE: Duration = Duration::from_secs(2);

/// The longest such pause.
const LONGEST_REBUILD_PAUSE: Duration = Duration::from_mins(5);

/// How the log is followed, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Where the log ends here.
    pub position: Position,
    /// Where it ended at the active server when that last answered.
    pub of: Position,
    /// What went wrong last, until it goes well again.
    pub failure: Option<String>,
}

/// What a standby is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// There is nobody to follow.
    Idle,
    /// It applies what comes.
    Following,
    /// It brings what it alone holds to the active server.
    Merging,
    /// It takes back the end of its own log.
    Undoing,
    /// It fetches a full copy.
    Copying,
}

impl Phase {
    /// A stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Following => "following",
            Self::Merging => "merging",
            Self::Undoing => "undoing",
            Self::Copying => "copying",
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { phase: Phase::Idle, position: 0, of: 0, failure: None }
    }
}

/// Why following came to a halt for a moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// The active server did not answer as it should.
    #[error("{0}")]
    Peer(#[from] PeerError),
    /// Our own store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What came cannot be applied.
    #[error("{0}")]
    NotApplied(#[from] NotApplied),
    /// The role changed in the middle.
    #[error("the role changed")]
    RoleChanged,
    /// It serves under another role term than we know.
    #[error("server {peer} acts under role term {theirs}, this one knows {ours}")]
    OtherTerm {
        /// Who.
        peer: String,
        /// Its term.
        theirs: RoleTerm,
        /// Ours.
        ours: RoleTerm,
    },
    /// It no longer holds what would follow.
    #[error("the active server no longer holds what follows here: a full copy is needed")]
    TooOld,
    /// A full copy could not be received.
    #[error("a full copy cannot be received: {0}")]
    Copy(#[from] std::io::Error),
    /// What was received is no whole store.
    #[error("the full copy is not sound: {0}")]
    Unsound(#[from] Unsound),
    /// The store could not be rebuilt.
    #[error("{0}")]
    Rebuild(Box<Halt>),
}

/// Whom to follow, and under which role term.
pub(super) struct Leader {
    pub(super) member: Member,
    pub(super) term: RoleTerm,
}

/// Follows whoever is active until the server stops.
pub async fn follow(server: Arc<Server>, cancel: CancellationToken) {
    let mut belief = server.keeper.watch();
    let mut rebuilds = 0_u32;
    loop {
        // A store that was replaced in the last moment of an earlier step.
        let name = server.embedded.name();
        if *server.keeper.belief().me() != name {
            server.keeper.renamed(name).await;
        }
        let Some(leader) = leader(&server) else {
            server.progress.send_modify(|progress| progress.phase = Phase::Idle);
            // Cancel-safety: a watch keeps its mark.
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = belief.changed() => if changed.is_err() { return },
                // A second server may have joined since.
                () = tokio::time::sleep(LONG_POLL) => {}
            }
            continue;
        };
        // Cancel-safety: what is broken off is asked anew; what a thread applies it applies whole.
        let done = tokio::select! {
            () = cancel.cancelled() => return,
            () = another_leads(&server, &mut belief, &leader) => continue,
            done = step(&server, &leader) => done,
        };
        let Err(halt) = done else {
            rebuilds = 0;
            continue;
        };
        report(&server, &leader, &halt);
        let pause = if let Halt::Rebuild(_) = halt {
            // Each attempt costs the active server a copy of its whole store.
            rebuilds = rebuilds.saturating_add(1);
            (REBUILD_PAUSE * 2_u32.saturating_pow(rebuilds.min(7))).min(LONGEST_REBUILD_PAUSE)
        } else {
            PAUSE
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = another_leads(&server, &mut belief, &leader) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Waits until there is another leader; changes within a reign do not break anything off.
async fn another_leads(
    server: &Server,
    belief: &mut watch::Receiver<Arc<Belief>>,
    leader: &Leader,
) {
    loop {
        let now = self::leader(server);
        if now.is_none_or(|now| now.term != leader.term || now.member != leader.member) {
            return;
        }
        if belief.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn report(server: &Server, leader: &Leader, halt: &Halt) {
    let text = halt.to_string();
    let news = server.progress.send_if_modified(|progress| {
        let news = progress.failure.as_ref() != Some(&text);
        progress.failure = Some(text.clone());
        news
    });
    if news {
        tracing::warn!(peer = leader.member.name, why = text, "the change log is not followed");
    }
}

/// The active server, if this is not it.
fn leader(server: &Server) -> Option<Leader> {
    let belief = server.keeper.belief();
    if belief.state() != State::Standby {
        return None;
    }
    let role = belief.role();
    let member = server.peer.member().filter(|member| member.name == role.active)?;
    Some(Leader { member, term: role.role_term })
}

async fn step(server: &Server, leader: &Leader) -> Result<(), Halt> {
    let head = server.embedded.read(crate::store::Store::head).await?;
    let ask = Ask {
        store: server.embedded.name(),
        head,
        role_term: leader.term,
        wait_ms: u32::try_from(LONG_POLL.as_millis()).unwrap_or(u32::MAX),
    };
    let path = format!("/v1/groups/{}/log", server.config.group);
    let answer: Answer = server.peer.ask(&leader.member, &path, &ask).await?;
    let theirs = answer.role_term();
    if theirs != leader.term {
        let (peer, ours) = (leader.member.name.clone(), leader.term);
        return Err(Halt::OtherTerm { peer, theirs, ours });
    }
    match answer {
        Answer::Page { entries, end, .. } => {
            let position = if entries.is_empty() {
                head.position
            } else {
                let term = leader.term;
                server.embedded.write(move |store| store.apply_log(term, &entries)).await??.position
            };
            show(server, Phase::Following, position, end);
            Ok(())
        }
        Answer::Parted { end, .. } => {
            show(server, Phase::Merging, head.position, end);
            match recover::rejoin(server, leader, &head).await {
                Err(Halt::TooOld) => rebuild(server, leader, &head).await,
                other => other,
            }
        }
        Answer::TooOld { .. } => rebuild(server, leader, &head).await,
    }
}

async fn rebuild(server: &Server, leader: &Leader, head: &Head) -> Result<(), Halt> {
    copy::rebuild(server, leader, head).await.map_err(|halt| Halt::Rebuild(Box::new(halt)))
}

/// What `status` shows.
pub(super) fn show(server: &Server, phase: Phase, position: Position, of: Position) {
    server.progress.send_replace(Progress { phase, position, of, failure: None });
}

/// Waits until the log has come as far as a position; `false` if it does not in time.
pub async fn reached(server: &Server, position: Position, within: Duration) -> bool {
    let mut heads = server.embedded.heads();
    let there = heads.wait_for(|head: &Head| head.position >= position);
    tokio::time::timeout(within, there).await.is_ok_and(|found| found.is_ok())
}
