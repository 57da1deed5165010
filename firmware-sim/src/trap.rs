//! A trap: something that happens to a board at the very moment when a host reads an index.
//!
//! Pure; the host asks [`Trap::springs`] before it answers. So a chunk is overwritten, or the log
//! emptied, in the middle of someone's reading, on demand and not by luck.

use postern_protocol::uhppote::Request;
use serde::{Deserialize, Serialize};

/// The most swipes of one trap. They happen while a host waits for its reply: five chunks of a real
/// board take a fraction of any time-out.
pub const MAX_SWIPES: u32 = 10_000;

/// Springs once, just before the reply to get-event of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trap {
    /// Which index, as it stands in the request: 0 asks for the oldest, 4294967295 for the newest.
    pub index: u32,
    /// What happens then.
    pub then: Then,
}

/// What happens when a trap springs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// So many swipes.
    Generate(u32),
    /// The defaults are restored: the log is emptied and begins again at index 1.
    Reset,
}

impl Trap {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self.then {
            Then::Generate(swipes) if swipes > MAX_SWIPES => {
                Err(format!("generate is {swipes}, above {MAX_SWIPES}"))
            }
            Then::Generate(_) | Then::Reset => Ok(()),
        }
    }

    /// Whether this request of the trap's own board springs it.
    pub fn springs(&self, request: &Request) -> bool {
        matches!(request, Request::GetEvent(get) if get.index == self.index)
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::uhppote::message::request;

    use super::*;

    #[test]
    fn it_springs_at_its_index_and_at_nothing_else() {
        let trap = Trap { index: 7, then: Then::Reset };
        let get = |index| Request::GetEvent(request::GetEvent { controller: 1, index });
        assert_eq!(
            [6, 7, 8, 0].map(|index| trap.springs(&get(index))),
            [false, true, false, false]
        );
        assert!(!trap.springs(&Request::GetTime(request::GetTime { controller: 1 })));
    }

    #[test]
    fn it_is_written_as_people_say_it() {
        for (text, then) in [
            (r#"{"index":7,"then":{"generate":48}}"#, Then::Generate(48)),
            (r#"{"index":7,"then":"reset"}"#, Then::Reset),
        ] {
            let trap = Trap { index: 7, then };
            assert_eq!(serde_json::from_str::<Trap>(text).unwrap(), trap);
            assert_eq!(serde_json::to_string(&trap).unwrap(), text);
        }
    }

    #[test]
    fn more_swipes_than_a_host_would_wait_for_are_refused() {
        let trap = |swipes| Trap { index: 1, then: Then::Generate(swipes) };
        assert_eq!(trap(MAX_SWIPES).check(), Ok(()));
        assert!(trap(MAX_SWIPES + 1).check().unwrap_err().starts_with("generate is 10001"));
    }
}
