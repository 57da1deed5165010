//! `witness`: until a signal.

use std::path::Path;

use serde::Serialize;

use super::{Failed, output, run};
use crate::witness;

#[derive(Serialize)]
struct Ready<'a> {
    witness: &'a str,
    address: String,
}

pub(super) async fn run(dir: &Path, json: bool) -> Result<(), Failed> {
    let mut signals = run::Signals::new()?;
    let running = witness::start(dir).await?;
    let (name, address) = (&running.name, running.address);
    let told = if json {
        let ready = Ready { witness: name, address: address.to_string() };
        output::json("postern-server.witness-ready.v1", &ready)
    } else {
        output::say(&format!("witness {name} is ready at {address}"))
    };
    if let Err(error) = told {
        tracing::debug!(?error, "nobody reads that the witness is ready");
    }
    signals.wait().await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
