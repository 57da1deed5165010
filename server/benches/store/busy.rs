//! As many transactions as a pair takes in, over TLS and with replication.

use std::time::{Duration, Instant};

use postern_protocol::uplink::MAX_BATCH;

use super::Bench;
use super::common::{float, say};
use super::load::{Crew, SENDERS};
use super::process::Servers;
use super::report::{Report, quantile};
use super::taken::Taken;

/// How long it is tried how much it will be, which warms everything up as well.
const TRIAL: Duration = Duration::from_secs(3);

/// More than any machine takes in a second, for the trial.
const SURELY: f64 = 60_000.0;

/// The servers may be faster than in the trial by so much.
const ROOM: f64 = 2.0;

/// The first of the gateways.
const FIRST: u32 = 100;

/// Returns how many were stored in a second.
pub(crate) fn measure(bench: &Bench, servers: &Servers, report: &mut Report, suffix: &str) -> f64 {
    bench.runtime.block_on(async {
        say("batches without pause");
        let mut crew = Crew::new(&servers.site, FIRST, MAX_BATCH).await;
        crew.prepare(SURELY, TRIAL);
        let trial = crew.deliver(TRIAL, None).await.rate();
        crew.until_safe().await;
        crew.prepare(trial * ROOM, bench.extent.busy);
        let before = Taken::now(servers).await;
        let delivered = crew.deliver(bench.extent.busy, None).await;
        before.report(servers, report, suffix, delivered.transactions).await;
        let ended = Instant::now();
        crew.until_safe().await;
        let (rate, time) = (delivered.rate(), delivered.time.as_secs_f64());
        let mut put = |name: &str, value: f64| report.put(format!("ingest{suffix}_{name}"), value);
        put("per_s", rate);
        put("safe_per_s", float(delivered.safe) / time);
        put("seconds", time);
        put("until_all_is_safe_ms", ended.elapsed().as_secs_f64() * 1e3);
        put("gateways", f64::from(SENDERS));
        put("batch", float(MAX_BATCH as u64));
        put("sent_bytes_each", float(delivered.bytes) / float(delivered.transactions));
        put("answer_ms", quantile(&delivered.answers, 0.5));
        put("answer_ms_p99", quantile(&delivered.answers, 0.99));
        rate
    })
}
