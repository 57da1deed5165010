//! The leader's verdict on a claim that a server makes by itself, before it changes the document.

use std::fmt;
use std::time::Duration;

use postern_protocol::RoleTerm;

use super::{Sight, Silence, Timing};
use crate::role::decide::Because;

/// A claim, and what the leader knows that bears on it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Why the claimant says that it may.
    pub because: Because,
    /// The role term that the claim is to end.
    pub against: RoleTerm,
    /// The role term of the applied document.
    pub present: RoleTerm,
    /// How long the leader has not heard of that reign's holder.
    pub silence: Silence,
    /// What a second voter beside the claimant sees of the active server; `None` where there was no
    /// answer. See [`second`].
    pub second: Option<Sight>,
}

/// What a second voter beside the claimant sees of the active server: the leader itself, or where it
/// leads because it is the claimant, the third voter. A leader that is the active server sees itself.
pub fn second(
    leader: &str,
    claimant: &str,
    active: &str,
    own: Sight,
    third: Option<Sight>,
) -> Option<Sight> {
    if leader == active {
        Some(Sight::Connected)
    } else if leader == claimant {
        third
    } else {
        Some(own)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The document may be changed.
    Allow,
    /// Not yet.
    NotYet {
        /// When it is worth to claim again.
        retry_after: Duration,
        /// Why.
        why: NotYetBecause,
    },
    /// Not this claim.
    Never {
        /// Why.
        why: NeverBecause,
    },
}

/// What has still to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYetBecause {
    /// The active server renewed its lease a moment ago.
    Renewed {
        /// Since then.
        ago: Duration,
    },
    /// Another leader may have granted it a lease that still holds.
    MayHold,
    /// No second voter sees that its process ended.
    SeenByOne,
}

impl fmt::Display for NotYetBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renewed { ago } => {
                write!(f, "the active server renewed its lease {} ms ago", ago.as_millis())
            }
            Self::MayHold => f.write_str("the active server may still hold a lease"),
            Self::SeenByOne => {
                f.write_str("no second voter sees that the active server's process ended")
            }
        }
    }
}

/// Why a claim is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverBecause {
    /// The reign that it is to end is not the present one.
    Overtaken {
        /// The present one's role term.
        present: RoleTerm,
    },
}

impl fmt::Display for NeverBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overtaken { present } => {
                write!(f, "role term {present} is in force by now: the claim is against another")
            }
        }
    }
}

/// The verdict. Whether the claimant may become active at all is for `decide`; this is about what
/// only the voters can know.
pub fn judge(case: &Case, timing: &Timing) -> Verdict {
    let Case { because, against, present, silence, second } = *case;
    if against != present {
        return Verdict::Never { why: NeverBecause::Overtaken { present } };
    }
    match because {
        // Nobody else becomes active; and an operator's word stands for what was seen.
        Because::Restarted | Because::Vouched => Verdict::Allow,
        Because::Killed if second.is_some_and(Sight::nobody_listens) => Verdict::Allow,
        // A claim that says what nobody else saw is not allowed for another reason either: it would
        // stand in the document as what it was not, and the dwell time would not have barred it.
        Because::Killed => {
            Verdict::NotYet { retry_after: timing.ask_every, why: NotYetBecause::SeenByOne }
        }
        Because::Expired { .. } => match silence {
            Silence::Expired { .. } => Verdict::Allow,
            Silence::Heard { ago, left } => {
                Verdict::NotYet { retry_after: left, why: NotYetBecause::Renewed { ago } }
            }
            Silence::Waiting { left } => {
                Verdict::NotYet { retry_after: left, why: NotYetBecause::MayHold }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::BootInstant;

    const SECOND: Duration = Duration::from_secs(1);
    const SINCE: BootInstant = BootInstant(SECOND);

    const EXPIRED: Because = Because::Expired { reigned: SECOND };

    fn not_yet(ms: u64, why: NotYetBecause) -> Verdict {
        Verdict::NotYet { retry_after: Duration::from_millis(ms), why }
    }

    /// Every reason with everything that the leader may know.
    #[test]
    fn the_table_of_reasons_and_evidence() {
        use Because::{Killed, Restarted, Vouched};
        use Verdict::Allow;

        let silences = [
            Silence::Heard { ago: SECOND, left: SECOND * 2 },
            Silence::Waiting { left: SECOND * 3 },
            Silence::Expired { silent: SECOND },
        ];
        let sights = [
            None,
            Some(Sight::Never),
            Some(Sight::Connected),
            Some(Sight::Broken { since: SINCE }),
            Some(Sight::Refused { since: SINCE }),
            Some(Sight::Absent { since: SINCE }),
        ];
        for silence in silences {
            for second in sights {
                for because in [EXPIRED, Killed, Restarted, Vouched] {
                    let expected = match (because, silence, second) {
                        (Restarted | Vouched, ..)
                        | (Killed, _, Some(Sight::Refused { .. } | Sight::Absent { .. }))
                        | (Because::Expired { .. }, Silence::Expired { .. }, _) => Allow,
                        (Killed, ..) => not_yet(200, NotYetBecause::SeenByOne),
                        (Because::Expired { .. }, Silence::Heard { .. }, _) => {
                            not_yet(2_000, NotYetBecause::Renewed { ago: SECOND })
                        }
                        (Because::Expired { .. }, Silence::Waiting { .. }, _) => {
                            not_yet(3_000, NotYetBecause::MayHold)
                        }
                    };
                    let (against, present) = (RoleTerm(3), RoleTerm(3));
                    let case = Case { because, against, present, silence, second };
                    assert_eq!(judge(&case, &Timing::NEAR), expected, "{case:?}");
                    let late = Case { present: RoleTerm(4), ..case };
                    let why = NeverBecause::Overtaken { present: RoleTerm(4) };
                    assert_eq!(judge(&late, &Timing::NEAR), Verdict::Never { why }, "{late:?}");
                }
            }
        }
    }

    /// The claimant is one of the two that must see it; a server that leads sees itself.
    #[test]
    fn the_second_voter_is_never_the_claimant() {
        let (own, third) = (Sight::Refused { since: SINCE }, Some(Sight::Never));
        assert_eq!(second("w", "b", "a", own, third), Some(own));
        assert_eq!(second("b", "b", "a", own, third), third);
        assert_eq!(second("b", "b", "a", own, None), None);
        assert_eq!(second("a", "b", "a", own, third), Some(Sight::Connected));
    }
}
