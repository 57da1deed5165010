//! `run`: the server in the foreground, until a signal or a dead store.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failed, output};
use crate::api::tls::{MAX_CONNECTIONS, MORE_FILES};
use crate::{exit, serve};

#[derive(Serialize)]
struct Ready<'a> {
    server: &'a str,
    address: &'a str,
}

/// Allows as many open files as connections are let in: 1,024 is what a process often begins with.
fn allow_files() {
    let wanted = u64::try_from(MAX_CONNECTIONS).unwrap_or(u64::MAX).saturating_add(MORE_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "few open files are allowed: not every gateway may be let in"
        );
    }
}

pub(super) async fn run(dir: &Path, json: bool) -> Result<(), Failed> {
    allow_files();
    let mut signals = Signals::new()?;
    let running = serve::start(dir).await?;
    let (server, address) = (&running.server.me.name, &running.server.me.address);
    let told = if json {
        output::json("postern-server.ready.v1", &Ready { server, address })
    } else {
        output::say(&format!("server {server} is ready at {address}"))
    };
    if let Err(error) = told {
        tracing::debug!(?error, "nobody reads that the server is ready");
    }
    // Cancel-safety: a signal or the end of the store, whichever comes first, ends the process.
    tokio::select! {
        () = signals.wait() => {}
        () = running.dead.cancelled() => {
            running.stop().await;
            let hint = "see the log for the cause; nothing that was acknowledged is lost";
            return Err(Failed::new(exit::STORE, "the store failed", Some(hint)));
        }
    }
    tracing::info!("stopping");
    running.hand_over().await;
    running.stop().await;
    Ok(())
}

/// The signals that end a process in order.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failed> {
        let cannot =
            |error| Failed::new(exit::FAILED, format!("cannot wait for signals: {error}"), None);
        let terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt()).map_err(cannot)? })
    }

    /// Until one comes.
    pub(super) async fn wait(&mut self) {
        // Cancel-safety: a signal that came stays to be received.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
