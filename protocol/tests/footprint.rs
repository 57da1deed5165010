//! A controller's side of the link builds without std and without an allocator, is driven by C, and is as
//! small as `docs/protocol.md` §12 says.
//!
//! `footprint/` is a crate outside of the workspace with a panic handler of its own. Cargo builds it here,
//! from what the workspace has fetched already; figures go to standard error.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Bytes of code and constants that a link reaches, on x86-64 with the arithmetic of 32-bit processors.
const MAX_CODE: usize = 40_000;
/// Bytes of a station with frames of 256 bytes, and of all with a log of 64 events.
const MAX_STATION: usize = 1_024;
const MAX_LINK: usize = 3_200;
/// Bytes of stack, handshake included.
const MAX_STACK: usize = 4_096;

/// What a Cortex-M would run: no vectors, no 128-bit products.
const FLAGS: &str = "--cfg curve25519_dalek_backend=\"serial\" --cfg curve25519_dalek_bits=\"32\" \
     --cfg chacha20_force_soft --cfg poly1305_force_soft";

fn crate_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("footprint")
}

fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("footprint")
}

fn build(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--offline"])
        .args(arguments)
        .current_dir(crate_dir())
        .env("CARGO_TARGET_DIR", target_dir())
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn say(line: &str) {
    // Past the harness, which shows only what a failed test printed.
    let _ = writeln!(std::io::stderr(), "footprint: {line}");
}

/// Runs a tool of the system; `None`, said aloud, where there is none (with `POSTERN_REQUIRE=1` that fails).
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(
                std::env::var_os("POSTERN_REQUIRE").is_none_or(|set| set != "1"),
                "{name}: {error}"
            );
            say(&format!("SKIPPED what needs `{name}`: {error}"));
            None
        }
    }
}

fn sealed_frames() -> Vec<String> {
    let file = include_str!("../vectors/link-v1.json");
    let file: serde_json::Value = serde_json::from_str(file).expect("JSON");
    let frames = file["sealed"]["frames"].as_array().expect("frames");
    frames.iter().map(|frame| frame["hex"].as_str().expect("hex").to_owned()).collect()
}

#[test]
fn a_controllers_side_needs_neither_std_nor_an_allocator_and_is_small() {
    let built = build(&[]);
    assert!(built.status.success(), "{}", text(&built.stderr));

    let archive = target_dir().join("release/libpostern_footprint.a");
    let archive = archive.to_str().expect("a path in UTF-8");
    measure_code(archive);
    drive(archive);

    // The check would notice: std brings a second panic handler.
    let broken = build(&["--features", "std-leaks-in"]);
    assert!(
        !broken.status.success() && text(&broken.stderr).contains("E0152"),
        "{}",
        text(&broken.stderr)
    );
}

/// How much of the library a link reaches. What the compiler itself calls (memcpy) is the system's.
fn measure_code(archive: &str) {
    let linked = target_dir().join("reached");
    let linked = linked.to_str().expect("a path in UTF-8");
    let keep = ["-e", "postern_on_byte", "-u", "postern_begin", "-u", "postern_event"];
    let options = ["--gc-sections", "--unresolved-symbols=ignore-all", archive, "-o", linked];
    let Some(made) = tool("ld", &[&keep[..], &options[..]].concat()) else { return };
    assert!(made.status.success(), "{}", text(&made.stderr));
    let Some(size) = tool("size", &["-A", "-d", linked]) else { return };
    let size = text(&size.stdout);
    let section = |wanted: &str| {
        let mut lines = size.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|line| line.first() == Some(&wanted));
        line.map_or(0, |line| line[1].parse::<usize>().expect("a size"))
    };
    let (code, constants) = (section(".text"), section(".rodata") + section(".data.rel.ro"));
    say(&format!(
        "code {code}, constants {constants}, variables {}",
        section(".data") + section(".bss")
    ));
    assert!(code > 0 && code + constants <= MAX_CODE, "{size}");
    assert_eq!(section(".data") + section(".bss"), 0, "nothing is kept but in the caller's memory");
}

/// A C program hears the secured session of the vectors, and answers as they say.
fn drive(archive: &str) {
    let (source, program) = (crate_dir().join("link.c"), target_dir().join("link"));
    let program = program.to_str().expect("a path in UTF-8");
    let options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"];
    let files = [source.to_str().expect("a path in UTF-8"), archive, "-o", program];
    let Some(compiled) = tool("cc", &[&options[..], &files[..]].concat()) else { return };
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));

    let frames = sealed_frames();
    let requests: Vec<&str> = frames.iter().step_by(2).map(String::as_str).collect();
    let Some(run) = tool(program, &requests) else { return };
    assert!(run.status.success(), "{run:?}");
    let output = text(&run.stdout);
    let lines: Vec<&str> = output.lines().collect();
    let answers: Vec<&str> = frames.iter().skip(1).step_by(2).map(String::as_str).collect();
    assert_eq!(lines[1..lines.len() - 1], answers);

    let sizes: Vec<usize> =
        lines[0].split_whitespace().map(|size| size.parse().expect("a size")).collect();
    let stack: usize = lines[lines.len() - 1].parse().expect("a size");
    say(&format!("memory {} (station {}, log {}), stack {stack}", sizes[0], sizes[1], sizes[2]));
    assert!(sizes[0] <= MAX_LINK && sizes[1] <= MAX_STATION && stack <= MAX_STACK);
}

/// Else the figures would be another program's, and a build without a network would lack something.
#[test]
fn its_crates_are_the_workspaces() {
    let packages = |lock: &str| -> BTreeSet<(String, String)> {
        let field = |part: &str, name: &str| {
            let line = part.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        lock.split("[[package]]\n")
            .skip(1)
            .filter(|part| part.contains("\nsource = "))
            .filter_map(|part| Some((field(part, "name = ")?, field(part, "version = ")?)))
            .collect()
    };
    let ours = packages(include_str!("../footprint/Cargo.lock"));
    let workspace = packages(include_str!("../../Cargo.lock"));
    assert!(ours.len() > 30);
    assert_eq!(ours.difference(&workspace).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}
