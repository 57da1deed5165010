//! Backups of a running server: by schedule, and when an operator asks. One at a time.
//!
//! Copying and checking run in a thread of their own that nobody waits for at the end: a backup
//! disk that hangs keeps neither the server from working nor the process from ending.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{BackupError, Kept, Place, Sidecar, Who, list, make, prune, schedule};
use crate::clock;
use crate::site::{self, Config};
use crate::store::snapshot::{Progress, SnapshotError};
use crate::store::{Audit, StoreHandle};

/// The clock is looked at that often, whenever the next backup may be due.
const LOOK: Duration = Duration::from_hours(1);

/// Who makes scheduled backups, in the audit log.
const SCHEDULE: &str = "schedule";

/// How far the backup at hand is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupRunning)]
pub struct Running {
    /// Bytes copied; when all are, it is being verified.
    pub done: u64,
    /// Bytes in all; 0 before that is known.
    pub total: u64,
}

/// What became of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupOutcome)]
pub struct Outcome {
    /// Which, counted from the server's start.
    pub number: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The file.
    pub path: String,
    /// What was made; `None` where it failed.
    pub backup: Option<Sidecar>,
    /// Why it failed.
    pub error: Option<String>,
    /// What to do then.
    pub hint: Option<String>,
}

/// The backup part of a server's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupStatus)]
pub struct Status {
    /// Where backups go.
    pub dir: String,
    /// How often, in seconds.
    pub every_s: u64,
    /// How many are kept.
    pub keep: u64,
    /// The last good one.
    pub last: Option<Good>,
    /// Whether that is too old.
    pub overdue: bool,
    /// Why the latest attempt failed, where it did.
    pub failure: Option<String>,
    /// Whether one is being made.
    pub running: bool,
}

/// A good backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupGood)]
pub struct Good {
    /// Its name.
    pub file: String,
    /// When it was begun, RFC 3339 UTC.
    pub at: String,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// How many transactions it holds.
    pub transactions: u64,
}

/// Minds a server's backups.
pub struct Minder {
    who: Who,
    data_dir: PathBuf,
    plan: Option<site::BackupPlan>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last good one in the plan's directory.
    last: Option<Sidecar>,
    /// The last attempt by the plan, where it failed.
    failed: Option<(Timestamp, String)>,
    running: Option<Running>,
    number: u64,
    finished: Option<Outcome>,
}

impl Minder {
    /// For the server of a data directory.
    pub fn new(data_dir: &Path, config: &Config) -> Self {
        let Config { site, group, name, backup, .. } = config.clone();
        let who = Who { site, group, server: name };
        Self { who, data_dir: data_dir.to_owned(), plan: backup, state: Mutex::default() }
    }

    /// Where a backup goes: to a path, or where the plan says; `None` where neither says.
    pub fn place(&self, out: Option<&Path>) -> Option<Place> {
        match (out, &self.plan) {
            (Some(out), _) => Place::at(out),
            (None, Some(plan)) => Some(Place::within(&plan.dir, &self.who, clock::now())),
            (None, None) => None,
        }
    }

    /// For the status; `None` where nothing is planned.
    pub fn status(&self, now: Timestamp) -> Option<Status> {
        let plan = self.plan.as_ref()?;
        let state = self.state();
        let at = state.last.as_ref().and_then(Sidecar::at);
        let failed = state.failed.as_ref();
        let last = state.last.as_ref().map(|last| Good {
            file: last.file.clone(),
            at: last.at.clone(),
            age_s: at.and_then(|at| schedule::age(now, at)).unwrap_or_default().as_secs(),
            transactions: last.rows.transactions,
        });
        Some(Status {
            dir: plan.dir.display().to_string(),
            every_s: plan.every.as_secs(),
            keep: u64::try_from(plan.keep).unwrap_or(u64::MAX),
            last,
            overdue: schedule::is_overdue(now, at, failed.map(|(at, _)| *at), plan.every),
            failure: failed.map(|(_, why)| why.clone()),
            running: state.running.is_some(),
        })
    }

    /// What is going on, and what became of the latest.
    pub fn progress(&self) -> (Option<Running>, Option<Outcome>) {
        let state = self.state();
        (state.running.clone(), state.finished.clone())
    }

    /// Begins a backup that runs to its end whatever becomes of the caller. Returns its number.
    pub fn begin(
        self: &Arc<Self>,
        store: &StoreHandle,
        place: Place,
        by: &str,
        stop: &CancellationToken,
    ) -> Result<u64, BackupError> {
        let number = self.reserve()?;
        let (minder, store) = (self.clone(), store.clone());
        let (by, stop) = (by.to_owned(), stop.clone());
        tokio::spawn(async move { minder.run(number, &store, place, &by, stop).await });
        Ok(number)
    }

    /// Makes backups by the plan until the server stops.
    pub async fn keep_up(self: Arc<Self>, store: StoreHandle, stop: CancellationToken) {
        let Some(plan) = self.plan.clone() else { return };
        // Of a former store it does not count: this one has none yet.
        let (dir, who, id) = (plan.dir.clone(), self.who.clone(), store.name().store);
        let before = apart(move || {
            let mut kept = list(&dir)?;
            kept.retain(|Kept { at, sidecar, .. }| {
                sidecar.who == who && sidecar.store == id && *at <= clock::now()
            });
            Ok(kept.pop().map(|kept| kept.sidecar))
        });
        // Cancel-safety: what was being read is read again at the next start.
        tokio::select! {
            () = stop.cancelled() => return,
            // Where the directory cannot be read, the first backup says so.
            before = before => self.state().last = before.ok().flatten(),
        }
        loop {
            let wait = {
                let state = self.state();
                let last = state.last.as_ref().and_then(Sidecar::at);
                let failed = state.failed.as_ref().map(|(at, _)| *at);
                schedule::wait(clock::now(), last, failed, plan.every)
            };
            if !wait.is_zero() {
                // Cancel-safety: only time passes.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait.min(LOOK)) => {}
                }
                continue;
            }
            let place = Place::within(&plan.dir, &self.who, clock::now());
            match self.reserve() {
                Ok(number) => self.run(number, &store, place, SCHEDULE, stop.clone()).await,
                // An operator's is under way; afterwards it is seen whether another is due.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn reserve(&self) -> Result<u64, BackupError> {
        let mut state = self.state();
        if state.running.is_some() {
            return Err(BackupError::Busy);
        }
        state.running = Some(Running { done: 0, total: 0 });
        state.number += 1;
        Ok(state.number)
    }

    async fn run(
        self: &Arc<Self>,
        number: u64,
        store: &StoreHandle,
        place: Place,
        by: &str,
        stop: CancellationToken,
    ) {
        let path = place.path().display().to_string();
        let planned = self.plan.as_ref().is_some_and(|plan| plan.dir == place.dir);
        let (minder, source, target) = (self.clone(), store.clone(), place.clone());
        let ended = stop.clone();
        let copy = apart(move || {
            let mut watch = |Progress { done, total }| {
                minder.state().running = Some(Running { done, total });
                if ended.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let take = |to: &Path, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>| {
                source.snapshot_here(to, watch)
            };
            make(&minder.who, &minder.data_dir, &target, take, &mut watch)
        });
        // Cancel-safety: the thread ends by itself, or with the process.
        let made = tokio::select! {
            made = copy => made,
            () = stop.cancelled() => Err(BackupError::Stopping),
        };
        if let Err(BackupError::Stopping | BackupError::Snapshot(SnapshotError::Cancelled)) = &made
        {
            self.state().running = None;
            return;
        }
        let line = match &made {
            Ok(sidecar) => {
                let Sidecar { rows, bytes, .. } = sidecar;
                let detail = format!("{} transactions, {bytes} bytes", rows.transactions);
                tracing::info!(path, bytes, transactions = rows.transactions, by, "backed up");
                Audit::now(by, "backup", &path, &detail)
            }
            Err(error) => {
                tracing::error!(path, %error, by, "no backup was made");
                Audit::now(by, "backup_failed", &path, &error.to_string())
            }
        };
        record(store, line).await;
        self.finish(number, &place, planned, &made);
        if let Ok(sidecar) = made
            && planned
        {
            self.prune(store, place.dir, sidecar, by).await;
        }
    }

    /// Keeps for the status what became of it.
    fn finish(
        &self,
        number: u64,
        place: &Place,
        planned: bool,
        made: &Result<Sidecar, BackupError>,
    ) {
        let mut state = self.state();
        state.running = None;
        if planned {
            match made {
                Ok(sidecar) => (state.last, state.failed) = (Some(sidecar.clone()), None),
                Err(error) => state.failed = Some((clock::now(), error.to_string())),
            }
        }
        state.finished = Some(Outcome {
            number,
            at: clock::now(),
            path: place.path().display().to_string(),
            backup: made.as_ref().ok().cloned(),
            error: made.as_ref().err().map(ToString::to_string),
            hint: made.as_ref().err().and_then(BackupError::hint),
        });
    }

    async fn prune(&self, store: &StoreHandle, dir: PathBuf, newest: Sidecar, by: &str) {
        let Some(keep) = self.plan.as_ref().map(|plan| plan.keep) else { return };
        match apart(move || prune(&dir, &newest, keep)).await {
            Ok(gone) => {
                for path in gone {
                    let path = path.display().to_string();
                    tracing::info!(path, keep, "removed an old backup");
                    let why = format!("{keep} are kept");
                    record(store, Audit::now(by, "backup_removed", &path, &why)).await;
                }
            }
            Err(error) => tracing::error!(%error, "an old backup could not be removed"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn record(store: &StoreHandle, line: Audit) {
    if let Err(error) = store.write(move |store| store.record_here(&line)).await {
        tracing::error!(%error, "the audit log has no line of this backup");
    }
}

/// Runs what may block for long, or for ever, in a thread that nobody has to wait for.
async fn apart<T, F>(run: F) -> Result<T, BackupError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, BackupError> + Send + 'static,
{
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("backup".into()).spawn(move || {
        // Whoever asked may be gone.
        let _ = answer.send(run());
    });
    if let Err(source) = thread {
        let path = PathBuf::from("backup");
        return Err(BackupError::Io { what: "start the thread", path, source });
    }
    let panicked = |_| {
        let (path, source) =
            (PathBuf::from("backup"), std::io::Error::other("its thread panicked"));
        Err(BackupError::Io { what: "finish the", path, source })
    };
    answered.await.unwrap_or_else(panicked)
}
