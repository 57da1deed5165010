//! One server's machine: what it has to do now, so that its group has an active server.

use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::role::Mode;

use super::{BootInstant, Lease, Sight, Timing};
use crate::role::decide::Because;
use crate::role::{Belief, State};

/// So many renewals may be under way: with the shortest period, a connection that stands still for two
/// seconds blocks none of those after it.
const MOST_OUTSTANDING: usize = 4;

/// The longest pause between two claims, whatever the leader says: it may be another by then, or see
/// more. And how long an answer is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What of a server's belief matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub state: State,
    /// Whether the role changes by itself.
    pub automatic: bool,
    /// Whether somebody works on the servers.
    pub maintenance: bool,
    /// Whether its store is in sync.
    pub in_sync: bool,
    /// The active server.
    pub active: String,
    /// Its role term.
    pub term: RoleTerm,
}

impl From<&Belief> for Standing {
    fn from(belief: &Belief) -> Self {
        let role = belief.role();
        Self {
            state: belief.state(),
            automatic: role.mode == Mode::Automatic,
            maintenance: role.maintenance,
            in_sync: role.in_sync.contains(belief.me()),
            active: role.active.clone(),
            term: role.role_term,
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask the leader for the lease of this role term, and tell
    /// [`on_renewal`](Guard::on_renewal) in any case what came of it.
    Renew {
        /// The role term.
        term: RoleTerm,
    },
    /// Claim the role, and tell [`on_claim`](Guard::on_claim) in any case what came of it.
    Claim(Because),
    /// Act under the stored role term although nobody confirms it: store transactions, raise no `safe`.
    GoOnWithoutLease,
}

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalAnswer {
    /// The lease was granted.
    Granted,
    /// Another document is in force; it is adopted separately.
    Superseded,
    /// No voter that was reached knows a leader, or the leader has no quorum.
    NoLeader,
    /// Nobody was reached, or there was no answer in time.
    Failed,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The document names this server now; it is adopted separately.
    Won,
    /// Not before so long.
    NotYet {
        /// How long.
        after: Duration,
    },
    /// A rule bars it, or another document is in force.
    Denied,
    /// There is no leader with a quorum, or no answer in time.
    Unavailable,
}

/// What is known of the present reign, and what was done under it.
#[derive(Clone, Debug)]
struct Reign {
    standing: Standing,
    since: BootInstant,
    lease: Lease,
    next_renewal: BootInstant,
    next_claim: BootInstant,
    /// Since when claims after the restart have found no quorum.
    alone_since: Option<BootInstant>,
    /// It goes on under a role term that it did not claim.
    without_lease: bool,
    sight: Sight,
    /// What the active server last said of its lease on its stream.
    says_it_holds: bool,
    /// The last claim that it was killed was not allowed: the next one says that it is silent.
    unconfirmed: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Guard {
    timing: Timing,
    reign: Option<Reign>,
    /// The role term that the claim was made against which is under way. One at a time: where nobody answers
    /// they would pile up before the operator's order that is the way out.
    claiming: Option<(RoleTerm, Because)>,
    /// When the renewals were sent that have no answer yet.
    outstanding: Vec<BootInstant>,
}

impl Guard {
    /// Nothing is known yet, and nothing ordered.
    pub const fn new(timing: Timing) -> Self {
        Self { timing, reign: None, claiming: None, outstanding: Vec::new() }
    }

    /// What the server believes; to be told at the start and after each change. A reign counts from
    /// when it is told first.
    pub fn on_belief(&mut self, standing: &Standing, now: BootInstant) {
        if let Some(reign) = &mut self.reign
            && reign.standing.term == standing.term
        {
            if reign.standing != *standing {
                // It may have become possible to act, which is not to wait for a pause to end.
                (reign.next_renewal, reign.next_claim) = (now, now);
                reign.standing = standing.clone();
            }
            return;
        }
        self.reign = Some(Reign {
            standing: standing.clone(),
            since: now,
            lease: Lease::new(standing.term, self.timing.holds_for),
            next_renewal: now,
            next_claim: now,
            alone_since: None,
            without_lease: false,
            sight: Sight::Never,
            says_it_holds: true,
            unconfirmed: false,
        });
    }

    /// What this server sees of the active one; to be told after each change, and after another
    /// server became active.
    pub fn on_sight(&mut self, sight: Sight, now: BootInstant) {
        let Some(reign) = &mut self.reign else { return };
        let worse = match (reign.sight, sight) {
            (_, Sight::Never | Sight::Absent { .. } | Sight::Connected) => false,
            (before, Sight::Refused { .. }) => !before.is_refused(),
            (before, Sight::Broken { .. }) => before.is_connected(),
        };
        if worse {
            reign.next_claim = now;
        }
        if !sight.is_refused() {
            reign.unconfirmed = false;
        }
        reign.sight = sight;
    }

    /// The active server said on its stream, under this role term, whether it holds its lease.
    pub fn on_lease_flag(&mut self, term: RoleTerm, holds: bool) {
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.standing.term == term) {
            reign.says_it_holds = holds;
        }
    }

    /// What came of the renewal that was sent for this role term at `sent`.
    pub fn on_renewal(
        &mut self,
        term: RoleTerm,
        sent: BootInstant,
        answer: RenewalAnswer,
        now: BootInstant,
    ) {
        if let Some(place) = self.outstanding.iter().position(|other| *other == sent) {
            self.outstanding.swap_remove(place);
        }
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.standing.term == term) else {
            return;
        };
        match answer {
            RenewalAnswer::Granted => reign.lease.on_granted(sent),
            RenewalAnswer::Superseded => reign.lease.on_superseded(),
            RenewalAnswer::NoLeader | RenewalAnswer::Failed => {
                reign.next_renewal = reign.next_renewal.min(now + self.timing.ask_every);
            }
        }
    }

    /// What came of the last claim.
    pub fn on_claim(&mut self, answer: ClaimAnswer, now: BootInstant) {
        let claimed = self.claiming.take();
        let Some(reign) = &mut self.reign else { return };
        if claimed.is_some_and(|(against, _)| against != reign.standing.term) {
            // It was about a reign that is over.
            return;
        }
        let refused = reign.sight.is_refused();
        let pause = match answer {
            ClaimAnswer::NotYet { .. } | ClaimAnswer::Denied if refused && !reign.unconfirmed => {
                // The second voter may see it a moment later. Until then the other reason counts. What was
                // asked for that reason, before the end was seen, says nothing of this one.
                reign.unconfirmed = claimed.is_none_or(|(_, because)| because == Because::Killed);
                Duration::ZERO
            }
            ClaimAnswer::NotYet { .. } if refused => {
                reign.unconfirmed = false;
                self.timing.ask_every
            }
            ClaimAnswer::NotYet { after } => after.clamp(self.timing.ask_every, LONGEST_PAUSE),
            ClaimAnswer::Denied => {
                reign.unconfirmed = false;
                LONGEST_PAUSE
            }
            ClaimAnswer::Won | ClaimAnswer::Unavailable => self.timing.ask_every,
        };
        reign.next_claim = now + pause;
        if answer != ClaimAnswer::Unavailable {
            // There is a quorum, and it says something else.
            reign.alone_since = None;
        }
    }

    /// What to do now; to be asked until there is nothing. Everything that is ordered is begun at
    /// `now`, which is the `sent` of a renewal.
    pub fn poll(&mut self, now: BootInstant) -> Option<Order> {
        let room = self.room(now);
        let reign = self.reign.as_mut()?;
        if reign.renews() {
            if now < reign.next_renewal || !room {
                return None;
            }
            reign.next_renewal = now + self.timing.renew_every;
            self.outstanding.push(now);
            return Some(Order::Renew { term: reign.standing.term });
        }
        if reign.claims_again() {
            let alone_since = *reign.alone_since.get_or_insert(now);
            let waited = now >= alone_since + self.timing.expires_after;
            if waited && !reign.without_lease {
                reign.without_lease = true;
                return Some(Order::GoOnWithoutLease);
            }
        }
        let because = reign.because(now)?;
        if now < reign.next_claim || self.claiming.is_some() {
            return None;
        }
        self.claiming = Some((reign.standing.term, because));
        Some(Order::Claim(because))
    }

    /// When to ask again, if nothing is told before.
    pub fn next_deadline(&self) -> Option<BootInstant> {
        let reign = self.reign.as_ref()?;
        if reign.renews() {
            let room = match self.outstanding.iter().min() {
                Some(oldest) if self.outstanding.len() >= MOST_OUTSTANDING => {
                    *oldest + self.timing.holds_for
                }
                _ => BootInstant::default(),
            };
            return Some(reign.next_renewal.max(room));
        }
        let claims = reign.because(reign.next_claim).map(|_| reign.next_claim);
        let claims = claims.filter(|_| self.claiming.is_none());
        if reign.claims_again() && !reign.without_lease {
            let goes_on = reign.alone_since.map(|since| since + self.timing.expires_after);
            return goes_on.into_iter().chain(claims).min();
        }
        claims
    }

    /// Why this server would take the role over now, whether or not the rules let it.
    pub fn reason(&self, now: BootInstant) -> Option<Because> {
        self.reign.as_ref()?.reason(now)
    }

    /// Whether this server may say that it is active and that nobody else is, as far as leases go:
    /// where the role changes by hand there are none.
    pub fn holds_lease(&self, now: BootInstant) -> bool {
        let Some(reign) = &self.reign else { return false };
        !reign.standing.automatic || reign.renews() && reign.lease.holds(now)
    }

    /// Whether one more renewal may be sent; those are forgotten whose answer would be worth nothing.
    fn room(&mut self, now: BootInstant) -> bool {
        let holds_for = self.timing.holds_for;
        self.outstanding.retain(|sent| now < *sent + holds_for);
        self.outstanding.len() < MOST_OUTSTANDING
    }
}

impl Reign {
    const fn renews(&self) -> bool {
        self.standing.automatic
            && matches!(self.standing.state, State::Active)
            && !self.without_lease
    }

    /// Whether it was active before its process began, and has to claim anew.
    const fn claims_again(&self) -> bool {
        let acts = matches!(self.standing.state, State::Active);
        let starts = matches!(self.standing.state, State::Starting);
        self.standing.automatic && (starts || acts && self.without_lease)
    }

    /// Why this server would claim now, if it would.
    fn because(&self, now: BootInstant) -> Option<Because> {
        if self.claims_again() {
            return Some(Because::Restarted);
        }
        let Standing { maintenance, in_sync, .. } = self.standing;
        if maintenance || !in_sync { None } else { self.reason(now) }
    }

    /// What is seen of the active server that would be a reason, if the rules let this one claim.
    fn reason(&self, now: BootInstant) -> Option<Because> {
        let Standing { state, automatic, .. } = self.standing;
        if state != State::Standby || !automatic {
            return None;
        }
        if self.sight.is_refused() && !self.unconfirmed {
            return Some(Because::Killed);
        }
        let silent = !self.sight.is_connected() || !self.says_it_holds;
        silent.then(|| Because::Expired { reigned: now.since(self.since) })
    }
}

#[cfg(test)]
mod tests;
