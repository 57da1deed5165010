//! The tests of the whole simulator, as one program: it is linked once.
//!
//! No process is started here; `programs.rs` names the tests that do. A process that is being started has copies of all that is
//! open until it runs its own program, locks and listening sockets too: a test that stops something and starts it again must
//! not share its process with it.
#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod common;
mod discovery;
mod fault;
mod host;
mod link;
mod modbus;
mod modbus_api;

/// A file that no program names would not run.
#[test]
fn every_file_is_part_of_a_program() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let programs = concat!(include_str!("main.rs"), include_str!("programs.rs"));
    for entry in std::fs::read_dir(directory).expect("the tests' directory") {
        let name = entry.expect("an entry").file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".rs")) else { continue };
        let named = programs.lines().any(|line| line == format!("mod {name};"));
        assert!(named || ["main", "programs"].contains(&name), "{name}.rs is left out");
    }
}
