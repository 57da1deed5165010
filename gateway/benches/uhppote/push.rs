//! The newest swipe: from the datagram that a board pushes until the event is on the disk.
//!
//! The clock starts when the push is sent to the gateway's listening socket: the board's listener is a
//! socket of this program, which holds each push until the simulator has done all that the swipe
//! meant to it, and then passes it on unchanged. So neither the control API nor the simulator's
//! ledger is in the figure; the gateway's wake-up, its requests to the board and its commit are.
//! Beside it stands the whole way, from before the swipe's request to the control API, with pushes
//! that go straight to the gateway, and what a request that changes nothing takes there.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use postern_protocol::uhppote::FRAME;

use crate::bare::Wire;
use crate::common::measure::{Spread, float, ratios};
use crate::common::report::{Report, short};
use crate::gateway::Gateway;
use crate::simulator::{Board, Simulator};
use crate::sync::Sync;
use crate::{Bench, Outcome};

/// Events before the first push.
const EVENTS: u32 = 20;

/// Pushes before the clock counts.
const WARM_UP: usize = 10;

/// Between any two things that are timed: whatever follows one of them is over, and the disk is at
/// rest. Three of these are less than a poll interval, which begins again with each push.
const PAUSE: Duration = Duration::from_millis(70);

/// So many pushes and as many syncs are compared with each other, median with median: a disk that
/// slows down slows both.
const ROUND: usize = 10;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let directory = bench.directory.inner("push")?;
    let simulator = Simulator::start(&bench.simulator, &directory.path().join("sim"), 1, EVENTS)?;
    let board = simulator.board()?;
    let mut gateway = Gateway::open(&directory.path().join("journal"))?;
    gateway.collect(&[board], Wire::Udp);
    let listener = gateway.listen()?;
    gateway.read_to(&[board], EVENTS)?;
    let mut sync = Sync::create(directory.path())?;

    let mut samples = Samples::default();
    held_back(bench.extent.pushes, &simulator, &gateway, listener, &mut sync, &mut samples)?;
    straight(bench.extent.pushes, &simulator, &gateway, listener, &mut samples)?;
    gateway.close();
    samples.tell(report);
    Ok(())
}

/// Microseconds, all of them.
#[derive(Default)]
struct Samples {
    pushes: Vec<f64>,
    syncs: Vec<f64>,
    appends: Vec<f64>,
    /// How many pushes came after a poll had found their event.
    late: u32,
    /// How often the board was asked for each push.
    requests: f64,
    swipes: Vec<f64>,
    calls: Vec<f64>,
}

/// Pushes that this program holds back until the gateway alone has something to do.
fn held_back(
    wanted: usize,
    simulator: &Simulator,
    gateway: &Gateway,
    listener: SocketAddr,
    sync: &mut Sync,
    samples: &mut Samples,
) -> Outcome<()> {
    let board = simulator.board()?;
    let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    relay.set_read_timeout(Some(PATIENCE))?;
    board.set_listener(v4(relay.local_addr()?)?)?;
    let (mut round, begun_with): (usize, u64) = (0, simulator.requests()?);
    while samples.pushes.len() < wanted {
        std::thread::sleep(PAUSE);
        let push = passed_on(simulator, board, &relay, gateway, listener)?;
        std::thread::sleep(PAUSE);
        let over = sync.over()?;
        std::thread::sleep(PAUSE);
        let append = sync.append()?;
        round += 1;
        if round <= WARM_UP {
            continue;
        }
        if let Some(push) = push {
            samples.pushes.push(microseconds(push));
            samples.syncs.push(microseconds(over));
            samples.appends.push(microseconds(append));
        } else {
            samples.late += 1;
            if usize::try_from(samples.late)? > wanted {
                return Err("polls find the events before their pushes do".into());
            }
        }
    }
    samples.requests = float(simulator.requests()? - begun_with) / float(round as u64);
    Ok(())
}

/// One swipe, its push passed on; `None` where a poll had found the event before.
fn passed_on(
    simulator: &Simulator,
    board: Board,
    relay: &UdpSocket,
    gateway: &Gateway,
    listener: SocketAddr,
) -> Outcome<Option<Duration>> {
    let head = gateway.head();
    simulator.swipe(board)?;
    let mut push = [0; FRAME];
    relay.recv(&mut push)?;
    let durable = gateway.above(head);
    if gateway.head() > head {
        return Ok(None);
    }
    let begin = Instant::now();
    relay.send_to(&push, listener)?;
    Ok(Some(gateway.at(durable)? - begin))
}

/// Pushes that go from the board to the gateway, and the control API's own time.
fn straight(
    wanted: usize,
    simulator: &Simulator,
    gateway: &Gateway,
    listener: SocketAddr,
    samples: &mut Samples,
) -> Outcome<()> {
    let board = simulator.board()?;
    board.set_listener(v4(listener)?)?;
    for round in 0..WARM_UP + wanted {
        std::thread::sleep(PAUSE);
        let durable = gateway.above(gateway.head());
        let begin = Instant::now();
        simulator.swipe(board)?;
        let swipe = gateway.at(durable)? - begin;
        std::thread::sleep(PAUSE);
        let begin = Instant::now();
        simulator.set_delay(board, Duration::ZERO)?;
        let call = begin.elapsed();
        if round >= WARM_UP {
            samples.swipes.push(microseconds(swipe));
            samples.calls.push(microseconds(call));
        }
    }
    Ok(())
}

impl Samples {
    fn tell(&self, report: &mut Report) {
        let sync = report.figure("fdatasync_us", &self.syncs);
        let append = report.figure("fdatasync_append_us", &self.appends);
        let push = report.figure("push_to_durable_us", &self.pushes);
        let medians = |samples: &[f64]| -> Vec<f64> {
            samples.chunks(ROUND).map(|round| Spread::of(round).median).collect()
        };
        let ratios = ratios(&medians(&self.pushes), &medians(&self.syncs));
        let of = report.figure("push_to_durable_vs_fdatasync", &ratios);
        report.figure("push_after_a_poll", &[f64::from(self.late)]);
        report.figure("push_requests", &[self.requests]);
        let swipe = report.figure("swipe_to_durable_us", &self.swipes);
        let call = report.figure("api_round_trip_us", &self.calls);
        report.table(
            format!(
                "From a push to the disk, microseconds; the board is asked {} times each. The clock of a \
                 push\nstarts when it is sent to the gateway's listener; that of a swipe before the \
                 request to the simulator,\nwhose answer to one that changes nothing takes what stands \
                 below it",
                short(self.requests)
            ),
            ["", "median", "quartiles", "ends"],
            [
                row("4 KiB and fdatasync, written over: the reference", sync),
                row("4 KiB and fdatasync, appended", append),
                row("push to durable", push),
                row("  times the reference", of),
                row("swipe to durable", swipe),
                row("  a request that changes nothing", call),
            ],
        );
    }
}

fn row(text: &str, spread: Spread) -> [String; 4] {
    let [median, least, low, high, most] =
        [spread.median, spread.least, spread.low, spread.high, spread.most].map(short);
    [text.to_owned(), median, format!("{low} to {high}"), format!("{least} to {most}")]
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn v4(address: SocketAddr) -> Outcome<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err("boards know IPv4 alone".into()),
    }
}
