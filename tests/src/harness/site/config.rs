//! What a site is to be.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Board, Bus, Distance, Error, Namespace, Network, wait::LOOK_EVERY};

/// What a site is to be.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// Where chance begins.
    pub seed: u64,
    /// The boards; every second one is talked to over TCP.
    pub boards: Vec<Board>,
    /// The lines; at most two of them over TCP.
    pub buses: Vec<Bus>,
    /// How many transactions the gateway's journal can hold.
    pub capacity_entries: u64,
    /// Whether the boards push their events to the gateway.
    pub pushes: bool,
    /// Whether the servers talk to each other over wires that can be cut.
    pub wired_pair: bool,
    /// The network whose hosts [`Site::HOSTS`] everything runs at, each by itself: faults are made there, and
    /// there are no wires.
    pub network: Option<Arc<Network>>,
    /// Whether there is a witness, and the role changes by itself.
    pub automatic: bool,
    /// How far the voters and the gateway are from each other, where they are in different data centres; the
    /// voters' times are made for that then.
    pub apart: Option<Distance>,
    /// How often is looked whether everything was read and stored.
    pub look_every: Duration,
}

impl SiteConfig {
    /// So many boards made by `board` from their serial numbers.
    pub fn new(seed: u64, boards: u32, board: impl Fn(u32) -> Board) -> Self {
        let boards = (0..boards).map(|number| board(405_419_001 + number)).collect();
        let (capacity_entries, look_every) = (1_000_000, LOOK_EVERY);
        let (pushes, wired_pair, automatic) = (false, false, false);
        let (buses, network, apart) = (Vec::new(), None, None);
        Self {
            seed,
            boards,
            buses,
            capacity_entries,
            pushes,
            wired_pair,
            network,
            automatic,
            apart,
            look_every,
        }
    }

    /// The host of this name, where there is a network.
    pub(super) fn host(&self, name: &str) -> Result<Option<&Namespace>, Error> {
        self.network.as_ref().map(|network| network.host(name)).transpose()
    }

    /// Lines alone.
    pub fn of_lines(seed: u64, buses: Vec<Bus>) -> Self {
        Self { buses, ..Self::new(seed, 0, Board::small) }
    }
}
