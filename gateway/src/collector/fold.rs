//! The hour that the end of summer time repeats: a wall time in it means two moments, and the order of
//! the records often says which.
//!
//! A record is not older than the one before it, nor newer than the one behind it. Going forward, each
//! gets the earliest moment that this leaves; going back, the latest. Where both are the same, that is
//! the moment. Where they are not, the record stays marked; nothing is guessed.

use postern_protocol::Timestamp;
use postern_protocol::transaction::{Occurred, TimeTrust};

/// The time of a record, and the other moment that it may mean.
pub(super) type Moment = (Occurred, Option<Timestamp>);

/// Resolves what the order resolves. `since`: nothing here is older; `until`: nothing is newer.
pub(super) fn resolve(moments: &mut [Moment], since: Option<Timestamp>, until: Option<Timestamp>) {
    if moments.iter().all(|(occurred, _)| occurred.trust != TimeTrust::Ambiguous) {
        return;
    }
    let mut bound = since;
    let earliest: Vec<_> = moments
        .iter()
        .map(|moment| choose(*moment, &mut bound, false, |at, bound| at >= bound))
        .collect();
    let mut bound = until;
    let latest: Vec<_> = moments
        .iter()
        .rev()
        .map(|moment| choose(*moment, &mut bound, true, |at, bound| at <= bound))
        .collect();
    let both = earliest.into_iter().zip(latest.into_iter().rev());
    for ((occurred, _), (earliest, latest)) in moments.iter_mut().zip(both) {
        if occurred.trust == TimeTrust::Ambiguous && earliest.is_some() && earliest == latest {
            *occurred = Occurred { at: earliest, trust: TimeTrust::Exact, ..*occurred };
        }
    }
}

/// The newest moment among these that is beyond doubt: nothing behind them is older.
pub(super) fn newest(moments: &[Moment]) -> Option<Timestamp> {
    let known = |(occurred, _): &Moment| occurred.at.filter(|_| occurred.trust == TimeTrust::Exact);
    moments.iter().rev().find_map(known)
}

/// The first of a record's moments, in this direction, that the bound allows.
fn choose(
    (occurred, or_at): Moment,
    bound: &mut Option<Timestamp>,
    later_first: bool,
    allows: impl Fn(Timestamp, Timestamp) -> bool,
) -> Option<Timestamp> {
    let at = occurred.at?;
    match occurred.trust {
        // Where it contradicts the bound the clock was set: the bound begins anew.
        TimeTrust::Exact => *bound = Some(at),
        TimeTrust::Ambiguous => {
            let (one, other) = if later_first { (or_at, Some(at)) } else { (Some(at), or_at) };
            let allowed = |at: &Timestamp| bound.is_none_or(|bound| allows(*at, bound));
            *bound = one.filter(allowed).or(other.filter(allowed));
            return *bound;
        }
        // What the gateway saw has no wall time that could mean two.
        TimeTrust::Skipped | TimeTrust::Absent | TimeTrust::Within { .. } | TimeTrust::Before => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use postern_protocol::transaction::TimeSource;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn occurred(at: i64, trust: TimeTrust) -> Occurred {
        Occurred { at: Some(Timestamp(at)), source: TimeSource::Controller, trust }
    }

    /// Minutes past the beginning of the repeated hour; the second pass begins at 60.
    fn wall(minute: i64) -> Moment {
        let at = minute * 60_000;
        (occurred(at, TimeTrust::Ambiguous), Some(Timestamp(at + HOUR)))
    }

    fn exact(minute: i64) -> Moment {
        (occurred(minute * 60_000, TimeTrust::Exact), None)
    }

    /// The minute of each, or nothing where it stays ambiguous.
    fn resolved(
        mut moments: Vec<Moment>,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Vec<Option<i64>> {
        let at = |minute: i64| Timestamp(minute * 60_000);
        resolve(&mut moments, since.map(at), until.map(at));
        let minute = |(occurred, _): &Moment| {
            (occurred.trust == TimeTrust::Exact).then(|| occurred.at.unwrap().0 / 60_000)
        };
        moments.iter().map(minute).collect()
    }

    #[test]
    fn a_wall_time_that_goes_back_parts_the_two_passes() {
        assert_eq!(resolved(vec![wall(50), wall(10)], None, None), [Some(50), Some(70)]);
        let night = vec![exact(-5), wall(20), wall(55), wall(5), wall(40), exact(125)];
        assert_eq!(
            resolved(night, None, None),
            [Some(-5), Some(20), Some(55), Some(65), Some(100), Some(125)]
        );
    }

    #[test]
    fn a_single_record_stays_marked_unless_its_neighbours_tell() {
        assert_eq!(resolved(vec![exact(-5), wall(30), exact(125)], None, None)[1], None);
        assert_eq!(resolved(vec![wall(30)], Some(40), None), [Some(90)]);
        assert_eq!(resolved(vec![wall(30)], None, Some(80)), [Some(30)]);
        assert_eq!(resolved(vec![wall(30)], Some(-10), Some(95)), [None]);
    }

    #[test]
    fn a_clock_that_was_set_back_resolves_nothing() {
        assert_eq!(resolved(vec![exact(200), wall(30)], None, None), [Some(200), None]);
    }

    #[test]
    fn what_was_never_in_doubt_stays_as_it_is() {
        let skipped = (occurred(7, TimeTrust::Skipped), None);
        let mut moments = vec![exact(1), skipped, (Occurred::ABSENT, None), exact(0)];
        let before = moments.clone();
        resolve(&mut moments, Some(Timestamp(0)), None);
        assert_eq!(moments, before);
        assert_eq!(newest(&moments), Some(Timestamp(0)));
    }
}
