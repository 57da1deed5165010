//! `run`: the server in the foreground, until a signal or a dead store.

use std::path::Path;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failed, output};
use crate::{exit, serve};

#[derive(Serialize)]
struct Ready<'a> {
    server: &'a str,
    address: &'a str,
}

pub(super) async fn run(dir: &Path, json: bool) -> Result<(), Failed> {
    let cannot =
        |error| Failed::new(exit::FAILED, format!("cannot wait for signals: {error}"), None);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
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
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.dead.cancelled() => {
            running.stop().await;
            let hint = "see the log for the cause; nothing that was acknowledged is lost";
            return Err(Failed::new(exit::STORE, "the store failed", Some(hint)));
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
