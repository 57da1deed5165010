//! What a voter does beside keeping the document: it watches the other voters, keeps the active
//! server's lease while it leads them, and judges who may take the role over. Alike on a server and
//! on the witness.
//!
//! - [`presence`]: a stream from every voter to every other one, by which it is noticed who is gone.
//! - [`transport`]: the voters' messages over the site's mutual TLS.
//! - [`order`]: what is asked of the voter that leads, and how it is judged; [`message`]: its form.
//!
//! Invariants: whoever does not lead with a majority that answered lately gives no lease and lets
//! nobody claim (7); nothing that is judged here fences: role terms do (ADR-0020).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::role::{GroupRole, Mode, RoleDocument, SignedRole};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::coordination::{Check, Leadership, RaftTiming, Voter, VoterAddress, VoterConfig};
use crate::liveness::{Ledger, Sight, Timing, Watch};
use crate::peer::{Client, PEER_TIMEOUT};
use crate::site::{Config, MAX_MEMBERS, SERVER, Site, SiteError, Timers};

pub mod message;
mod order;
mod presence;
mod status;
mod transport;

pub use status::{OtherVoter, VotersStatus};

use message::Said;
use transport::Https;

/// See the module.
pub struct Voting {
    me: String,
    /// The voter itself.
    pub voter: Arc<Voter>,
    others: Vec<VoterAddress>,
    client: Client,
    timing: Timing,
    ledger: Mutex<Ledger>,
    sights: Mutex<BTreeMap<String, Seen>>,
    news: watch::Sender<()>,
    /// What is told of this server's lease, where it is one.
    lease: watch::Sender<Option<Said>>,
    /// Whether a document may be obeyed.
    check: Check,
    /// On which disk of which machine its file is.
    disk: Option<String>,
    /// By which times it works.
    timers: &'static str,
}

/// Another voter, as it is seen.
#[derive(Debug)]
struct Seen {
    watch: Watch,
    /// How it was seen when that was last told: silence comes with time alone.
    told: Sight,
    /// What it last said of its lease.
    lease: Option<Said>,
    /// By which times it works, where it said so.
    timers: Option<String>,
    /// On which disk of which machine its file is, where it said so.
    disk: Option<String>,
    /// What its voter does, where it said so.
    standing: Option<String>,
}

/// The times of a configuration.
pub fn timing(config: &Config) -> Timing {
    match config.timers {
        Timers::Near => Timing::NEAR,
        Timers::Far => Timing::FAR,
    }
}

/// Verifies a document as the servers do before they obey it.
fn check(site: &Site) -> Check {
    let (authority, floor) = (site.authority.clone(), site.floor.clone());
    let (name, group) = (site.config.site.clone(), site.config.group.clone());
    Arc::new(move |signed| {
        let document = signed.verify(&authority, &name, floor.now()).map_err(|e| e.to_string())?;
        let role = document.groups.get(&group);
        Ok(role.ok_or_else(|| format!("it knows no group {group:?}"))?.version())
    })
}

impl Voting {
    /// Starts the voter of a data directory; `None` where the site has no witness, and so no third
    /// voter.
    pub async fn start(
        site: &Site,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<Self>>, SiteError> {
        let config = &site.config;
        let Some(witness) = &config.witness else { return Ok(None) };
        if config.members.len() < MAX_MEMBERS {
            tracing::warn!(
                "there is a witness and no second server yet: start this one again once there is"
            );
            return Ok(None);
        }
        let address = |name: &str, address: &str| VoterAddress {
            name: name.to_owned(),
            address: address.to_owned(),
        };
        let members = config.members.iter().map(|m| address(&m.name, &m.address));
        let all: Vec<VoterAddress> =
            members.chain([address(&witness.name, &witness.address)]).collect();
        let others: Vec<VoterAddress> =
            all.iter().filter(|voter| voter.name != config.name).cloned().collect();
        let timing = timing(config);
        let check = check(site);
        let client = Client::new(site, SERVER, PEER_TIMEOUT)?;
        let ordinal_of_timeouts = match config.me() {
            None => 0,
            Some(member) if member.ordinal == 0 => 1,
            Some(_) => 2,
        };
        let voter = VoterConfig {
            dir: site.dir.clone(),
            name: config.name.clone(),
            peers: others.clone(),
            ordinal_of_timeouts,
            timing: RaftTiming::from(&timing),
            transport: Arc::new(Https::new(client.clone(), &others)),
            check: check.clone(),
        };
        let voter = Voter::start(voter, stop.clone()).await.map_err(|error| SiteError::Voter {
            dir: site.dir.clone(),
            reason: error.to_string(),
        })?;
        let voting = Arc::new(Self {
            me: config.name.clone(),
            voter,
            sights: Mutex::new(others.iter().map(|other| unseen(other, &timing)).collect()),
            others,
            client,
            ledger: Mutex::new(Ledger::new(timing.expires_after)),
            timing,
            news: watch::Sender::new(()),
            lease: watch::Sender::new(None),
            check,
            disk: presence::disk(&site.dir),
            timers: config.timers.code(),
        });
        for other in &voting.others {
            tasks.spawn(presence::watch(voting.clone(), other.clone(), stop.clone()));
        }
        tasks.spawn(voting.clone().keep_ledger(stop.clone()));
        tasks.spawn(voting.clone().replace_leader(config.me().map(|me| me.ordinal), stop.clone()));
        Ok(Some(voting))
    }

    /// The times that it works by.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// How another voter is seen.
    pub fn sight(&self, name: &str) -> Sight {
        self.sights().get(name).map_or(Sight::Never, |seen| seen.watch.sight(clock::boot()))
    }

    /// What another server last said of its own lease.
    pub fn said_of_lease(&self, name: &str) -> Option<Said> {
        self.sights().get(name).and_then(|seen| seen.lease)
    }

    /// What another voter's own voter does, where it said so.
    fn standing_of(&self, name: &str) -> Option<String> {
        self.sights().get(name).and_then(|seen| seen.standing.clone())
    }

    /// The voters that say that their file is on the same disk of the same machine as this one's.
    pub fn on_one_disk(&self) -> Vec<String> {
        let own = self.disk.clone();
        let sights = self.sights();
        let same = sights.iter().filter(|(_, seen)| seen.disk.is_some() && seen.disk == own);
        same.map(|(name, _)| name.clone()).collect()
    }

    /// The voters that say that they work by other times than this one.
    pub fn by_other_times(&self) -> Vec<String> {
        let sights = self.sights();
        let others = sights
            .iter()
            .filter(|(_, seen)| seen.timers.as_ref().is_some_and(|timers| timers != self.timers));
        others.map(|(name, _)| name.clone()).collect()
    }

    /// Changed whenever a voter is seen otherwise than before.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Says on every stream whether this server holds its lease.
    pub fn tell_lease(&self, lease: Option<Said>) {
        self.lease.send_if_modified(|told| std::mem::replace(told, lease) != lease);
    }

    /// The document that the voters hold, as far as this one has applied it.
    pub fn document(&self) -> Option<SignedRole> {
        self.voter.documents().borrow().clone()
    }

    fn sights(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.sights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this voter leads, as far as it knows.
    fn leads(&self) -> bool {
        matches!(*self.voter.leadership().borrow(), Leadership::Leading { .. })
    }

    /// Whether it leads for sure: a majority answered lately.
    fn leads_for_sure(&self) -> bool {
        let age = self.voter.quorum_age();
        self.leads() && age.is_some_and(|age| age <= self.timing.acknowledged_within)
    }

    /// Tells the ledger when this voter begins and ceases to lead, and of every reign.
    async fn keep_ledger(self: Arc<Self>, stop: CancellationToken) {
        let (mut leadership, mut documents) = (self.voter.leadership(), self.voter.documents());
        let mut led = None;
        loop {
            let leads = match *leadership.borrow_and_update() {
                Leadership::Leading { since } => Some(since),
                Leadership::Following { .. } | Leadership::None => None,
            };
            let document = documents.borrow_and_update().clone();
            let mut begun = Vec::new();
            {
                let (mut ledger, now) = (self.ledger(), clock::boot());
                // Somebody else may have led in between.
                if led != leads {
                    ledger.on_lost();
                    if leads.is_some() {
                        ledger.on_leading(now);
                    }
                }
                led = leads;
                for (group, role) in groups(document.as_ref()) {
                    let automatic = role.mode == Mode::Automatic;
                    if ledger.on_document(&group, &role.active, role.role_term, automatic, now) {
                        begun.push(role.active);
                    }
                }
            }
            for active in begun {
                self.seen(&active, Watch::on_alive);
            }
            // Cancel-safety: a watch keeps its mark.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                changed = documents.changed() => if changed.is_err() { return },
            }
        }
    }

    fn leader(&self) -> Option<String> {
        match &*self.voter.leadership().borrow() {
            Leadership::Following { leader } => Some(leader.clone()),
            Leadership::Leading { .. } | Leadership::None => None,
        }
    }

    /// Whether a voter of this name is configured here.
    pub fn knows(&self, name: &str) -> bool {
        self.others.iter().any(|voter| voter.name == name)
    }

    /// Has an election as soon as the voter that leads is known to have ended, not only once it has been
    /// silent for long enough. A server begins, and if there are two the second a little later: it has
    /// promised the leader more patience than the witness, and to vote for itself breaks no promise.
    /// The witness's patience has to run out as well, so it is asked again and again.
    async fn replace_leader(self: Arc<Self>, ordinal: Option<u64>, stop: CancellationToken) {
        let Some(ordinal) = ordinal else { return };
        let (mut news, mut leadership) = (self.news.subscribe(), self.voter.leadership());
        let pause = self.timing.heartbeat;
        let turn = pause * u32::try_from(ordinal * 2).unwrap_or(u32::MAX);
        let mut last = None;
        loop {
            news.borrow_and_update();
            last = match &*leadership.borrow_and_update() {
                Leadership::Leading { .. } => None,
                Leadership::Following { leader } => Some(leader.clone()),
                // While they elect.
                Leadership::None => last,
            };
            let gone = last.as_ref().and_then(|leader| match self.sight(leader) {
                Sight::Refused { since } => Some(since),
                Sight::Never | Sight::Absent { .. } | Sight::Connected | Sight::Broken { .. } => {
                    None
                }
            });
            // Cancel-safety: watches keep their marks.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause), if gone.is_some() => {
                    let since = gone.map_or(Duration::ZERO, |since| clock::boot().since(since));
                    // Later Raft's own time-outs do: where nobody answers, each attempt is a write for nothing.
                    if since >= turn && since < self.timing.expires_after {
                        tracing::debug!(leader = last, "the voter that led has ended: an election");
                        self.voter.elect().await;
                    }
                }
            }
        }
    }
}

fn unseen(voter: &VoterAddress, timing: &Timing) -> (String, Seen) {
    (
        voter.name.clone(),
        Seen {
            watch: Watch::new(timing),
            told: Sight::Never,
            lease: None,
            timers: None,
            disk: None,
            standing: None,
        },
    )
}

/// The groups of a document that the voters hold. What cannot be read names none.
fn groups(signed: Option<&SignedRole>) -> Vec<(String, GroupRole)> {
    let document: Option<RoleDocument> =
        signed.and_then(|signed| serde_json::from_str(&signed.document).ok());
    document.map(|document| document.groups.into_iter().collect()).unwrap_or_default()
}
