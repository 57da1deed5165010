//! A latch: it keeps one card, and a flag that says so and is to be cleared. Pure.
//!
//! Invariant 1: it is cleared only after the commit of its record, and only once it was seen to show that card still.
//! What cannot be told is never dropped, and says so (`may_repeat`): a flag that is up when the gateway starts, whose card
//! an earlier run may have kept already; and one that still shows the same card after a clearing of which nobody knows
//! whether it came to pass.

/// How often in a row a latch may show the same card right after it was cleared, until it is taken for one that cannot
/// be: nobody shows a card so often within a few milliseconds.
const MAX_AGAIN: u8 = 3;

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: it was not looked at yet.
    Unknown,
    /// Its flag was down.
    Down,
    /// What it shows is handed on, and not durable yet.
    Kept,
    /// What it shows is durable: the flag is to be cleared.
    Durable,
    /// It was told to be clear, and did not say that it is; or another card was seen meanwhile.
    Unsure,
    /// It said so, and was not looked at since.
    Cleared,
    /// It cannot be cleared: nothing is made of it until its flag is down or it shows something else. It is told to be
    /// clear all the same: what was lost so often was perhaps what told it.
    Stuck,
}

/// See the module. What it shows are its card's registers; a flag without a card shows none.
#[derive(Debug)]
pub(crate) struct Latch {
    state: State,
    shows: Vec<u16>,
    /// How often in a row it showed this right after it was cleared.
    again: u8,
}

impl Latch {
    /// Not looked at yet.
    pub(crate) const fn new() -> Self {
        Self { state: State::Unknown, shows: Vec::new(), again: 0 }
    }

    /// Its flag is down.
    pub(crate) fn on_down(&mut self) {
        *self = Self { state: State::Down, ..Self::new() };
    }

    /// Its flag is up, and it shows this. Where that is to be kept: whether it may be the same once more.
    pub(crate) fn on_up(&mut self, shows: Vec<u16>) -> Option<bool> {
        let is_same = shows == self.shows;
        let may_repeat = match self.state {
            State::Unknown => true,
            State::Kept | State::Durable | State::Stuck if is_same => return None,
            State::Unsure | State::Cleared if is_same => {
                self.again = self.again.saturating_add(1);
                if self.again >= MAX_AGAIN {
                    self.state = State::Stuck;
                    return None;
                }
                true
            }
            State::Down
            | State::Kept
            | State::Durable
            | State::Stuck
            | State::Unsure
            | State::Cleared => false,
        };
        let again = if is_same { self.again } else { 0 };
        *self = Self { state: State::Kept, shows, again };
        Some(may_repeat)
    }

    /// What it showed is durable, or is nothing to be kept.
    pub(crate) fn on_durable(&mut self) {
        if self.state == State::Kept {
            self.state = State::Durable;
        }
    }

    /// Whether it is to be looked at, to be cleared.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(self.state, State::Durable | State::Stuck)
    }

    /// It shows this and is about to be cleared: whether it may be. What is new is for the next look, also where that
    /// shows the card of before: somebody was there meanwhile.
    pub(crate) fn clear(&mut self, shows: &[u16]) -> bool {
        if !self.is_durable() {
            return false;
        }
        // Whatever becomes of it: what is lost may be the answer.
        self.state = State::Unsure;
        self.shows == shows
    }

    /// It says that it is clear.
    pub(crate) fn on_cleared(&mut self) {
        if self.state == State::Unsure {
            self.state = State::Cleared;
        }
    }

    /// It says that it will not be.
    pub(crate) fn on_refused(&mut self) {
        if self.state == State::Unsure {
            self.state = State::Durable;
        }
    }

    /// Whether it was told to be clear, and not looked at since.
    pub(crate) fn was_told(&self) -> bool {
        matches!(self.state, State::Unsure | State::Cleared)
    }

    /// Whether it cannot be cleared.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state == State::Stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(card: u16) -> Vec<u16> {
        vec![0, card]
    }

    /// Kept, durable, and about to be cleared.
    fn clearing(card: u16) -> Latch {
        let mut latch = Latch::new();
        latch.on_down();
        assert_eq!(latch.on_up(shown(card)), Some(false));
        assert!(!latch.clear(&shown(card)), "not before it is durable");
        latch.on_durable();
        assert!(latch.is_durable() && latch.clear(&shown(card)));
        latch
    }

    /// The state it is in, what it shows then, and what is made of that.
    #[test]
    fn each_state_and_what_it_shows() {
        let down = || {
            let mut latch = Latch::new();
            latch.on_down();
            latch
        };
        let kept = || {
            let mut latch = down();
            latch.on_up(shown(7));
            latch
        };
        let durable = || {
            let mut latch = kept();
            latch.on_durable();
            latch
        };
        let cleared = || {
            let mut latch = clearing(7);
            latch.on_cleared();
            latch
        };
        let refused = || {
            let mut latch = clearing(7);
            latch.on_refused();
            latch
        };
        let check = |name: &str, of: &dyn Fn() -> Latch, same: Option<bool>, other| {
            assert_eq!(of().on_up(shown(7)), same, "{name}, the same card");
            assert_eq!(of().on_up(shown(8)), other, "{name}, another card");
            let mut latch = of();
            latch.on_down();
            assert_eq!(latch.on_up(shown(7)), Some(false), "{name}, down and up again");
        };
        check("unknown", &Latch::new, Some(true), Some(true));
        check("down", &down, Some(false), Some(false));
        check("kept", &kept, None, Some(false));
        check("durable", &durable, None, Some(false));
        check("refused", &refused, None, Some(false));
        check("unsure", &|| clearing(7), Some(true), Some(false));
        check("cleared", &cleared, Some(true), Some(false));
    }

    /// A card that came between the commit and the clearing was once wiped out by that.
    #[test]
    fn what_shows_another_card_by_now_is_not_cleared() {
        let mut latch = clearing(7);
        latch.on_refused();
        assert!(!latch.clear(&shown(8)));
        assert_eq!(latch.on_up(shown(8)), Some(false));
    }

    /// It was taken for the one that was kept already.
    #[test]
    fn a_card_that_comes_again_after_another_that_nobody_kept_is_kept() {
        let mut latch = clearing(7);
        latch.on_refused();
        assert!(!latch.clear(&shown(8)));
        assert_eq!(latch.on_up(shown(7)), Some(true));
    }

    #[test]
    fn what_cannot_be_cleared_is_no_stream_of_cards() {
        let mut latch = clearing(7);
        let mut kept = 0;
        for _ in 0..300 {
            latch.clear(&shown(7));
            latch.on_cleared();
            kept += u8::from(latch.on_up(shown(7)).is_some());
            latch.on_durable();
        }
        assert_eq!((kept, latch.is_stuck()), (MAX_AGAIN - 1, true));
        assert_eq!(latch.on_up(shown(8)), Some(false), "another card is one");
        assert!(!latch.is_stuck());
    }
}
