//! `postern run`.

use std::io::Write;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{Failure, show};
use crate::config::Config;
use crate::{control, daemon, exit};

pub(super) fn run(config: &Config, log: &str, json: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(log).map_err(|error| Failure {
        code: exit::CONFIG,
        message: format!("--log {log:?}: {error}\nhint: for example --log info"),
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = cancel.clone();
        tokio::spawn(async move {
            // Cancel-safety: either signal stops the gateway; nothing is lost by dropping the other.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        });
        daemon::run(config.clone(), cancel, |data_dir| announce(config, data_dir, json)).await?;
        Ok(())
    })
}

fn announce(config: &Config, data_dir: &std::path::Path, json: bool) {
    let mut out = anstream::stdout();
    let control = control::socket(data_dir);
    let (gateway, count) = (&config.bundle.gateway, config.controller_count());
    // Nobody needs to read it.
    let _ = if json {
        let ready = json!({
            "schema": "postern.ready.v1",
            "gateway": gateway,
            "controllers": count,
            "control": control,
        });
        writeln!(out, "{ready}")
    } else {
        writeln!(
            out,
            "gateway {gateway} of group {} is running with {}; ask it with `postern status`",
            config.bundle.group,
            show::count(count, "controller"),
        )
    };
    let _ = out.flush();
}
