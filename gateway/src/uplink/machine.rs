//! The pure machine of the uplink: whom to ask, what to send next, when to try again.
//!
//! It sends in `seq` order only, one request at a time, to the active server of the highest role
//! document alone. It never believes a watermark that contradicts the journal: that is a fork.

use std::time::Duration;

use postern_protocol::uplink::{Told, Watermark};
use postern_protocol::{Chain, RoleTerm, Seq};
use tokio::time::Instant;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The first pause before it is asked again whether what was sent is safe by now: the other server
/// has it a moment later. It doubles.
const FIRST_RECHECK: Duration = Duration::from_millis(100);

/// The longest such pause: it is about room in the ring, not about news.
const LONGEST_RECHECK: Duration = Duration::from_secs(5);

/// The longest: a server that comes back without a word is found within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The longest that a server may ask us to wait: more would be an outage by its word.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Within which gateways that hear of a new active server turn to it, each at a moment of its own: a thousand that
/// did so in the same millisecond would stand in each other's way, and a person at a door notices neither.
const SPREAD: Duration = Duration::from_millis(50);

/// What the task is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until then (or until there is news).
    Wait {
        /// When to ask again; `None` where only news helps.
        until: Option<Instant>,
    },
    /// Ask this server what it has stored of the journal.
    Ask {
        /// Its name.
        server: String,
    },
    /// Send it a batch of what follows.
    Send {
        /// Its name.
        server: String,
        /// What it has stored.
        stored: Seq,
    },
}

/// What a server's watermark means for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It agrees: this may be forgotten.
    Agreed {
        /// Up to here.
        safe: Seq,
    },
    /// The server speaks under a role term that is over: nothing follows from it.
    Stale,
    /// The server holds another past under this journal's name.
    Fork,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What the active server holds is not known.
    Unknown,
    Known {
        stored: Seq,
        safe: Seq,
        /// When to ask again whether more of it is safe.
        again: Instant,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    active: Option<(RoleTerm, String)>,
    state: State,
    head: Seq,
    failures: u32,
    not_before: Option<Instant>,
    rechecks: u32,
    told: Option<Told>,
}

impl Machine {
    /// A machine that knows no server yet.
    pub fn new(head: Seq) -> Self {
        Self {
            active: None,
            state: State::Unknown,
            head,
            failures: 0,
            not_before: None,
            rechecks: 0,
            told: None,
        }
    }

    /// The active server and its role term, as far as is known.
    pub fn active(&self) -> Option<&(RoleTerm, String)> {
        self.active.as_ref()
    }

    /// What the active server has stored, where it has said so.
    pub fn stored(&self) -> Option<Seq> {
        match self.state {
            State::Unknown => None,
            State::Known { stored, .. } => Some(stored),
        }
    }

    /// The highest `safe` that a server told, and under which role term: whoever holds less is not
    /// what it was.
    pub fn told(&self) -> Option<Told> {
        self.told
    }

    /// A role document was verified and remembered. A lower one changes nothing. `jitter` in 0..1 spreads gateways
    /// that hear of it together.
    pub fn on_role(&mut self, term: RoleTerm, active: &str, now: Instant, jitter: f64) {
        if self.active.as_ref().is_some_and(|(known, _)| *known >= term) {
            return;
        }
        let is_another = self.active.as_ref().is_none_or(|(_, known)| known != active);
        self.active = Some((term, active.to_owned()));
        self.state = State::Unknown;
        // News, not a repeat: whatever the old one did, nobody waits for that any more.
        let turn = is_another.then(|| now + SPREAD.mul_f64(jitter.clamp(0.0, 1.0)));
        (self.failures, self.not_before) = (0, turn);
    }

    /// The journal has grown.
    pub fn on_head(&mut self, head: Seq) {
        self.head = self.head.max(head);
    }

    /// The active server told its watermark; `own` is the journal's chain there, where it is held.
    pub fn on_watermark(
        &mut self,
        watermark: &Watermark,
        own: Option<Chain>,
        now: Instant,
    ) -> Verdict {
        if self.active.as_ref().is_none_or(|(term, _)| *term != watermark.role_term) {
            self.state = State::Unknown;
            return Verdict::Stale;
        }
        // A reader of the journal sees a commit a moment before its head is told: what is held is never
        // more than there is.
        let is_fork = match own {
            Some(own) => own.hash != watermark.chain,
            None => watermark.stored > self.head,
        };
        if is_fork {
            return Verdict::Fork;
        }
        self.on_head(watermark.stored);
        let (stored, safe) = (watermark.stored, watermark.safe.min(watermark.stored));
        let risen = self.told.is_none_or(|told| told.safe < safe);
        if risen {
            self.told = Some(Told { safe, role_term: watermark.role_term });
        }
        self.rechecks = if risen { 0 } else { self.rechecks.saturating_add(1) };
        let pause = FIRST_RECHECK * 2u32.saturating_pow(self.rechecks.min(6));
        self.state = State::Known { stored, safe, again: now + pause.min(LONGEST_RECHECK) };
        (self.failures, self.not_before) = (0, None);
        Verdict::Agreed { safe }
    }

    /// A request failed or was refused. What the server holds is asked anew after a pause, which
    /// doubles; `jitter` in 0..1 spreads gateways that failed together, and those that were all asked to wait for
    /// as long: nobody comes back before that.
    pub fn on_failure(&mut self, now: Instant, retry_after: Option<Duration>, jitter: f64) {
        self.state = State::Unknown;
        let half = jitter.clamp(0.0, 1.0) / 2.0;
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.failures.min(6));
        let pause = pause.min(LONGEST_PAUSE).mul_f64(0.5 + half);
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.map(|after| after.min(LONGEST_RETRY_AFTER).mul_f64(1.0 + half));
        self.not_before = Some(now + asked.map_or(pause, |after| after.max(pause)));
    }

    /// What to do now. Asking again changes nothing.
    pub fn action(&self, now: Instant) -> Action {
        let Some((_, server)) = &self.active else { return Action::Wait { until: None } };
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Action::Wait { until: Some(until) };
        }
        let server = server.clone();
        match self.state {
            State::Known { stored, .. } if stored < self.head => Action::Send { server, stored },
            State::Known { stored, safe, .. } if safe == stored => Action::Wait { until: None },
            State::Known { again, .. } if now < again => Action::Wait { until: Some(again) },
            State::Unknown | State::Known { .. } => Action::Ask { server },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::{Digest, JournalId};

    fn watermark(term: u64, stored: u64) -> Watermark {
        Watermark {
            role_term: RoleTerm(term),
            stored: Seq(stored),
            chain: Digest([u8::try_from(stored).unwrap(); 32]),
            safe: Seq(stored),
        }
    }

    fn own(stored: u64) -> Option<Chain> {
        Some(Chain { seq: Seq(stored), hash: watermark(0, stored).chain })
    }

    fn ask(server: &str) -> Action {
        Action::Ask { server: server.to_owned() }
    }

    fn send(server: &str, stored: u64) -> Action {
        Action::Send { server: server.to_owned(), stored: Seq(stored) }
    }

    #[test]
    fn it_asks_then_sends_until_everything_is_stored() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        assert_eq!(machine.action(now), Action::Wait { until: None });
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        assert_eq!(machine.action(now), ask("a"));
        let verdict = machine.on_watermark(&watermark(1, 4), own(4), Instant::now());
        assert_eq!(verdict, Verdict::Agreed { safe: Seq(4) });
        assert_eq!(machine.action(now), send("a", 4));
        machine.on_watermark(&watermark(1, 10), own(10), Instant::now());
        assert_eq!(machine.action(now), Action::Wait { until: None });
        machine.on_head(Seq(11));
        assert_eq!(machine.action(now), send("a", 10));
    }

    /// Under load a batch was read, sent and stored before the writer had told that its commit was
    /// done. That was taken for a fork, and the whole journal was sent again under a new id.
    #[test]
    fn what_was_sent_before_its_head_was_told_is_no_fork() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        let verdict = machine.on_watermark(&watermark(1, 12), own(12), Instant::now());
        assert_eq!(verdict, Verdict::Agreed { safe: Seq(12) });
        assert_eq!(machine.action(now), Action::Wait { until: None });
        let another = Some(Chain { seq: Seq(13), hash: Digest([0; 32]) });
        assert_eq!(machine.on_watermark(&watermark(1, 13), another, Instant::now()), Verdict::Fork);
    }

    #[test]
    fn a_new_active_is_asked_at_once_even_during_a_pause() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        machine.on_failure(now, Some(Duration::from_mins(1)), 0.5);
        assert!(matches!(machine.action(now), Action::Wait { until: Some(_) }));
        machine.on_role(RoleTerm(2), "b", now, 0.0);
        assert_eq!(machine.action(now), ask("b"));
    }

    /// When each of a thousand gateways turns to a server, in milliseconds.
    fn turns(gateways: u32, mut heard: impl FnMut(&mut Machine, Instant, f64)) -> Vec<u128> {
        let now = Instant::now();
        let turn = |number: u32| {
            let mut machine = Machine::new(Seq(10));
            machine.on_role(RoleTerm(1), "a", now - SPREAD, 0.0);
            machine.on_watermark(&watermark(1, 4), own(4), now);
            heard(&mut machine, now, f64::from(number) / f64::from(gateways));
            match machine.action(now) {
                Action::Wait { until } => (until.unwrap() - now).as_millis(),
                Action::Ask { .. } | Action::Send { .. } => 0,
            }
        };
        (0..gateways).map(turn).collect()
    }

    #[test]
    fn a_thousand_that_hear_of_a_new_active_turn_to_it_within_moments_and_not_at_once() {
        let turns = turns(1_000, |machine, now, jitter| {
            machine.on_role(RoleTerm(2), "b", now, jitter);
        });
        assert!(turns.iter().all(|turn| *turn < SPREAD.as_millis()));
        for millisecond in 0..SPREAD.as_millis() {
            let together = turns.iter().filter(|turn| **turn == millisecond).count();
            assert!((15..=25).contains(&together), "{together} at {millisecond} ms");
        }
    }

    /// The same server under another role term: its own connections are open, and nobody comes anew.
    #[test]
    fn another_role_term_of_the_same_server_costs_no_time() {
        let turns = turns(10, |machine, now, jitter| {
            machine.on_role(RoleTerm(2), "a", now, jitter);
        });
        assert_eq!(turns, [0; 10]);
    }

    #[test]
    fn a_thousand_that_were_asked_to_wait_come_back_later_than_that_and_not_at_once() {
        let turns = turns(1_000, |machine, now, jitter| {
            machine.on_failure(now, Some(Duration::from_secs(1)), jitter);
        });
        assert!(turns.iter().all(|turn| (1_000..1_500).contains(turn)));
        let early = turns.iter().filter(|turn| **turn < 1_100).count();
        assert!((190..=210).contains(&early), "{early} of 1,000 in the first fifth");
    }

    #[test]
    fn a_lower_or_equal_role_term_is_never_obeyed() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(4), "b", now, 0.0);
        machine.on_role(RoleTerm(3), "a", now, 0.0);
        machine.on_role(RoleTerm(4), "a", now, 0.0);
        assert_eq!(machine.action(now), ask("b"));
        assert_eq!(
            machine.on_watermark(&watermark(3, 10), own(10), Instant::now()),
            Verdict::Stale
        );
        assert_eq!(machine.stored(), None);
    }

    #[test]
    fn another_past_is_a_fork_and_so_is_more_than_there_is() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        assert_eq!(machine.on_watermark(&watermark(1, 5), own(6), Instant::now()), Verdict::Fork);
        assert_eq!(machine.on_watermark(&watermark(1, 11), None, Instant::now()), Verdict::Fork);
        // Below what the journal still holds there is nothing to compare.
        let verdict = machine.on_watermark(&watermark(1, 5), None, Instant::now());
        assert_eq!(verdict, Verdict::Agreed { safe: Seq(5) });
    }

    #[test]
    fn safe_above_stored_is_not_believed() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        let odd = Watermark { safe: Seq(9), ..watermark(1, 5) };
        assert_eq!(
            machine.on_watermark(&odd, own(5), Instant::now()),
            Verdict::Agreed { safe: Seq(5) }
        );
    }

    /// What the other server has a moment later is asked for again, ever more seldom, until it is safe.
    #[test]
    fn what_is_stored_and_not_safe_yet_is_asked_for_again() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let lagging = Watermark { safe: Seq(4), ..watermark(1, 10) };
            let verdict = machine.on_watermark(&lagging, own(10), now);
            assert_eq!(verdict, Verdict::Agreed { safe: Seq(4) });
            let Action::Wait { until: Some(until) } = machine.action(now) else { panic!() };
            assert_eq!(machine.action(until), ask("a"));
            pauses.push(until - now);
        }
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[8]), (FIRST_RECHECK, LONGEST_RECHECK));
        let told = machine.told().unwrap();
        assert_eq!((told.safe, told.role_term), (Seq(4), RoleTerm(1)));
        // News goes out at once, and what is safe ends the asking.
        machine.on_head(Seq(11));
        assert_eq!(machine.action(now), send("a", 10));
        machine.on_watermark(&watermark(1, 11), own(11), now);
        assert_eq!(machine.action(now), Action::Wait { until: None });
        assert_eq!(machine.told().unwrap().safe, Seq(11));
    }

    #[test]
    fn pauses_grow_keep_their_limit_and_honour_retry_after() {
        let now = Instant::now();
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            machine.on_failure(now, None, 1.0);
            let Action::Wait { until: Some(until) } = machine.action(now) else { panic!() };
            pauses.push(until - now);
        }
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[9]), (FIRST_PAUSE, LONGEST_PAUSE));
        machine.on_failure(now, Some(Duration::from_secs(u64::MAX)), 0.0);
        assert!(matches!(machine.action(now),
            Action::Wait { until: Some(until) } if until - now == LONGEST_RETRY_AFTER));
        machine.on_failure(now, Some(Duration::from_secs(9)), 0.0);
        assert!(matches!(machine.action(now),
            Action::Wait { until: Some(until) } if until - now == Duration::from_secs(9)));
    }

    #[test]
    fn the_genesis_chain_agrees_with_an_empty_server() {
        let now = Instant::now();
        let genesis = Chain::genesis(JournalId([1; 16]));
        let mut machine = Machine::new(Seq(10));
        machine.on_role(RoleTerm(1), "a", now, 0.0);
        let empty =
            Watermark { role_term: RoleTerm(1), stored: Seq(0), chain: genesis.hash, safe: Seq(0) };
        assert_eq!(
            machine.on_watermark(&empty, Some(genesis), Instant::now()),
            Verdict::Agreed { safe: Seq(0) }
        );
    }
}
