//! Following the role: one task per server that listens to its stream of role changes.
//!
//! Invariant 8: the highest role document that was seen is remembered in the journal before anybody
//! obeys it, a lower one is never obeyed, and the highest is shown to every server that is behind,
//! so that a stale server learns that it is stale.

use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::pki::{Bundle, Floor};
use postern_protocol::role::SignedRole;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Client, RequestError, RoleStream};
use super::jitter;
use crate::board::{Board, Link};

/// The pause before a stream is opened again: a failover is to be noticed within milliseconds, and
/// a refused connection costs next to nothing. It doubles as long as nothing is heard.
const RECONNECT: Duration = Duration::from_millis(200);

/// The longest such pause: what the server that does not answer has to say, the other one says as well.
const LONGEST_RECONNECT: Duration = Duration::from_secs(3);

/// How often a server is asked over a stream that has no news: each answer tells the server's time,
/// which counts for three times as long.
const COMPARE: Duration = Duration::from_mins(5);

/// How long to wait before a stream is opened again. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Reconnect {
    failures: u32,
}

impl Reconnect {
    /// A document came: the server is there.
    fn on_heard(&mut self) {
        self.failures = 0;
    }

    /// The stream broke, or could not be opened. `jitter` in 0..1 spreads gateways whose streams broke together.
    fn on_broken(&mut self, jitter: f64) -> Duration {
        let pause = RECONNECT * 2u32.saturating_pow(self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_RECONNECT).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A verified role document, reduced to what concerns this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownRole {
    pub(super) term: RoleTerm,
    pub(super) active: String,
    pub(super) signed: SignedRole,
}

/// Verifies a role document against the site of the bundle; what cannot be verified is nothing.
pub(super) fn verify(
    bundle: &Bundle,
    signed: &SignedRole,
    now: UnixTime,
) -> Result<KnownRole, String> {
    let authority = CertificateDer::from(bundle.authority.0.as_slice());
    let document =
        signed.verify(&authority, &bundle.site, now).map_err(|error| error.to_string())?;
    let group = document
        .groups
        .get(&bundle.group)
        .ok_or_else(|| format!("role document without group {}", bundle.group))?;
    Ok(KnownRole { term: group.role_term, active: group.active.clone(), signed: signed.clone() })
}

/// What a watcher needs.
pub(super) struct Watcher {
    pub(super) server: String,
    pub(super) client: Client,
    pub(super) bundle: std::sync::Arc<Bundle>,
    pub(super) floor: Floor,
    pub(super) seen: mpsc::Sender<KnownRole>,
    pub(super) highest: watch::Receiver<Option<KnownRole>>,
    pub(super) board: Board,
}

impl Watcher {
    /// Listens until cancelled, and connects again when the stream breaks.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let mut reconnect = Reconnect::default();
        loop {
            // Cancel-safety: a broken-off stream or request is simply opened again.
            tokio::select! {
                () = cancel.cancelled() => return,
                result = self.follow(&mut reconnect) => {
                    if let Err(error) = result {
                        self.board.set_link(&self.server, link(&error));
                    }
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(reconnect.on_broken(jitter())) => {}
            }
        }
    }

    async fn follow(&self, reconnect: &mut Reconnect) -> Result<(), RequestError> {
        let mut highest = self.highest.clone();
        let mut stream = self.client.role_stream().await?;
        let mut theirs = self.next(&mut stream).await?;
        reconnect.on_heard();
        let mut compare = tokio::time::interval_at(Instant::now() + COMPARE, COMPARE);
        loop {
            self.board.set_link(&self.server, Link::Ok);
            let known = highest.borrow_and_update().clone();
            self.show_if_behind(known, &mut theirs).await?;
            // Cancel-safety: the stream keeps what it has received; `changed` keeps its mark; a tick
            // that is missed is made up by the next.
            tokio::select! {
                next = self.next(&mut stream) => theirs = next?,
                _ = compare.tick() => theirs = self.report(&self.client.role().await?).await,
                changed = highest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn next(&self, stream: &mut RoleStream) -> Result<Option<RoleTerm>, RequestError> {
        let signed = stream.next().await?;
        Ok(self.report(&signed).await)
    }

    async fn report(&self, signed: &SignedRole) -> Option<RoleTerm> {
        match verify(&self.bundle, signed, self.floor.now()) {
            Ok(role) => {
                let term = role.term;
                // Only news is passed on: it breaks off whatever request is under way.
                if self.is_news(&role) {
                    // The receiver goes away with the daemon only.
                    let _ = self.seen.send(role).await;
                }
                Some(term)
            }
            Err(why) => {
                self.board.count_bad_role();
                tracing::warn!(server = %self.server, %why, "role document refused");
                None
            }
        }
    }

    fn is_news(&self, role: &KnownRole) -> bool {
        let highest = self.highest.borrow();
        let Some(known) = highest.as_ref() else { return true };
        if known.term == role.term && known.active != role.active {
            self.board.count_bad_role();
            tracing::error!(role_term = %role.term, one = %known.active, other = %role.active,
                "two servers hold one role term; the first that was seen is obeyed");
        }
        role.term > known.term
    }

    async fn show_if_behind(
        &self,
        highest: Option<KnownRole>,
        theirs: &mut Option<RoleTerm>,
    ) -> Result<(), RequestError> {
        let Some(highest) = highest.filter(|highest| theirs.is_none_or(|t| t < highest.term))
        else {
            return Ok(());
        };
        let answer = self.client.show_role(&highest.signed).await?;
        *theirs = self.report(&answer).await;
        Ok(())
    }
}

/// What a failed request says about the link to a server.
pub(super) fn link(error: &RequestError) -> Link {
    match error {
        RequestError::Link(failure) => {
            Link::Failed { code: failure.code(), message: failure.to_string() }
        }
        RequestError::Refused(refusal, _) => {
            Link::Failed { code: "refused", message: refusal.message.clone() }
        }
        RequestError::Nonsense { .. } => {
            Link::Failed { code: "nonsense", message: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_streams_grow_to_a_limit_and_begin_anew_once_something_was_heard() {
        let mut reconnect = Reconnect::default();
        let pauses: Vec<Duration> = (0..40).map(|_| reconnect.on_broken(1.0)).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[39]), (RECONNECT, LONGEST_RECONNECT));
        reconnect.on_heard();
        assert_eq!(reconnect.on_broken(1.0), RECONNECT);
    }

    #[test]
    fn streams_that_broke_together_are_opened_again_one_after_the_other() {
        let pause = |jitter| Reconnect::default().on_broken(jitter);
        let pauses: Vec<Duration> = (0..=10).map(|tenth| pause(f64::from(tenth) / 10.0)).collect();
        assert!(pauses.windows(2).all(|two| two[0] < two[1]));
        assert_eq!((pauses[0], pauses[10]), (RECONNECT / 2, RECONNECT));
    }
}
