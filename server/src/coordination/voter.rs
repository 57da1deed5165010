//! A voter: its file, its Raft while it may take part, and what it says to the others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use postern_protocol::role::{RoleVersion, SignedRole};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::error::{Refused, VoterError};
use super::message::{decode, encode};
use super::network::{Caller, Transport};
use super::shared::{Shared, lock, moment};
use super::standing::Told;
use super::status::{Leadership, MemberStatus, Standing, VoterStatus};
use super::types::{NodeId, VoterAddress, Words};
use super::voted::Voted;
use super::{run, types};
use crate::liveness::Timing;
use crate::role::CoordinationError;

/// How often Raft speaks, and when it chooses another leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// How often the leader says that it is there.
    pub heartbeat: Duration,
    /// How long each of the voters waits for it, who tries first coming first.
    pub election: [Duration; 3],
}

impl From<&Timing> for RaftTiming {
    fn from(timing: &Timing) -> Self {
        let [first, second] = timing.election.servers;
        let election = [timing.election.witness, first, second];
        Self { heartbeat: timing.heartbeat, election }
    }
}

impl RaftTiming {
    /// The shortest time after which anybody tries.
    pub(super) const fn shortest(&self) -> Duration {
        self.election[0]
    }
}

/// Finds out whether a server of this site signed a document, and returns the document's own version; else
/// why it does not count. Asked of every document before it enters the log.
pub type Check = Arc<dyn Fn(&SignedRole) -> Result<RoleVersion, String> + Send + Sync>;

/// What a voter is started with.
pub struct VoterConfig {
    /// The data directory.
    pub dir: PathBuf,
    /// Its name, which its certificate bears.
    pub name: String,
    /// Which of the three it is when the leader falls silent: 0 tries first, then 1, then 2. No two may have
    /// the same, or they would try at the same time and prevent each other.
    pub ordinal_of_timeouts: u8,
    /// The two others.
    pub peers: Vec<VoterAddress>,
    /// How often Raft speaks.
    pub timing: RaftTiming,
    /// How the others are reached.
    pub transport: Arc<dyn Transport>,
    /// How a document is verified that somebody wants the voters to keep.
    pub check: Check,
}

/// A snapshot is taken after so many entries, and so many are kept behind it for a voter that was away for
/// a moment. The state is small; a log of long documents is not.
const SNAPSHOT_AFTER: u64 = 200;
const KEEP_BEHIND_SNAPSHOT: u64 = 50;

/// How long a snapshot may be under way.
const SNAPSHOT_TIMEOUT_MS: u64 = 5_000;

/// A voter. It works until its token is cancelled; wait for [`Voter::stopped`] then.
pub struct Voter {
    pub(super) shared: Arc<Shared>,
    done: watch::Receiver<bool>,
}

impl Voter {
    /// Opens the voter's file, or begins as a newcomer where there is none, and starts to take part as soon as
    /// it may. What cannot be mended by waiting is an error.
    pub async fn start(
        config: VoterConfig,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, VoterError> {
        let VoterConfig { dir, name, ordinal_of_timeouts, peers, timing, transport, check } =
            config;
        let raft = raft_config(timing, ordinal_of_timeouts)?;
        let peers: BTreeMap<_, _> = peers.into_iter().map(|at| (at.name.clone(), at)).collect();
        if peers.len() != 2 || peers.contains_key(&name) {
            let names: Vec<&str> = peers.keys().map(String::as_str).collect();
            return Err(VoterError::Peers(format!("{name} was given {}", names.join(", "))));
        }
        let file = run::open(&dir, &name).await?;
        let caller = Caller {
            transport,
            session: uuid::Uuid::new_v4().as_u128(),
            peers,
            memory: Arc::default(),
            accepted: Mutex::default(),
        };
        let (offers, offered) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            dir,
            name,
            timing,
            config: Arc::new(raft),
            check,
            caller: Arc::new(caller),
            link: Mutex::default(),
            sessions: Mutex::default(),
            freshness: Mutex::default(),
            applied: watch::Sender::default(),
            documents: watch::Sender::default(),
            leadership: watch::Sender::default(),
            failure: watch::Sender::default(),
            standing: watch::Sender::new(Standing::Opening),
            offers,
            unheard: Mutex::default(),
            changing: Arc::default(),
        });
        let (finished, done) = watch::channel(false);
        let runner = run::Runner { shared: Arc::clone(&shared), offered, stop, told: None };
        tokio::spawn(async move {
            runner.run(file).await;
            finished.send_replace(true);
        });
        Ok(Arc::new(Self { shared, done }))
    }

    /// Returns once it has stopped and its file is closed.
    pub async fn stopped(&self) {
        // An error says that the task is gone, which is the same.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }

    /// The store of the role document that stands on the voters.
    pub fn store(self: &Arc<Self>) -> Voted {
        Voted::new(Arc::clone(self))
    }

    /// The document as this voter has applied it: never one that was not committed, perhaps not the last.
    pub fn documents(&self) -> watch::Receiver<Option<SignedRole>> {
        self.shared.documents.subscribe()
    }

    /// The version of the document that this voter has applied, and why it was changed.
    pub fn last_change(&self) -> Option<(RoleVersion, Words)> {
        let state = self.shared.applied.borrow();
        state.document.as_ref().map(|document| (document.version(), document.why.clone()))
    }

    /// Who leads the voters.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// Whether this voter takes part.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Why the voter does not work, while it does not: its file failed, or Raft has stopped. It is tried
    /// again every few seconds.
    pub fn alive(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// For a leader, how long ago at most a majority last acknowledged it, by the clock that goes on while
    /// the machine sleeps. `None` where this voter does not lead.
    pub fn quorum_age(&self) -> Option<Duration> {
        lock(&self.shared.freshness).age(moment())
    }

    /// Asks for an election now, as where the leader was seen to be dead. Nothing where this one leads, or
    /// does not vote.
    pub async fn elect(&self) {
        let Some(raft) = self.shared.raft() else { return };
        if let Err(error) = raft.trigger().elect().await {
            tracing::debug!(%error, "no election");
        }
    }

    /// What this voter is to tell the others now and then, a few times a second: how far it has come and
    /// what it remembers of them.
    pub fn position(&self) -> Vec<u8> {
        // What fits a message by far: a bounded number of positions.
        encode(&self.shared.told(None)).unwrap_or_default()
    }

    /// Another voter has told its position. `sender` is the name in its certificate.
    pub fn on_position(&self, sender: &str, bytes: &[u8]) -> Result<(), Refused> {
        self.shared.known(sender)?;
        let told: Told = decode(bytes)?;
        self.shared.heard(sender, &told)
    }

    /// Another voter sent a message; returns its answer. `sender` is the name in its certificate.
    pub async fn on_message(&self, sender: &str, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        self.shared.on_message(sender, bytes).await
    }

    /// The document, as of a moment after this was called.
    pub async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        self.shared.read().await
    }

    /// Changes the document if its version is `expected` and `version` is above it. After an error it is not
    /// known whether it was changed.
    pub async fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Words,
    ) -> Result<bool, CoordinationError> {
        let (expected, version, why) = (expected.into(), version.into(), why.bounded());
        self.shared.change(types::Command::Swap { expected, version, role, why }).await
    }

    /// As [`Voter::compare_and_swap`], on the leader itself: an error where this is not it. Once begun it runs to
    /// its end, whatever becomes of the caller.
    pub async fn swap_here(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Words,
    ) -> Result<bool, CoordinationError> {
        let (expected, version, why) = (expected.into(), version.into(), why.bounded());
        self.shared.change_here(types::Command::Swap { expected, version, role, why }).await
    }

    /// Takes a document that was decided elsewhere, if there is none or a lower one; `false` where there is one
    /// as high.
    pub async fn raise(
        &self,
        version: RoleVersion,
        role: SignedRole,
        why: Words,
    ) -> Result<bool, CoordinationError> {
        let (version, why) = (version.into(), why.bounded());
        self.shared.change(types::Command::Raise { version, role, why }).await
    }

    /// How it is with this voter.
    pub fn status(&self) -> VoterStatus {
        let shared = &self.shared;
        let state = shared.applied.borrow().clone();
        let membership = shared.membership();
        let votes: Vec<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(node, at)| {
            (*node, MemberStatus { name: at.name.clone(), votes: votes.contains(node) })
        });
        let members: BTreeMap<NodeId, MemberStatus> = members.collect();
        let configured = shared.configured();
        let voting = members.values().filter(|at| at.votes).map(|at| at.name.clone());
        let unconfigured = voting.filter(|name| !configured.contains(name)).collect();
        let leader = match &*shared.leadership.borrow() {
            Leadership::Leading { .. } => Some(shared.name.clone()),
            Leadership::Following { leader } => Some(leader.clone()),
            Leadership::None => None,
        };
        let age = self.quorum_age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let doubled = lock(&shared.sessions).refused(moment().boot);
        VoterStatus {
            name: shared.name.clone(),
            node: shared.node(),
            standing: *shared.standing.borrow(),
            leader,
            quorum_age_ms: age,
            position: shared.position(),
            applied: state.applied.map(|applied| applied.index),
            members,
            unconfigured,
            doubled,
            failure: shared.failure.borrow().clone(),
        }
    }
}

pub(super) fn raft_config(timing: RaftTiming, ordinal: u8) -> Result<Config, VoterError> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let election = timing.election.get(usize::from(ordinal)).copied();
    let election = election
        .ok_or_else(|| VoterError::Timing(format!("there is no voter number {ordinal}")))?;
    let config = Config {
        cluster_name: "postern".into(),
        heartbeat_interval: ms(timing.heartbeat),
        // Disjoint between the voters: no two of them try at the same time.
        election_timeout_min: ms(election),
        election_timeout_max: ms(election) + 1,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_AFTER),
        max_in_snapshot_log_to_keep: KEEP_BEHIND_SNAPSHOT,
        replication_lag_threshold: 2 * SNAPSHOT_AFTER,
        ..Config::default()
    };
    config.validate().map_err(|error| VoterError::Timing(error.to_string()))
}
