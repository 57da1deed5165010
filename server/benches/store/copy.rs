//! A full copy of a store from one server to another, beside a plain copy of its file.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use postern_server::replication::Phase;
use postern_server::site::{INCOMING, STORE};
use postern_server::store::Store;
use rusqlite::Connection;

use super::Bench;
use super::common::swipe::Journal;
use super::common::{filled, mebibytes, say};
use super::process::{Process, Servers};
use super::question;
use super::report::Report;
use super::site::{Pair, status};

/// How often it is looked how far the copy is.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the first server's store a full one, whose change log does not reach back to its beginning.
pub(crate) fn fill(bench: &Bench, site: &Pair, report: &mut Report) {
    let rows = bench.extent.rows;
    say(&format!("filling a store with {rows} transactions"));
    let (path, began) = (site.a.join(STORE), Instant::now());
    filled::fill(&path, rows);
    let mut store = Store::open(&path, "a").unwrap();
    let mut journal = Journal::new(filled::GATEWAYS);
    for _ in 0..2 {
        store.apply(&journal.delivery(1)).unwrap().unwrap();
    }
    drop(store);
    let connection = Connection::open(&path).unwrap();
    let last = "(SELECT max(position) FROM log)";
    connection.execute(&format!("DELETE FROM log WHERE position < {last}"), []).unwrap();
    drop(connection);
    report.put("fill_s", began.elapsed().as_secs_f64());
    report.put("store_mib", mebibytes(fs::metadata(&path).unwrap().len()));
}

pub(crate) fn measure(bench: &Bench, site: Pair, report: &mut Report) -> Servers {
    let source = site.a.join(STORE);
    let target = bench.directory.path().join("plain-copy");
    say("a plain copy of the file");
    let before = plain(&source, &target);
    site.join();
    let a = Process::start(&site.a);
    say("a full copy to a new standby");
    let began = Instant::now();
    let servers = Servers { b: Process::start(&site.b), a, site };
    let parts = bench.runtime.block_on(watch(&servers, began));
    say("a plain copy of the file");
    let after = plain(&source, &target);
    let [made, sent, checked, in_sync] = parts.map(|time| time.as_secs_f64());
    let [first, second] = [before, after].map(|time| time.as_secs_f64());
    report.put("full_copy_vs_file_copy", f64::midpoint(first, second) / in_sync);
    for (name, time) in [
        ("file_copy_first_s", first),
        ("file_copy_second_s", second),
        ("full_copy_s", in_sync),
        ("full_copy_made_s", made),
        ("full_copy_sent_s", sent - made),
        ("full_copy_checked_s", checked - sent),
        ("full_copy_swapped_s", in_sync - checked),
    ] {
        report.put(name, time);
    }
    bench.runtime.block_on(question::over_http(bench, &servers.site, report));
    servers
}

/// With one sync.
fn plain(from: &Path, to: &Path) -> Duration {
    let began = Instant::now();
    fs::copy(from, to).unwrap();
    File::open(to).unwrap().sync_all().unwrap();
    let took = began.elapsed();
    fs::remove_file(to).unwrap();
    took
}

/// When the copy was made, sent, checked, and the standby in sync with it.
async fn watch(servers: &Servers, began: Instant) -> [Duration; 4] {
    let site = &servers.site;
    let incoming = site.b.join(INCOMING);
    let aside = site.b.join(format!("{STORE}.replaced"));
    let length = || fs::metadata(&incoming).map_or(0, |file| file.len());
    until(|| length() > 0).await;
    let made = began.elapsed();
    let total = loop {
        let following = status(site, "b").await.following.unwrap();
        assert!(following.failure.is_none(), "{following:?}");
        if following.phase == Phase::Copying && following.of > 0 {
            break following.of;
        }
    };
    until(|| length() >= total).await;
    let sent = began.elapsed();
    until(|| aside.exists()).await;
    let checked = began.elapsed();
    servers.until(|active| active.copies == 2).await;
    [made, sent, checked, began.elapsed()]
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(LOOK).await;
    }
}
