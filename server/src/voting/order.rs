//! What is asked of the voter that leads, from both ends: a server has its lease renewed, or wants to
//! take the role over. Whoever does not lead passes it on; whoever leads judges.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::role::RoleVersion;

use super::message::{self, Answer, Claim, Order, Renew, Saw, See, Wanted, Why};
use super::{Voting, groups};
use crate::clock;
use crate::coordination::VoterAddress;
use crate::liveness::{Case, Sight, Verdict, judge, second};
use crate::store::Audit;

/// How much later than another voter this one may see that a process has ended.
const SETTLE: Duration = Duration::from_millis(150);

impl Voting {
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

    /// The active server renews its lease.
    fn renew(&self, server: &str, Renew { group, role_term, version }: &Renew) -> Answer {
        // It was heard, whether or not it may be granted anything.
        let may_have = self.ledger().on_renewed(group, server, *role_term, clock::boot());
        if !self.leads_for_sure() {
            return Answer::NoLeader;
        }
        let document = self.document();
        // Whoever obeys an older revision than is in force may tell gateways what that no longer allows.
        let of_group = groups(document.as_ref()).into_iter().find(|(name, _)| name == group);
        let known = RoleVersion::from(*version);
        if may_have && of_group.is_some_and(|(_, role)| role.version() <= known) {
            return Answer::Granted;
        }
        document.map_or(Answer::NoLeader, |role| Answer::Superseded(Box::new(role)))
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
        // What no server will obey is not to stop the one that reigns.
        if let Err(why) = (self.check)(&claim.role) {
            return Answer::Never { why };
        }
        let sight = second(&self.me, claimant, &active, self.sight(&active), third);
        let verdict = {
            // One look: who renews a moment later is granted nothing where this is allowed. It may have been
            // paused and be back.
            let mut ledger = self.ledger();
            let case = Case {
                because: claim.because.into(),
                against: RoleVersion::from(claim.expected).term,
                present: term,
                silence: ledger.silence(&claim.group, term, clock::boot()),
                second: sight,
            };
            let verdict = judge(&case, &self.timing);
            if verdict == Verdict::Allow {
                ledger.on_allowed(&claim.group, term);
            }
            verdict
        };
        match verdict {
            Verdict::Allow => {}
            Verdict::NotYet { retry_after, why } => {
                let after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                return Answer::NotYet { after_ms, why: why.to_string() };
            }
            Verdict::Never { why } => return Answer::Never { why: why.to_string() },
        }
        let Claim { group, expected, version, role, because } = claim;
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
