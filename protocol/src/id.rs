//! Newtypes for identities and numbers that must not be mixed.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::text::ParseError;
use crate::text::{parse_hex, serde_as_text, write_hex};

/// The controller protocols that Postern has drivers for; part of a controller's identity, since
/// serial numbers are unique only within one make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UHPPOTE UT0311-L0x boards over UDP or TCP.
    Uhppote,
    /// Our own link protocol, over serial lines or TCP.
    Link,
    /// Readers and relay boards that speak Modbus, as a profile describes them.
    Modbus,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Uhppote, Self::Link, Self::Modbus];

    /// The word for it, with which a controller's text begins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uhppote => "uhppote",
            Self::Link => "link",
            Self::Modbus => "modbus",
        }
    }

    /// Whether a new journal numbers a controller's records as every other one does. A counter of 16 bits is counted on
    /// where it wraps by who has watched it: only the same record shows that two numbers mean the same.
    pub const fn numbers_go_on(self) -> bool {
        match self {
            Self::Uhppote | Self::Link => true,
            Self::Modbus => false,
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Uhppote => 1,
            Self::Link => 2,
            Self::Modbus => 3,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.tag() == tag)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

/// A door controller: its protocol and the serial number it answers to. Text: `uhppote-405419896`,
/// `link-70001`, `modbus-80001`.
///
/// A reader that counts its events itself, as some of those that speak Modbus do, has a log of its own beside that of the
/// unit it belongs to: `modbus-80001.2` is reader 2 of unit `modbus-80001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerId {
    /// Which protocol's number space the serial number is of.
    pub protocol: Protocol,
    /// The serial number. Of Modbus the lower half; in the upper one the number of the reader whose log it is, or 0.
    pub serial: u64,
}

impl ControllerId {
    /// A UHPPOTE board by its serial number.
    pub const fn uhppote(serial: u32) -> Self {
        // A widening conversion; `From` is not const.
        Self { protocol: Protocol::Uhppote, serial: serial as u64 }
    }

    /// A controller of the link protocol by its serial number.
    pub const fn link(serial: u32) -> Self {
        Self { protocol: Protocol::Link, serial: serial as u64 }
    }

    /// What a Modbus unit shows without a number of its own, by the serial number that it was given.
    pub const fn modbus(serial: u32) -> Self {
        Self::modbus_reader(serial, 0)
    }

    /// A reader of a Modbus unit that counts its events: readers count from 1.
    pub const fn modbus_reader(serial: u32, reader: u8) -> Self {
        Self { protocol: Protocol::Modbus, serial: (reader as u64) << 32 | serial as u64 }
    }

    /// Serial number and reader, of which 0 is none.
    const fn parts(self) -> (u64, u64) {
        match self.protocol {
            Protocol::Uhppote | Protocol::Link => (self.serial, 0),
            Protocol::Modbus => (self.serial & u32::MAX as u64, self.serial >> 32),
        }
    }

    /// Whether its log has numbers of its own. Where it has none, the gateway numbers what it sees, in an epoch that no
    /// other journal goes on with: what was seen cannot be seen again.
    pub const fn numbers_its_records(self) -> bool {
        match self.protocol {
            Protocol::Uhppote | Protocol::Link => true,
            Protocol::Modbus => self.parts().1 > 0,
        }
    }

    /// Whether the lives of its log are told apart by their names alone, however alike their records are: it names them
    /// itself, or nobody but the gateway numbers it.
    pub const fn is_known_by_epoch(self) -> bool {
        match self.protocol {
            Protocol::Uhppote => false,
            Protocol::Link => true,
            Protocol::Modbus => !self.numbers_its_records(),
        }
    }
}

impl fmt::Display for ControllerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (serial, reader) = self.parts();
        write!(f, "{}-{serial}", self.protocol.name())?;
        if reader > 0 { write!(f, ".{reader}") } else { Ok(()) }
    }
}

impl FromStr for ControllerId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected = "a controller such as uhppote-405419896, link-70001 or modbus-80001";
        let error = ParseError { expected };
        let (protocol, serial) = text.split_once('-').ok_or(error)?;
        let protocol = Protocol::from_name(protocol).ok_or(error)?;
        let number = |digits: &str| -> Result<u64, ParseError> {
            // Not "+7", which would be a second text for one controller.
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain).ok_or(error)
        };
        let serial = match protocol {
            Protocol::Uhppote | Protocol::Link => number(serial)?,
            Protocol::Modbus => {
                let half = |digits| u32::try_from(number(digits)?).map_err(|_| error);
                let (serial, reader) = match serial.split_once('.') {
                    None => (half(serial)?, 0),
                    // Not ".0", which would be a second text for the unit.
                    Some((serial, reader)) => match half(reader)? {
                        0 => return Err(error),
                        reader => (half(serial)?, reader),
                    },
                };
                u64::from(reader) << 32 | u64::from(serial)
            }
        };
        Ok(Self { protocol, serial })
    }
}

serde_as_text!(ControllerId, (u8, u64), |id| (id.protocol.tag(), id.serial), |(tag, serial)| Some(
    ControllerId { protocol: Protocol::from_tag(tag)?, serial }
));

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one; the last number stays where it is.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The number before this one; zero stays where it is.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A controller's own number of a transaction. Real logs start at 1; 0 stands for "before the
    /// first".
    Index
}
number! {
    /// A position in a journal: from 1, consecutive. 0 stands for "before the first".
    Seq
}
number! {
    /// The number of a reign, always together with its holder; grows with every change of the
    /// active server of a group, never falls, never repeats.
    RoleTerm
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                parse_hex(text).map(Self).ok_or(ParseError { expected: $what })
            }
        }

        serde_as_text!($name, [u8; 16], |id| id.0, |bytes| Some($name(bytes)));
    };
}

id128! {
    /// One life of a controller's log, named by a random number. Text: 32 hexadecimal digits.
    EpochId, "an epoch of 32 hexadecimal digits"
}
id128! {
    /// A journal, named by the UUID that was made with its file.
    JournalId, "a journal's UUID"
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, byte)| {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write_hex(f, &[*byte])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn ids_read_back_from_their_text() {
        let id = ControllerId::uhppote(405_419_896);
        assert_eq!(id.to_string(), "uhppote-405419896");
        assert_eq!(id.to_string().parse(), Ok(id));
        let id = ControllerId::link(70_001);
        assert_eq!(id.to_string(), "link-70001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(ControllerId::link(7), ControllerId::uhppote(7), "each has its own numbers");
        for (id, text) in [
            (ControllerId::modbus(80_001), "modbus-80001"),
            (ControllerId::modbus_reader(80_001, 2), "modbus-80001.2"),
            (
                ControllerId { serial: u64::MAX, ..ControllerId::modbus(0) },
                "modbus-4294967295.4294967295",
            ),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        assert!(ControllerId::modbus_reader(1, 1).numbers_its_records());
        assert!(!ControllerId::modbus(1).numbers_its_records());
        let journal = JournalId(core::array::from_fn(|i| u8::try_from(i).unwrap() * 17));
        assert_eq!(journal.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(journal.to_string().parse(), Ok(journal));
        let epoch = EpochId([0xa5; 16]);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "uhppote",
            "uhppote-",
            "uhppote-x",
            "other-1",
            "uhppote--1",
            "link",
            "link-",
            "Link-1",
            "link-+1",
            "link-1.2",
            "modbus-",
            "modbus-1.",
            "modbus-4294967296",
            "modbus-1.2.3",
            "modbus-1.0",
        ] {
            let error = text.parse::<ControllerId>().unwrap_err().to_string();
            assert!(
                error.contains("uhppote-405419896, link-70001 or modbus-80001"),
                "{text}: {error}"
            );
        }
        assert!("a5".parse::<EpochId>().is_err());
        assert!("zz".repeat(16).parse::<EpochId>().is_err());
        assert!("00".repeat(17).parse::<EpochId>().is_err());
    }

    #[test]
    fn ids_are_texts_in_json_and_bytes_in_postcard() {
        let id = ControllerId::uhppote(7);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"uhppote-7\"");
        let mut buffer = [0; 16];
        assert_eq!(postcard::to_slice(&id, &mut buffer).unwrap(), &[1, 7]);
        assert_eq!(postcard::from_bytes(&[1, 7]), Ok(id));
        let id = ControllerId::link(7);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"link-7\"");
        assert_eq!(postcard::to_slice(&id, &mut buffer).unwrap(), &[2, 7]);
        assert_eq!(postcard::from_bytes(&[2, 7]), Ok(id));
        for tag in [0, 4, 9] {
            assert!(postcard::from_bytes::<ControllerId>(&[tag, 7]).is_err(), "{tag}");
        }
    }
}
