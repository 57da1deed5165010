//! What the units are, and what a look at one takes of the line in theory.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::{Profile, Source};
use postern_protocol::modbus::register::Block;
use postern_sim::line::LineSettings;

use crate::Outcome;

/// How many units a line has.
pub(crate) const UNITS: u8 = 30;

/// What the specification has devices do, and what the gateway does unless it is told otherwise: 8E1.
pub(crate) const BAUD: u32 = 19_200;
const BITS: u32 = 11;

/// A request: unit, function, address, count, checksum.
const REQUEST: u32 = 8;
/// An answer besides its values: unit, function, length, checksum.
const AROUND: u32 = 5;
/// Before a frame, in half characters.
const SILENCE: u32 = 7;

/// The built-in profile of most units.
const BUILT_IN_NAME: &str = "inveo-rfid";

/// What units are.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// The profile's name in the gateway's configuration, and its text where it is not built in.
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) profile: Arc<Profile>,
    /// What a look asks for.
    pub(crate) requests: Vec<Block>,
}

impl Kind {
    /// A reader with a latch and a door, as it is built in.
    pub(crate) fn two_requests() -> Outcome<Self> {
        Self::new(BUILT_IN_NAME, built_in()?, 2)
    }

    /// The same, and the coil that means nothing is read along.
    pub(crate) fn one_request() -> Outcome<Self> {
        let built_in = built_in()?;
        let text = built_in.replacen("restarted =", "gap = 1\nrestarted =", 1);
        Self::new("inveo-in-one", &text, 1)
    }

    fn new(name: &'static str, text: &str, wanted: usize) -> Outcome<Self> {
        let profile: Profile = toml::from_str(text)?;
        let requests = profile.look(Source::Shown).map_err(|error| format!("{error:?}"))?.requests;
        if requests.len() != wanted {
            return Err(format!("a look of {name} takes {} requests", requests.len()).into());
        }
        let requests = requests.to_vec();
        Ok(Self { name, text: text.to_owned(), profile: Arc::new(profile), requests })
    }

    /// How many requests a look has.
    pub(crate) fn looks_in(&self, answers: u64) -> f64 {
        use crate::common::measure::float;
        float(answers) / float(self.requests.len() as u64)
    }

    /// Characters of a look's frames, and of those with the silence before each.
    fn characters(&self) -> (u32, f64) {
        let frames = self.requests.iter().map(|block| REQUEST + answer(*block)).sum();
        let silences = u32::try_from(self.requests.len()).unwrap_or(u32::MAX) * 2 * SILENCE;
        (frames, f64::from(frames) + f64::from(silences) / 2.0)
    }

    /// How long a look takes at least.
    pub(crate) fn look(&self) -> Duration {
        line().character().mul_f64(self.characters().1)
    }

    /// How long one takes for whoever leaves no silence before a request.
    pub(crate) fn look_without_gap(&self) -> Duration {
        let (frames, all) = self.characters();
        line().character().mul_f64(f64::midpoint(f64::from(frames), all))
    }

    /// How much of the time somebody talks at best.
    pub(crate) fn busy(&self) -> f64 {
        let (frames, all) = self.characters();
        f64::from(frames) / all
    }
}

/// How many characters an answer has.
fn answer(block: Block) -> u32 {
    let count = u32::from(block.count());
    AROUND + if block.table().is_bits() { count.div_ceil(8) } else { count * 2 }
}

fn built_in() -> Outcome<&'static str> {
    let mut all = BUILT_IN.iter();
    let (_, text) = all.find(|(name, _)| *name == BUILT_IN_NAME).ok_or("it is not built in")?;
    Ok(text)
}

/// The line.
pub(crate) fn line() -> LineSettings {
    LineSettings { baud: BAUD, bits_per_byte: BITS, ..LineSettings::default() }
}

/// The serial number of a unit.
pub(crate) fn serial(unit: u8) -> u32 {
    80_000 + u32::from(unit)
}
