//! Medians and quartiles over the rounds, ratios within a round.

use std::time::Duration;

/// A median, the quartiles around it, the ends, and of how many samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
    pub(crate) most: f64,
    pub(crate) samples: usize,
}

impl Spread {
    /// Of the samples; of none, not a number.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let index = sorted.len().saturating_sub(1) * quarter / 4;
            sorted.get(index).copied().unwrap_or(f64::NAN)
        };
        Self {
            least: at(0),
            low: at(1),
            median: at(2),
            high: at(3),
            most: at(4),
            samples: sorted.len(),
        }
    }
}

/// The ratios of what was measured in the same round.
pub(crate) fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// How many a second.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    float(count) / time.as_secs_f64()
}

/// For ratios and tables, which need no more digits than it keeps.
#[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
