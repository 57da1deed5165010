//! What is compared: something that keeps entries durably.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::load::{Batch, Load};

/// A contender. Each makes its own files in the directory it is given.
pub(crate) trait Subject: Send {
    /// Keeps the batch; returns when it is durable.
    fn commit(&mut self, batch: Batch) -> Outcome<()>;

    /// How many transactions `appenders` of them get kept within about `slice`, each appending one,
    /// waiting until it is durable, and again. By default they take turns: whoever has no group
    /// commit has one commit for each.
    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept>;
}

/// What was kept, and in what time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) transactions: u64,
    pub(crate) time: Duration,
}

/// [`Subject::concurrently`] for those who have one handle: threads that take turns.
pub(crate) fn take_turns<S: Subject>(
    subject: &mut S,
    appenders: u32,
    slice: Duration,
) -> Outcome<Kept> {
    let begin = Instant::now();
    let shared = Mutex::new(subject);
    let append = |appender: u32| -> Outcome<u64> {
        let mut load = Load::of(appender);
        let mut kept = 0;
        while begin.elapsed() < slice {
            let batch = load.batch(1)?;
            shared.lock().unwrap_or_else(PoisonError::into_inner).commit(batch)?;
            kept += 1;
        }
        Ok(kept)
    };
    let transactions = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (1..=appenders).map(|appender| scope.spawn(move || append(appender))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "an appender panicked")?)
            .sum::<Outcome<u64>>()
    })?;
    Ok(Kept { transactions, time: begin.elapsed() })
}
