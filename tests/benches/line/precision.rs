//! How late the line itself is: a plain program at the pty that writes, waits and reads, without a
//! gateway. A machine that is busy with something else shows here.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use postern_sim::line::{Line, LineSettings, Place, Reply, Talker};

use crate::common::report::{Report, short};
use crate::station::TURN_AROUND;
use crate::{Bench, Outcome};

/// A poll and an answer without events, as long as they are on the line.
pub(crate) const POLL: u32 = 34;
pub(crate) const ANSWER: u32 = 29;

const BAUD: u32 = 115_200;

/// Answers to whatever it hears.
struct Parrot;

impl Talker for Parrot {
    fn on_bytes(&mut self, _: &[u8], _: Duration) -> Option<Reply> {
        Some(Reply { after: TURN_AROUND, bytes: vec![0x55; ANSWER as usize] })
    }
}

/// How long so many bytes take.
pub(crate) fn time_of(bytes: u32, baud: u32) -> Duration {
    Duration::from_secs(10) * bytes / baud
}

/// How long a poll that finds nothing takes at least.
pub(crate) fn quiet_exchange(baud: u32) -> Duration {
    time_of(POLL, baud) + TURN_AROUND + time_of(ANSWER, baud)
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let settings = LineSettings { baud: BAUD, ..LineSettings::default() };
    let line = Line::on_pty(&settings, vec![Parrot], None)?;
    let Place::Device(path) = line.place() else { return Err("a pty is no device".into()) };
    let mut host = File::options().read(true).write(true).open(path)?;
    let ideal = quiet_exchange(BAUD);
    let mut late = Vec::new();
    let mut answer = [0; ANSWER as usize];
    for _ in 0..bench.extent.exchanges {
        let began = Instant::now();
        host.write_all(&[0x33; POLL as usize])?;
        host.read_exact(&mut answer)?;
        late.push(began.elapsed().saturating_sub(ideal).as_secs_f64() * 1e6);
    }
    line.stop().map_err(|_| "the station panicked")?;
    let spread = report.figure("exchange_over_ideal_us", &late);
    report.table(
        format!("A plain program at the pty: µs that an exchange of {POLL} and {ANSWER} bytes takes over the ideal"),
        ["ideal", "median", "quartiles", "ends"],
        [[
            short(ideal.as_secs_f64() * 1e6),
            short(spread.median),
            format!("{} to {}", short(spread.low), short(spread.high)),
            format!("{} to {}", short(spread.least), short(spread.most)),
        ]],
    );
    Ok(())
}
