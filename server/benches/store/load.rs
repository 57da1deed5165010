//! Gateways that deliver as `docs/uplink.md` says: batches with the role document and the readable
//! transactions, JSON packed with zstd, one request in flight each, over TLS with a certificate each.
//!
//! What they send is made before the clock runs: gateways have processors of their own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use postern_protocol::Seq;
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::{Batch, Watermark, journal_path};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::common::swipe::{self, Journal};
use super::common::{behind, float};
use super::site::{Pair, gateway_identity, http, tls};

/// Gateways that send.
pub(crate) const SENDERS: u32 = 8;

/// The compression of a gateway.
const ZSTD_LEVEL: i32 = 1;

/// What a gateway's batch is answered with goes here, with the moment of the answer.
pub(crate) type Answers = UnboundedSender<(Seq, Instant)>;

/// Gateways with something to send.
pub(crate) struct Crew {
    senders: Vec<Sender>,
    /// Transactions in a batch.
    batch: usize,
}

struct Sender {
    http: reqwest::Client,
    journal: Journal,
    /// Where the active server has the journal.
    url: String,
    role: SignedRole,
    bodies: VecDeque<Vec<u8>>,
    told: Option<Answers>,
}

/// What came of it.
pub(crate) struct Delivered {
    pub(crate) transactions: u64,
    pub(crate) safe: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    /// How long each batch took, in milliseconds.
    pub(crate) answers: Vec<f64>,
}

impl Delivered {
    pub(crate) fn rate(&self) -> f64 {
        float(self.transactions) / self.time.as_secs_f64()
    }
}

impl Crew {
    /// Gateways that were never there before, by the number of the first, with batches so long.
    pub(crate) async fn new(site: &Pair, first: u32, batch: usize) -> Self {
        let base = format!("https://{}", site.address("a"));
        let home = site.site();
        let role = site.operator().get(format!("{base}/v1/role")).send().await.unwrap();
        let role: SignedRole = role.json().await.unwrap();
        let sender = |number| Sender {
            http: http(tls(&home, &home, &gateway_identity("main", &swipe::gateway(number)))),
            journal: Journal::new(number),
            url: format!("{base}{}", journal_path("main", swipe::journal(number))),
            role: role.clone(),
            bodies: VecDeque::new(),
            told: None,
        };
        Self { senders: (first..first + SENDERS).map(sender).collect(), batch }
    }

    /// Makes what all of them can send in a time at a rate.
    pub(crate) fn prepare(&mut self, rate: f64, time: Duration) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of batches"
        )]
        let each = (rate * time.as_secs_f64() / self.turn()).ceil() as usize;
        std::thread::scope(|scope| {
            let batch = self.batch;
            for sender in &mut self.senders {
                scope.spawn(move || (0..=each).for_each(|_| sender.prepare(batch)));
            }
        });
    }

    /// Transactions of one batch of each.
    fn turn(&self) -> f64 {
        float(self.batch as u64) * f64::from(SENDERS)
    }

    /// Where a gateway's answers are told, and how `safe` is asked for.
    pub(crate) fn watch(&mut self, mut told: impl FnMut(Watched) -> Answers) {
        for sender in &mut self.senders {
            let watched = Watched { http: sender.http.clone(), url: sender.url.clone() };
            sender.told = Some(told(watched));
        }
    }

    /// Sends for a time, each as fast as it is answered, or all together at a rate.
    pub(crate) async fn deliver(&mut self, time: Duration, rate: Option<f64>) -> Delivered {
        let (began, batch, mut tasks) = (Instant::now(), self.batch, JoinSet::new());
        let pace = rate.map(|rate| Duration::from_secs_f64(self.turn() / rate));
        for (at, mut sender) in (0..).zip(self.senders.drain(..)) {
            tasks.spawn(async move {
                // Not all at the same moment.
                let first = pace.unwrap_or_default() * at / SENDERS;
                let delivered = sender.deliver(began + first, began + time, pace, batch).await;
                (sender, delivered)
            });
        }
        let mut all = Delivered {
            transactions: 0,
            safe: 0,
            bytes: 0,
            time: Duration::ZERO,
            answers: Vec::new(),
        };
        for (mut sender, mut one) in tasks.join_all().await {
            all.transactions += one.transactions;
            all.safe += one.safe;
            all.bytes += one.bytes;
            all.answers.append(&mut one.answers);
            sender.told = None;
            self.senders.push(sender);
        }
        all.time = began.elapsed();
        all
    }

    /// Waits until all that was sent is safe.
    pub(crate) async fn until_safe(&self) {
        for sender in &self.senders {
            let watched = Watched { http: sender.http.clone(), url: sender.url.clone() };
            while let Watermark { safe, stored, .. } = watched.ask().await
                && safe < stored
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// A journal whose watermark can be asked for.
pub(crate) struct Watched {
    http: reqwest::Client,
    url: String,
}

impl Watched {
    pub(crate) async fn ask(&self) -> Watermark {
        self.http.get(&self.url).send().await.unwrap().json().await.unwrap()
    }
}

impl Sender {
    fn prepare(&mut self, size: usize) {
        let batch = self.journal.batch(size, true);
        let batch = Batch { role: Some(self.role.clone()), ..batch };
        let json = serde_json::to_vec(&batch).unwrap();
        self.bodies.push_back(zstd::bulk::compress(&json, ZSTD_LEVEL).unwrap());
    }

    async fn deliver(
        &mut self,
        mut next: Instant,
        until: Instant,
        pace: Option<Duration>,
        batch: usize,
    ) -> Delivered {
        let held = Watched { http: self.http.clone(), url: self.url.clone() }.ask().await;
        let (mut last, mut bytes, mut answers) = (held, 0, Vec::new());
        loop {
            if let Some(pace) = pace {
                tokio::time::sleep_until(next.into()).await;
                next += pace;
            }
            if Instant::now() >= until {
                break;
            }
            if self.bodies.is_empty() {
                // The servers are faster than they were when it was guessed how much it would be.
                self.prepare(batch);
            }
            let Some(body) = self.bodies.pop_front() else { break };
            bytes += body.len() as u64;
            let began = Instant::now();
            last = self.post(body).await;
            answers.push(began.elapsed().as_secs_f64() * 1e3);
            if let Some(told) = &self.told {
                told.send((last.stored, Instant::now())).unwrap();
            }
        }
        let transactions = behind(last.stored, held.stored);
        let safe = behind(last.safe, held.safe);
        Delivered { transactions, safe, bytes, time: Duration::ZERO, answers }
    }

    async fn post(&self, body: Vec<u8>) -> Watermark {
        let request = self
            .http
            .post(format!("{}/transactions", self.url))
            .header("content-type", "application/json")
            .header("content-encoding", "zstd")
            .body(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "refused: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}
