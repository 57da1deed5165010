//! The stable word of what a transaction was, by which listings are asked.

use std::fmt;
use std::str::FromStr;

/// Every word: those of [`postern_protocol::Kind`], and `unreadable` for an entry that this version
/// could not read.
pub const KINDS: [&str; 20] = [
    "granted",
    "denied",
    "door_opened",
    "door_closed",
    "door_forced",
    "door_held",
    "button",
    "button_refused",
    "remote_opened",
    "supervisor_opened",
    "alarm",
    "tamper",
    "power_on",
    "power_failed",
    "controller_reset",
    "clock_set",
    "gap",
    "other",
    "card_read",
    "unreadable",
];

/// The kinds of which a store is full: a few hundred rows in the order of time hold some of them, so
/// they have no index (`by_kind` of the schema leaves out the same ones).
const COMMON: [&str; 5] = ["granted", "denied", "door_opened", "door_closed", "button"];

/// One of [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindWord(&'static str);

impl KindWord {
    /// The word.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The word of a kind as it stands in JSON: the kind itself, or the name of its only member.
    pub fn of(kind: &serde_json::Value) -> Option<Self> {
        let word = match kind.as_str() {
            Some(word) => word,
            None => kind.as_object()?.keys().next()?,
        };
        word.parse().ok()
    }

    /// Whether an index leads to it.
    pub(super) fn is_rare(self) -> bool {
        !COMMON.contains(&self.0)
    }
}

impl FromStr for KindWord {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = KINDS.into_iter().find(|word| *word == text);
        known.map(Self).ok_or_else(|| UnknownKind { got: text.to_owned() })
    }
}

impl fmt::Display for KindWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A word that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind {got:?}")]
pub struct UnknownKind {
    got: String,
}

impl UnknownKind {
    /// What to do next.
    pub fn hint() -> String {
        format!("the kinds are {}", KINDS.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::transaction::{AlarmKind, Continuity, DenyReason, GapReason, ResetCause};
    use postern_protocol::{Index, Kind};

    use super::*;

    /// One of each; a kind that is added stops this from compiling until it stands here.
    fn every_kind() -> Vec<Kind> {
        let gap = postern_protocol::transaction::Gap {
            first: Index(1),
            last: None,
            reason: GapReason::Overwritten,
            continuity: Continuity::Proven,
        };
        let all = vec![
            Kind::Granted,
            Kind::Denied(DenyReason::Host),
            Kind::DoorOpened,
            Kind::DoorClosed,
            Kind::DoorForced,
            Kind::DoorHeld,
            Kind::Button,
            Kind::ButtonRefused(DenyReason::Host),
            Kind::RemoteOpened,
            Kind::SupervisorOpened,
            Kind::Alarm(AlarmKind::Fire),
            Kind::Tamper,
            Kind::PowerOn,
            Kind::PowerFailed,
            Kind::ControllerReset(ResetCause::Reported),
            Kind::ClockSet { step_s: -5 },
            Kind::Gap(gap),
            Kind::Other { code: 7 },
            Kind::CardRead { may_repeat: false },
        ];
        for kind in &all {
            match kind {
                Kind::Granted
                | Kind::Denied(_)
                | Kind::DoorOpened
                | Kind::DoorClosed
                | Kind::DoorForced
                | Kind::DoorHeld
                | Kind::Button
                | Kind::ButtonRefused(_)
                | Kind::RemoteOpened
                | Kind::SupervisorOpened
                | Kind::Alarm(_)
                | Kind::Tamper
                | Kind::PowerOn
                | Kind::PowerFailed
                | Kind::ControllerReset(_)
                | Kind::ClockSet { .. }
                | Kind::Gap(_)
                | Kind::Other { .. }
                | Kind::CardRead { .. } => {}
            }
        }
        all
    }

    #[test]
    fn each_kind_has_its_word_and_each_word_its_kind() {
        let words = every_kind()
            .into_iter()
            .map(|kind| KindWord::of(&serde_json::to_value(kind).unwrap()).unwrap().as_str());
        let words: Vec<_> = words.chain(["unreadable"]).collect();
        assert_eq!(words, KINDS);
        assert!("Granted".parse::<KindWord>().is_err());
        assert_eq!(KindWord::of(&serde_json::json!({})), None);
    }

    /// The schema derives the word from the stored JSON by itself, and leaves the common ones out of
    /// its index.
    #[test]
    fn the_stored_word_and_index_are_these() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::create(&dir.path().join("store.sqlite"), "a").unwrap();
        let schema: String = store
            .connection
            .query_row("SELECT sql FROM sqlite_schema WHERE name = 'by_kind'", [], |row| row.get(0))
            .unwrap();
        let common = COMMON.map(|word| format!("'{word}'")).join(", ");
        assert!(schema.contains(&common), "{schema}");
        for kind in every_kind() {
            let json = serde_json::to_string(&kind).unwrap();
            let insert =
                "INSERT INTO transactions (journal, seq, kind, stored_at, live, raw, digest,
                entry, role_term, flags) VALUES (x'', ?, ?, 0, 0, x'', x'', x'', 0, '')
                RETURNING word";
            let seq = i64::try_from(json.len()).unwrap();
            store.connection.execute("DELETE FROM transactions", []).unwrap();
            let word: String = store
                .connection
                .query_row(insert, rusqlite::params![seq, json], |row| row.get(0))
                .unwrap();
            assert_eq!(word, KindWord::of(&serde_json::from_str(&json).unwrap()).unwrap().as_str());
        }
    }
}
