//! Waiting for a level, with a deadline: the only place of the harness that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;

/// Between two looks. Short against anything that is waited for (a poll of a controller, a
/// process's start), long against the cost of a look.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(40);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Set by a signal handler: every wait then ends with [`Error::Interrupted`], so that the handles
/// of all processes are dropped on the ordinary way out.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt;

impl Interrupt {
    /// From now on nothing is waited for.
    pub fn raise() {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
}

/// Looks until there is something, and returns it. `look` answers `Ok(None)` for "not yet"; what
/// it answers with an error ends the wait. Sleeping between looks is not synchronisation: what is
/// waited for is the level that `look` sees, and a slow machine only looks more often.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    wait_every(LOOK_EVERY, what, deadline, look)
}

/// The same where a look costs so much that it would slow down what is waited for.
pub fn wait_every<T>(
    every: Duration,
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() >= deadline {
            let last = String::new();
            return Err(Error::Timeout { what: what.to_owned(), waited: deadline, last });
        }
        thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_returned_and_what_is_not_ends_at_the_deadline() {
        let mut looks = 0;
        let found = wait_until("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let never = wait_until::<()>("nothing", Duration::ZERO, || Ok(None));
        assert!(never.unwrap_err().to_string().starts_with("nothing: not within 0 s"));
    }
}
