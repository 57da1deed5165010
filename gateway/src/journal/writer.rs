//! The writer thread: the only one that commits. What arrives while a sync is under way shares the
//! next commit. It is a thread of its own so that a sync that takes seconds delays acknowledgements
//! alone.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use postern_protocol::Seq;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::ring::Full;
use super::store::Store;
use super::{Answer, Change, JournalError, JournalState, Request};

/// The most entries of one commit, about; a segment then is a batch of the uplink. Beyond that an
/// entry costs as much however many share the commit, and who came first waits for who came last.
const MAX_GROUP: usize = postern_protocol::uplink::MAX_BATCH;

/// How long the writer looks for the next append before it sleeps: about as long as waking it takes, and
/// where there is one processor only not at all.
const LINGER: Duration = Duration::from_micros(60);

/// How often to look whether a full disk has room again.
const DISK_RETRY: Duration = Duration::from_secs(2);

/// When callers are answered. There is one right order; the wrong one exists in tests only, where it
/// proves that the test of the right one can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    CommitThenAnswer,
    #[cfg(test)]
    AnswerThenCommit,
}

/// The highest `safe` that was told, for the writer to pick up with its next commit.
#[derive(Debug, Default)]
pub(crate) struct Told {
    safe: AtomicU64,
    news: Notify,
}

impl Told {
    pub(crate) fn raise(&self, safe: Seq) {
        if self.safe.fetch_max(safe.0, Ordering::AcqRel) < safe.0 {
            self.news.notify_one();
        }
    }

    fn safe(&self) -> Seq {
        Seq(self.safe.load(Ordering::Acquire))
    }
}

/// What the writer is given.
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) inbox: mpsc::Receiver<Request>,
    pub(crate) told: Arc<Told>,
    pub(crate) publish: watch::Sender<JournalState>,
    pub(crate) pace: Pace,
    pub(crate) order: Order,
    /// Whether there is a processor to spare for [`LINGER`].
    pub(crate) lingers: bool,
}

/// Changes that share a commit, and who waits for each.
#[derive(Default)]
struct Group {
    entries: usize,
    changes: Vec<Change>,
    answers: Vec<oneshot::Sender<Answer>>,
}

impl Group {
    fn push(&mut self, request: Request) {
        self.entries += match &request.change {
            Change::Append(append) => append.entries.len(),
            Change::Resolve(_, notes) => notes.len(),
            Change::Safe(_) | Change::Role(..) | Change::Barrier => 0,
        };
        self.changes.push(request.change);
        self.answers.push(request.answer);
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

pub(crate) fn spawn(writer: Writer, closed: CancellationToken) -> std::io::Result<()> {
    // Timers and wake-ups for this thread alone: the daemon's own runtime never waits for a sync.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("journal".to_owned()).spawn(move || {
        // Also when this thread panics: whoever waits for the file is not to wait for ever.
        let _closed = closed.drop_guard();
        runtime.block_on(writer.run());
    })?;
    Ok(())
}

impl Writer {
    async fn run(mut self) {
        while let Some(group) = self.next_group().await {
            if let Err((error, answers)) = self.commit(group) {
                self.die(&error, answers);
                return;
            }
        }
    }

    /// What the next commit holds; empty where it only settles. `None`: every handle is gone.
    async fn next_group(&mut self) -> Option<Group> {
        let mut group = Group::default();
        self.linger(&mut group);
        loop {
            let now = Instant::now();
            // Somebody waits, or a full ring may have got room that somebody waits for.
            let urgent = !group.is_empty() || self.frees_room();
            let deadline = if urgent {
                Some(self.pace.allowed_at(now).unwrap_or(now))
            } else {
                let full = self.store.state().ring.full == Some(Full::Disk);
                let look = full.then(|| now + DISK_RETRY);
                look.into_iter().chain(self.pace.settle_at()).min()
            };
            // All that is there already comes along, whatever the time.
            while group.entries < MAX_GROUP
                && let Ok(request) = self.inbox.try_recv()
            {
                group.push(request);
            }
            if !group.is_empty() && !urgent {
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Some(group);
            }
            // Cancel-safety: a request stays queued, news stay noted, the deadline is computed anew.
            tokio::select! {
                request = self.inbox.recv(), if group.entries < MAX_GROUP => match request {
                    Some(request) => group.push(request),
                    None if group.is_empty() && self.pace.settle_at().is_none() => return None,
                    // The last commit of an orderly end.
                    None => {
                        self.close_after(group);
                        return None;
                    }
                },
                () = self.told.news.notified() => self.pace.on_raised(now),
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Whoever appends one after the other is back within microseconds, sooner than a thread that went to
    /// sleep is awake again.
    fn linger(&mut self, group: &mut Group) {
        let begun = Instant::now();
        while self.lingers && begun.elapsed() < LINGER {
            if let Ok(request) = self.inbox.try_recv() {
                group.push(request);
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Commits what is left when every handle is gone; nobody waits for the outcome any more.
    fn close_after(&mut self, group: Group) {
        if let Err((error, answers)) = self.commit(group) {
            self.die(&error, answers);
        }
    }

    /// Whether the ring refuses appends and there may be room since.
    fn frees_room(&self) -> bool {
        let ring = &self.store.state().ring;
        match ring.full {
            None => false,
            Some(Full::Disk) => self.store.disk_has_room(),
            Some(Full::Entries | Full::Bytes) => {
                self.told.safe().min(ring.head.seq) > ring.safe.seq
            }
        }
    }

    fn commit(&mut self, group: Group) -> Result<(), (JournalError, Vec<oneshot::Sender<Answer>>)> {
        let Group { mut changes, answers, .. } = group;
        self.pace.on_commit(Instant::now(), changes.is_empty());
        changes.push(Change::Safe(self.told.safe()));
        #[cfg(test)]
        let answers = if self.order == Order::AnswerThenCommit {
            let head = self.store.state().head;
            for answer in answers {
                let _ = answer.send(Ok(head));
            }
            Vec::new()
        } else {
            answers
        };
        let _ = self.order;
        // redb is known to panic on a damaged page. What is then left of the store is not used again.
        let store = &mut self.store;
        let committed = panic::catch_unwind(AssertUnwindSafe(|| store.commit(&changes)))
            .unwrap_or_else(|_| {
                Err(JournalError::Dead { reason: "the store panicked".to_owned() })
            });
        match committed {
            Ok(committed) => {
                // Published first: whoever was answered finds the new head in the state.
                self.publish.send_replace(self.store.state().clone());
                let head = self.store.state().head;
                for (answer, outcome) in answers.into_iter().zip(committed.outcomes) {
                    // A caller that went away does not need its answer.
                    let _ = answer.send(outcome.map(|()| head));
                }
                Ok(())
            }
            Err(error) => Err((error, answers)),
        }
    }

    /// After a failed write or sync nobody is told that anything is kept: the outcome is unknown until
    /// the file is opened again.
    fn die(&mut self, error: &JournalError, answers: Vec<oneshot::Sender<Answer>>) {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        tracing::error!(code = "journal_dead", %reason, "journal stopped; nothing is acknowledged any more");
        self.inbox.close();
        self.publish.send_modify(|state| state.dead = Some(reason.clone()));
        for answer in answers {
            let _ = answer.send(Err(JournalError::Dead { reason: reason.clone() }));
        }
        while let Ok(request) = self.inbox.try_recv() {
            let _ = request.answer.send(Err(JournalError::Dead { reason: reason.clone() }));
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
