//! What this machine does not let a scenario do: said aloud and counted, or an error where nothing may be
//! skipped.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;

/// Set where every test has to run.
const REQUIRE: &str = "POSTERN_REQUIRE";

/// How often this program has skipped something.
static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// `None`, with a line on stderr that begins with `SKIPPED`; an error where the environment says that nothing
/// may be skipped.
pub(super) fn skip<T>(what: &str, why: &str, hint: &str) -> Result<Option<T>, Error> {
    if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") {
        return Err(Error::Scenario(format!("{what}: {why}")));
    }
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let _ = writeln!(
        anstream::stderr(),
        "SKIPPED ({number} so far): {what}: {why}\nhint: {hint}; {REQUIRE}=1 makes this a failure"
    );
    Ok(None)
}
