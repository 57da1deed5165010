//! The streams by which voters notice each other's end. A process that is killed closes its
//! connections, and nobody listens any more at its address: that is known within milliseconds. One
//! that is only silent may be anything.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Voting;
use super::message::{MAX_LINE, PRESENCE, Voice};
use crate::clock;
use crate::coordination::VoterAddress;
use crate::liveness::{BootInstant, Watch};
use crate::peer::Opened;

/// The pause before an address is tried again at which nobody listens.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The pause after any other failure.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a connection may take: longer than a lost first packet of it (1 s) costs.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Watches another voter until the end.
pub(super) async fn watch(voting: Arc<Voting>, other: VoterAddress, stop: CancellationToken) {
    loop {
        // Cancel-safety: a stream that is dropped is opened again, or not needed any more.
        let pause = tokio::select! {
            () = stop.cancelled() => return,
            pause = once(&voting, &other) => pause,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One connection from its beginning to its end. Answers how long to wait before the next.
async fn once(voting: &Voting, other: &VoterAddress) -> Duration {
    // A connection of its own first: a client of HTTP does not tell refused from unreachable.
    let asked = clock::boot();
    match tokio::time::timeout(CONNECT, TcpStream::connect(&other.address)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            voting.seen(&other.name, |watch, now| watch.on_refused(asked, now));
            return REFUSED_PAUSE;
        }
        Ok(Err(_)) | Err(_) => {
            voting.seen(&other.name, |watch, _| watch.on_timeout());
            return PAUSE;
        }
    }
    let Ok(mut stream) = voting.client.stream(&other.address, PRESENCE, CONNECT).await else {
        voting.seen(&other.name, |watch, _| watch.on_timeout());
        return PAUSE;
    };
    voting.seen(&other.name, Watch::on_connected);
    let was_heard = listen(voting, other, &mut stream).await;
    voting.seen(&other.name, Watch::on_closed);
    // Whether anybody listens there still is to be known at once; but whoever accepts and says nothing
    // is not asked as fast as it can.
    if was_heard { Duration::ZERO } else { PAUSE }
}

/// Until the stream ends, or says nothing for too long. Whether anything was heard.
async fn listen(voting: &Voting, other: &VoterAddress, stream: &mut Opened) -> bool {
    let (mut line, mut was_heard) = (Vec::new(), false);
    loop {
        let next = tokio::time::timeout(voting.timing.presence_every * 3, stream.next()).await;
        let Ok(Ok(Some(bytes))) = next else { return was_heard };
        for byte in bytes {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > MAX_LINE {
                    return false;
                }
                continue;
            }
            let Ok(voice) = serde_json::from_slice::<Voice>(&line) else { return false };
            line.clear();
            was_heard = true;
            voting.heard(&other.name, voice);
        }
    }
}

impl Voting {
    /// What this voter says of itself, until the connection or the server ends.
    pub fn presence(
        self: &Arc<Self>,
        stop: CancellationToken,
    ) -> impl Stream<Item = Vec<u8>> + use<> {
        let voting = self.clone();
        let lease = self.lease.subscribe();
        let lines = futures_util::stream::unfold(
            (voting, lease, true),
            |(voting, mut lease, first)| async move {
                if !first {
                    // Cancel-safety: a watch keeps its mark.
                    tokio::select! {
                        () = tokio::time::sleep(voting.timing.presence_every) => {}
                        changed = lease.changed() => if changed.is_err() { return None },
                    }
                }
                let said = *lease.borrow_and_update();
                let voice = Voice {
                    position: postern_protocol::uplink::Bytes(voting.voter.position()),
                    lease: said,
                    disk: voting.disk.clone(),
                    timers: Some(voting.timers.to_owned()),
                    standing: Some(voting.voter.standing().borrow().word().to_owned()),
                };
                let mut line = serde_json::to_vec(&voice).unwrap_or_default();
                line.push(b'\n');
                Some((line, (voting, lease, false)))
            },
        );
        lines.take_until(stop.cancelled_owned())
    }

    fn heard(&self, name: &str, voice: Voice) {
        if let Err(why) = self.voter.on_position(name, &voice.position.0) {
            tracing::debug!(voter = name, %why, "what another voter says of itself is not taken");
        }
        self.seen(name, Watch::on_message);
        let changed = {
            let mut sights = self.sights();
            let Some(seen) = sights.get_mut(name) else { return };
            let changed = seen.lease != voice.lease;
            (seen.lease, seen.disk, seen.timers) = (voice.lease, voice.disk, voice.timers);
            // It is shown to operators.
            let is_word = |word: &String| word.bytes().all(|byte| byte.is_ascii_lowercase());
            seen.standing = voice.standing.filter(is_word);
            changed
        };
        if changed {
            self.news.send_replace(());
        }
    }

    pub(super) fn seen(&self, name: &str, what: impl FnOnce(&mut Watch, BootInstant)) {
        let (before, after) = {
            let mut sights = self.sights();
            let Some(seen) = sights.get_mut(name) else { return };
            let now = clock::boot();
            what(&mut seen.watch, now);
            let after = seen.watch.sight(now);
            (std::mem::replace(&mut seen.told, after), after)
        };
        if before != after {
            tracing::info!(voter = name, ?before, ?after, "another voter is seen otherwise");
            self.news.send_replace(());
        }
    }
}

/// A word for the disk of the machine on which a directory is.
pub(super) fn disk(dir: &Path) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let device = fs::metadata(dir).ok()?.dev();
    Some(format!("{}-{device}", boot.trim()))
}
