//! Faults that are repeated: short in `cargo test`, long in `soak`, and the same code.

use std::time::{Duration, Instant};

use crate::checker::GapAllowance;
use crate::harness::{Board, Bus, Error, Finished, Plug, Side, Site, SiteConfig, Station};
use crate::random::Random;

mod absence;
mod change;
mod failover;
mod journal;
mod line;
mod many;
mod modbus;
mod outage;
mod partition;
mod pause;
mod rebuild;
mod rot;
mod voter;
mod way;
mod writer;

pub use change::{Changed, Changes, How, role_changes};
pub use failover::{Fault, failovers};
pub use journal::{Damaged, Effect, journal_rot, journal_steps_back};
pub use line::{NoisyLine, line_noise};
pub use many::{Crowd, Crowded, many};
pub use modbus::{Modbus, Polled, modbus};
pub use outage::{Outage, Outcome, outage, outages};
pub use partition::{LINKS, SETS, partitions, some_sets};
pub use pause::Stored;
pub use rebuild::{Rebuild, Rebuilt, rebuild};
pub use rot::Rot;
pub use writer::{Kills, journal_kills, write_for_ever};

/// Swipes a second over all boards: enough that every moment is in the middle of something.
const RATE: f64 = 300.0;
/// Some over UDP, some over TCP.
const BOARDS: u32 = 6;
/// After the last fault everything has to be stored within this, on a loaded machine of two cores.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);
/// What the fault model promises for a killed process.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Between two faults so many transactions are generated, at random.
fn pause(random: &mut Random) -> u64 {
    20 + random.below(400)
}

/// Kills the gateway `count` times at random moments under traffic. So many controllers hang on a serial
/// line, besides the boards.
pub fn gateway_kills(
    count: u32,
    seed: u64,
    on_line: u8,
    progress: &mut dyn FnMut(String),
) -> Result<Finished, Error> {
    let mut random = Random::new(seed);
    let mut config = SiteConfig::new(seed, BOARDS, Board::roomy);
    if on_line > 0 {
        config.buses.push(Bus::new("hall", Plug::Pty, 70_001, on_line, Station::roomy));
    }
    let mut site = Site::start(config)?;
    site.simulator.people(RATE)?;
    for number in 1..=count {
        site.wait_for_traffic(pause(&mut random))?;
        site.look()?;
        site.kill_gateway()?;
        let killed = Instant::now();
        site.restart_gateway()?;
        site.note_time(&format!("gateway back after kill {number}:"), killed, BACK_WITHIN);
        progress(format!("gateway kill {number} of {count}"));
    }
    site.settle(SETTLE_WITHIN)?;
    site.finish(Side::A, GapAllowance::None)
}

/// Kills the active server `count` times at random moments under traffic; after every second kill
/// it comes back by itself, after the others its peer takes over and it comes back deposed.
pub fn server_kills(
    count: u32,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<Finished, Error> {
    let mut random = Random::new(seed);
    let mut site = Site::start(SiteConfig::new(seed, BOARDS, Board::roomy))?;
    let mut active = Side::A;
    site.simulator.people(RATE)?;
    for number in 1..=count {
        site.wait_for_traffic(pause(&mut random))?;
        site.look()?;
        site.kill_server(active)?;
        let dead = active;
        if number % 2 == 1 {
            // The peer is out of reach, so nobody but an operator can say that it is dead.
            active = dead.other();
            site.fail_over(active, true)?;
        }
        site.wait_for_traffic(random.below(100))?;
        site.restart_server(dead)?;
        progress(format!(
            "server kill {number} of {count}: {} died, {} is active",
            dead.name(),
            active.name()
        ));
    }
    site.settle(SETTLE_WITHIN)?;
    site.finish(active, GapAllowance::None)
}
