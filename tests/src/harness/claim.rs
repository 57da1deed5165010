//! Who says that it is the active server, asked of both again and again for as long as a scenario runs, as a
//! load balancer asks: `GET /active`.
//!
//! - [`Claims`]: the threads that ask.
//! - [`Claim`]: one yes. [`overlap`]: for how long two servers said yes for certain.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_protocol::RoleTerm;
use postern_server::api::Health;

use super::server::Asker;
use super::{Error, Server};

/// Between two questions: short against a lease.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// A server said that it is active. It was so at one moment between question and answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which server was asked.
    pub server: String,
    /// Whom it named: itself, or it has contradicted itself.
    pub active: String,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// When it was asked.
    pub asked: Instant,
    /// When the answer had come.
    pub answered: Instant,
}

/// For at least how long a server went on to say yes, under one of these role terms, after another one had said so
/// under a higher one. Zero where that is not certain: an answer is true of a moment before it.
pub fn overlap(claims: &[Claim], of: impl Fn(RoleTerm) -> bool) -> Duration {
    let late = |claim: &Claim| {
        let higher = claims
            .iter()
            .filter(|other| other.role_term > claim.role_term && other.server != claim.server);
        let first = higher.map(|other| other.answered).min()?;
        Some(claim.asked.saturating_duration_since(first))
    };
    // Of each reign the last question is enough.
    let mut last: Vec<&Claim> = Vec::new();
    for claim in claims.iter().filter(|claim| of(claim.role_term)) {
        let same = |known: &&mut &Claim| {
            known.role_term == claim.role_term && known.server == claim.server
        };
        match last.iter_mut().find(same) {
            Some(known) if known.asked < claim.asked => *known = claim,
            Some(_) => {}
            None => last.push(claim),
        }
    }
    last.into_iter().filter_map(late).max().unwrap_or_default()
}

/// Asks until it is stopped or dropped.
#[derive(Debug)]
pub struct Claims {
    stop: Vec<mpsc::Sender<()>>,
    threads: Vec<JoinHandle<Result<Vec<Claim>, Error>>>,
}

impl Claims {
    /// Begins to ask these servers, each at its own host: no cut between hosts makes it silent.
    pub(super) fn begin(servers: &[Server]) -> Result<Self, Error> {
        let mut claims = Self { stop: Vec::new(), threads: Vec::new() };
        for server in servers {
            let (stop, stopped) = mpsc::channel();
            let asker = Asker::new(server)?;
            claims.stop.push(stop);
            claims.threads.push(thread::spawn(move || ask(&asker, stopped)));
        }
        Ok(claims)
    }

    /// Every yes of each server, in its order.
    pub fn finish(self) -> Result<Vec<Claim>, Error> {
        drop(self.stop);
        let mut all = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok(claims) => all.extend(claims?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    }
}

/// Asks one server until it is told to stop.
fn ask(asker: &Asker, stopped: mpsc::Receiver<()>) -> Result<Vec<Claim>, Error> {
    asker.asking(move |asked_for| {
        let mut claims = Vec::new();
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(ASK_EVERY) {
            let begun = Instant::now();
            // Everything but 200 is no claim, an answer that does not come included.
            let Ok(Health { active, role_term, .. }) = asked_for("/active") else { continue };
            let (server, answered) = (asker.name.clone(), Instant::now());
            claims.push(Claim { server, active, role_term, asked: begun, answered });
        }
        claims
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(begin: Instant, server: &str, term: u64, asked: u64, answered: u64) -> Claim {
        let at = |ms| begin + Duration::from_millis(ms);
        let (server, active) = (server.to_owned(), server.to_owned());
        let role_term = RoleTerm(term);
        Claim { server, active, role_term, asked: at(asked), answered: at(answered) }
    }

    #[test]
    fn only_a_question_after_the_others_answer_is_certain_to_be_late() {
        let begin = Instant::now();
        let a = |asked, answered| claim(begin, "a", 1, asked, answered);
        let b = |asked, answered| claim(begin, "b", 4, asked, answered);
        let ms = Duration::from_millis;
        let overlap = |claims: &[Claim]| overlap(claims, |_| true);
        assert_eq!(overlap(&[a(0, 5), a(20, 25), b(30, 35), b(50, 55)]), ms(0));
        // It was asked before it was stopped, and the answer came when it went on.
        assert_eq!(overlap(&[a(0, 5), a(20, 900), b(30, 35)]), ms(0));
        assert_eq!(overlap(&[a(0, 5), a(40, 45), a(100, 105), b(30, 35), b(50, 55)]), ms(65));
        // Whoever comes back under a term that is higher still is not late.
        assert_eq!(overlap(&[a(0, 5), b(30, 35), claim(begin, "a", 7, 90, 95)]), ms(0));
        assert_eq!(overlap(&[a(0, 5), claim(begin, "a", 4, 90, 95), a(120, 130)]), ms(0));
        assert_eq!(overlap(&[]), ms(0));
    }

    /// Regression: one handover allowed every reign of a run to overlap with the next one.
    #[test]
    fn each_reign_is_late_for_itself() {
        let begin = Instant::now();
        let claims = [
            claim(begin, "a", 1, 0, 5),
            claim(begin, "b", 4, 30, 35),
            claim(begin, "a", 1, 85, 90),
            claim(begin, "a", 7, 100, 105),
            claim(begin, "b", 4, 115, 120),
        ];
        let ms = Duration::from_millis;
        assert_eq!(overlap(&claims, |term| term.0 == 1), ms(50));
        assert_eq!(overlap(&claims, |term| term.0 == 4), ms(10));
        assert_eq!(overlap(&claims, |term| term.0 == 7), ms(0));
    }
}
