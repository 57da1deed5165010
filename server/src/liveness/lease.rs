//! A lease from both its ends: the active server's belief and the leader's memory.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::RoleTerm;

use super::BootInstant;

/// What the active server believes of its own lease.
#[derive(Clone, Debug)]
pub struct Lease {
    holds_for: Duration,
    term: RoleTerm,
    until: Option<BootInstant>,
}

impl Lease {
    /// No lease yet, under this role term.
    pub const fn new(term: RoleTerm, holds_for: Duration) -> Self {
        Self { holds_for, term, until: None }
    }

    /// The role term that it is for.
    pub const fn term(&self) -> RoleTerm {
        self.term
    }

    /// The leader granted what was asked for at `sent`: it holds from *then*, since the answer may
    /// have been long on its way. Answers may come in any order.
    pub fn on_granted(&mut self, sent: BootInstant) {
        self.until = self.until.max(Some(sent + self.holds_for));
    }

    /// It ends at once: another document is in force.
    pub fn on_superseded(&mut self) {
        self.until = None;
    }

    /// Whether it holds.
    pub fn holds(&self, now: BootInstant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// How long a group's active server was not heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It renewed its lease so long ago, and that stands for as long again as is `left`.
    Heard {
        /// Since its last renewal.
        ago: Duration,
        /// Until it has expired.
        left: Duration,
    },
    /// It was not heard since this voter leads, or since its reign began; a lease that another leader
    /// granted may still hold.
    Waiting {
        /// Until it has expired.
        left: Duration,
    },
    /// No lease of it can hold any more.
    Expired {
        /// For how long it was silent.
        silent: Duration,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    holder: String,
    term: RoleTerm,
    automatic: bool,
    since: BootInstant,
    renewed: Option<BootInstant>,
    /// A claim to end this reign was allowed, and may come to hold at any moment.
    claimed: bool,
}

/// What the voters' leader remembers of renewals: in memory alone, as long as it leads.
#[derive(Clone, Debug)]
pub struct Ledger {
    expires_after: Duration,
    leading: Option<BootInstant>,
    reigns: BTreeMap<String, Entry>,
}

impl Ledger {
    /// Of a voter that does not lead.
    pub const fn new(expires_after: Duration) -> Self {
        Self { expires_after, leading: None, reigns: BTreeMap::new() }
    }

    /// This voter leads. Whoever led before may have granted a lease until now.
    pub fn on_leading(&mut self, now: BootInstant) {
        self.leading = self.leading.or(Some(now));
    }

    /// It leads no more; what it heard is worth nothing to it later.
    pub fn on_lost(&mut self) {
        self.leading = None;
        for entry in self.reigns.values_mut() {
            (entry.renewed, entry.claimed) = (None, false);
        }
    }

    /// What the applied document says of a group. A reign that is seen for the first time counts from
    /// now, and so does one from when its role changes by itself: before, nobody renewed anything. A
    /// lower one than is known changes nothing. Whether a reign was seen for the first time.
    pub fn on_document(
        &mut self,
        group: &str,
        holder: &str,
        term: RoleTerm,
        automatic: bool,
        now: BootInstant,
    ) -> bool {
        if let Some(known) = self.reigns.get_mut(group)
            && known.term >= term
        {
            if known.term == term && automatic != known.automatic {
                (known.automatic, known.since, known.renewed) = (automatic, now, None);
            }
            return false;
        }
        let holder = holder.to_owned();
        let entry = Entry { holder, term, automatic, since: now, renewed: None, claimed: false };
        self.reigns.insert(group.to_owned(), entry);
        true
    }

    /// A claim to end this reign was allowed, and is on its way through the voters: from now on its
    /// holder is granted nothing more, or it would believe in its lease beside the next one's holder.
    /// That stands until the claim holds, is [denied](Self::on_denied), or this voter leads no more.
    pub fn on_allowed(&mut self, group: &str, term: RoleTerm) {
        self.claim(group, term, true);
    }

    /// A claim that was allowed will not come to hold: another change of the document came first. A
    /// claim of unknown outcome is not denied.
    pub fn on_denied(&mut self, group: &str, term: RoleTerm) {
        self.claim(group, term, false);
    }

    fn claim(&mut self, group: &str, term: RoleTerm, claimed: bool) {
        if let Some(entry) = self.reigns.get_mut(group).filter(|entry| entry.term == term) {
            entry.claimed = claimed;
        }
    }

    /// A server asks for a lease: granted to the one that the applied document names, under the role
    /// term that it names, while this voter leads and has allowed no claim to end that reign.
    #[must_use]
    pub fn on_renewed(
        &mut self,
        group: &str,
        server: &str,
        term: RoleTerm,
        now: BootInstant,
    ) -> bool {
        if self.leading.is_none() {
            return false;
        }
        let Some(entry) = self.reigns.get_mut(group) else { return false };
        if entry.holder != server || entry.term != term || entry.claimed {
            return false;
        }
        entry.renewed = entry.renewed.max(Some(now));
        true
    }

    /// How long the reign's holder was not heard of. Of a reign that is not the present one, or by a
    /// voter that does not lead, nothing can be said: that is a full wait.
    pub fn silence(&self, group: &str, term: RoleTerm, now: BootInstant) -> Silence {
        let known = self.reigns.get(group).filter(|entry| entry.term == term);
        let (Some(leading), Some(entry)) = (self.leading, known) else {
            return Silence::Waiting { left: self.expires_after };
        };
        let silent = now.since(entry.renewed.unwrap_or(entry.since).max(leading));
        let left = self.expires_after.saturating_sub(silent);
        match entry.renewed {
            _ if left.is_zero() => Silence::Expired { silent },
            Some(_) => Silence::Heard { ago: silent, left },
            None => Silence::Waiting { left },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_millis(3_500);
    const THREE: RoleTerm = RoleTerm(3);

    const fn at(ms: u64) -> BootInstant {
        BootInstant(Duration::from_millis(ms))
    }

    const fn waiting(left: u64) -> Silence {
        Silence::Waiting { left: Duration::from_millis(left) }
    }

    const fn heard(ago: u64) -> Silence {
        Silence::Heard { ago: Duration::from_millis(ago), left: Duration::from_millis(3_500 - ago) }
    }

    const fn expired(silent: u64) -> Silence {
        Silence::Expired { silent: Duration::from_millis(silent) }
    }

    /// It leads since 1,000, where server a reigns under role term 3.
    fn leader() -> Ledger {
        let mut ledger = Ledger::new(AFTER);
        ledger.on_document("main", "a", THREE, true, at(500));
        ledger.on_leading(at(1_000));
        ledger
    }

    #[test]
    fn a_lease_counts_from_before_it_was_asked_for() {
        let mut lease = Lease::new(THREE, Duration::from_millis(2_500));
        assert!(!lease.holds(at(0)));
        // Asked for at 1,000; when the answer came is not even told.
        lease.on_granted(at(1_000));
        assert!(lease.holds(at(3_499)) && !lease.holds(at(3_500)));
        lease.on_granted(at(2_000));
        lease.on_granted(at(1_500));
        assert!(lease.holds(at(4_499)) && !lease.holds(at(4_500)), "answers come in any order");
        lease.on_superseded();
        assert!(!lease.holds(at(2_001)));
    }

    #[test]
    fn a_new_leader_waits_as_long_as_any_lease_may_hold() {
        let mut ledger = leader();
        assert_eq!(ledger.silence("main", THREE, at(1_000)), waiting(3_500));
        assert_eq!(ledger.silence("main", THREE, at(4_499)), waiting(1));
        assert_eq!(ledger.silence("main", THREE, at(4_500)), expired(3_500));
        // To be told again that it leads begins nothing anew.
        ledger.on_leading(at(4_000));
        assert_eq!(ledger.silence("main", THREE, at(4_500)), expired(3_500));
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_heard() {
        let mut ledger = leader();
        assert!(ledger.on_renewed("main", "a", THREE, at(2_000)));
        assert_eq!(ledger.silence("main", THREE, at(2_300)), heard(300));
        assert_eq!(ledger.silence("main", THREE, at(5_499)), heard(3_499));
        assert_eq!(ledger.silence("main", THREE, at(5_500)), expired(3_500));
        // It was only slow: it is heard of again, and nobody has claimed yet.
        assert!(ledger.on_renewed("main", "a", THREE, at(6_000)));
        assert_eq!(ledger.silence("main", THREE, at(6_000)), heard(0));
    }

    #[test]
    fn nobody_else_and_no_other_role_term_is_granted_a_lease() {
        let mut ledger = leader();
        for (group, server, term) in
            [("else", "a", THREE), ("main", "b", THREE), ("main", "a", RoleTerm(1)), {
                ("main", "a", RoleTerm(5))
            }]
        {
            assert!(!ledger.on_renewed(group, server, term, at(2_000)), "{group} {server} {term}");
        }
        assert_eq!(ledger.silence("main", THREE, at(2_000)), waiting(2_500));
        assert_eq!(ledger.silence("main", RoleTerm(4), at(9_000)), waiting(3_500));
        assert_eq!(ledger.silence("else", THREE, at(9_000)), waiting(3_500));
    }

    #[test]
    fn a_reign_counts_from_when_it_is_first_seen() {
        let mut ledger = leader();
        assert!(ledger.on_renewed("main", "a", THREE, at(3_000)));
        ledger.on_document("main", "b", RoleTerm(4), true, at(4_000));
        assert_eq!(ledger.silence("main", RoleTerm(4), at(5_000)), waiting(2_500));
        assert!(!ledger.on_renewed("main", "a", THREE, at(5_000)), "it is over");
        for (holder, term) in [("b", 4), ("a", 3)] {
            ledger.on_document("main", holder, RoleTerm(term), true, at(6_000));
        }
        assert_eq!(ledger.silence("main", RoleTerm(4), at(7_500)), expired(3_500));
    }

    /// Regression, found by the simulation: a server that was stopped for long renewed its lease while
    /// the claim against it was on its way, and believed in it when the next one held its own.
    #[test]
    fn a_reign_that_is_being_ended_is_granted_nothing_more() {
        let mut ledger = leader();
        assert!(ledger.on_renewed("main", "a", THREE, at(2_000)));
        ledger.on_allowed("main", RoleTerm(1));
        assert!(ledger.on_renewed("main", "a", THREE, at(2_100)), "that was against another");
        ledger.on_allowed("main", THREE);
        assert!(!ledger.on_renewed("main", "a", THREE, at(6_000)));
        ledger.on_document("main", "a", THREE, true, at(6_001));
        assert!(!ledger.on_renewed("main", "a", THREE, at(6_001)), "a revision settles nothing");
        let mut denied = ledger.clone();
        denied.on_denied("main", THREE);
        assert!(denied.on_renewed("main", "a", THREE, at(6_002)));
        let mut deposed = ledger.clone();
        deposed.on_lost();
        deposed.on_leading(at(6_002));
        assert!(deposed.on_renewed("main", "a", THREE, at(6_003)));
        ledger.on_document("main", "b", RoleTerm(4), true, at(6_002));
        assert!(ledger.on_renewed("main", "b", RoleTerm(4), at(6_003)));
    }

    #[test]
    fn whoever_led_before_has_forgotten_what_it_heard() {
        let mut ledger = leader();
        assert!(ledger.on_renewed("main", "a", THREE, at(2_000)));
        ledger.on_lost();
        assert!(!ledger.on_renewed("main", "a", THREE, at(2_100)), "it does not lead");
        assert_eq!(ledger.silence("main", THREE, at(60_000)), waiting(3_500));
        ledger.on_leading(at(60_000));
        assert_eq!(ledger.silence("main", THREE, at(60_001)), waiting(3_499));
    }
}
