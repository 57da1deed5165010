//! Two processes with one identity, as after a machine was cloned. Pure.
//!
//! Every process draws a number at its start and says it with each message. The process that began to speak
//! last is heard; one that was heard before it is refused from then on.

use std::collections::{BTreeMap, VecDeque};

/// How many earlier sessions of a voter are known: restarts within the life of this process that could
/// still have a message under way.
const MAX_EARLIER: usize = 8;

/// The sessions of the other voters, by name.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<String, Heard>);

#[derive(Debug)]
struct Heard {
    present: u128,
    earlier: VecDeque<u128>,
    refused: u64,
}

impl Sessions {
    /// Whether a message of this session is to be heard; if not, how many were not so far. Names are those of
    /// configured voters alone.
    pub(super) fn hear(&mut self, name: &str, session: u128) -> Result<(), u64> {
        let heard = self.0.entry(name.to_owned()).or_insert_with(|| Heard {
            present: session,
            earlier: VecDeque::new(),
            refused: 0,
        });
        if heard.present == session {
            return Ok(());
        }
        if heard.earlier.contains(&session) {
            heard.refused = heard.refused.saturating_add(1);
            return Err(heard.refused);
        }
        heard.earlier.push_back(std::mem::replace(&mut heard.present, session));
        if heard.earlier.len() > MAX_EARLIER {
            heard.earlier.pop_front();
        }
        Ok(())
    }

    /// How many messages of earlier sessions were refused, by name, where any were.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        let refused = self.0.iter().filter(|(_, heard)| heard.refused > 0);
        refused.map(|(name, heard)| (name.clone(), heard.refused)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_heard_until_a_newer_one_of_the_same_name_is() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.hear("b", 1), Ok(()));
        assert_eq!(sessions.hear("b", 1), Ok(()));
        assert_eq!(sessions.hear("w", 9), Ok(()));
        assert_eq!(sessions.hear("b", 2), Ok(()));
        assert_eq!(sessions.hear("b", 2), Ok(()));
        assert!(sessions.refused().is_empty());
        assert_eq!(sessions.hear("b", 1), Err(1));
        assert_eq!(sessions.hear("b", 1), Err(2));
        assert_eq!(sessions.hear("b", 2), Ok(()));
        assert_eq!(sessions.hear("w", 9), Ok(()));
        assert_eq!(sessions.refused(), BTreeMap::from([("b".into(), 2)]));
    }

    #[test]
    fn what_is_known_of_earlier_sessions_is_bounded() {
        let mut sessions = Sessions::default();
        for session in 0..1_000 {
            assert_eq!(sessions.hear("b", session), Ok(()));
        }
        assert_eq!(sessions.0["b"].earlier.len(), MAX_EARLIER);
        assert!(sessions.hear("b", 998).is_err());
    }
}
