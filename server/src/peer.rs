//! Talking to a server of the site: the client that servers use among themselves and the command
//! line uses as well, and what this server knows of its peer.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::pki::LinkFailure;
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::replication::wire;
use crate::role::{CoordinationStore, Keeper, RoleError};
use crate::site::{CONFIG, Config, Member, SERVER, Site, SiteError};

/// How long a connection may take: servers of a site are near each other.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a whole exchange between servers may take. A request of a person waits for it.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer about the log may take: a long poll, and a page over a slow link.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a full copy may take: 100 GB at 10 Mbit/s.
const OPEN_TIMEOUT: Duration = Duration::from_hours(24);

/// How long a stream may last: until either end has to be started again.
const FOREVER: Duration = Duration::from_hours(20 * 365 * 24);

/// How long a piece of it may take.
const STALLED: Duration = Duration::from_secs(30);

/// The longest answer that is read: a full page of transactions with room.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be talked to.
    #[error("{0}")]
    Link(#[from] LinkFailure),
    /// It refused.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// It answered something else than it should.
    #[error("its answer cannot be read: {0}")]
    Answer(String),
    /// It shows a role document that cannot be taken.
    #[error("{0}")]
    Role(#[from] RoleError),
}

/// An HTTPS client with a certificate of the site.
#[derive(Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client under the certificate called `who` in the data directory.
    pub fn new(site: &Site, who: &str, timeout: Duration) -> Result<Self, SiteError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(site.connect_config(who)?)
            .https_only(true)
            // A proxy could not present our certificate, and a redirect leads out of the site.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(timeout)
            .build()
            .map_err(|error| SiteError::Pki { reason: error.to_string() })?;
        Ok(Self(client))
    }

    /// `GET`, the answer from JSON.
    pub async fn get<T: DeserializeOwned>(&self, at: &str, path: &str) -> Result<T, PeerError> {
        Self::answer(self.0.get(format!("https://{at}{path}")).send().await).await
    }

    /// `POST` of JSON, the answer from JSON.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        at: &str,
        path: &str,
        body: &B,
    ) -> Result<T, PeerError> {
        Self::answer(self.0.post(format!("https://{at}{path}")).json(body).send().await).await
    }

    /// `POST` of a message of [`wire`], the answer alike.
    pub async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        at: &str,
        path: &str,
        message: &B,
    ) -> Result<T, PeerError> {
        self.ask_within(at, path, message, ASK_TIMEOUT).await
    }

    /// The same with its own patience.
    pub async fn ask_within<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        at: &str,
        path: &str,
        message: &B,
        within: Duration,
    ) -> Result<T, PeerError> {
        let unreadable = |error: wire::Unreadable| PeerError::Answer(error.to_string());
        let body = wire::pack(message).map_err(unreadable)?;
        wire::unpack(&self.bytes(at, path, body, within).await?).map_err(unreadable)
    }

    /// `POST` of bytes, the answer alike.
    pub async fn bytes(
        &self,
        at: &str,
        path: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let request = self.0.post(format!("https://{at}{path}")).timeout(within).body(body);
        Self::body(request.send().await).await
    }

    /// `GET` of an answer that does not end by itself; it has to begin in time.
    pub async fn stream(
        &self,
        at: &str,
        path: &str,
        within: Duration,
    ) -> Result<Opened, PeerError> {
        let request = self.0.get(format!("https://{at}{path}")).timeout(FOREVER);
        let sent = tokio::time::timeout(within, request.send()).await;
        let response =
            sent.map_err(|_| LinkFailure::TimedOut)?.map_err(|error| LinkFailure::of(&error))?;
        if !response.status().is_success() {
            return Self::body(Ok(response)).await.and(Err(PeerError::Answer("nothing".into())));
        }
        Ok(Opened(response))
    }

    async fn answer<T: DeserializeOwned>(
        sent: reqwest::Result<reqwest::Response>,
    ) -> Result<T, PeerError> {
        serde_json::from_slice(&Self::body(sent).await?)
            .map_err(|error| PeerError::Answer(error.to_string()))
    }

    /// The body of a good answer.
    async fn body(sent: reqwest::Result<reqwest::Response>) -> Result<Vec<u8>, PeerError> {
        let mut response = sent.map_err(|error| LinkFailure::of(&error.without_url()))?;
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| LinkFailure::of(&error.without_url()))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(PeerError::Answer(format!("longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if response.status().is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(PeerError::Refused(Box::new(refusal))),
            Err(_) => Err(PeerError::Answer(format!("HTTP status {}", response.status()))),
        }
    }
}

/// A long answer that is read piece by piece.
pub struct Opened(reqwest::Response);

impl Opened {
    /// How long it is, as was announced.
    pub fn length(&self) -> u64 {
        self.0.content_length().unwrap_or(0)
    }

    /// The next piece; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, PeerError> {
        let next = tokio::time::timeout(STALLED, self.0.chunk()).await;
        let next = next.map_err(|_| PeerError::Answer("nothing came for too long".into()))?;
        let chunk = next.map_err(|error| LinkFailure::of(&error))?;
        Ok(chunk.map(|chunk| chunk.to_vec()))
    }
}

/// How the peer was found when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It was never asked.
    Unknown,
    /// It answered, under this role term.
    Up(RoleTerm),
    /// It did not answer as it should.
    Down {
        /// A stable word.
        code: &'static str,
        /// In words.
        message: String,
    },
}

/// The other server of the pair, as this one knows it.
pub struct Peer {
    client: Client,
    config: PathBuf,
    member: Mutex<Option<Member>>,
    link: Mutex<Link>,
}

impl Peer {
    /// The peer of a data directory.
    pub fn new(site: &Site) -> Result<Self, SiteError> {
        Ok(Self {
            client: Client::new(site, SERVER, PEER_TIMEOUT)?,
            config: site.dir.join(CONFIG),
            member: Mutex::new(site.config.peer().cloned()),
            link: Mutex::new(Link::Unknown),
        })
    }

    /// Who it is. A server that ran alone finds out here that another has joined since.
    pub fn member(&self) -> Option<Member> {
        let mut member = self.member.lock().unwrap_or_else(PoisonError::into_inner);
        if member.is_none() {
            *member = Config::read(&self.config).ok().and_then(|config| config.peer().cloned());
            if let Some(Member { name, address, .. }) = member.as_ref() {
                tracing::info!(peer = name, address, "a second server has joined");
            }
        }
        member.clone()
    }

    /// How it was found when it was last asked.
    pub fn link(&self) -> Link {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the peer something about its log; the answer may take as long as a long poll.
    pub async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        member: &Member,
        path: &str,
        message: &B,
    ) -> Result<T, PeerError> {
        self.client.ask(&member.address, path, message).await
    }

    /// Asks for something that is longer than an answer.
    pub async fn open<B: Serialize + Sync>(
        &self,
        member: &Member,
        path: &str,
        message: &B,
    ) -> Result<Opened, PeerError> {
        let body = wire::pack(message).map_err(|error| PeerError::Answer(error.to_string()))?;
        let url = format!("https://{}{path}", member.address);
        let request = self.client.0.post(url).timeout(OPEN_TIMEOUT).body(body);
        let response = request.send().await.map_err(|error| LinkFailure::of(&error))?;
        if !response.status().is_success() {
            return Client::body(Ok(response)).await.and(Err(PeerError::Answer("nothing".into())));
        }
        Ok(Opened(response))
    }

    /// Exchanges role documents: takes the peer's where it is higher, shows ours where it is not.
    pub async fn exchange<C: CoordinationStore>(
        &self,
        member: &Member,
        keeper: &Keeper<C>,
    ) -> Result<(), PeerError> {
        let result = self.try_exchange(member, keeper).await;
        self.note(member, keeper, &result);
        result
    }

    async fn try_exchange<C: CoordinationStore>(
        &self,
        member: &Member,
        keeper: &Keeper<C>,
    ) -> Result<(), PeerError> {
        let theirs: SignedRole = self.client.get(&member.address, "/v1/role").await?;
        let belief = keeper.offer(&theirs, &member.name).await?;
        if belief.signed() != &theirs {
            self.show(member, belief.signed()).await?;
        }
        Ok(())
    }

    /// Shows the peer a role document; returns the one that it holds afterwards.
    pub async fn show(
        &self,
        member: &Member,
        signed: &SignedRole,
    ) -> Result<SignedRole, PeerError> {
        self.client.post(&member.address, "/v1/role", signed).await
    }

    /// Keeps how it was found; logs when that changes.
    fn note<C: CoordinationStore>(
        &self,
        member: &Member,
        keeper: &Keeper<C>,
        result: &Result<(), PeerError>,
    ) {
        let next = match result {
            Ok(()) => Link::Up(keeper.belief().role().role_term),
            Err(error) => {
                let code = match error {
                    PeerError::Link(failure) => failure.code(),
                    PeerError::Refused(_) => "refused",
                    PeerError::Answer(_) => "bad_answer",
                    PeerError::Role(_) => "bad_role",
                };
                Link::Down { code, message: error.to_string() }
            }
        };
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = &member.name;
        match (&*link, &next) {
            (Link::Up(_), Link::Up(_)) => {}
            (Link::Down { code: before, .. }, Link::Down { code: after, .. })
                if before == after => {}
            (_, Link::Down { code, message }) => {
                tracing::warn!(peer, code, message, "the peer cannot be asked");
            }
            (_, Link::Up(_) | Link::Unknown) => tracing::info!(peer, "the peer answers"),
        }
        *link = next;
    }
}
