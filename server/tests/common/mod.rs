//! A site of two servers on loopback, and a gateway that speaks to them as `docs/uplink.md` says.
#![allow(dead_code, unreachable_pub, reason = "each of the two programs uses its own part")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use postern_protocol::pki::{self, Floor, PeerIdentity, PeerRole};
use postern_protocol::role::{GroupRole, SignedRole};
use postern_protocol::transaction::{
    Credential, Direction, Door, MAX_ENTRY, Occurred, RawRecord, TimeSource, TimeTrust,
};
use postern_protocol::uplink::{Batch, Bytes, Entry, Refusal, journal_path};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, Seq, Timestamp, Transaction,
};
use postern_server::site::{self, First, Second, Site};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

pub const BOARD: ControllerId = ControllerId::uhppote(405_419_896);

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A free port below the ephemeral range, so that no client's own port takes it meanwhile.
pub fn free_port() -> u16 {
    let base = u16::try_from(std::process::id() % 97).unwrap() * 100;
    loop {
        let port = 20_000 + base + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A site's two data directories.
pub struct Pair {
    pub root: tempfile::TempDir,
    pub a: PathBuf,
    pub b: PathBuf,
}

impl Pair {
    pub fn new() -> Self {
        let pair = Self::first_alone();
        pair.join();
        pair
    }

    /// The site before its second server has joined.
    pub fn first_alone() -> Self {
        Self::first_alone_in(&std::env::temp_dir())
    }

    /// The same in a directory of one's own choice.
    pub fn first_alone_in(dir: &Path) -> Self {
        let root = tempfile::tempdir_in(dir).unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        let at_a = format!("127.0.0.1:{}", free_port());
        let (site, group) = ("north", "main");
        site::init(&a, &First { site, group, name: "a", address: &at_a, listen: Some(&at_a) })
            .unwrap();
        Self { root, a, b }
    }

    pub fn join(&self) {
        let at = format!("127.0.0.1:{}", free_port());
        let second = Second { join: &self.a, name: "b", address: &at, listen: Some(&at) };
        site::join(&self.b, &second).unwrap();
    }

    pub fn site(&self) -> Site {
        Site::open(&self.a).unwrap()
    }

    /// What was cut is whole again.
    pub fn mend(&self) {
        for dir in [&self.a, &self.b] {
            std::fs::copy(dir.join("whole.toml"), dir.join(site::CONFIG)).unwrap();
        }
    }

    /// Makes each server look for the other where nobody is, as a broken line between them does.
    pub fn cut(&self) {
        for (dir, other) in [(&self.a, "b"), (&self.b, "a")] {
            let config = Site::open(dir).unwrap().config;
            let address = &config.member(other).unwrap().address;
            std::fs::copy(dir.join(site::CONFIG), dir.join("whole.toml")).unwrap();
            let nowhere = format!("127.0.0.1:{}", free_port());
            let text = std::fs::read_to_string(dir.join(site::CONFIG)).unwrap();
            std::fs::write(dir.join(site::CONFIG), text.replace(address, &nowhere)).unwrap();
        }
    }

    pub fn address(&self, server: &str) -> String {
        let dir = if server == "a" { &self.a } else { &self.b };
        let config = Site::open(dir).unwrap().config;
        config.member(server).unwrap().address.clone()
    }

    pub fn gateway(&self, name: &str) -> Gateway {
        Gateway::new(&self.site(), "main", name)
    }

    pub fn operator(&self) -> reqwest::Client {
        http(self.site().connect_config(site::ADMIN).unwrap())
    }

    /// What a signed document says of the group, once its signature was checked.
    pub fn verified(&self, signed: &SignedRole) -> GroupRole {
        let document = signed.verify(&self.site().authority, "north", UnixTime::now()).unwrap();
        document.groups["main"].clone()
    }
}

pub fn http(config: rustls::ClientConfig) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// TLS settings of somebody whom `signs` certified and who trusts `trusts`.
pub fn tls(signs: &Site, trusts: &Site, who: &PeerIdentity) -> rustls::ClientConfig {
    tls_under(UnixTime::now, signs, trusts, who)
}

/// The same for somebody with this clock.
pub fn tls_under(
    clock: fn() -> UnixTime,
    signs: &Site,
    trusts: &Site,
    who: &PeerIdentity,
) -> rustls::ClientConfig {
    let issued = signs.load_authority().unwrap().issue(who, None).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key.serialize_der()));
    let certificate: CertificateDer<'static> = issued.certificate.der().clone();
    let floor = Floor::new(clock, &certificate).unwrap();
    pki::client_config(trusts.authority.clone(), certificate, key, floor).unwrap()
}

pub fn gateway_identity(group: &str, name: &str) -> PeerIdentity {
    let role = PeerRole::Gateway { group: group.into() };
    PeerIdentity { site: "north".into(), role, name: name.into() }
}

/// A gateway with a journal of swipes.
pub struct Gateway {
    pub http: reqwest::Client,
    pub group: String,
    pub journal: JournalId,
    pub role: Option<SignedRole>,
    pub entries: Vec<Vec<u8>>,
}

impl Gateway {
    pub fn new(site: &Site, group: &str, name: &str) -> Self {
        let http = http(tls(site, site, &gateway_identity(group, name)));
        let mut id = [0; 16];
        id[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
        let (journal, group) = (JournalId(id), group.to_owned());
        Self { http, group, journal, role: None, entries: Vec::new() }
    }

    /// Appends swipes of [`BOARD`].
    pub fn swipe(&mut self, count: usize) {
        for _ in 0..count {
            let index = u64::try_from(self.entries.len()).unwrap() + 1;
            let transaction = Transaction {
                origin: Origin::Controller {
                    controller: BOARD,
                    epoch: EpochId([0xe1; 16]),
                    index: Index(index),
                },
                kind: Kind::Granted,
                occurred: Occurred::ABSENT,
                received: Timestamp(1_700_000_000_000),
                door: None,
                direction: None,
                credential: None,
                raw: RawRecord::new(&index.to_be_bytes()).unwrap(),
            };
            self.entries.push(transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec());
        }
    }

    /// Appends a transaction of [`BOARD`], whose index is its position.
    pub fn record(&mut self, record: &Transaction) {
        let index = Index(u64::try_from(self.entries.len()).unwrap() + 1);
        let origin = Origin::Controller { controller: BOARD, epoch: EpochId([0xe1; 16]), index };
        let raw = RawRecord::new(&index.0.to_be_bytes()).unwrap();
        let record = Transaction { origin, raw, ..record.clone() };
        self.entries.push(record.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec());
    }

    pub fn batch(&self, first: usize, last: usize) -> Batch {
        let genesis = Chain::genesis(self.journal);
        let before =
            self.entries[..first - 1].iter().fold(genesis, |chain, entry| chain.link(entry));
        Batch {
            role: self.role.clone(),
            oldest: Seq(1),
            told: None,
            full: 0,
            lasts_s: None,
            chain_before: before.hash,
            epochs: Vec::new(),
            entries: (first..=last)
                .map(|seq| Entry {
                    seq: Seq(u64::try_from(seq).unwrap()),
                    bytes: Bytes(self.entries[seq - 1].clone()),
                    transaction: None,
                })
                .collect(),
        }
    }

    pub fn path(&self) -> String {
        format!("{}/transactions", journal_path(&self.group, self.journal))
    }

    pub async fn send(&self, at: &str, first: usize, last: usize) -> reqwest::Response {
        let url = format!("https://{at}{}", self.path());
        self.http.post(url).json(&self.batch(first, last)).send().await.unwrap()
    }
}

/// Somebody with this card at this door, at a time in milliseconds, received a second later.
pub fn swipe_at(at: i64, door: u8, card: u64) -> Transaction {
    let origin =
        Origin::Controller { controller: BOARD, epoch: EpochId([0xe1; 16]), index: Index(0) };
    Transaction {
        origin,
        kind: Kind::Granted,
        occurred: Occurred {
            at: Some(Timestamp(at)),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: Timestamp(at + 1_000),
        door: Some(Door(door)),
        direction: Some(Direction::In),
        credential: Some(Credential(card)),
        raw: RawRecord::default(),
    }
}

/// The refusal in an answer, with its status.
pub async fn refusal(response: reqwest::Response) -> (u16, Refusal) {
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn fail_over(pair: &Pair, to: &str, force: bool) -> reqwest::Response {
    let url = format!("https://{}/v1/admin/failover", pair.address(to));
    let body = serde_json::json!({"to": to, "force": force});
    pair.operator().post(url).json(&body).send().await.unwrap()
}

pub async fn status(pair: &Pair, server: &str) -> postern_server::api::admin::Status {
    let url = format!("https://{}/v1/admin/status", pair.address(server));
    pair.operator().get(url).send().await.unwrap().json().await.unwrap()
}

pub async fn events(pair: &Pair, server: &str) -> Vec<String> {
    let url = format!("https://{}/v1/admin/audit?limit=5000", pair.address(server));
    let page: postern_server::api::listing::AuditPage =
        pair.operator().get(url).send().await.unwrap().json().await.unwrap();
    page.items.into_iter().map(|line| line.event).collect()
}

/// Waits until both stores are in sync.
pub async fn in_sync(pair: &Pair, active: &str) {
    until("both stores are in sync", async || status(pair, active).await.copies == 2).await;
}

/// Waits until the servers hold the same.
pub async fn equal(pair: &Pair) {
    until("both hold the same", async || {
        status(pair, "a").await.log == status(pair, "b").await.log
    })
    .await;
}
