//! The scenarios, as one program: it is linked once, builds the programs under test once, and while one
//! scenario waits another one runs.

mod barred;
mod clock;
mod demo;
mod disk;
mod failover;
mod flap;
mod fork;
mod hostile;
mod journal;
mod kill;
mod link_key;
mod link_line;
mod link_log;
mod link_many;
mod modbus;
mod network;
mod outage;
mod partition;
mod refusal;
mod role;
mod server_space;
mod simulation;
mod space;
mod standby;
mod uhppote_clock;
mod uhppote_input;
mod uhppote_line;
mod uhppote_log;
mod uhppote_many;
mod wiped;

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
