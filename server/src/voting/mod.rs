//! What a voter does beside keeping the document: it watches the other voters, keeps the active
//! server's lease while it leads them, and judges who may take the role over. Alike on a server and
//! on the witness.
//!
//! - [`presence`]: a stream from every voter to every other one, by which it is noticed who is gone.
//! - [`transport`]: the voters' messages over the site's mutual TLS.
//! - [`message`]: what is asked of the voter that leads.
//!
//! Invariants: whoever does not lead with a majority that answered lately gives no lease and lets
//! nobody claim (7); nothing that is judged here fences: role terms do (ADR-0020).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::role::{GroupRole, Mode, RoleDocument, RoleVersion, SignedRole};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::coordination::{Check, Leadership, RaftTiming, Voter, VoterAddress, VoterConfig};
use crate::liveness::{Case, Ledger, Sight, Timing, Verdict, Watch, judge, second};
use crate::peer::{Client, PEER_TIMEOUT};
use crate::site::{Config, MAX_MEMBERS, SERVER, Site, SiteError, Timers};
use crate::store::Audit;

pub mod message;
mod presence;
mod status;
mod transport;

pub use status::{OtherVoter, VotersStatus};

use message::{Answer, Claim, Order, Renew, Said, Saw, See, Wanted, Why};
use transport::Https;

/// How much later than another voter this one may see that a process has ended.
const SETTLE: Duration = Duration::from_millis(150);

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
            check: check(site),
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
        let mut led = false;
        loop {
            let leads = matches!(*leadership.borrow_and_update(), Leadership::Leading { .. });
            let document = documents.borrow_and_update().clone();
            {
                let (mut ledger, now) = (self.ledger(), clock::boot());
                match (led, leads) {
                    (false, true) => ledger.on_leading(now),
                    (true, false) => ledger.on_lost(),
                    (true, true) | (false, false) => {}
                }
                led = leads;
                for (group, role) in groups(document.as_ref()) {
                    let automatic = role.mode == Mode::Automatic;
                    ledger.on_document(&group, &role.active, role.role_term, automatic, now);
                }
            }
            // Cancel-safety: a watch keeps its mark.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                changed = documents.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Has an order carried out by the voter that leads: this one, or whoever is reached. Of the two
    /// others one leads or knows who does.
    pub async fn order(self: &Arc<Self>, what: Wanted) -> Answer {
        let order = Order { by: self.me.clone(), pass_on: false, what };
        if self.leads() {
            return self.carry_out(order).await;
        }
        let leader = self.leader();
        let (first, then): (Vec<_>, Vec<_>) =
            self.others.iter().partition(|voter| leader.as_ref() == Some(&voter.name));
        for voter in first.into_iter().chain(then) {
            // Whoever is not taken for the leader may pass it on: the way to the leader may be cut.
            let pass_on = leader.as_ref() != Some(&voter.name);
            match self.ask(voter, Order { pass_on, ..order.clone() }).await {
                Some(Answer::NoLeader) | None => {}
                Some(answer) => return answer,
            }
        }
        Answer::NoLeader
    }

    /// Carries out what another voter asks for, or passes it on to the one that leads.
    pub async fn on_order(self: &Arc<Self>, order: Order) -> Answer {
        if self.leads() {
            return self.carry_out(order).await;
        }
        let leader = self.leader().filter(|_| order.pass_on);
        let Some(leader) = self.others.iter().find(|voter| leader.as_ref() == Some(&voter.name))
        else {
            return Answer::NoLeader;
        };
        self.ask(leader, Order { pass_on: false, ..order }).await.unwrap_or(Answer::NoLeader)
    }

    async fn ask(&self, voter: &VoterAddress, order: Order) -> Option<Answer> {
        self.client.ask_within(&voter.address, message::ORDER, &order, self.patience()).await.ok()
    }

    fn leader(&self) -> Option<String> {
        match &*self.voter.leadership().borrow() {
            Leadership::Following { leader } => Some(leader.clone()),
            Leadership::Leading { .. } | Leadership::None => None,
        }
    }

    async fn carry_out(self: &Arc<Self>, order: Order) -> Answer {
        let Order { by, what, .. } = order;
        match what {
            Wanted::Renew(renew) => self.renew(&by, &renew),
            Wanted::Claim(claim) => {
                // Once allowed it runs to its end, whoever still waits for it: what was allowed has to be
                // taken back where it comes to nothing.
                let voting = Arc::clone(self);
                let claimed = tokio::spawn(async move { voting.claim(&by, *claim).await });
                let lost = |_| Answer::Unavailable { why: "the claim came to no end".to_owned() };
                claimed.await.unwrap_or_else(lost)
            }
        }
    }

    /// Whether a voter of this name is configured here, and may ask for this: for itself, or as one that
    /// passes on what another one wants.
    pub fn may_order(&self, name: &str, order: &Order) -> bool {
        let is_voter = |name: &str| self.others.iter().any(|voter| voter.name == name);
        is_voter(name) && (order.by == name || !order.pass_on && is_voter(&order.by))
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

    /// The active server renews its lease.
    fn renew(&self, server: &str, Renew { group, role_term }: &Renew) -> Answer {
        // It was heard, whether or not it may be granted anything.
        let may_have = self.ledger().on_renewed(group, server, *role_term, clock::boot());
        if !self.leads_for_sure() {
            return Answer::NoLeader;
        }
        if may_have {
            return Answer::Granted;
        }
        self.document().map_or(Answer::NoLeader, |role| Answer::Superseded(Box::new(role)))
    }

    /// A server wants to take a role over.
    async fn claim(&self, claimant: &str, claim: Claim) -> Answer {
        if !self.leads_for_sure() {
            return Answer::NoLeader;
        }
        let document = self.document();
        let Some((_, role)) =
            groups(document.as_ref()).into_iter().find(|(group, _)| *group == claim.group)
        else {
            return Answer::Never { why: format!("the voters know no group {:?}", claim.group) };
        };
        let (active, term) = (role.active, role.role_term);
        // Two voters have to have seen it: the claimant, and this one or the third. Who is asked may see
        // it a moment later than the claimant.
        if claim.because == Why::Killed && claimant != self.me {
            self.settled_sight(&active).await;
        }
        let third = if claimant == self.me { self.ask_third(&active).await } else { None };
        let now = clock::boot();
        let case = Case {
            because: claim.because.into(),
            against: RoleVersion::from(claim.expected).term,
            present: term,
            silence: self.ledger().silence(&claim.group, term, now),
            second: second(&self.me, claimant, &active, self.sight(&active), third),
        };
        match judge(&case, &self.timing) {
            Verdict::Allow => {}
            Verdict::NotYet { retry_after, why } => {
                let after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                return Answer::NotYet { after_ms, why: why.to_string() };
            }
            Verdict::Never { why } => return Answer::Never { why: why.to_string() },
        }
        let Claim { group, expected, version, role, because } = claim;
        // From here on the one that is replaced is granted nothing: it may have been paused and be back.
        self.ledger().on_allowed(&group, term);
        tracing::warn!(claimant, active, %term, ?because, "the role is claimed");
        let why = Audit::now(claimant, "role_claimed", claimant, &format!("{because:?}"));
        match self.voter.swap_here(expected.into(), version.into(), role, why.into()).await {
            Ok(true) => Answer::Won,
            Ok(false) => {
                self.ledger().on_denied(&group, term);
                Answer::Overtaken
            }
            Err(error) => Answer::Unavailable { why: error.to_string() },
        }
    }

    /// How another voter is seen, of which it was said that it is gone: that takes a moment to be seen.
    pub async fn settled_sight(&self, name: &str) -> Sight {
        let mut news = self.news.subscribe();
        let gone = async {
            while !self.sight(name).nobody_listens() {
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        // Cancel-safety: nothing is kept.
        let _ = tokio::time::timeout(SETTLE, gone).await;
        self.sight(name)
    }

    /// How the third voter sees the active server.
    async fn ask_third(&self, active: &str) -> Option<Sight> {
        let third = self.others.iter().find(|voter| voter.name != active)?;
        let see = See { voter: active.to_owned() };
        let within = self.patience();
        let saw: Result<Saw, _> =
            self.client.ask_within(&third.address, message::SIGHT, &see, within).await;
        Some(saw.ok()?.into_sight(clock::boot()))
    }

    /// How long another voter may take to answer, before it is asked otherwise.
    fn patience(&self) -> Duration {
        self.timing.renew_every * 2
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
        },
    )
}

/// The groups of a document that the voters hold. What cannot be read names none.
fn groups(signed: Option<&SignedRole>) -> Vec<(String, GroupRole)> {
    let document: Option<RoleDocument> =
        signed.and_then(|signed| serde_json::from_str(&signed.document).ok());
    document.map(|document| document.groups.into_iter().collect()).unwrap_or_default()
}
