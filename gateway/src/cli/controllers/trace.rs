//! `--trace-wire`: every frame as it is on the wire, with its time, direction and peer, on stderr.

use crate::driver::uhppote::WIRE;

/// Shows raw frames from now on. They hold card numbers.
pub(super) fn start(wanted: bool) {
    if !wanted {
        return;
    }
    let filter = format!("{WIRE}=trace");
    // A subscriber that is there already shows them as well as this one would.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .try_init();
}
