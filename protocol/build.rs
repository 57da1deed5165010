//! Tells the program when it was built: certificates are never judged at an earlier time.
//!
//! `SOURCE_DATE_EPOCH` (seconds since 1970, reproducible-builds.org) is taken where it is set, so that
//! one source gives one program; else the time of the build, which changes with the sources alone.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    // Nothing but these makes this script run again.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let built = match given.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().unwrap_or_else(|_| {
            println!("cargo::error=SOURCE_DATE_EPOCH is no number of seconds: {text}");
            0
        }),
        None => now(),
    };
    println!("cargo::rustc-env=POSTERN_BUILT={built}");
}

#[expect(clippy::disallowed_methods, reason = "a build has no clock of its own")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
