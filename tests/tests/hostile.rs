//! What comes from the wire of a controller can be anything.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use postern_protocol::ControllerId;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{
    Board, Error, Line, LineCounters, Side, Site, SiteConfig, Transport, wait_until,
};
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);
const LIAR: u32 = 405_419_999;

/// Something on the network that answers every datagram with another kind of nonsense. It ends
/// with the test process.
fn liar() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let mut request = [0; 128];
        for turn in 0_u32.. {
            let Ok((length, from)) = socket.recv_from(&mut request) else { return };
            let mut answer = request[..length].to_vec();
            match turn % 6 {
                // The right answer's head from another controller.
                0 => answer[4..8].copy_from_slice(&405_419_001_u32.to_le_bytes()),
                // Too short, too long, empty.
                1 => answer.truncate(17),
                2 => answer.resize(128, 0xaa),
                3 => answer.clear(),
                // A function that nobody asks for, another start.
                4 => answer[1] = 0x5a,
                _ => answer.iter_mut().for_each(|byte| *byte = 0xff),
            }
            if socket.send_to(&answer, from).is_err() {
                return;
            }
        }
    });
    address
}

#[test]
fn nonsense_is_counted_and_never_stored_and_delays_nobody_else() -> Result<(), Error> {
    let mut site = Site::prepare(SiteConfig::new(41, 3, Board::roomy))?;
    let mut configuration = site.configuration();
    configuration.controllers.push(Line::new(LIAR, liar(), Transport::Udp));
    site.gateway.configure(&configuration)?;
    site.gateway.start()?;
    site.simulator.people(100.0)?;
    site.wait_for_traffic(300)?;

    let liar = ControllerId::uhppote(LIAR);
    let line = wait_until("the nonsense to be counted", WITHIN, || {
        let lines = site.gateway.controllers()?;
        Ok(lines.into_iter().find(|line| {
            let LineCounters { bad_length, bad_start, foreign, unexpected, .. } = line.line;
            let all = [bad_length, bad_start, foreign, unexpected];
            line.controller == liar && all.iter().all(|count| *count > 0)
        }))
    })?;
    assert_eq!(line.cursor, None, "{line:?}");
    assert_eq!(line.state, "offline", "{line:?}");

    site.settle(WITHIN)?;
    let evidence = site.finish(Side::A, GapAllowance::None)?.expect_ok();
    assert!(evidence.active.rows.iter().all(|row| row.controller != liar));
    Ok(())
}

#[test]
fn replies_that_are_lost_late_or_doubled_cost_time_and_nothing_else() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(42, 4, Board::roomy))?;
    for serial in site.simulator.addresses.keys() {
        let faults = json!({ "drop": 0.02, "duplicate": 0.05, "stale": 0.02 });
        site.simulator.faults(*serial, &faults)?;
    }
    site.simulator.people(40.0)?;
    site.wait_for_traffic(250)?;
    for serial in site.simulator.addresses.keys() {
        site.simulator.faults(*serial, &json!({}))?;
    }
    site.settle(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}
