//! How long the site can go on as it stands, and what happens then. Pure: it is asked by `status`.

use postern_protocol::role::{GroupRole, WhenFull};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FULL;

/// What a gateway said of its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Filling {
    /// Which gateway.
    pub gateway: String,
    /// How full, in percent of what may not be forgotten.
    pub percent: u8,
    /// In how many seconds it is full at its present pace if nothing more may be forgotten; `None`
    /// where it does not know.
    pub lasts_s: Option<u64>,
}

/// How the group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As many stores hold each transaction as are to. It can go on like this; how long it lasts is
    /// said for the case that the other server fails now.
    Both,
    /// One store is enough, since there is no other in sync. It can go on like this, and what this
    /// server holds alone is lost with it.
    Alone,
    /// Fewer stores are in sync than must hold a transaction, or one that counts does not follow:
    /// gateways forget nothing.
    Kept,
}

/// What happens at the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The active server goes on alone.
    Alone,
    /// Gateways stop reading, and the controllers' own logs hold what happens.
    Stops,
}

/// How long the site can go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outlook {
    /// How it stands.
    pub standing: Standing,
    /// The gateway whose journal is full first, as far as the active server was told.
    pub first: Option<Filling>,
    /// In how many seconds that comes; `None` where no gateway knows.
    pub lasts_s: Option<u64>,
    /// What happens then.
    pub then: Then,
}

/// The outlook by the document, whether every other store that counts follows, and what gateways said.
pub fn outlook(
    role: &GroupRole,
    all_follow: bool,
    filling: impl IntoIterator<Item = Filling>,
) -> Outlook {
    let in_sync = u8::try_from(role.in_sync.len()).unwrap_or(u8::MAX);
    let standing = if in_sync < role.copies || !all_follow {
        Standing::Kept
    } else if in_sync <= 1 {
        Standing::Alone
    } else {
        Standing::Both
    };
    let (then, end) = match role.when_full {
        WhenFull::Lower => (Then::Alone, FULL),
        WhenFull::Hold => (Then::Stops, 100),
    };
    // Who does not know how long it lasts comes after all who do, the fuller one first.
    let soonest =
        |it: &Filling| (until(it, end).unwrap_or(u64::MAX), 100_u8.saturating_sub(it.percent));
    let first = filling.into_iter().min_by_key(soonest);
    let lasts_s = first.as_ref().and_then(|first| until(first, end));
    Outlook { standing, first, lasts_s, then }
}

/// In how many seconds a journal is so full, in percent.
fn until(Filling { percent, lasts_s, .. }: &Filling, end: u8) -> Option<u64> {
    if *percent >= end {
        return Some(0);
    }
    let (to_end, to_full) =
        (u128::from(end - percent), u128::from(100_u8.saturating_sub(*percent)));
    let seconds = u128::from((*lasts_s)?) * to_end / to_full.max(1);
    Some(u64::try_from(seconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use postern_protocol::role::StoreName;
    use postern_protocol::{RoleTerm, Timestamp};

    use super::*;

    fn role(in_sync: usize, copies: u8, when_full: WhenFull) -> GroupRole {
        let name = |n: usize| StoreName { server: format!("s{n}"), store: format!("{n}") };
        GroupRole {
            in_sync: (0..in_sync).map(name).collect(),
            copies,
            when_full,
            ..GroupRole::founded(name(0), RoleTerm(1), Timestamp(0))
        }
    }

    fn filling(gateway: &str, percent: u8, lasts_s: Option<u64>) -> Filling {
        Filling { gateway: gateway.into(), percent, lasts_s }
    }

    #[test]
    fn each_state_has_its_end() {
        let told = || [filling("hall", 50, Some(1_000)), filling("yard", 0, Some(700))];
        // To 90 %: the hall has 40 of its 50 percent left, the yard 90 of 100.
        let kept = outlook(&role(1, 2, WhenFull::Lower), true, told());
        assert_eq!(
            (kept.standing, kept.lasts_s, kept.then),
            (Standing::Kept, Some(630), Then::Alone)
        );
        assert_eq!(kept.first, Some(told()[1].clone()));
        let hold = outlook(&role(1, 2, WhenFull::Hold), true, told());
        assert_eq!(
            (hold.standing, hold.lasts_s, hold.then),
            (Standing::Kept, Some(700), Then::Stops)
        );
        let both = outlook(&role(2, 2, WhenFull::Lower), true, told());
        assert_eq!((both.standing, both.lasts_s), (Standing::Both, Some(630)));
        // The document still names the other, and it is dead: with one copy wanted as well.
        for copies in [1, 2] {
            let dead = outlook(&role(2, copies, WhenFull::Lower), false, told());
            assert_eq!((dead.standing, dead.lasts_s), (Standing::Kept, Some(630)), "{copies}");
        }
        let alone = outlook(&role(1, 1, WhenFull::Lower), true, told());
        assert_eq!(alone.standing, Standing::Alone);
    }

    #[test]
    fn who_does_not_know_comes_last_and_who_is_full_first() {
        let role = role(1, 2, WhenFull::Lower);
        let told = [filling("new", 3, None), filling("hall", 10, Some(u64::MAX))];
        assert_eq!(outlook(&role, true, told.clone()).first.unwrap().gateway, "hall");
        let full = [filling("yard", 90, None), filling("hall", 89, Some(1))];
        let now = outlook(&role, true, full);
        assert_eq!((now.lasts_s, now.first.unwrap().gateway), (Some(0), "yard".into()));
        let unknown = outlook(&role, true, [filling("one", 3, None), filling("two", 4, None)]);
        assert_eq!((unknown.lasts_s, unknown.first.unwrap().gateway), (None, "two".into()));
        assert_eq!(outlook(&role, true, []).first, None);
    }
}
