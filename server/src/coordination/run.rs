//! The life of a voter: open the file, find out whether it may be used, take part until something fails, and
//! again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::RaftMetrics;
use postern_protocol::role::RoleVersion;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ask::{admitted, ask_to_join, tell_all};
use super::error::FileError;
use super::file::{Identity, VoterFile};
use super::log::Log;
use super::machine::Machine;
use super::network::Network;
use super::shared::{Offer, Shared, lock, moment};
use super::standing::{Memory, Verdict, judge, judge_founding};
use super::status::{Leadership, Standing};
use super::types::{NodeId, Raft, VoterAddress};

/// A file that failed is opened again after so many of the shortest election time-outs: a few seconds, which
/// is soon enough for a disk that has room again.
const REOPEN: u32 = 8;

/// A voter tells the others how far it has come after so many of their questions' pauses: two seconds where they
/// are near each other, ten where they are far.
const TELL: u32 = 10;

/// The one task that owns the voter's file.
pub(super) struct Runner {
    pub shared: Arc<Shared>,
    pub offered: mpsc::Receiver<Offer>,
    pub stop: CancellationToken,
    /// The version of the document that was told last.
    pub told: Option<RoleVersion>,
}

/// What comes after a life.
enum Next {
    /// Another one at once: the file was made, or set aside.
    Again,
    /// Another one after a pause.
    Failed(FileError),
    Stop,
}

impl From<FileError> for Next {
    fn from(error: FileError) -> Self {
        Self::Failed(error)
    }
}

/// Opens the file of this name in a directory. One that is damaged is set aside: it cannot be known what was
/// promised in it.
pub(super) async fn open(dir: &Path, name: &str) -> Result<Option<VoterFile>, FileError> {
    let (dir, wanted) = (dir.to_owned(), name.to_owned());
    let opened = tokio::task::spawn_blocking(move || match VoterFile::open(&dir) {
        Err(error @ FileError::Damaged { .. }) => {
            let aside = VoterFile::set_aside(&dir, "damaged")?;
            tracing::error!(%error, aside = %aside.display(), "the voter's file is set aside");
            Ok(None)
        }
        Ok(Some(file)) if file.identity().name != wanted => {
            let got = file.identity().name.clone();
            Err(FileError::OtherVoter { path: dir, got, wanted })
        }
        opened => opened,
    });
    opened.await.unwrap_or(Err(FileError::Closed))
}

impl Runner {
    pub(super) async fn run(mut self, first: Option<VoterFile>) {
        let mut opened = Some(Ok(first));
        loop {
            let file = match opened.take() {
                Some(file) => file,
                None => open(&self.shared.dir, &self.shared.name).await,
            };
            let next = match file {
                Ok(file) => self.live(file).await,
                Err(error) => Next::Failed(error),
            };
            self.end().await;
            match next {
                Next::Again => {}
                Next::Stop => break,
                Next::Failed(error) => {
                    tracing::error!(%error, "the voter does not work");
                    self.shared.failed(&error);
                    self.shared.stand(Standing::Failed);
                    if self.pause(self.shared.timing.shortest() * REOPEN).await {
                        break;
                    }
                }
            }
        }
        self.shared.stand(Standing::Stopped);
    }

    /// Stops Raft and closes the file.
    async fn end(&self) {
        let link = std::mem::take(&mut *lock(&self.shared.link));
        self.shared.leadership.send_replace(Leadership::None);
        *lock(&self.shared.freshness) = super::freshness::Freshness::default();
        if let Some(raft) = link.raft
            && let Err(error) = raft.shutdown().await
        {
            tracing::error!(%error, "Raft did not end well");
        }
        if let Some(file) = link.file {
            let closed = tokio::task::spawn_blocking(move || file.close());
            let _ = closed.await;
        }
    }

    /// Waits; `true` where it is time to stop.
    async fn pause(&self, time: Duration) -> bool {
        // Cancel-safety: both are only waited for.
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = sleep(time) => false,
        }
    }

    /// How long to wait before the others are asked again.
    fn ask_again(&self) -> Duration {
        self.shared.timing.shortest() / 2
    }

    async fn live(&mut self, file: Option<VoterFile>) -> Next {
        let lived = match file {
            None => self.be_newcomer().await,
            Some(file) => self.be_node(file).await,
        };
        match lived {
            Ok(next) => next,
            Err(error) => Next::Failed(error),
        }
    }

    /// Asks to be admitted until it is, or until a founder gives it a node id.
    async fn be_newcomer(&mut self) -> Result<Next, FileError> {
        // What an older file said of the members is no longer this voter's to say.
        self.shared.applied.send_replace(Arc::default());
        self.shared.stand(Standing::Newcomer);
        let (shared, pause) = (Arc::clone(&self.shared), self.ask_again());
        // Cancel-safety: an admission that is dropped gives a node id that nobody uses.
        tokio::select! {
            () = self.stop.cancelled() => return Ok(Next::Stop),
            Some((node, written)) = self.offered.recv() => {
                self.create(node, None).await?;
                // The founder asks again where it did not hear of it.
                let _ = written.send(());
            }
            (node, memory) = admitted(&shared, pause) => self.create(node, Some(memory)).await?,
        }
        // It has a node id now: who offers another one is refused.
        while self.offered.try_recv().is_ok() {}
        Ok(Next::Again)
    }

    async fn create(&self, node: NodeId, memory: Option<Memory>) -> Result<(), FileError> {
        let (dir, name) = (self.shared.dir.clone(), self.shared.name.clone());
        if let Some(memory) = memory {
            lock(&self.shared.caller.memory).merge(Some(node), &memory);
        }
        let identity = Identity { node, name, founding: false };
        let made = tokio::task::spawn_blocking(move || VoterFile::create(&dir, &identity));
        made.await.unwrap_or(Err(FileError::Closed))
    }

    async fn be_node(&mut self, file: VoterFile) -> Result<Next, FileError> {
        let shared = Arc::clone(&self.shared);
        let node = file.identity().node;
        let (memory, state) = file.off(|file| Ok((file.remembered()?, file.state()?))).await?;
        lock(&shared.caller.memory).merge(Some(node), &memory);
        {
            let mut link = lock(&shared.link);
            (link.file, link.node) = (Some(file.clone()), Some(node));
        }
        // Who the others are is asked before Raft runs.
        shared.applied.send_replace(Arc::new(state.clone()));
        let founds = file.identity().founding && file.position().is_empty();
        shared.stand(if founds { Standing::Founding } else { Standing::Checking });
        loop {
            let told = self.ask_all(node).await;
            let verdict = if founds {
                judge_founding(node, shared.caller.peers.len(), told.values())
            } else {
                judge(node, file.position(), told.values())
            };
            match verdict {
                Verdict::Outdated { remembered } => {
                    let dir = shared.dir.clone();
                    let set_aside = file.off(move |file| {
                        file.close();
                        VoterFile::set_aside(&dir, "outdated")
                    });
                    let aside = set_aside.await?;
                    tracing::error!(
                        file = %file.position(), %remembered, aside = %aside.display(),
                        "the voter's file is older than others remember; it is set aside"
                    );
                    return Ok(Next::Again);
                }
                Verdict::Current if !founds => break,
                Verdict::Current if self.give_nodes(node).await => break,
                Verdict::Current | Verdict::Wait => {}
            }
            if self.pause(self.ask_again()).await {
                return Ok(Next::Stop);
            }
        }

        let machine = Machine::new(file.clone(), state, shared.applied.clone());
        let network = Network { caller: Arc::clone(&shared.caller), me: node };
        let config = Arc::clone(&shared.config);
        let raft = Raft::new(node, config, network, Log(file.clone()), machine).await;
        let raft = raft.map_err(|error| FileError::Dead(error.to_string()))?;
        lock(&shared.link).raft = Some(raft.clone());
        shared.failure.send_replace(None);
        if founds {
            let members: BTreeMap<_, _> = self.founding_members(node).collect();
            match raft.initialize(members).await {
                Ok(()) => tracing::warn!("the voters are founded"),
                Err(error) => tracing::error!(%error, "the voters are not founded"),
            }
        }
        self.take_part(&raft, &file, memory).await
    }

    /// Takes part until something fails or it is time to stop.
    async fn take_part(
        &mut self,
        raft: &Raft,
        file: &VoterFile,
        mut written: Memory,
    ) -> Result<Next, FileError> {
        let shared = Arc::clone(&self.shared);
        let mut failure = file.failure();
        let mut metrics = raft.metrics();
        let mut applied = shared.applied.subscribe();
        let mut pulse = tokio::time::interval(self.ask_again());
        let mut tell = tokio::time::interval(self.ask_again() * TELL);
        tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut telling = JoinSet::new();
        let mut reign = None;
        // Raft's first report is a change; the state was told before this listened.
        applied.mark_changed();
        let mut before = moment();
        loop {
            // Cancel-safety: levels are waited for; what is done with them is done to its end.
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Next::Stop),
                reason = failed(&mut failure) => {
                    return Ok(Next::Failed(FileError::Dead(reason)));
                }
                changed = metrics.changed() => {
                    let read = moment();
                    let now = metrics.borrow_and_update().clone();
                    if let Err(fatal) = &now.running_state {
                        return Ok(Next::Failed(FileError::Dead(fatal.to_string())));
                    }
                    if changed.is_err() {
                        return Ok(Next::Failed(FileError::Dead("Raft has ended".into())));
                    }
                    self.report(&now, before, &mut reign);
                    // The next report is made after this one was read.
                    before = read;
                }
                Ok(()) = applied.changed() => {
                    let state = applied.borrow_and_update().clone();
                    // A voter that begins anew comes by what it had already told.
                    if let Some(document) = &state.document
                        && self.told.is_none_or(|told| document.version() > told)
                    {
                        self.told = Some(document.version());
                        shared.documents.send_replace(Some(document.role.clone()));
                    }
                }
                _ = tell.tick() => {
                    telling.spawn(tell_all(Arc::clone(&shared)));
                }
                Some(Ok(given_up)) = telling.join_next() => {
                    if given_up && *shared.standing.borrow() == Standing::Joining {
                        tracing::warn!("its name was given another node id since: it begins anew");
                        return Ok(Next::Again);
                    }
                }
                _ = pulse.tick() => {
                    let memory = shared.tidy_memory();
                    if memory != written {
                        written = memory.clone();
                        file.off(move |file| file.remember(&memory)).await?;
                    }
                    if *shared.standing.borrow() == Standing::Joining {
                        tokio::spawn(ask_to_join(Arc::clone(&shared)));
                    }
                    shared.end_change();
                }
            }
        }
    }

    /// Raft reported how it is.
    fn report(
        &self,
        metrics: &RaftMetrics<NodeId, VoterAddress>,
        before: super::freshness::Moment,
        reign: &mut Option<(u64, Instant)>,
    ) {
        let shared = &self.shared;
        let age = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        lock(&shared.freshness).on_report(age, before, moment());
        let votes = metrics.membership_config.voter_ids().any(|voter| voter == metrics.id);
        shared.stand(if votes { Standing::Voting } else { Standing::Joining });
        let membership = metrics.membership_config.membership();
        let leadership = match metrics.current_leader {
            Some(leader) if leader == metrics.id => {
                let began = reign.filter(|(term, _)| *term == metrics.current_term);
                let (_, since) =
                    *reign.insert(began.unwrap_or_else(|| (metrics.current_term, Instant::now())));
                Leadership::Leading { since: since.into_std() }
            }
            Some(leader) => match membership.get_node(&leader) {
                Some(at) => Leadership::Following { leader: at.name.clone() },
                None => Leadership::None,
            },
            None => Leadership::None,
        };
        if !matches!(leadership, Leadership::Leading { .. }) {
            *reign = None;
        }
        shared.leadership.send_if_modified(|present| {
            let changed = *present != leadership;
            *present = leadership;
            changed
        });
    }
}

/// Waits for the file to fail, and says why.
async fn failed(failure: &mut watch::Receiver<Option<String>>) -> String {
    match failure.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "it is closed".into(),
    }
}
