//! A thousand gateways that hear of a new active server at once: how long it takes until each of them has a
//! transaction stored there.
//!
//! Each decides with a real gateway's machine, has a stream of role changes open to both servers, an address of its
//! own, and reads one transaction when it hears. The connection on which it turns to the new server is a new one,
//! with a handshake, at least the first time. The time begins when the first of them hears. With the chance that
//! spreads them, and without.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use postern_gateway::uplink::machine::{Action, Machine};
use postern_protocol::role::{RoleDocument, SignedRole};
use postern_protocol::uplink::{Batch, Watermark, journal_path};
use postern_protocol::{Chain, RoleTerm, Seq};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;

use super::Bench;
use super::common::say;
use super::common::swipe::{self, Journal};
use super::process::Servers;
use super::report::{Report, quantile};
use super::site::{Pair, fail_over, gateway_identity, tls};

/// How many there are.
const GATEWAYS: u32 = 1_000;

/// How many are made at a time: fewer handshakes than a server lets be under way.
const AT_ONCE: usize = 32;

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The compression of a gateway.
const ZSTD_LEVEL: i32 = 1;

/// Whether chance spreads the gateways, with the name of the figures.
const WAYS: [(bool, &str); 2] = [(true, "spread"), (false, "at_once")];

pub(crate) fn measure(bench: &Bench, report: &mut Report) {
    say(&format!("{GATEWAYS} gateways that turn to another server"));
    let site = Pair::first_alone_in(bench.directory.path());
    site.join();
    let servers = Servers::start(bench, site);
    bench.runtime.block_on(rounds(bench.extent.switches, &servers, report));
}

async fn rounds(count: usize, servers: &Servers, report: &mut Report) {
    let (told, mut done) = mpsc::unbounded_channel();
    let home =
        Home { urls: ["a", "b"].map(|name| format!("https://{}", servers.site.address(name))) };
    let home = Arc::new(home);
    let site = servers.site.site();
    let gateways: Vec<Gateway> = futures_util::stream::iter(0..GATEWAYS)
        .map(|number| {
            let name = swipe::gateway(number);
            let config = tls(&site, &site, &gateway_identity("main", &name));
            Gateway::start(number, config, Arc::clone(&home), told.clone())
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // The first transaction opens the connections to the first server.
    served(&gateways, &mut done, || News::Swipe).await;
    let mut to = ["b", "a"].into_iter().cycle();
    for (spread, name) in WAYS {
        let (mut all, mut middle, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            servers.until(|active| active.copies == 2).await;
            let to = to.next().unwrap_or_default();
            let switch = fail_over(&servers.site, to, false);
            let served = served(&gateways, &mut done, || News::Await { spread });
            let (answer, served) = tokio::join!(switch, served);
            assert_eq!(answer.status(), 200);
            let began = served.iter().map(|one| one.heard).min().unwrap();
            let times: Vec<f64> =
                served.iter().map(|one| (one.at - began).as_secs_f64() * 1e3).collect();
            all.push(quantile(&times, 1.0));
            middle.push(quantile(&times, 0.5));
            refused.push(f64::from(served.iter().map(|one| one.failures).sum::<u32>()));
        }
        report.put(format!("switch_{name}_all_served_ms"), quantile(&all, 0.5));
        report.put(format!("switch_{name}_all_served_ms_max"), quantile(&all, 1.0));
        report.put(format!("switch_{name}_half_served_ms"), quantile(&middle, 0.5));
        report.put(format!("switch_{name}_failures"), quantile(&refused, 0.5));
        report.put(format!("switch_{name}_samples"), count);
    }
    report.put("switch_gateways", GATEWAYS);
}

/// Tells each gateway of a transaction, and waits until each has it stored.
async fn served(
    gateways: &[Gateway],
    done: &mut UnboundedReceiver<Served>,
    news: impl Fn() -> News,
) -> Vec<Served> {
    for gateway in gateways {
        gateway.news.send(news()).unwrap();
    }
    let mut all = Vec::with_capacity(gateways.len());
    let collect = async {
        while all.len() < gateways.len() {
            all.extend(done.recv().await);
        }
    };
    let waited = tokio::time::timeout(PATIENCE, collect).await;
    assert!(waited.is_ok(), "not every gateway was served");
    all
}

/// Where the servers are.
struct Home {
    urls: [String; 2],
}

/// A gateway has its transaction stored.
struct Served {
    /// When it was read.
    heard: Instant,
    at: Instant,
    /// Requests since the one before that brought nothing.
    failures: u32,
}

/// What a gateway hears.
enum News {
    Role(Box<SignedRole>),
    /// There is a transaction now.
    Swipe,
    /// There is one when the role has changed; whether chance spreads the gateways then.
    Await {
        spread: bool,
    },
}

/// A gateway with its tasks, which end with it.
struct Gateway {
    news: UnboundedSender<News>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Gateway {
    /// Opens both streams; the rest runs by itself.
    async fn start(
        number: u32,
        config: rustls::ClientConfig,
        home: Arc<Home>,
        told: UnboundedSender<Served>,
    ) -> Self {
        // As if each were behind a router of its own.
        let [_, _, third, fourth] = (number + 1).to_be_bytes();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .no_proxy()
            .tcp_nodelay(true)
            .local_address(IpAddr::V4(Ipv4Addr::new(127, 1, third, fourth)))
            .build()
            .unwrap();
        let (news, hears) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for url in &home.urls {
            let stream = http.get(format!("{url}/v1/role/stream")).send().await.unwrap();
            let stream = stream.error_for_status().unwrap();
            tasks.push(tokio::spawn(follow(stream, news.clone())).abort_handle());
        }
        let runs = Runs {
            number,
            http,
            home,
            told,
            role: None,
            machine: Machine::new(Seq(0)),
            journal: Journal::new(number),
            chains: vec![Chain::genesis(swipe::journal(number))],
            batch: None,
            heard: Instant::now(),
            awaits: false,
            spread: true,
            failures: 0,
        };
        tasks.push(tokio::spawn(runs.run(hears)).abort_handle());
        Self { news, tasks }
    }
}

/// Tells each role document of a stream.
async fn follow(stream: reqwest::Response, news: UnboundedSender<News>) {
    let (mut chunks, mut buffer) = (stream.bytes_stream(), Vec::new());
    while let Some(Ok(chunk)) = chunks.next().await {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let role = Box::new(serde_json::from_slice(data).unwrap());
            if news.send(News::Role(role)).is_err() {
                return;
            }
        }
    }
}

/// What a gateway's task works with.
struct Runs {
    number: u32,
    http: reqwest::Client,
    home: Arc<Home>,
    told: UnboundedSender<Served>,
    role: Option<SignedRole>,
    machine: Machine,
    journal: Journal,
    /// After each entry.
    chains: Vec<Chain>,
    /// The latest transaction, which is not stored yet.
    batch: Option<Batch>,
    heard: Instant,
    /// Whether there is one when the role has changed.
    awaits: bool,
    spread: bool,
    failures: u32,
}

impl Runs {
    async fn run(mut self, mut hears: UnboundedReceiver<News>) {
        loop {
            let action = self.machine.action(tokio::time::Instant::now());
            if let Action::Wait { until } = action {
                let until = async {
                    match until {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                // Cancel-safety: a message that was not received stays in the channel.
                tokio::select! {
                    () = until => {}
                    news = hears.recv() => match news {
                        Some(news) => self.hear(news),
                        None => return,
                    }
                }
                continue;
            }
            let request = self.request(&action);
            // News breaks off what is under way, as a gateway's does.
            tokio::select! {
                news = hears.recv() => match news {
                    Some(news) => self.hear(news),
                    None => return,
                },
                answer = ask(request) => self.answered(answer),
            }
        }
    }

    fn jitter(&self) -> f64 {
        let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
        let chance = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
        if self.spread { chance } else { 0.0 }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Role(signed) => {
                let document: RoleDocument = serde_json::from_str(&signed.document).unwrap();
                let role = &document.groups["main"];
                let (now, jitter) = (tokio::time::Instant::now(), self.jitter());
                let known = self.machine.active().map_or(RoleTerm(0), |(term, _)| *term);
                self.machine.on_role(role.role_term, &role.active, now, jitter);
                if role.role_term > known {
                    self.role = Some(*signed);
                    if std::mem::take(&mut self.awaits) {
                        self.swipe();
                    }
                }
            }
            News::Swipe => self.swipe(),
            News::Await { spread } => (self.awaits, self.spread) = (true, spread),
        }
    }

    fn swipe(&mut self) {
        let batch = self.journal.batch(1, true);
        let last = self.chains.last().copied().unwrap();
        let next = batch.entries.iter().fold(last, |chain, entry| chain.link(&entry.bytes.0));
        self.chains.push(next);
        self.machine.on_head(next.seq);
        (self.batch, self.heard, self.failures) = (Some(batch), Instant::now(), 0);
    }

    fn request(&self, action: &Action) -> reqwest::RequestBuilder {
        let (Action::Ask { server } | Action::Send { server, .. }) = action else {
            unreachable!("it waits")
        };
        let [a, b] = &self.home.urls;
        let base = if server == "a" { a } else { b };
        let url = format!("{base}{}", journal_path("main", swipe::journal(self.number)));
        if matches!(action, Action::Ask { .. }) {
            return self.http.get(format!("{url}?full=0"));
        }
        let batch = Batch { role: self.role.clone(), ..self.batch.clone().unwrap() };
        let body = zstd::bulk::compress(&serde_json::to_vec(&batch).unwrap(), ZSTD_LEVEL).unwrap();
        let request = self.http.post(format!("{url}/transactions"));
        request
            .header("content-type", "application/json")
            .header("content-encoding", "zstd")
            .body(body)
    }

    fn answered(&mut self, answer: Result<Watermark, Option<Duration>>) {
        let now = tokio::time::Instant::now();
        match answer {
            Err(retry_after) => {
                self.failures += 1;
                self.machine.on_failure(now, retry_after, self.jitter());
            }
            Ok(watermark) => {
                let place = usize::try_from(watermark.stored.0).unwrap();
                self.machine.on_watermark(&watermark, self.chains.get(place).copied(), now);
                let all = self.machine.stored() == self.chains.last().map(|chain| chain.seq);
                if all && self.batch.take().is_some() {
                    let (heard, failures) = (self.heard, self.failures);
                    let served = Served { heard, at: Instant::now(), failures };
                    self.told.send(served).unwrap();
                }
            }
        }
    }
}

/// An answer, or how long to wait before it is tried again, where that was said.
async fn ask(request: reqwest::RequestBuilder) -> Result<Watermark, Option<Duration>> {
    let answer = request.timeout(Duration::from_secs(10)).send().await.map_err(|_| None)?;
    if answer.status().is_success() {
        return answer.json().await.map_err(|_| None);
    }
    let after = answer.headers().get("retry-after");
    Err(after.and_then(|after| after.to_str().ok()?.parse().ok()).map(Duration::from_secs))
}
