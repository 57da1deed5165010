//! Voters in different data centres: a long wire from each of them to each other one.

use crate::harness::{Distance, Error, Link, Ports, Server};

/// The wires. They have addresses of their own, since there are more than a site's block holds.
#[derive(Debug)]
pub(super) struct Apart {
    _links: Vec<Link>,
    _ports: Ports,
}

impl Apart {
    /// Lays them between voters that do not run yet, which then work by the times that are made for that.
    pub(super) fn lay(voters: &[&Server], distance: Distance) -> Result<Self, Error> {
        let ports = Ports::claim()?;
        let mut links = Vec::new();
        for from in voters {
            from.be_far()?;
            for to in voters.iter().filter(|to| to.name != from.name) {
                let number = u16::try_from(links.len()).unwrap_or(u16::MAX);
                let link = Link::open_at(ports.address(number), to.address)?;
                // Each wire has a chance of its own.
                let seed = distance.seed.wrapping_add(u64::from(number) + 1);
                link.lengthen(Distance { seed, ..distance });
                from.find_peer(to, link.address())?;
                links.push(link);
            }
        }
        Ok(Self { _links: links, _ports: ports })
    }
}
