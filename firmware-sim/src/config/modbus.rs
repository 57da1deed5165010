//! The Modbus units of a configuration, and the profiles that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::{Problem, Profile};
use serde::Deserialize;
use toml::Spanned;

use super::line::Wrong;
use super::{CARDS, Defaults};
use crate::modbus::Setup;

/// The highest unit number on a serial line; behind a TCP port all that a byte has can be.
const MAX_UNIT: u8 = 247;

/// How requests and answers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// By silence, with a checksum: a serial line.
    Rtu,
    /// By a header: a network.
    Tcp,
}

/// One unit.
#[derive(Debug)]
pub struct UnitConfig {
    /// What it is.
    pub setup: Setup,
}

/// A unit, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitTable {
    unit: Spanned<u8>,
    serial: Spanned<u32>,
    profile: Spanned<String>,
    cards: Option<Vec<u32>>,
}

/// The profiles that a file may name: its own, and those that are built in.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    known: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Those that are built in, and these.
    pub(super) fn new(own: BTreeMap<String, Spanned<Profile>>) -> Result<Self, Wrong> {
        let mut known = BTreeMap::new();
        for (name, text) in BUILT_IN {
            let profile = toml::from_str(text).expect("invariant: what is built in is a profile");
            known.insert((*name).to_owned(), profile);
        }
        for (name, profile) in own {
            let place = profile.span();
            if known.contains_key(&name) {
                return Err((
                    place,
                    format!("the profile {name} is built in; give it another name"),
                ));
            }
            let profile = profile.into_inner();
            if let Err(problems) = profile.check() {
                let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
                return Err((place, format!("profile {name}: {}", problems.join("; "))));
            }
            known.insert(name, profile);
        }
        Ok(Self { known })
    }

    fn find(&self, name: &str) -> Result<&Profile, String> {
        self.known.get(name).ok_or_else(|| {
            let names: Vec<_> = self.known.keys().map(String::as_str).collect();
            format!("there is no profile {name}; there are {}", names.join(", "))
        })
    }
}

/// What units are read with.
pub(super) struct UnitReader<'a> {
    pub(super) seed: u64,
    pub(super) defaults: &'a Defaults,
    pub(super) profiles: &'a Profiles,
    /// Of all controllers so far.
    pub(super) serials: &'a mut BTreeSet<u32>,
}

impl UnitReader<'_> {
    pub(super) fn read(
        &mut self,
        framing: Framing,
        tables: Vec<Spanned<UnitTable>>,
    ) -> Result<Vec<UnitConfig>, Wrong> {
        let mut numbers = BTreeSet::new();
        let unit = |table: Spanned<UnitTable>| self.unit(framing, table.into_inner(), &mut numbers);
        tables.into_iter().map(unit).collect()
    }

    fn unit(
        &mut self,
        framing: Framing,
        table: UnitTable,
        numbers: &mut BTreeSet<u8>,
    ) -> Result<UnitConfig, Wrong> {
        let (unit, place) = (*table.unit.get_ref(), table.unit.span());
        let most = match framing {
            Framing::Rtu => MAX_UNIT,
            Framing::Tcp => u8::MAX,
        };
        if !(1..=most).contains(&unit) {
            return Err((place, format!("unit {unit}; expected 1 to {most}")));
        }
        if !numbers.insert(unit) {
            return Err((place, format!("this line has a unit {unit} already")));
        }
        let (serial, place): (u32, Range<usize>) = (*table.serial.get_ref(), table.serial.span());
        super::check_serial(serial, self.serials).map_err(|what| (place, what))?;
        let name = table.profile.get_ref();
        let profile = self.profiles.find(name).map_err(|what| (table.profile.span(), what))?;
        let cards = table.cards.or_else(|| self.defaults.cards.clone());
        let setup = Setup {
            seed: self.seed,
            serial,
            unit,
            profile: profile.clone(),
            cards: cards.unwrap_or_else(|| CARDS.collect()),
        };
        Ok(UnitConfig { setup })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_built_in_makes_sense() {
        let profiles = Profiles::new(BTreeMap::new()).unwrap();
        assert_eq!(profiles.known.len(), BUILT_IN.len());
        for (name, profile) in &profiles.known {
            let plan = profile.check().unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            assert!(plan.requests.len() <= 3, "{name} takes few requests: {:?}", plan.requests);
        }
    }
}
