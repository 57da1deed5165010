//! How late transactions came: counts and percentiles by gateway and controller, and the worst.
//!
//! Three clocks take part: the controller's says when something happened, the gateway's when it was
//! received, the server's when it was stored. How late something is compared with when it happened is
//! said only where that time can be trusted; how long it took from gateway to server, of every record.
//! Memory grows with the number of controllers, not of records.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use postern_protocol::{Index, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::store::query::{Delay, Filter, Page, Query, Sort, Span};

/// How far a controller's clock may stand ahead of the gateway's before its time is not believed: two
/// clocks that are kept right are not further apart.
const AHEAD_MS: i64 = 2_000;

/// How many records are read at a time; between two pages others may read.
const PAGE: usize = 20_000;

/// What a report is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateQuery {
    /// Which records.
    pub filter: Filter,
    /// Stored more than this many milliseconds after it happened is late.
    pub over_ms: u64,
    /// How many of the latest are named.
    pub worst: usize,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateReport {
    /// Stored more than this many milliseconds after it happened is late.
    pub over_ms: u64,
    /// Each controller, by gateway.
    pub controllers: Vec<LateGroup>,
    /// Everything together.
    pub total: LateCounts,
    /// What was stored latest after it happened, the worst first.
    pub worst: Vec<LateItem>,
}

/// One controller's records, as one gateway brought them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateGroup {
    /// The gateway.
    pub gateway: String,
    /// The controller.
    pub controller: String,
    /// How many.
    #[serde(flatten)]
    pub counts: LateCounts,
}

/// How many records, and how long they took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateCounts {
    /// Records.
    pub records: u64,
    /// Of these, stored too long after they happened.
    pub late: u64,
    /// Of these, without a time of their own that can be trusted: none was recorded, it lies in an hour
    /// that summer time skips or repeats, or the gateway's clock gave it.
    pub untimed: u64,
    /// Of these, from a clock that stood more than two seconds ahead of the gateway's.
    pub ahead: u64,
    /// From when it happened to when the gateway received it; `None` where nothing was timed.
    pub received_after: Option<Percentiles>,
    /// From when it happened to when this server stored it; `None` where nothing was timed.
    pub stored_after: Option<Percentiles>,
    /// From when the gateway received it to when this server stored it.
    pub delivered_after: Option<Percentiles>,
}

/// Percentiles in milliseconds, each at most 1.6 % too high; the largest is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50_ms: u64,
    pub p95_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// A record that was late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateItem {
    /// Its row in the store.
    pub rowid: u64,
    /// The gateway.
    pub gateway: String,
    /// The controller.
    pub controller: String,
    /// Its number there.
    pub index: Index,
    /// When it happened, RFC 3339 UTC.
    pub occurred: Option<String>,
    /// When the gateway received it.
    pub received: Option<String>,
    /// When this server stored it.
    pub stored_at: Option<String>,
    /// How long after it happened the gateway received it.
    pub received_after_ms: u64,
    /// How long after it happened this server stored it.
    pub stored_after_ms: u64,
}

/// A report in the making: as long as there is a [`Late::query`], its page is to be read and added.
pub struct Late {
    query: Option<Query>,
    over_ms: u64,
    most: usize,
    controllers: BTreeMap<(String, String), Tally>,
    total: Tally,
    worst: BTreeMap<(u64, Reverse<u64>), LateItem>,
}

impl Late {
    /// Nothing counted yet.
    pub fn new(LateQuery { filter, over_ms, worst }: LateQuery) -> Self {
        // In the order in which the span is found.
        let sort = if filter.occurred != Span::default() {
            Sort::Occurred
        } else if filter.stored != Span::default() {
            Sort::Stored
        } else {
            Sort::Row
        };
        Self {
            query: Some(Query { filter, sort, limit: PAGE, ..Query::default() }),
            over_ms,
            most: worst,
            controllers: BTreeMap::new(),
            total: Tally::default(),
            worst: BTreeMap::new(),
        }
    }

    /// What is to be read next.
    pub fn query(&self) -> Option<Query> {
        self.query.clone()
    }

    /// Adds what was read.
    pub fn page(&mut self, Page { items, next }: Page<Delay>) {
        for delay in items {
            self.add(delay);
        }
        self.query = self.query.take().filter(|_| next.is_some());
        if let Some(query) = &mut self.query {
            query.after = next;
        }
    }

    fn add(&mut self, delay: Delay) {
        let times = Times::of(&delay, self.over_ms);
        self.total.add(&times);
        let Delay { row, controller, index, gateway, occurred, received, stored } = delay;
        let key = (gateway.clone(), controller.clone());
        self.controllers.entry(key).or_default().add(&times);
        let Times { known: Known::Times { received_after, stored_after }, .. } = times else {
            return;
        };
        let place = (stored_after, Reverse(row));
        let full = self.worst.len() >= self.most;
        if stored_after == 0
            || full && self.worst.first_key_value().is_none_or(|(low, _)| *low > place)
        {
            return;
        }
        let item = LateItem {
            rowid: row,
            gateway,
            controller,
            index,
            occurred: occurred.and_then(rfc3339),
            received: rfc3339(received),
            stored_at: rfc3339(stored),
            received_after_ms: received_after,
            stored_after_ms: stored_after,
        };
        self.worst.insert(place, item);
        if self.worst.len() > self.most {
            self.worst.pop_first();
        }
    }

    /// What came of it.
    pub fn report(self) -> LateReport {
        let controllers = self.controllers.into_iter().map(|((gateway, controller), tally)| {
            LateGroup { gateway, controller, counts: tally.counts() }
        });
        LateReport {
            over_ms: self.over_ms,
            controllers: controllers.collect(),
            total: self.total.counts(),
            worst: self.worst.into_values().rev().collect(),
        }
    }
}

/// What one record adds.
struct Times {
    known: Known,
    delivered_after: u64,
    late: bool,
}

enum Known {
    Times { received_after: u64, stored_after: u64 },
    Untimed,
    Ahead,
}

impl Times {
    fn of(delay: &Delay, over_ms: u64) -> Self {
        // One clock behind another makes what came at once seem to come before it was sent.
        let between = |from: Timestamp, to: Timestamp| {
            if to > from { to.0.abs_diff(from.0) } else { 0 }
        };
        let Delay { occurred, received, stored, .. } = *delay;
        let known = match occurred {
            None => Known::Untimed,
            Some(at) if at.0.saturating_sub(received.0) > AHEAD_MS => Known::Ahead,
            Some(at) => Known::Times {
                received_after: between(at, received),
                stored_after: between(at, stored),
            },
        };
        let late = matches!(known, Known::Times { stored_after, .. } if stored_after > over_ms);
        Self { known, delivered_after: between(received, stored), late }
    }
}

#[derive(Default)]
struct Tally {
    late: u64,
    untimed: u64,
    ahead: u64,
    received_after: Histogram,
    stored_after: Histogram,
    delivered_after: Histogram,
}

impl Tally {
    fn add(&mut self, times: &Times) {
        match times.known {
            Known::Times { received_after, stored_after } => {
                self.received_after.add(received_after);
                self.stored_after.add(stored_after);
            }
            Known::Untimed => self.untimed += 1,
            Known::Ahead => self.ahead += 1,
        }
        self.late += u64::from(times.late);
        self.delivered_after.add(times.delivered_after);
    }

    fn counts(&self) -> LateCounts {
        let Self { late, untimed, ahead, received_after, stored_after, delivered_after } = self;
        LateCounts {
            records: delivered_after.count,
            late: *late,
            untimed: *untimed,
            ahead: *ahead,
            received_after: received_after.percentiles(),
            stored_after: stored_after.percentiles(),
            delivered_after: delivered_after.percentiles(),
        }
    }
}

/// Counts by size: 64 steps to each doubling, so that a step is at most 1/64 wide.
#[derive(Default)]
struct Histogram {
    steps: BTreeMap<u32, u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    fn add(&mut self, value: u64) {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(7);
        // Below 128 every value is a step; above, its seven leading bits and their place.
        let head = u32::try_from(value >> shift).unwrap_or(u32::MAX);
        *self.steps.entry(shift * 64 + head).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    fn percentiles(&self) -> Option<Percentiles> {
        (self.count > 0).then(|| Percentiles {
            p50_ms: self.at(50),
            p95_ms: self.at(95),
            p99_ms: self.at(99),
            max_ms: self.max,
        })
    }

    /// The least value that so many per cent are not above.
    fn at(&self, percent: u64) -> u64 {
        let wanted = u64::try_from((u128::from(self.count) * u128::from(percent)).div_ceil(100));
        let (wanted, mut seen) = (wanted.unwrap_or(u64::MAX), 0);
        for (step, count) in &self.steps {
            seen += count;
            if seen >= wanted {
                let shift = (step / 64).saturating_sub(1);
                let head = u64::from(step - shift * 64);
                return (head << shift | ((1 << shift) - 1)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests;
