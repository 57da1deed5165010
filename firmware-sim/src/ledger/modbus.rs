//! What Modbus devices showed.
//!
//! Such a device has no log and no clock. What its registers show is gone with the next that it shows, and what
//! nobody looked at was never kept. So a line says what was there to be seen, and by which number, where the device
//! counts; and that a card was lost, where the device itself lost it.

use jiff::Timestamp;
use postern_protocol::ControllerId;
use postern_protocol::transaction::Credential;
use serde::{Deserialize, Serialize};

use crate::record::Raw;

/// Something that a device showed, or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModbusLine {
    /// Whose log it belongs to: the unit's, or that of its reader where that counts.
    pub controller: ControllerId,
    /// How often the device has restarted before.
    pub life: u64,
    /// Where.
    pub source: Source,
    /// What.
    pub what: What,
    /// The device's own number of it, where it counts, from 1 in each life. Its register shows the lowest 16 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Credential>,
    /// The registers that show the card, the high byte of each first: how many bits it has, where the device says
    /// that, and its own; in a ring the whole record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
    /// When it really was.
    pub at: Timestamp,
}

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The device as a whole.
    Device,
    /// The reader of this number, from 1, in the order of the profile.
    Reader(u8),
    /// The door of this number.
    Door(u8),
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The device has its power, for the first time or again: its registers begin anew.
    Started,
    /// A card was swiped; the registers show it.
    CardRead,
    /// A card that nobody had taken was overwritten by the next one, which follows.
    CardLost,
    /// A host cleared the flag of a card.
    CardTaken,
    /// The contact: the door was opened.
    Opened,
    /// It was closed.
    Closed,
    /// The relay: the door may be opened.
    Released,
    /// It may no longer.
    Locked,
    /// The button was pressed.
    Pressed,
    /// It was let go.
    LetGo,
}

impl What {
    /// The word for it, as it stands in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::CardRead => "card-read",
            Self::CardLost => "card-lost",
            Self::CardTaken => "card-taken",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Released => "released",
            Self::Locked => "locked",
            Self::Pressed => "pressed",
            Self::LetGo => "let-go",
        }
    }
}
