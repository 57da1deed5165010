//! How long after the active server's answer to a batch its transactions are safe: held by both.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use postern_protocol::Seq;
use postern_protocol::uplink::MAX_BATCH;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use super::Bench;
use super::common::{float, say};
use super::load::{Crew, Watched};
use super::process::Servers;
use super::report::{Report, quantile};

/// How often a journal's watermark is asked for while something in it is not safe. Every lag is measured
/// longer by up to this.
const LOOK: Duration = Duration::from_millis(10);

/// The part of the most at which the lag is to be small.
const SHARE: f64 = 0.5;

/// The first of the gateways, at each load.
const FIRST: [u32; 2] = [200, 300];

/// Transactions in a batch at that part: a gateway that is not behind sends what came together while the
/// batch before was under way, or less. At the most its batches are full.
const BATCH: usize = 256;

pub(crate) fn measure(bench: &Bench, servers: &Servers, report: &mut Report, limit: f64) {
    let half = (Some(limit * SHARE), BATCH, "");
    let whole = (None, MAX_BATCH, "_at_limit");
    for (first, (rate, batch, suffix)) in FIRST.into_iter().zip([half, whole]) {
        say(&format!("how soon batches are safe{}", suffix.replace('_', " ")));
        bench.runtime.block_on(async {
            let mut crew = Crew::new(&servers.site, first, batch).await;
            crew.prepare(rate.unwrap_or(limit * 2.0), bench.extent.lag);
            let mut watchers = JoinSet::new();
            crew.watch(|watched| {
                let (told, answers) = unbounded_channel();
                watchers.spawn(look(watched, answers));
                told
            });
            let delivered = crew.deliver(bench.extent.lag, rate).await;
            let lags = watchers.join_all().await.concat();
            let mut put = |name: &str, value: f64| {
                report.put(format!("replication_lag_{name}{suffix}"), value);
            };
            put("p50_ms", quantile(&lags, 0.5));
            put("p99_ms", quantile(&lags, 0.99));
            put("worst_ms", quantile(&lags, 1.0));
            put("load_per_s", delivered.rate());
            put("batch", float(batch as u64));
            report.put(format!("replication_lag_samples{suffix}"), lags.len());
        });
    }
}

/// Looks until every answer's transactions are safe and there are no more answers to come.
async fn look(watched: Watched, mut answers: UnboundedReceiver<(Seq, Instant)>) -> Vec<f64> {
    let (mut waiting, mut lags) = (VecDeque::new(), Vec::new());
    loop {
        if waiting.is_empty() {
            let Some(answer) = answers.recv().await else { return lags };
            waiting.push_back(answer);
        }
        while let Ok(answer) = answers.try_recv() {
            waiting.push_back(answer);
        }
        let safe = watched.ask().await.safe;
        let now = Instant::now();
        while let Some((seq, at)) = waiting.front()
            && *seq <= safe
        {
            lags.push((now - *at).as_secs_f64() * 1e3);
            waiting.pop_front();
        }
        if !waiting.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
