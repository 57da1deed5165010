//! Everything at once on two lines, as `uhppote_many.rs` has it for boards.

use std::time::Duration;

use postern_tests::harness::{Bus, Error, Plug, Side, Site, SiteConfig, Station};
use postern_tests::random::Random;
use serde_json::json;

/// Small logs on bad lines, power that fails and logs that are lost, and a gateway that is killed: what is
/// missing in the end is what the ledger proves.
#[test]
fn small_logs_on_bad_lines_lose_what_the_ledger_proves_and_no_more() -> Result<(), Error> {
    let mut random = Random::new(51);
    let buses = vec![
        Bus::new("hall", Plug::Pty, 70_001, 5, Station::small),
        Bus::new("yard", Plug::Tcp, 80_001, 3, Station::small),
    ];
    let mut site = Site::start(SiteConfig::of_lines(51, buses))?;
    let noise = json!({
        "bit_error_rate": 1e-4, "burst_rate": 1e-4, "burst_bits": 40, "insert_rate": 1e-4,
        "drop_rate": 1e-4,
    });
    let hall = json!({ "noise": noise, "stations": {
        "70001": { "cut": 0.01, "cut_log": "lost" },
        "70002": { "cut": 0.02, "cut_log": "kept", "stale": 0.05 },
        "70003": { "duplicate": 0.1, "dumb": 0.05 },
        "70004": { "slow": 0.1, "slow_ms": 170, "stale": 0.05 },
        "70005": { "babble_every_ms": 500, "babble_bytes": 9 },
    }});
    let yard = json!({ "noise": noise, "stations": {
        "80001": { "cut": 0.02, "cut_log": "lost", "duplicate": 0.1 },
        "80002": { "deaf": 0.1, "dumb": 0.1, "stale": 0.1 },
    }});
    site.misbehave_on_line("hall", &hall)?;
    site.misbehave_on_line("yard", &yard)?;
    site.simulator.people(200.0)?;
    for _ in 0..3 {
        site.wait_for_traffic(200 + random.below(300))?;
        site.look()?;
        site.kill_gateway()?;
        site.wait_for_traffic(random.below(900))?;
        site.restart_gateway()?;
    }
    site.wait_for_traffic(600)?;
    site.misbehave_on_line("hall", &json!({}))?;
    site.misbehave_on_line("yard", &json!({}))?;
    site.simulator.people(0.0)?;
    // So that the last life of each log is met.
    site.generate(1)?;
    site.drained(Duration::from_mins(2))?;
    let gaps = site.proven_gaps();
    let finished = site.finish(Side::A, gaps)?;
    let counts = finished.verdict.counts;
    assert!(counts.gaps > 0, "nothing was lost: {counts:?}");
    assert!(counts.stored > counts.generated / 4, "too little was read: {counts:?}");
    finished.expect_ok();
    Ok(())
}
