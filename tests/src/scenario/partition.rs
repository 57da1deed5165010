//! Ways between the two servers and the witness that are cut, each direction by itself: the standby takes over where
//! it has to and not where it must not, at most one server reigns under a role term, and once everything passes again
//! one is active and nothing is missing.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use postern_protocol::RoleTerm;

use super::outage::{demand, reigns};
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Network, Side, Site, SiteConfig, wait_until};
use crate::random::Random;

/// The six one-way links of three voters.
pub const LINKS: [(&str, &str); 6] =
    [("a", "b"), ("b", "a"), ("a", "w"), ("w", "a"), ("b", "w"), ("w", "b")];

/// How many sets of links there are, the empty one among them.
pub const SETS: u8 = 1 << 6;

/// Swipes a second: what is to be seen is who stores them, not how fast.
const RATE: f64 = 60.0;
const BOARDS: u32 = 3;

/// So many swipes happen while links are cut: ten seconds' worth, well above an election, a lease and a
/// failover.
const SWIPES: u64 = 600;

/// Within this after everything passes again, one server has to be active and the other in sync.
const HEALED_WITHIN: Duration = Duration::from_mins(1);

/// So many of all sets, in an order that chance makes.
pub fn some_sets(count: u8, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut sets: Vec<u8> = (0..SETS).collect();
    for last in (1..sets.len()).rev() {
        let place = random.below(u64::try_from(last).unwrap_or(0) + 1);
        sets.swap(last, usize::try_from(place).unwrap_or(0));
    }
    sets.truncate(usize::from(count));
    sets
}

/// The links of a set, by its bits.
fn links(set: u8) -> impl Iterator<Item = (&'static str, &'static str)> {
    LINKS
        .into_iter()
        .enumerate()
        .filter(move |(bit, _)| set & (1 << bit) != 0)
        .map(|(_, link)| link)
}

/// What comes of the role while links are cut, and after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The standby takes over.
    Moves,
    /// The active server stays that, under the same role term.
    Stays,
    /// One or the other.
    Either,
}

/// Certain is what no election can change. Where two of the three do not reach each other and both reach the third,
/// one may cost the active server its lease.
fn expected(set: u8, active: Side) -> Expected {
    // Nothing is said without an answer: with one direction the other one is cut as well.
    let talk = |one, other| links(set).all(|link| link != (one, other) && link != (other, one));
    let (active, standby) = (active.name(), active.other().name());
    let pairs = [(active, standby), (active, "w"), (standby, "w")];
    match pairs.into_iter().filter(|(one, other)| talk(one, other)).count() {
        // The only majority is without the active server.
        1 if talk(standby, "w") => Expected::Moves,
        2 => Expected::Either,
        // The only majority is one with the active server; or everybody reaches everybody, or nobody anybody.
        _ => Expected::Stays,
    }
}

/// What is cut, in words.
fn said(set: u8) -> String {
    let cut: Vec<String> = links(set).map(|(from, to)| format!("{from}>{to}")).collect();
    if cut.is_empty() { "nothing".to_owned() } else { cut.join(" ") }
}

/// Cuts each of these sets of links in turn, on so many sites at once. `None`, with a loud line, where this
/// machine allows no networks.
pub fn partitions(
    sets: &[u8],
    lanes: usize,
    seed: u64,
    progress: &(dyn Fn(String) + Sync),
) -> Result<Option<Vec<Finished>>, Error> {
    let share = sets.len().div_ceil(lanes.max(1));
    let runs = thread::scope(|scope| {
        let lanes: Vec<_> = sets
            .chunks(share.max(1))
            .zip(seed..)
            .map(|(sets, seed)| scope.spawn(move || lane(sets, seed, progress)))
            .collect();
        let joined = lanes.into_iter().map(|lane| match lane.join() {
            Ok(run) => run,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(runs.into_iter().collect())
}

fn lane(
    sets: &[u8],
    seed: u64,
    progress: &(dyn Fn(String) + Sync),
) -> Result<Option<Finished>, Error> {
    let Some(network) = Network::make(&Site::HOSTS)? else { return Ok(None) };
    let network = Arc::new(network);
    let config = SiteConfig {
        automatic: true,
        network: Some(Arc::clone(&network)),
        ..SiteConfig::new(seed, BOARDS, Board::roomy)
    };
    let mut site = Site::start(config)?;
    // The last takeover bars none: that the dwell does so otherwise, `tests/tests/barred.rs` tries.
    site.server(Side::A).rules(&["--dwell", "0"])?;
    site.simulator.people(RATE)?;
    reigns(&mut site, Side::A)?;
    let mut active = Side::A;
    for set in sets {
        site.all_vote()?;
        site.wait_for_traffic(SWIPES / 10)?;
        let (before, expected) = (active, expected(*set, active));
        let term = site.server(before).role()?.role_term;
        for (from, to) in links(*set) {
            network.cut(from, to)?;
        }
        site.wait_for_traffic(SWIPES)?;
        match expected {
            Expected::Moves => reigns(&mut site, before.other())?,
            Expected::Stays => stays(&mut site, before, term, *set)?,
            Expected::Either => {}
        }
        network.heal_all()?;
        let healed = Instant::now();
        active = one_active(&mut site)?;
        match expected {
            Expected::Moves => demand(active != before, || {
                format!("the role went back to {}, {} was cut", before.name(), said(*set))
            })?,
            Expected::Stays => stays(&mut site, before, term, *set)?,
            Expected::Either => {}
        }
        site.caught_up(active)?;
        let what = format!("in sync again, {} was cut:", said(*set));
        site.note_time(&what, healed, HEALED_WITHIN);
        progress(format!(
            "cut: {} ({expected:?}); active before: {}, after: {}; in sync again after {} ms",
            said(*set),
            before.name(),
            active.name(),
            healed.elapsed().as_millis()
        ));
    }
    site.settle(HEALED_WITHIN)?;
    site.finish(active, GapAllowance::None).map(Some)
}

/// Demands that this server is active under this role term, and the other one is not.
fn stays(site: &mut Site, active: Side, term: RoleTerm, set: u8) -> Result<(), Error> {
    let (here, there) = (site.server(active).role()?, site.server(active.other()).role()?);
    let holds = here.state == "active" && here.role_term == term && there.state == "standby";
    demand(holds, || {
        format!("the role moved from {term}, {} was cut: {here:?}, {there:?}", said(set))
    })
}

/// Waits until both servers and the gateway name one active server, and that holds its lease.
pub(super) fn one_active(site: &mut Site) -> Result<Side, Error> {
    wait_until("one active server that all know", HEALED_WITHIN, || {
        let named = site.look()?.uplink.active;
        let roles = [site.server(Side::A).role()?, site.server(Side::B).role()?];
        let Some(active) = named.as_deref().and_then(Side::named) else { return Ok(None) };
        let agreed = roles.iter().all(|role| role.active == active.name());
        let holds = roles.iter().any(|role| {
            let lease = role.voters.as_ref().and_then(|voters| voters.lease);
            role.state == "active" && lease == Some(true)
        });
        Ok((agreed && holds).then_some(active))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sets_are_drawn_once() {
        let mut all = some_sets(SETS, 7);
        assert_ne!(all, (0..SETS).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..SETS).collect::<Vec<_>>());
        assert_eq!(some_sets(5, 7), some_sets(SETS, 7)[..5]);
    }

    #[test]
    fn the_role_moves_where_the_other_two_alone_are_a_majority() {
        use Expected::{Either, Moves, Stays};

        for (set, with_a, with_b) in [
            (0, Stays, Stays),
            (0b00_1111, Moves, Stays),
            (0b11_0011, Stays, Moves),
            (0b11_1100, Stays, Stays),
            (0b01_0010, Stays, Moves),
            (0b00_0001, Either, Either),
            (0b11_1111, Stays, Stays),
        ] {
            assert_eq!((expected(set, Side::A), expected(set, Side::B)), (with_a, with_b), "{set}");
        }
        let all = |what| (0..SETS).filter(|set| expected(*set, Side::A) == what).count();
        assert_eq!([all(Moves), all(Either), all(Stays)], [9, 9, 46]);
    }

    #[test]
    fn each_set_is_another_one_and_all_links_are_in_some() {
        let sets: std::collections::BTreeSet<String> = (0..SETS).map(said).collect();
        assert_eq!(sets.len(), 64);
        assert_eq!(said(0), "nothing");
        assert_eq!(said(SETS - 1), "a>b b>a a>w w>a b>w w>b");
    }
}
