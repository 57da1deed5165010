//! What an event costs the processors of both sides: a full page is asked for, encoded, sealed, framed,
//! checked, opened and read, with no line in between.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use postern_protocol::link::event::Event;
use postern_protocol::link::gateway::{Access, Exchange, Peer, Settings, Step, Timing};
use postern_protocol::link::message::Request;
use postern_sim::link::LinkController;

use crate::common::measure::float;
use crate::common::report::{Report, short};
use crate::{Bench, Outcome, station};

const KEY: [u8; 32] = [7; 32];
/// Pages of a sample.
const PAGES: u32 = 200;
const EVENTS: u64 = 4_096;

/// Both sides.
struct Pair {
    peer: Peer,
    exchange: Exchange,
    controller: LinkController,
    at: Timestamp,
}

impl Pair {
    /// Carries frames back and forth until the question is answered.
    fn converse(&mut self, mut step: Step) -> Outcome<()> {
        loop {
            let window = match step {
                Step::Answered => return Ok(()),
                Step::Failed(failure) => return Err(format!("{failure:?}").into()),
                Step::Send(window) => window,
            };
            self.exchange.begin(self.peer.wire().len(), window, Duration::ZERO);
            let mut truth = Vec::new();
            let said = self.controller.on_bytes(self.peer.wire(), self.at, &mut truth)?;
            let said = said.ok_or("the station says nothing")?;
            let peer = &mut self.peer;
            let heard = self.exchange.on_bytes(
                said,
                Duration::ZERO,
                peer,
                &mut || [9; 32],
                &mut |_, _, _| {},
            );
            step = heard.ok_or("the answer is not whole")?;
        }
    }

    /// Asks for a page; how many events it has.
    fn page(&mut self, skip: u64) -> Outcome<u64> {
        let request = Request::Poll { committed: 0, skip, room: self.peer.room() };
        let step = self.peer.ask(&request, None, Duration::ZERO);
        self.converse(step)?;
        let (_, events) = self.peer.answer().ok_or("the answer makes no sense")?;
        Ok(events.filter_map(Event::decode).count() as u64)
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let peer = Peer::new(Settings {
        address: station::address(0)?,
        serial: station::serial(0),
        access: Access::Keyed(KEY),
    });
    let timing = Timing { byte: Duration::ZERO, reply: Duration::from_secs(1) };
    let controller = station::controller(0, KEY, EVENTS)?;
    let exchange = Exchange::new(timing);
    let mut pair = Pair { peer, exchange, controller, at: Timestamp::now() };
    // Before it said how long its frames are, it is asked for less.
    pair.page(0)?;
    let page = pair.page(0)?;
    let mut samples = Vec::new();
    for _ in 0..bench.extent.pages {
        let began = Instant::now();
        let mut events = 0;
        for number in 0..u64::from(PAGES) {
            events += pair.page(number * page % (EVENTS - page))?;
        }
        samples.push(began.elapsed().as_secs_f64() * 1e9 / float(events));
    }
    let spread = report.figure("decode_ns_per_event", &samples);
    report.table(
        format!("Pages of {page} events, both sides on one processor: ns an event"),
        ["", "median", "quartiles"],
        [[
            "asked, sealed, framed, checked, opened, read".to_owned(),
            short(spread.median),
            format!("{} to {}", short(spread.low), short(spread.high)),
        ]],
    );
    Ok(())
}
