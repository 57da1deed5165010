//! Everything that fuzzing found to matter, once more: each file of the corpus goes through what the
//! fuzz target of its directory does with it. How to fuzz: `docs/testing.md`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, clippy::missing_panics_doc, reason = "the library of the fuzz targets")]
mod fuzz;

/// How many files there were. The file that something is wrong with is named.
fn replay(target: &str, body: fn(&[u8])) -> usize {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        assert!(std::panic::catch_unwind(|| body(&bytes)).is_ok(), "{}", file.display());
    }
    files.len()
}

#[test]
fn frames_of_the_corpus() {
    assert!(replay("frame", fuzz::frame) >= 69, "fewer files than published frames");
}

#[test]
fn transactions_of_the_corpus() {
    assert!(replay("transaction", fuzz::transaction) >= 10);
}

#[test]
fn messages_of_the_corpus() {
    assert!(replay("message", fuzz::message) >= 10);
}

#[cfg(feature = "link-gateway")]
#[test]
fn frames_of_the_link_of_the_corpus() {
    assert!(replay("link_frame", fuzz::link::frame) >= 10);
}

#[cfg(feature = "link-gateway")]
#[test]
fn handshakes_of_the_corpus() {
    assert!(replay("link_handshake", fuzz::link::handshake) >= 10);
}

#[cfg(feature = "link-gateway")]
#[test]
fn scripts_of_both_machines_of_the_corpus() {
    assert!(replay("link_machines", fuzz::link::machines) >= 10);
}
