use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn delay(row: u64, occurred: Option<i64>, received: i64, stored: i64) -> Delay {
    Delay {
        row,
        controller: "uhppote-405419896".into(),
        index: Index(row),
        gateway: "hall".into(),
        occurred: occurred.map(|at| Timestamp(NOW + at)),
        received: Timestamp(NOW + received),
        stored: Timestamp(NOW + stored),
    }
}

fn report(delays: impl IntoIterator<Item = Delay>) -> LateReport {
    let mut late = Late::new(LateQuery { filter: Filter::default(), over_ms: 60_000, worst: 2 });
    for delay in delays {
        late.add(delay);
    }
    late.report()
}

#[test]
fn the_latest_are_named_worst_first_and_counted_where_they_are_over() {
    let delays = [(1, 5_000), (2, 600_000), (3, 61_000), (4, 60_000), (5, 90_000)];
    let report = report(delays.map(|(row, stored)| delay(row, Some(0), 1_000, stored)));
    assert_eq!((report.total.records, report.total.late), (5, 3));
    let worst: Vec<_> =
        report.worst.iter().map(|item| (item.rowid, item.stored_after_ms)).collect();
    assert_eq!(worst, [(2, 600_000), (5, 90_000)]);
    assert_eq!(report.worst[0].received_after_ms, 1_000);
    assert_eq!(report.total.received_after.unwrap().max_ms, 1_000);
    assert_eq!(report.total.delivered_after.unwrap().max_ms, 599_000);
    assert_eq!(report.controllers.len(), 1);
    assert_eq!(report.controllers[0].counts, report.total);
}

#[test]
fn times_that_cannot_be_trusted_say_nothing_of_lateness_but_are_counted() {
    let report = report([
        delay(1, None, 0, 4_000),
        delay(2, Some(5_000), 0, 900_000),
        // Within what two right clocks may differ: not late, and no negative time.
        delay(3, Some(1_500), 0, 1_000),
    ]);
    let LateCounts { records, late, untimed, ahead, .. } = report.total;
    assert_eq!((records, late, untimed, ahead), (3, 0, 1, 1));
    assert_eq!(report.total.received_after.unwrap().max_ms, 0);
    assert_eq!(report.total.delivered_after.unwrap().max_ms, 900_000);
    assert!(report.worst.is_empty());
    let nothing = self::report([]);
    assert_eq!((nothing.total.records, nothing.total.stored_after), (0, None));
}

#[test]
fn controllers_are_counted_by_the_gateway_that_brought_them() {
    let other = Delay { gateway: "annex".into(), ..delay(2, Some(0), 0, 0) };
    let report = report([delay(1, Some(0), 0, 0), other, delay(3, Some(0), 0, 0)]);
    let groups = report.controllers.iter().map(|group| (&*group.gateway, group.counts.records));
    assert_eq!(groups.collect::<Vec<_>>(), [("annex", 1), ("hall", 2)]);
}

proptest! {
    #[test]
    fn percentiles_are_never_too_low_and_hardly_too_high(
        mut values in prop::collection::vec(prop_oneof![0_u64..300, any::<u64>()], 1..200),
    ) {
        let mut histogram = Histogram::default();
        for value in &values {
            histogram.add(*value);
        }
        values.sort_unstable();
        for percent in [50_usize, 95, 99, 100] {
            let exact = values[(values.len() * percent).div_ceil(100) - 1];
            let got = histogram.at(u64::try_from(percent).unwrap());
            prop_assert!(got >= exact, "{got} {exact}");
            prop_assert!(u128::from(got - exact) * 64 <= u128::from(exact), "{got} {exact}");
        }
    }
}
