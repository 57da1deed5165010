//! The tests of the whole simulator, as one program: it is linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod cli;
mod common;
mod discovery;
mod fault;
mod host;
mod link;

/// A file that nobody names above would not run.
#[test]
fn every_file_is_part_of_this_program() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let program = include_str!("main.rs");
    for entry in std::fs::read_dir(directory).expect("the tests' directory") {
        let name = entry.expect("an entry").file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".rs")) else { continue };
        let named = program.lines().any(|line| line == format!("mod {name};"));
        assert!(named || name == "main", "{name}.rs is left out");
    }
}
