//! What goes over a line, for whoever listens (`postern bus sniff`). Nothing is copied while nobody does.

use postern_protocol::Timestamp;
use postern_protocol::link::frame::{FrameError, From, Header};
use tokio::sync::broadcast;

use crate::clock;

/// How many frames wait for a listener. One that is slower than this misses some and is told how many.
const BACKLOG: usize = 256;

/// A frame that went over the line, or what came instead of one.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When it was sent, or when its end came.
    pub at: Timestamp,
    /// By whom.
    pub from: From,
    /// Its header, or why it is none.
    pub header: Result<Header, FrameError>,
    /// Address, control and body as they were on the line; of what is no frame whatever there was.
    pub bytes: Vec<u8>,
    /// What a sealed frame says, once it is opened. No card number is in it.
    pub meaning: Option<String>,
}

/// Where listeners come.
#[derive(Clone, Debug)]
pub struct Tap(broadcast::Sender<Heard>);

impl Default for Tap {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Tap {
    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Heard> {
        self.0.subscribe()
    }

    /// Whether nobody listens.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.receiver_count() == 0
    }

    pub(crate) fn hear(
        &self,
        from: From,
        header: Result<Header, FrameError>,
        bytes: &[u8],
        meaning: impl FnOnce() -> Option<String>,
    ) {
        if !self.is_idle() {
            let heard =
                Heard { at: clock::utc(), from, header, bytes: bytes.to_vec(), meaning: meaning() };
            // Whoever listened may have gone away just now.
            let _ = self.0.send(heard);
        }
    }
}
