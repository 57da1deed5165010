//! A thousand gateways that have nothing to send: each has its stream of role changes open.
//!
//! What is left of a gateway at a server once it has been quiet for a minute, when the connection that it
//! sent its last batch on has been closed.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::Bench;
use super::common::swipe::gateway;
use super::common::{float, say};
use super::process::Process;
use super::report::Report;
use super::site::{Pair, gateway_identity, tls};

/// How many there are.
const GATEWAYS: u32 = 1_000;

/// How many connect at a time: fewer than a server lets one address.
const AT_ONCE: usize = 32;

/// How long a gateway may take to be connected.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(bench: &Bench, report: &mut Report) {
    say(&format!("{GATEWAYS} quiet gateways"));
    let site = Pair::first_alone_in(bench.directory.path());
    let server = Process::start(&site.a);
    let url = format!("https://{}/v1/role/stream", site.address("a"));
    bench.runtime.block_on(async {
        let alone = server.resident_kib();
        let (home, began) = (site.site(), Instant::now());
        let gateways: Vec<JoinHandle<()>> = futures_util::stream::iter(0..GATEWAYS)
            .map(|number| {
                let config = tls(&home, &home, &gateway_identity("main", &gateway(number)));
                connect(config, &url)
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(async |connected| connected)
            .collect()
            .await;
        report.put("gateways_connect_s", began.elapsed().as_secs_f64());
        let (before, began) = (server.cpu(), Instant::now());
        tokio::time::sleep(bench.extent.quiet).await;
        let share = (server.cpu() - before) / began.elapsed().as_secs_f64();
        let resident = server.resident_kib();
        let left = gateways.iter().filter(|gateway| !gateway.is_finished()).count();
        report.put("gateways_asked", GATEWAYS);
        report.put("gateways_connected", left);
        // A figure of a thousand is one only where a thousand were there.
        let all = left == usize::try_from(GATEWAYS).unwrap();
        let of_all = |value: f64| all.then_some(value);
        report.put("rss_1000_gateways_mib", of_all(float(resident) / 1024.0));
        report.put("cpu_1000_gateways_percent", of_all(share * 100.0));
        report.put("rss_connected_gateways_mib", float(resident) / 1024.0);
        report.put("cpu_connected_gateways_percent", share * 100.0);
        report.put("rss_without_gateways_mib", float(alone) / 1024.0);
        let each = float(resident.saturating_sub(alone)) / float(left.max(1) as u64);
        report.put("rss_of_a_gateway_kib", each);
    });
}

/// Opens a gateway's stream and reads it for as long as it lasts; `None` where the server has no room.
async fn connect(config: rustls::ClientConfig, url: &str) -> Option<JoinHandle<()>> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .no_proxy()
        .connect_timeout(PATIENCE)
        .build()
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.get(url).send()).await.ok()?.ok()?;
    let mut chunks = answer.error_for_status().ok()?.bytes_stream();
    Some(tokio::spawn(async move {
        let _open = client;
        while let Some(Ok(_)) = chunks.next().await {}
    }))
}
