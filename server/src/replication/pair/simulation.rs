//! Switchovers and forced failovers in the middle of a site's work: the numbers of a day in seconds.
//!
//! A short run by default. Longer ones, the first for CI (two minutes in the debug profile):
//!
//! `POSTERN_PAIR_SEEDS=100 POSTERN_PAIR_TRANSACTIONS=1000 cargo test -p postern-server --lib
//! pair::simulation -- --nocapture`
//!
//! `POSTERN_PAIR_SEEDS=100 POSTERN_PAIR_TRANSACTIONS=100000`, and `--release`, takes much longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::check::Found;
use super::gateway::Entry;
use super::rejoin::Portions;
use super::{Rule, World};

/// How many seeds of each kind by default.
const SEEDS: u64 = 3;

/// In the middle of how many transactions by default.
const TRANSACTIONS: u64 = 3_000;

/// Numbers that follow from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }
}

/// One site's work with changes of the role in it.
fn site(rule: Rule, seed: u64, transactions: u64) -> Result<Found, String> {
    let mut dice = Dice(seed);
    let mut world = World::new(rule, 3);
    world.portions = Portions::REAL;
    let mut written = 0;
    // About ten changes of the role and at least forty rounds, whatever the length.
    let burst = (transactions / 60).clamp(8, 270);
    let changes = (transactions / (burst * 3 / 2) / 10).max(3);
    while written < transactions {
        world.sleep(20 + dice.roll(60));
        for gateway in 0..world.gateways.len() {
            for _ in 0..dice.roll(burst) {
                let entry = match dice.roll(200) {
                    0 => Entry::Gap,
                    1 => Entry::Conflict,
                    2 => Entry::Restart,
                    3 => Entry::Unreadable,
                    4..=9 => Entry::Note,
                    _ => Entry::Record,
                };
                world.gateways[gateway].write(entry);
                written += 1;
            }
            if !dice.once_in(8) {
                let (most, back) = (1 + dice.roll(1_024), dice.roll(4));
                world.send(gateway, most, back, dice.once_in(10), dice.once_in(10));
            }
            world.gateways[gateway].trim();
        }
        for server in 0..2 {
            if !dice.once_in(5) {
                let portions = u32::try_from(dice.roll(6)).unwrap_or(0);
                world.pull(server, 512 * 1024, dice.once_in(10), portions);
            }
            world.tend(server);
        }
        if dice.once_in(3) {
            world.answer();
        }
        if dice.once_in(4) {
            world.exchange();
        }
        if dice.once_in(changes) {
            change(&mut world, &mut dice);
        }
        world.check_safe()?;
    }
    world.heal()?;
    world.check_safe()?;
    world.check()
}

/// The role changes, or a process ends, or a standby's disk is replaced.
fn change(world: &mut World, dice: &mut Dice) {
    let active = usize::from(!world.servers[0].is_active());
    match dice.roll(5) {
        0 | 1 => world.hand_over(3, dice.once_in(4), dice.once_in(6)),
        2 => {
            world.crash(active);
            world.fail_over(1 - active);
        }
        3 => world.fail_over(1 - active),
        _ => world.crash(active),
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// All seeds, on as many threads as there are cores.
fn run(rule: Rule) -> Found {
    let seeds = setting("POSTERN_PAIR_SEEDS", SEEDS);
    let transactions = setting("POSTERN_PAIR_TRANSACTIONS", TRANSACTIONS);
    let (next, all) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            match site(rule, seed, transactions) {
                Ok(found) => *all.lock().unwrap_or_else(PoisonError::into_inner) += found,
                Err(wrong) => panic!("{rule:?}, seed {seed}, {transactions} transactions: {wrong}"),
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let found = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{rule:?}: {seeds} seeds of {transactions} transactions, {found:#?}");
    found
}

#[test]
fn a_site_at_work_loses_and_doubles_nothing_whenever_the_role_changes() {
    let found = run(Rule::InSync);
    assert_eq!((found.missing, found.holes), (0, 0));
}

/// The new active server may lack what its gateways forgot long ago: it comes back with the server
/// that has it, once.
#[test]
fn a_site_at_work_gets_back_what_a_forced_change_left_behind() {
    assert_eq!(run(Rule::Forced).missing, 0);
}
