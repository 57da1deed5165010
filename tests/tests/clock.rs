//! Whether the gateway's own clock is known to be right, as `postern status` says it.

use std::time::Duration;

use postern_tests::harness::{Board, Error, Site, SiteConfig, wait_until};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_gateway_compares_its_clock_with_every_server_that_answers() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(71, 1, Board::roomy))?;
    site.gateway.start()?;
    let clock = wait_until("both servers to be compared", WITHIN, || {
        let said = site.gateway.command(&["status", "--json"])?;
        let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let clock = status["clock"].clone();
        let offsets = clock["server_offsets_ms"].as_object().map_or(0, serde_json::Map::len);
        Ok((offsets == 2).then_some(clock))
    })?;
    // One machine, one clock: whoever vouches for it, it is right.
    assert!(clock["known"] == "kernel" || clock["known"] == "server", "{clock}");
    for server in ["a", "b"] {
        let offset = clock["server_offsets_ms"][server].as_i64();
        assert!(offset.is_some_and(|offset| offset.abs() < 2_000), "{clock}");
    }
    site.remove()
}
