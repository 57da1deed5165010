//! Every period and time-out of automatic failover, in profiles that fit together.
//!
//! They depend on one another, so nobody sets one alone: a profile is chosen. What must hold between
//! them is checked when this is compiled.

use std::time::Duration;

/// A profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often the voters' leader tells the others that it leads.
    pub heartbeat: Duration,
    /// After how long without a leader a voter stands for election.
    pub election: Election,
    /// How old the voters' acknowledgement of the leader may be for it to grant a lease: less than any
    /// time-out of an election, so no other leader can have begun to wait before the last grant.
    pub acknowledged_within: Duration,
    /// How often the active server renews its lease.
    pub renew_every: Duration,
    /// How long it believes in its lease, from before it sent the renewal.
    pub holds_for: Duration,
    /// How long the leader believes in the active server, from when it last heard of it.
    pub expires_after: Duration,
    /// How often a server claims that may not have the role yet.
    pub ask_every: Duration,
    /// How often a voter says on each of its streams that it is there.
    pub presence_every: Duration,
}

/// After how long a voter stands for election. The voters differ, so two of them do not stand at
/// once and take each other's votes. The witness is first: while it leads, an election is never part of
/// a server's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    /// The witness.
    pub witness: Duration,
    /// The servers, by their number among the members.
    pub servers: [Duration; 2],
}

impl Timing {
    /// Servers in one building or one town.
    pub const NEAR: Self = Self {
        // A tenth of a millisecond away: what matters is that a busy machine is not late four times.
        heartbeat: Duration::from_millis(100),
        election: Election {
            // Four heartbeats; then a step that is longer than a vote takes.
            witness: Duration::from_millis(400),
            servers: [Duration::from_millis(500), Duration::from_millis(600)],
        },
        acknowledged_within: Duration::from_millis(300),
        renew_every: Duration::from_millis(500),
        // Five renewals: one election of a new leader (about 1.2 s) costs no lease.
        holds_for: Duration::from_millis(2_500),
        // The leader counts from later than the holder in any case; the second between is for clocks that
        // run at different speeds and for a process that was stopped between looking and acting.
        expires_after: Duration::from_millis(3_500),
        ask_every: Duration::from_millis(200),
        presence_every: Duration::from_millis(200),
    };

    /// Servers in two data centres: 80 ms there and 80 ms back, and every hundredth packet is lost.
    pub const FAR: Self = Self {
        // A lost packet is sent again after about 400 ms, which must not look like silence.
        heartbeat: Duration::from_millis(500),
        election: Election {
            // Four heartbeats; a vote takes 160 ms, or 560 with a loss.
            witness: Duration::from_secs(2),
            servers: [Duration::from_millis(2_500), Duration::from_secs(3)],
        },
        // A heartbeat, its way there and back, and one loss.
        acknowledged_within: Duration::from_millis(1_500),
        renew_every: Duration::from_millis(1_500),
        // Five renewals: an election takes about 5 s.
        holds_for: Duration::from_secs(8),
        expires_after: Duration::from_secs(10),
        ask_every: Duration::from_millis(500),
        presence_every: Duration::from_millis(500),
    };

    /// After how long without a word on its stream a voter is taken for gone: three messages.
    pub const fn silent_after(&self) -> Duration {
        self.presence_every.saturating_mul(3)
    }

    /// Whether the figures fit together.
    const fn fits(&self) -> bool {
        let [first, second] = self.election.servers;
        let step = Duration::from_millis(1);
        less(self.heartbeat.saturating_mul(3), self.election.witness)
            && less(self.heartbeat.saturating_mul(2), self.acknowledged_within)
            && less(self.acknowledged_within, self.election.witness)
            && less(self.election.witness.saturating_add(step), first)
            && less(first.saturating_add(step), second)
            && less(self.renew_every.saturating_mul(4), self.holds_for)
            // An election by the slowest voter: its lease, its time-out.
            && less(second.saturating_mul(2), self.holds_for)
            && less(self.holds_for.saturating_add(self.renew_every), self.expires_after)
            && less(self.ask_every, self.renew_every)
    }
}

const fn less(one: Duration, other: Duration) -> bool {
    one.as_nanos() < other.as_nanos()
}

const _: () = assert!(Timing::NEAR.fits() && Timing::FAR.fits(), "invariant: profiles fit");
