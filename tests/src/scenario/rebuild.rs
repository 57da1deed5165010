//! A standby that the change log does not reach is rebuilt by a full copy under load; the copy is broken
//! off in the middle, and in the end both servers hold the same.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::SETTLE_WITHIN;
use super::change::busy_site;
use super::pause::Stored;
use crate::checker::{GapAllowance, Timing, check};
use crate::harness::{Board, Error, Finished, Side, Site, SiteConfig, wait_until};

/// For a copy to begin, on a loaded machine of two cores. After one that failed there is a pause.
const COPYING_WITHIN: Duration = Duration::from_mins(1);

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Rebuild {
    /// How many swipes are stored before.
    pub stored: u32,
    /// How many happen in a second meanwhile.
    pub rate: u32,
    /// How many boards.
    pub boards: u32,
    /// How many bytes a second the wire carries while the copy is broken off.
    pub slow: u64,
    /// For how long the active server may store nothing.
    pub bound: Option<Duration>,
    /// Where chance begins.
    pub seed: u64,
}

/// A run, and what it showed.
#[derive(Debug)]
pub struct Rebuilt {
    /// The run.
    pub finished: Finished,
    /// The size of the copy, in bytes.
    pub bytes: u64,
    /// How many swipes there were while the standby was rebuilt.
    pub meanwhile: u64,
    /// From the last start of the standby until it counted.
    pub took: Duration,
    /// For how long the active server stored nothing, at the longest, from the first copy's beginning on.
    pub longest: Duration,
    /// The same in as long a time before, with nothing else to do.
    pub longest_before: Duration,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copy_bytes={} broken_off=2 swipes_meanwhile={} in_sync_after_ms={} longest_pause_ms={} \
             longest_pause_before_ms={}",
            self.bytes,
            self.meanwhile,
            self.took.as_millis(),
            self.longest.as_millis(),
            self.longest_before.as_millis(),
        )
    }
}

/// See the module. The copy is broken off by killing the standby, and by cutting the wire.
pub fn rebuild(run: Rebuild, progress: &mut dyn FnMut(String)) -> Result<Rebuilt, Error> {
    let Rebuild { stored, rate, boards, slow, bound, seed } = run;
    let capacity_entries = u64::from(stored) + 120 * u64::from(rate) + 100_000;
    let config = SiteConfig::new(seed, boards, Board::roomy);
    let mut site = busy_site(SiteConfig { capacity_entries, wired_pair: true, ..config })?;
    site.generate(u64::from(stored / boards.max(1)))?;
    site.drained(SETTLE_WITHIN)?;
    progress(format!("{} transactions are stored", site.simulator.generated()?));

    site.stop_server(Side::B)?;
    site.generate(1)?;
    site.drained(SETTLE_WITHIN)?;
    site.stop_server(Side::A)?;
    site.server(Side::A).forget_log()?;
    site.restart_server(Side::A)?;
    site.simulator.people(f64::from(rate))?;
    site.wait_for_traffic(u64::from(rate))?;
    let before = Timestamp::now();
    site.wait_for_traffic(u64::from(rate) * 5)?;

    let (begun, generated) = (Timestamp::now(), site.simulator.generated()?);
    site.between(Side::B)?.limit(slow);
    site.restart_server(Side::B)?;
    let bytes = copying(&mut site)?;
    progress(format!("a copy of {bytes} bytes has begun; the standby is killed"));
    site.kill_server(Side::B)?;
    let mut last = Instant::now();
    site.restart_server(Side::B)?;
    copying(&mut site)?;
    progress("a second copy has begun; the wire is cut".to_owned());
    site.between(Side::B)?.cut();
    wait_until("the standby to say that there is no copy", COPYING_WITHIN, || {
        Ok((!site.server(Side::B).role()?.failure().is_empty()).then_some(()))
    })?;
    site.between(Side::B)?.limit(0);
    site.between(Side::B)?.open()?;
    if bound.is_none() {
        // Where the time is of interest, the pause after a failure is none of it.
        last = Instant::now();
    }
    site.caught_up(Side::A)?;
    let (until, took) = (Timestamp::now(), last.elapsed());
    let meanwhile = site.simulator.generated()? - generated;
    let rebuilt =
        site.server(Side::B).audit()?.iter().filter(|event| *event == "store_rebuilt").count();
    if rebuilt != 1 {
        return Err(Error::Scenario(format!("the standby was rebuilt {rebuilt} times, not once")));
    }
    progress("both servers count again".to_owned());

    site.settle(SETTLE_WITHIN)?;
    site.fail_over(Side::B, false)?;
    let mut finished = site.finish(Side::B, GapAllowance::None)?;
    let times = Stored::of(&finished.evidence.active);
    let longest = times.longest_pause(begun, until);
    if let Some(bound) = bound {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let what = "the active server stored nothing, at the longest, while its peer was rebuilt:";
        let (took_ms, bound_ms) = (ms(longest), ms(bound));
        finished.evidence.times.push(Timing { what: what.to_owned(), took_ms, bound_ms });
        finished.verdict = check(&finished.evidence);
    }
    let longest_before = times.longest_pause(before, begun);
    Ok(Rebuilt { finished, bytes, meanwhile, took, longest, longest_before })
}

/// Waits until the standby is in the middle of a copy; returns how long that is.
fn copying(site: &mut Site) -> Result<u64, Error> {
    wait_until("a full copy to be under way", COPYING_WITHIN, || {
        let role = site.server(Side::B).role()?;
        Ok(role.following.filter(|now| now.phase == "copying").map(|now| now.of))
    })
}
