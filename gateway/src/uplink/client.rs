//! HTTPS to one server: requests, and what their failures mean. No decisions.

use std::time::Duration;

use futures_util::StreamExt;
use postern_protocol::pki::{Bundle, Floor, LinkFailure, ServerAddress};
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::{Batch, Last, Refusal, Told, Watermark, journal_path};
use postern_protocol::{ControllerId, Index, JournalId};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;

use super::{Standing, seconds};
use crate::clock::{self, OwnClock};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request may take: a full batch on a slow disk.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the stream of role changes may be silent: several heartbeats of the server.
const STREAM_TIMEOUT: Duration = Duration::from_secs(8);

/// The longest line of the stream: a signed role document in JSON.
const MAX_LINE: usize = 256 * 1024;

/// The longest answer that is read: no refusal or watermark comes near.
const MAX_ANSWER: usize = 512 * 1024;

/// The compression of batches: the cheapest level, since a gateway is a small machine.
const ZSTD_LEVEL: i32 = 1;

/// Why a request brought nothing.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    /// The server could not be talked to.
    #[error("{0}")]
    Link(LinkFailure),
    /// It refused.
    #[error("refused: {}", .0.message)]
    Refused(Box<Refusal>, Option<Duration>),
    /// It answered nonsense.
    #[error("answered with status {status} and no refusal that can be read")]
    Nonsense {
        /// The HTTP status.
        status: u16,
    },
}

/// A client of one server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    group: String,
    server: String,
    /// Learns the server's time from each answer.
    clock: OwnClock,
}

/// The TLS settings of a gateway could not be made from its bundle.
#[derive(Debug, Error)]
#[error("the bundle's key or certificates cannot be used: {0}")]
pub struct BundleError(String);

/// The time at which certificates are judged, whose clock is ours.
pub(super) fn floor(bundle: &Bundle) -> Result<Floor, BundleError> {
    let certificate = CertificateDer::from(bundle.certificate.0.as_slice());
    Floor::new(clock::unix_now, &certificate).map_err(|error| BundleError(error.to_string()))
}

impl Client {
    pub(super) fn new(
        bundle: &Bundle,
        server: &ServerAddress,
        floor: Floor,
        clock: OwnClock,
    ) -> Result<Self, BundleError> {
        let key = PrivatePkcs8KeyDer::from(bundle.key.0.clone());
        let tls = postern_protocol::pki::client_config(
            CertificateDer::from(bundle.authority.0.clone()),
            CertificateDer::from(bundle.certificate.0.clone()),
            PrivateKeyDer::from(key),
            floor,
        )
        .map_err(|error| BundleError(error.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| BundleError(error.to_string()))?;
        let base = format!("https://{}", server.address);
        let (group, server) = (bundle.group.clone(), server.name.clone());
        Ok(Self { http, base, group, server, clock })
    }

    /// A client of a server that does not answer.
    #[cfg(test)]
    pub(super) fn to_nobody() -> Self {
        // Fails when one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = "https://127.0.0.1:1".to_owned();
        let (group, server) = ("main".to_owned(), "a".to_owned());
        let (http, clock) = (reqwest::Client::new(), OwnClock::default());
        Self { http, base, group, server, clock }
    }

    /// What the server holds of the journal.
    pub(super) async fn watermark(
        &self,
        journal: JournalId,
        standing: Standing,
    ) -> Result<Watermark, RequestError> {
        let path = journal_path(&self.group, journal);
        let Standing { told, full, lasts } = standing;
        let lasts = lasts.map(|lasts| format!("&lasts_s={}", seconds(lasts))).unwrap_or_default();
        let told = told
            .map(|Told { safe, role_term }| format!("&safe={safe}&role_term={role_term}"))
            .unwrap_or_default();
        self.answer(self.http.get(format!("{}{path}?full={full}{lasts}{told}", self.base))).await
    }

    /// Sends a batch.
    pub(super) async fn send(
        &self,
        journal: JournalId,
        batch: &Batch,
    ) -> Result<Watermark, RequestError> {
        let path = journal_path(&self.group, journal);
        self.post(&format!("{path}/transactions"), batch).await
    }

    /// The newest record that the server holds of a controller, at most this index.
    pub(super) async fn last(
        &self,
        controller: ControllerId,
        at_most: Index,
    ) -> Result<Last, RequestError> {
        let Self { base, group, http, .. } = self;
        let url =
            format!("{base}/v1/groups/{group}/controllers/{controller}/last?at_most={at_most}");
        self.answer(http.get(url)).await
    }

    /// Shows the server a role document; it answers with the highest that it then knows.
    pub(super) async fn show_role(&self, role: &SignedRole) -> Result<SignedRole, RequestError> {
        self.post("/v1/role", role).await
    }

    /// The highest role document that the server knows.
    pub(super) async fn role(&self) -> Result<SignedRole, RequestError> {
        self.answer(self.http.get(format!("{}/v1/role", self.base))).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, RequestError> {
        let packed = serde_json::to_vec(body)
            .map_err(std::io::Error::from)
            .and_then(|json| zstd::bulk::compress(&json, ZSTD_LEVEL))
            .map_err(|error| RequestError::Link(LinkFailure::Broken(error.to_string())))?;
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .header("content-encoding", "zstd")
            .body(packed);
        self.answer(request).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, RequestError> {
        let broken = |error: reqwest::Error| RequestError::Link(LinkFailure::of(&error));
        let sent = Instant::now();
        let response = request.timeout(REQUEST_TIMEOUT).send().await.map_err(broken)?;
        self.note_date(&response, sent);
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(broken)?);
            if body.len() > MAX_ANSWER {
                return Err(RequestError::Nonsense { status: status.as_u16() });
            }
        }
        let nonsense = |_| RequestError::Nonsense { status: status.as_u16() };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(nonsense);
        }
        let refusal = serde_json::from_slice(&body).map_err(nonsense)?;
        Err(RequestError::Refused(Box::new(refusal), retry_after))
    }

    /// Opens the stream of role changes.
    pub(super) async fn role_stream(&self) -> Result<RoleStream, RequestError> {
        let broken = |error: reqwest::Error| RequestError::Link(LinkFailure::of(&error));
        let sent = Instant::now();
        let request = self.http.get(format!("{}/v1/role/stream", self.base)).send();
        let response = tokio::time::timeout(STREAM_TIMEOUT, request)
            .await
            .map_err(|_| RequestError::Link(LinkFailure::TimedOut))?
            .map_err(broken)?;
        self.note_date(&response, sent);
        let status = response.status();
        if !status.is_success() {
            return Err(RequestError::Nonsense { status: status.as_u16() });
        }
        let chunks = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec()));
        Ok(RoleStream { chunks: Box::pin(chunks), buffer: Vec::new() })
    }

    /// Whoever answered over TLS is a server of the site, refusal or not: its time counts.
    fn note_date(&self, response: &reqwest::Response, sent: Instant) {
        if let Some(date) = response.headers().get("date").and_then(|date| date.to_str().ok()) {
            self.clock.note_server(&self.server, date, sent);
        }
    }
}

type Chunks = std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// Server-sent events, of which only `data:` lines matter here.
pub(super) struct RoleStream {
    chunks: Chunks,
    buffer: Vec<u8>,
}

impl RoleStream {
    /// The next role document. Cancel-safe: what was received stays in the buffer.
    pub(super) async fn next(&mut self) -> Result<SignedRole, RequestError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                return serde_json::from_slice(data)
                    .map_err(|_| RequestError::Nonsense { status: 200 });
            }
            let chunk = tokio::time::timeout(STREAM_TIMEOUT, self.chunks.next())
                .await
                .map_err(|_| RequestError::Link(LinkFailure::TimedOut))?
                .ok_or_else(|| RequestError::Link(LinkFailure::Broken("closed".to_owned())))?
                .map_err(|error| RequestError::Link(LinkFailure::of(&error)))?;
            self.buffer.extend_from_slice(&chunk);
            if self.buffer.len() > MAX_LINE {
                return Err(RequestError::Nonsense { status: 200 });
            }
        }
    }
}
