//! The writer thread: the only one that commits. What arrives while a sync is under way shares the
//! next commit; an idle writer commits at once. It is a thread of its own so that a sync that takes
//! seconds delays acknowledgements alone.

use std::panic::{self, AssertUnwindSafe};
use std::thread;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::store::Store;
use super::{Answer, Change, JournalError, JournalState, Request};

/// The most entries of one commit: a segment is read and verified as one, so it stays below
/// about 100 KiB.
const MAX_GROUP: usize = 1_024;

/// When callers are answered. There is one right order; the wrong one exists in tests only, where it
/// proves that the test of the right one can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    CommitThenAnswer,
    #[cfg(test)]
    AnswerThenCommit,
}

pub(crate) fn spawn(
    store: Store,
    inbox: mpsc::Receiver<Request>,
    publish: watch::Sender<JournalState>,
    order: Order,
    closed: CancellationToken,
) {
    thread::spawn(move || {
        // Also when this thread panics: whoever waits for the file is not to wait for ever.
        let _closed = closed.drop_guard();
        run(store, inbox, &publish, order);
    });
}

fn run(
    mut store: Store,
    mut inbox: mpsc::Receiver<Request>,
    publish: &watch::Sender<JournalState>,
    order: Order,
) {
    while let Some(first) = inbox.blocking_recv() {
        let (changes, answers) = group(first, &mut inbox);
        #[cfg(test)]
        let answers = if order == Order::AnswerThenCommit {
            let head = store.state().head;
            for answer in answers {
                let _ = answer.send(Ok(head));
            }
            Vec::new()
        } else {
            answers
        };
        let _ = order;
        // redb is known to panic on a damaged page. What is then left of the store is not used again.
        let committed = panic::catch_unwind(AssertUnwindSafe(|| store.commit(&changes)))
            .unwrap_or_else(|_| {
                Err(JournalError::Dead { reason: "the store panicked".to_owned() })
            });
        match committed {
            Ok(committed) => {
                // Published first: whoever was answered finds the new head in the state.
                publish.send_replace(store.state().clone());
                let head = store.state().head;
                for (answer, outcome) in answers.into_iter().zip(committed.outcomes) {
                    // A caller that went away does not need its answer.
                    let _ = answer.send(outcome.map(|()| head));
                }
            }
            Err(error) => {
                die(&error, answers, inbox, publish);
                return;
            }
        }
    }
}

fn group(
    first: Request,
    inbox: &mut mpsc::Receiver<Request>,
) -> (Vec<Change>, Vec<oneshot::Sender<Answer>>) {
    let mut entries = size(&first.change);
    let (mut changes, mut answers) = (vec![first.change], vec![first.answer]);
    while entries < MAX_GROUP {
        let Ok(request) = inbox.try_recv() else { break };
        entries += size(&request.change);
        changes.push(request.change);
        answers.push(request.answer);
    }
    (changes, answers)
}

fn size(change: &Change) -> usize {
    match change {
        Change::Append(append) => append.transactions.len(),
        Change::Resolve(_, notes) => notes.len(),
        Change::Safe(_) | Change::Role(..) => 0,
    }
}

/// After a failed write or sync nobody is told that anything is kept: the outcome is unknown until
/// the file is opened again.
fn die(
    error: &JournalError,
    answers: Vec<oneshot::Sender<Answer>>,
    mut inbox: mpsc::Receiver<Request>,
    publish: &watch::Sender<JournalState>,
) {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    tracing::error!(code = "journal_dead", %reason, "journal stopped; nothing is acknowledged any more");
    inbox.close();
    publish.send_modify(|state| state.dead = Some(reason.clone()));
    for answer in answers {
        let _ = answer.send(Err(JournalError::Dead { reason: reason.clone() }));
    }
    while let Some(request) = inbox.blocking_recv() {
        let _ = request.answer.send(Err(JournalError::Dead { reason: reason.clone() }));
    }
}
