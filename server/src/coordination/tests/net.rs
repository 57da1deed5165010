//! The voters of a site, and the lines between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use postern_protocol::role::{RoleDocument, RoleVersion, SignedRole};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::coordination::shared::lock;
use crate::coordination::*;
use crate::role::CoordinationError;
use crate::role::conformance::{document, version};

/// The witness tries first, then the servers in their order.
pub(super) const NAMES: [&str; 3] = ["w", "a", "b"];

/// A voter that takes the place of another one, under another name.
pub(super) const OTHER: &str = "x";

/// Slower than is usual: tests share their machine.
const TIMING: RaftTiming = RaftTiming {
    heartbeat: Duration::from_millis(150),
    election: [Duration::from_millis(500), Duration::from_millis(625), Duration::from_millis(750)],
};

/// Whatever is waited for comes long before this, or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of a site. What is cut off is not reached, and knows so at once.
#[derive(Default)]
pub(super) struct Lines {
    voters: Mutex<BTreeMap<String, Arc<Voter>>>,
    cut: Mutex<BTreeSet<String>>,
    /// Between whom it is cut, and whether so that nobody is told.
    between: Mutex<Option<([String; 2], bool)>>,
    /// Who answers something else than it should, and what.
    lie: Mutex<Option<(String, Lie)>>,
}

/// What is answered to a message instead of the truth, where anything is.
pub(super) type Lie = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

impl Lines {
    /// From now on this voter is alone, or not any more.
    pub(super) fn cut(&self, name: &str, cut: bool) {
        let mut all = self.cut.lock().unwrap();
        if cut {
            all.insert(name.to_owned())
        } else {
            all.remove(name)
        };
    }

    /// From now on the line between these two is cut: messages are not sent, or, `quiet`, neither delivered nor
    /// answered.
    pub(super) fn cut_between(&self, one: &str, other: &str, quiet: bool) {
        *lock(&self.between) = Some(([one.to_owned(), other.to_owned()], quiet));
    }

    /// From now on this voter lies, or nobody does.
    pub(super) fn lies(&self, lie: Option<(&str, Lie)>) {
        *lock(&self.lie) = lie.map(|(name, lie)| (name.to_owned(), lie));
    }

    fn lie(&self, to: &str, message: &[u8]) -> Option<Vec<u8>> {
        let lie = lock(&self.lie).clone().filter(|(name, _)| name == to);
        lie.and_then(|(_, lie)| lie(message))
    }

    fn between(&self, from: &str, to: &str) -> Option<bool> {
        let between = lock(&self.between);
        let (ends, quiet) = between.as_ref()?;
        ends.iter().all(|end| end == from || end == to).then_some(*quiet)
    }

    fn to(&self, from: &str, to: &str) -> Option<Arc<Voter>> {
        let cut = self.cut.lock().unwrap();
        let open = !cut.contains(from) && !cut.contains(to);
        self.voters.lock().unwrap().get(to).filter(|_| open).cloned()
    }
}

/// A voter's own end of the lines.
struct Line {
    lines: Arc<Lines>,
    me: &'static str,
}

/// What stands for the signature of a document here: it can be read, and its signer is not [`FORGED`].
pub(super) fn genuine(role: &SignedRole) -> Result<RoleVersion, String> {
    if role.signature.0 == FORGED {
        return Err("it is forged".into());
    }
    let document: RoleDocument =
        serde_json::from_str(&role.document).map_err(|error| error.to_string())?;
    Ok(document.groups["main"].version())
}

/// The signature that no server made.
pub(super) const FORGED: &[u8] = b"forged";

impl Transport for Line {
    fn send<'a>(
        &'a self,
        to: &'a VoterAddress,
        message: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        async move {
            assert!(message.len() <= MAX_MESSAGE);
            match self.lines.between(self.me, &to.name) {
                Some(true) => std::future::pending().await,
                Some(false) => return Err(TransportError::Unsent("cut off".into())),
                None => {}
            }
            let Some(voter) = self.lines.to(self.me, &to.name) else {
                return Err(TransportError::Unsent("cut off".into()));
            };
            let answer = voter.on_message(self.me, &message).await;
            if let Some(lie) = self.lines.lie(&to.name, &message) {
                return Ok(lie);
            }
            if self.lines.to(self.me, &to.name).is_none() {
                return Err(TransportError::Lost("cut off meanwhile".into()));
            }
            answer.map_err(|refused| TransportError::Refused(refused.to_string()))
        }
        .boxed()
    }
}

/// A site with three voters, some of which run.
pub(super) struct Site {
    pub(super) lines: Arc<Lines>,
    dirs: BTreeMap<&'static str, TempDir>,
    running: Mutex<BTreeMap<&'static str, (Arc<Voter>, CancellationToken)>>,
}

impl Site {
    /// A site whose voter `a` is to found it; none of them runs.
    pub(super) fn new() -> Self {
        let dirs =
            NAMES.into_iter().chain([OTHER]).map(|name| (name, tempfile::tempdir().unwrap()));
        let dirs: BTreeMap<_, _> = dirs.collect();
        VoterFile::found(dirs["a"].path(), 1, "a").unwrap();
        Self { lines: Arc::default(), dirs, running: Mutex::default() }
    }

    /// A site whose voters run and have a leader.
    pub(super) async fn running() -> Self {
        let site = Self::new();
        for name in NAMES {
            site.start(name).await;
        }
        for name in NAMES {
            site.stands(name, Standing::Voting).await;
        }
        site.leader().await;
        site
    }

    /// As [`Site::running`], with a document of version (1, 0).
    pub(super) async fn with_document() -> Self {
        let site = Self::running().await;
        let first = document(version(1, 0), "first");
        assert!(site.voter("a").raise(version(1, 0), first, Words::default()).await.unwrap());
        site
    }

    pub(super) fn dir(&self, name: &str) -> &Path {
        self.dirs[name].path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir(name).join("voter.redb")
    }

    pub(super) fn voter(&self, name: &str) -> Arc<Voter> {
        Arc::clone(&self.running.lock().unwrap()[name].0)
    }

    pub(super) async fn start(&self, name: &'static str) -> Arc<Voter> {
        self.start_among(name, NAMES).await
    }

    /// Starts a voter whose configuration names these.
    pub(super) async fn start_among(
        &self,
        name: &'static str,
        all: [&'static str; 3],
    ) -> Arc<Voter> {
        let stop = CancellationToken::new();
        let ordinal = all.iter().position(|other| *other == name).unwrap();
        let peers = all.into_iter().filter(|other| *other != name);
        let config = VoterConfig {
            dir: self.dir(name).to_owned(),
            name: name.to_owned(),
            ordinal_of_timeouts: u8::try_from(ordinal).unwrap(),
            peers: peers
                .map(|name| VoterAddress { name: name.into(), address: "memory".into() })
                .collect(),
            timing: TIMING,
            transport: Arc::new(Line { lines: Arc::clone(&self.lines), me: name }),
            check: Arc::new(genuine),
        };
        let voter = Voter::start(config, stop.clone()).await.unwrap();
        lock(&self.lines.voters).insert(name.into(), Arc::clone(&voter));
        lock(&self.running).insert(name, (Arc::clone(&voter), stop));
        voter
    }

    /// Ends a voter; from now on it is not reached.
    pub(super) async fn stop(&self, name: &str) {
        lock(&self.lines.voters).remove(name);
        let (voter, stop) = lock(&self.running).remove(name).unwrap();
        stop.cancel();
        voter.stopped().await;
    }

    /// The voter that leads now, as a majority sees it.
    pub(super) async fn leader(&self) -> &'static str {
        let leads = || {
            let running = lock(&self.running);
            let cut = lock(&self.lines.cut);
            let mut follow: BTreeMap<String, usize> = BTreeMap::new();
            for (name, (voter, _)) in running.iter().filter(|(name, _)| !cut.contains(**name)) {
                match &*voter.leadership().borrow() {
                    Leadership::Leading { .. } => *follow.entry((*name).into()).or_default() += 1,
                    Leadership::Following { leader } => {
                        *follow.entry(leader.clone()).or_default() += 1;
                    }
                    Leadership::None => {}
                }
            }
            let (leader, _) = follow.into_iter().find(|(_, count)| *count >= 2)?;
            let leader = NAMES.into_iter().find(|name| *name == leader)?;
            let (voter, _) = running.get(leader)?;
            let leading = matches!(&*voter.leadership().borrow(), Leadership::Leading { .. });
            (leading && !cut.contains(leader)).then_some(leader)
        };
        eventually("a leader", leads).await
    }

    /// Waits until a voter stands so.
    pub(super) async fn stands(&self, name: &str, standing: Standing) {
        let mut present = self.voter(name).standing();
        let wait = present.wait_for(|present| *present == standing);
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{name} never was {standing:?}")).unwrap();
    }

    /// Waits until a voter has applied this document.
    pub(super) async fn applies(&self, name: &str, role: &SignedRole) {
        let mut documents = self.voter(name).documents();
        let wait = documents.wait_for(|present| present.as_ref() == Some(role));
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{name} never applied it")).unwrap();
    }

    /// Waits until all three are voters, by the word of one of them; their node ids by name.
    pub(super) async fn members(&self, of: &str) -> BTreeMap<String, u64> {
        let voter = self.voter(of);
        let all = || {
            let members = voter.status().members;
            let complete = members.len() == 3 && members.values().all(|member| member.votes);
            complete.then(|| members.into_iter().map(|(node, at)| (at.name, node)).collect())
        };
        eventually("three voters", all).await
    }

    /// Swaps to this version by way of a voter.
    pub(super) async fn swap(
        &self,
        by: &str,
        expected: RoleVersion,
        next: RoleVersion,
    ) -> Result<bool, CoordinationError> {
        let role = document(next, "");
        self.voter(by).compare_and_swap(expected, next, role, Words::default()).await
    }
}

/// The two other voters.
pub(super) fn others(name: &str) -> [&'static str; 2] {
    let others: Vec<_> = NAMES.into_iter().filter(|other| *other != name).collect();
    others.try_into().unwrap()
}

/// Waits for something to be there.
pub(super) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for {what}"))
}
