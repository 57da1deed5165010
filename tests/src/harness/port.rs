//! Addresses that must be known before a server starts, because certificates, bundles and role
//! documents name them: port 0 will not do.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use super::Error;

/// Below the ports that the system gives to clients (32768 on Linux), so that no outgoing
/// connection of a scenario can sit on a server's port while that server is dead.
const FIRST: u16 = 20_000;
/// One port that is kept bound as the claim on the block, and the rest of it.
const BLOCK: u16 = 12;
const BLOCKS: u16 = 1_000;

/// A block of ports of one scenario. The first of them stays bound as long as this lives, so that
/// no other scenario, of this process or another, is given the same block.
#[derive(Debug)]
pub struct Ports {
    _claim: TcpListener,
    first: u16,
}

impl Ports {
    /// Claims a block of which every port is free.
    pub fn claim() -> Result<Self, Error> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes that run at the same time begin at different places; a meeting costs a try.
        let begin = u16::try_from(process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for _ in 0..BLOCKS {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let first = FIRST + (begin.wrapping_add(step) % BLOCKS) * BLOCK;
            let Ok(claim) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) else { continue };
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if (first + 1..first + BLOCK).all(free) {
                return Ok(Self { _claim: claim, first });
            }
        }
        let last = FIRST + BLOCKS * BLOCK - 1;
        Err(Error::Scenario(format!("no {BLOCK} free ports in a row from {FIRST} to {last}")))
    }

    /// The address with this number, from 0 to 10.
    ///
    /// # Panics
    /// For any other number.
    pub fn address(&self, number: u16) -> SocketAddr {
        assert!(number < BLOCK - 1, "a block has {} addresses", BLOCK - 1);
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + 1 + number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_have_no_address_in_common() {
        let (one, two) = (Ports::claim().unwrap(), Ports::claim().unwrap());
        for number in 0..BLOCK - 1 {
            assert!((0..BLOCK - 1).all(|other| one.address(number) != two.address(other)));
        }
    }
}
