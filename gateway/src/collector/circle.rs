//! Where a log lies relative to an index. A controller's numbers run in a circle: after its last number
//! comes 1 again, while ours go on. For a log that never comes to its last number this is plain order.

use postern_protocol::Index;

use crate::driver::Bounds;

/// Where the records of a log lie, in our numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Around the index.
    Around,
    /// Beyond it: what the index named is gone.
    Ahead {
        /// The oldest record.
        oldest: Index,
    },
    /// Before it: the index was never reached.
    Behind,
}

/// Where a log lies relative to `index`, if its numbers end with `last`.
pub(super) fn place(bounds: Bounds, index: Index, last: u64) -> Place {
    let number = index.0.saturating_sub(1) % last + 1;
    let length = steps(bounds.oldest.0, bounds.newest.0, last);
    if steps(bounds.oldest.0, number, last) <= length {
        return Place::Around;
    }
    let ahead = steps(number, bounds.oldest.0, last);
    // Half of the circle at most lies ahead; what is further on lies behind.
    if ahead <= last / 2 { Place::Ahead { oldest: Index(index.0 + ahead) } } else { Place::Behind }
}

/// How many steps forward it is from one number to another.
fn steps(from: u64, to: u64, last: u64) -> u64 {
    if to >= from { to - from } else { (last + to).saturating_sub(from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = 0xffff_fffe;

    fn at(oldest: u64, newest: u64, index: u64) -> Place {
        let bounds = Bounds { epoch: None, oldest: Index(oldest), newest: Index(newest) };
        place(bounds, Index(index), LAST)
    }

    #[test]
    fn a_log_that_never_came_to_its_last_number_is_plain_order() {
        assert_eq!(at(10, 20, 15), Place::Around);
        assert_eq!(at(10, 20, 10), Place::Around);
        assert_eq!(at(10, 20, 20), Place::Around);
        assert_eq!(at(10, 20, 9), Place::Ahead { oldest: Index(10) });
        assert_eq!(at(10, 20, 21), Place::Behind);
    }

    #[test]
    fn behind_the_last_number_ours_go_on() {
        // The log holds 4294967290 to 4294967294 and 1 to 5.
        let straddling = |index| at(LAST - 4, 5, index);
        assert_eq!(straddling(LAST - 1), Place::Around);
        assert_eq!(straddling(LAST + 5), Place::Around);
        assert_eq!(straddling(LAST - 5), Place::Ahead { oldest: Index(LAST - 4) });
        assert_eq!(straddling(LAST + 6), Place::Behind);
        // It dropped all that lay before the turn.
        assert_eq!(at(3, 9, LAST - 1), Place::Ahead { oldest: Index(LAST + 3) });
        // The second time round.
        assert_eq!(at(3, 9, LAST + 4), Place::Around);
        assert_eq!(at(3, 9, LAST + 1), Place::Ahead { oldest: Index(LAST + 3) });
    }

    #[test]
    fn a_log_that_was_emptied_near_its_last_number_lies_behind_or_ahead() {
        // Only other evidence (the record at the index) tells this from a turn: the machine asks for it.
        assert_eq!(at(1, 5, LAST - 1), Place::Ahead { oldest: Index(LAST + 1) });
        assert_eq!(at(1, 5, 4_000), Place::Behind);
    }
}
