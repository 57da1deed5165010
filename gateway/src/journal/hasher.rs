//! The chain over what a commit writes, computed by a thread of its own while the commit waits for the
//! disk: SHA-256 over a thousand entries takes about as long as their sync.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use postern_protocol::Chain;

use super::JournalError;
use super::segment::Run;

/// From so many bytes of entries on, the thread is worth its wake-ups.
const ASIDE: usize = 12 * 1024;

/// See the module. The thread starts with the first large commit and ends with this.
#[derive(Default)]
pub(crate) struct Hasher {
    thread: Option<Thread>,
}

struct Thread {
    jobs: SyncSender<(Chain, Run)>,
    done: Receiver<Chain>,
}

/// A chain under way, or done.
pub(crate) enum Linking {
    Here(Chain, Run),
    Aside,
}

impl Hasher {
    /// Begins to compute the chain of `run` behind `start`.
    pub(crate) fn begin(&mut self, start: Chain, run: Run) -> Linking {
        if run.size() < ASIDE {
            return Linking::Here(start, run);
        }
        let thread = self.thread.get_or_insert_with(spawn);
        match thread.jobs.send((start, run)) {
            Ok(()) => Linking::Aside,
            Err(std::sync::mpsc::SendError((start, run))) => Linking::Here(start, run),
        }
    }

    /// The chain.
    pub(crate) fn end(&mut self, linking: Linking) -> Result<Chain, JournalError> {
        match (linking, &self.thread) {
            (Linking::Here(start, run), _) => Ok(run.link(start)),
            (Linking::Aside, Some(thread)) => thread.done.recv().map_err(|_| gone()),
            (Linking::Aside, None) => Err(gone()),
        }
    }
}

fn gone() -> JournalError {
    JournalError::Dead { reason: "the hashing thread is gone".to_owned() }
}

fn spawn() -> Thread {
    let (jobs, inbox) = sync_channel::<(Chain, Run)>(1);
    let (answer, done) = sync_channel(1);
    // Where it cannot be started its channel is closed, and the chain is computed here.
    let _ = std::thread::Builder::new().name("journal-chain".to_owned()).spawn(move || {
        while let Ok((start, run)) = inbox.recv() {
            if answer.send(run.link(start)).is_err() {
                return;
            }
        }
    });
    Thread { jobs, done }
}
