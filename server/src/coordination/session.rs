//! Two processes with one identity, as after a machine was cloned. Pure.
//!
//! Every process draws a number at its start and says it with each message. The process that began to speak
//! last is heard; one that was heard before it is refused from then on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How many earlier sessions of a voter are known: restarts within the life of this process that could
/// still have a message under way.
const MAX_EARLIER: usize = 8;

/// For how long a refusal is told of: each process speaks several times within this, also where the voters are far
/// from each other.
const RECENT: Duration = Duration::from_secs(30);

/// The sessions of the other voters, by name.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<String, Heard>);

#[derive(Debug)]
struct Heard {
    present: u128,
    earlier: VecDeque<u128>,
    refused: u64,
    /// When a message was last refused, by the clock that goes on while the machine sleeps.
    last: Duration,
}

impl Sessions {
    /// Whether a message of this session is to be heard; if not, how many were not so far. Names are those of
    /// configured voters alone.
    pub(super) fn hear(&mut self, name: &str, session: u128, now: Duration) -> Result<(), u64> {
        let heard = self.0.entry(name.to_owned()).or_insert_with(|| Heard {
            present: session,
            earlier: VecDeque::new(),
            refused: 0,
            last: now,
        });
        if heard.present == session {
            return Ok(());
        }
        if heard.earlier.contains(&session) {
            heard.refused = heard.refused.saturating_add(1);
            heard.last = now;
            return Err(heard.refused);
        }
        heard.earlier.push_back(std::mem::replace(&mut heard.present, session));
        if heard.earlier.len() > MAX_EARLIER {
            heard.earlier.pop_front();
        }
        Ok(())
    }

    /// How many messages of earlier sessions were refused, by name, where any were lately: once one of two
    /// processes is stopped, there is nothing to tell any more.
    pub(super) fn refused(&self, now: Duration) -> BTreeMap<String, u64> {
        let lately = |heard: &Heard| heard.refused > 0 && now < heard.last + RECENT;
        let refused = self.0.iter().filter(|(_, heard)| lately(heard));
        refused.map(|(name, heard)| (name.clone(), heard.refused)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_session_is_heard_until_a_newer_one_of_the_same_name_is() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.hear("b", 1, NOW), Ok(()));
        assert_eq!(sessions.hear("b", 1, NOW), Ok(()));
        assert_eq!(sessions.hear("w", 9, NOW), Ok(()));
        assert_eq!(sessions.hear("b", 2, NOW), Ok(()));
        assert_eq!(sessions.hear("b", 2, NOW), Ok(()));
        assert!(sessions.refused(NOW).is_empty());
        assert_eq!(sessions.hear("b", 1, NOW), Err(1));
        assert_eq!(sessions.hear("b", 1, NOW), Err(2));
        assert_eq!(sessions.hear("b", 2, NOW), Ok(()));
        assert_eq!(sessions.hear("w", 9, NOW), Ok(()));
        assert_eq!(sessions.refused(NOW), BTreeMap::from([("b".into(), 2)]));
        // Whoever was refused is gone, or has been restarted.
        assert!(sessions.refused(NOW + RECENT).is_empty());
        assert_eq!(sessions.hear("b", 1, NOW + RECENT), Err(3));
        assert_eq!(sessions.refused(NOW + RECENT), BTreeMap::from([("b".into(), 3)]));
    }

    #[test]
    fn what_is_known_of_earlier_sessions_is_bounded() {
        let mut sessions = Sessions::default();
        for session in 0..1_000 {
            assert_eq!(sessions.hear("b", session, NOW), Ok(()));
        }
        assert_eq!(sessions.0["b"].earlier.len(), MAX_EARLIER);
        assert!(sessions.hear("b", 998, NOW).is_err());
    }
}
