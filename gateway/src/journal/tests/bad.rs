//! What is no journal of ours: each its own message with what to do next, and nothing is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::*;

/// Every file below a directory: its bytes and when it was written last.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let file = |file: std::fs::DirEntry| {
        let written = file.metadata().unwrap().modified().unwrap();
        (file.path(), (std::fs::read(file.path()).unwrap(), written))
    };
    std::fs::read_dir(directory).unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// A journal with 9,000 entries that nobody has delivered, and then something done to it.
fn journal(directory: &Path, then: impl FnOnce(&Store)) -> Options {
    let options = options(directory, 10_000);
    let mut store = Store::open(&options).unwrap();
    for start in (1..=9_000).step_by(100) {
        store.commit(&[Change::append(append(start..=start + 99)).unwrap()]).unwrap();
    }
    then(&store);
    options
}

fn format(store: &Store, format: u32) {
    let transaction = store.database().begin_write().unwrap();
    let value = postcard::to_allocvec(&format).unwrap();
    let mut table = transaction.open_table(format::META).unwrap();
    table.insert(format::META_FORMAT, value.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

#[test]
fn bad_input_is_told_apart_and_left_alone() {
    let mut messages = BTreeSet::new();
    let mut refused = |what: &str, options: &Options, directory: &Path, part: &str| {
        let before = snapshot(directory);
        for open in [
            Store::open(options).map(|_| ()),
            // And for whoever only looks; who looks does not care about owner and capacity.
            inspect(&options.path).map(|_| ()),
        ] {
            let Err(error) = open else {
                assert!(part.contains("belongs to") || part.contains("capacity"), "{what} opens");
                continue;
            };
            let message = error.to_string();
            assert!(message.contains(part), "{what}: {message}");
            assert!(message.contains("\nhint: "), "{what} does not say what to do: {message}");
            let first = message.lines().next().unwrap();
            let told = first.replace(&options.path.display().to_string(), "PATH");
            messages.insert((what.to_owned(), told));
        }
        assert!(snapshot(directory) == before, "{what}: something was touched");
    };

    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 2_000);
    std::fs::write(&options.path, "These are the minutes of a meeting.").unwrap();
    refused("no journal", &options, directory.path(), "is no journal");

    let directory = tempfile::tempdir().unwrap();
    let options = journal(directory.path(), |store| format(store, 9));
    refused("a newer format", &options, directory.path(), "has format 9");

    let directory = tempfile::tempdir().unwrap();
    let ours = journal(directory.path(), |_| ());
    let yard = Options { gateway: "yard".to_owned(), ..ours.clone() };
    refused("another gateway's", &yard, directory.path(), "belongs to");
    let small = Options { capacity: Capacity { entries: 100, ..ours.capacity }, ..ours.clone() };
    refused("a small capacity", &small, directory.path(), "configured capacity");
    let narrow = Options { capacity: Capacity { bytes: 10_000, ..ours.capacity }, ..ours.clone() };
    refused("a capacity of few bytes", &narrow, directory.path(), "configured capacity");
    let held = Store::open(&ours).unwrap();
    refused("a locked one", &ours, directory.path(), "is in use");
    drop(held);

    // A directory that cannot be written to, for root as well.
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("file");
    std::fs::write(&below, "no directory").unwrap();
    let nowhere = Options { path: below.join("journal.redb"), ..ours.clone() };
    refused("no directory", &nowhere, directory.path(), "cannot use");
    let missing = Options { path: directory.path().join("missing/journal.redb"), ..ours };
    refused("a missing directory", &missing, directory.path(), "cannot use");

    let told: BTreeSet<&String> = messages.iter().map(|(_, message)| message).collect();
    assert!(told.len() >= 6, "messages that say the same: {messages:#?}");
}
