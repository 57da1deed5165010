//! Who asks and who answers on processors of their own, as a gateway and its boards are.
//!
//! Where the scheduler puts two processes that wake each other decides a round trip by a factor of
//! three, and it changes its mind in the middle of a run.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// While this lives, what is started runs apart from what was started by [`Apart::start`].
#[derive(Debug)]
pub(crate) struct Apart {
    all: CpuSet,
}

impl Apart {
    /// Starts the boards on the last processor, and leaves all others to this thread and what it
    /// starts. Where there is only one they share it.
    pub(crate) fn start<T>(boards: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Self)> {
        let apart = Self { all: sched_getaffinity(None)? };
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| apart.all.is_set(*cpu));
        let (mut theirs, mut ours) = (CpuSet::new(), apart.all);
        if let Some(last) = last.filter(|_| apart.all.count() > 1) {
            theirs.set(last);
            ours.unset(last);
        } else {
            theirs = apart.all;
        }
        // A child begins where its parent's thread is.
        sched_setaffinity(None, &theirs)?;
        let started = boards();
        sched_setaffinity(None, &ours)?;
        Ok((started?, apart))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}
