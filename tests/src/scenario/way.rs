//! Ways that are cut while everything runs: between the active server and its gateways, the voters, or everybody.
//!
//! For which of the voters' six one-way links that is, in every combination, see [`super::partition`].

use postern_protocol::Seq;

use super::failover::taken_over;
use super::outage::{
    A_WHILE, WITHIN, demand, ends, nothing_moves, on_network, proof, reigns, says, stores_unsafe,
    without_lease,
};
use crate::harness::{Error, Fault, Finished, Side, wait_until};

/// The voters are content with the active server, so it stays that; its gateway keeps what happens, and says why. An
/// operator can free it.
pub(super) fn gateway_cut_off(seed: u64, ways: &[(&str, &str)]) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    nothing_moves(&mut site, Side::A, |site| {
        for (from, to) in ways {
            site.network()?.cut(from, to)?;
        }
        site.wait_for_traffic(A_WHILE)?;
        wait_until("the gateway to keep what happens, and to say why", WITHIN, || {
            let shown = site.look()?;
            let keeps = shown.journal.unsafe_entries >= A_WHILE / 2;
            Ok((keeps && shown.has("active_unreachable")).then_some(()))
        })
    })?;
    let kept = site.look()?.journal.head;
    site.fail_over(Side::B, false)?;
    wait_until("server b to have what was kept", WITHIN, || {
        Ok((site.look()?.uplink.stored >= Some(kept)).then_some(()))
    })?;
    site.network()?.heal_all()?;
    reigns(&mut site, Side::B)?;
    ends(site, Side::B).map(Some)
}

/// It goes on storing what its gateway brings, whose way to the other server is cut as well; and as it alone holds
/// that, it gives none of it away. The other takes over, and what was stored meanwhile is merged.
pub(super) fn voters_unreached(seed: u64) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    site.look()?;
    for (one, other) in [("a", "b"), ("a", "w"), ("g", "b")] {
        site.network()?.part(one, other)?;
    }
    // Nothing of what came later can be on both.
    let bound = site.gateway.status()?.journal.head;
    wait_until("server b to take over", WITHIN, || {
        Ok((site.server(Side::B).role()?.state == "active").then_some(()))
    })?;
    without_lease(&mut site, Side::A)?;
    site.wait_for_traffic(A_WHILE)?;
    stores_unsafe(&mut site, Seq(bound.0 + A_WHILE / 2), bound)?;
    let (shown, old) = (site.look()?, site.server(Side::A).role()?);
    demand(shown.uplink.active.as_deref() == Some("a") && old.state == "active", || {
        format!("server a does not go on for its gateway: {shown:?}, {old:?}")
    })?;
    // The gateway is the only one that can tell it.
    site.network()?.heal("g", "b")?;
    wait_until("server a to hear from the gateway that it was replaced", WITHIN, || {
        Ok((site.server(Side::A).role()?.active == "b").then_some(()))
    })?;
    site.network()?.heal_all()?;
    reigns(&mut site, Side::B)?;
    ends(site, Side::B).map(Some)
}

/// Nobody hears it, as if its machine had stopped, and it lives: the other takes over, and it stands by once it is
/// told.
pub(super) fn active_isolated(seed: u64) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    site.look()?;
    // The gateway last: what it still brings is nowhere else, and has to be merged.
    for other in ["b", "w", "g"] {
        site.network()?.part("a", other)?;
    }
    // Nothing of what came later can be on both.
    let bound = site.gateway.status()?.journal.head;
    taken_over(&site, Side::B)?;
    without_lease(&mut site, Side::A)?;
    site.wait_for_traffic(A_WHILE)?;
    stores_unsafe(&mut site, Seq(bound.0 + A_WHILE / 2), bound)?;
    let cut_off = site.server(Side::A).role()?;
    demand(cut_off.state == "active", || format!("who has told it? {cut_off:?}"))?;
    site.network()?.heal_all()?;
    wait_until("server a to be standby", WITHIN, || {
        Ok((site.server(Side::A).role()?.state == "standby").then_some(()))
    })?;
    reigns(&mut site, Side::B)?;
    ends(site, Side::B).map(Some)
}

/// To the standby it looks as if the active server's process had ended: its connections are broken off and new ones
/// refused, by a firewall. No second voter sees that, so nothing moves.
pub(super) fn active_rejected(seed: u64) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    nothing_moves(&mut site, Side::A, |site| {
        site.network()?.set("b", "a", Some(Fault::Refused))?;
        wait_until("server b to take server a's process for ended", WITHIN, || {
            let log = site.server(Side::B).log()?;
            let ended = |line: &str| line.contains("voter=\"a\"") && line.contains("after=Refused");
            Ok(log.lines().any(ended).then_some(()))
        })?;
        site.wait_for_traffic(A_WHILE)?;
        says(site, Side::B, "server b does not reach voter a")?;
        site.network()?.heal_all()
    })?;
    reigns(&mut site, Side::A)?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active).map(Some)
}
