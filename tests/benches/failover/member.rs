//! What the peers' clusters have in common: three processes, their ports, waiting.

use std::env;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::Outcome;

/// How many processes a cluster has.
pub(crate) const MEMBERS: usize = 3;

/// A cluster of three is whole well within this, on a loaded machine of two cores.
pub(crate) const WITHIN: Duration = Duration::from_mins(1);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Set where nothing may be skipped.
const REQUIRE: &str = "POSTERN_REQUIRE";

/// Where a program is. `None`, with a line on stderr that begins with `SKIPPED`, where it is not; an error where
/// the environment says that nothing may be skipped.
pub(crate) fn find(program: &str, package: &str) -> Outcome<Option<PathBuf>> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian has servers where ordinary users do not look.
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join(program)).find(|path| path.is_file());
    if found.is_some() {
        return Ok(found);
    }
    skip(
        &format!("there is no {program}, its keys are null"),
        &format!("apt-get install {package}"),
    )
}

/// Says on stderr, in a line that begins with `SKIPPED`, what cannot be measured here; an error where the
/// environment says that nothing may be skipped.
pub(crate) fn skip<T>(what: &str, hint: &str) -> Outcome<Option<T>> {
    if env::var_os(REQUIRE).is_some_and(|value| value == "1") {
        return Err(format!("{what}\nhint: {hint}").into());
    }
    writeln!(io::stderr().lock(), "SKIPPED: {what}\nhint: {hint}")?;
    Ok(None)
}

/// An address on loopback for each, which nobody listens at.
pub(crate) fn free<const N: usize>() -> Outcome<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    for _ in 0..N {
        listeners.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let addresses: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    addresses?.try_into().map_err(|_| "as many as were bound".into())
}

/// A new directory for a cluster.
pub(crate) fn directory(parent: &Path, name: &str) -> Outcome<PathBuf> {
    let directory = parent.join(name);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Looks until there is something; errors on the way are looks in vain.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let begun = Instant::now();
    loop {
        let why = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!(": {error}"),
        };
        if begun.elapsed() > WITHIN {
            return Err(format!("{what}: not within {} s{why}", WITHIN.as_secs()).into());
        }
        thread::sleep(LOOK_EVERY);
    }
}
