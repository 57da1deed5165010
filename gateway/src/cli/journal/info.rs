//! How long the medium lasts.

use std::num::NonZeroU32;

use serde_json::{Value, json};

/// Terabytes that may be written to a small industrial eMMC or SD card, by common data sheets.
pub(super) const ENDURANCE_TBW: f64 = 20.0;

/// What a commit writes where nothing was measured. Each transaction has one of its own, unless there
/// is a ceiling of syncs a second below the rate: then several share it.
const COMMIT_BYTES: f64 = 33_000.0;

const SECONDS_A_YEAR: f64 = 365.0 * 86_400.0;

/// Adds the years of life at the present rate: endurance / (bytes a transaction x rate). `ceiling` is the
/// configured one of syncs a second.
pub(super) fn wear(info: &mut Value, endurance_tbw: f64, ceiling: Option<NonZeroU32>) {
    let measured = info["bytes_per_transaction"].as_f64();
    let rate = info["rate_per_s"].as_f64().filter(|rate| *rate > 0.0);
    let commits =
        ceiling.zip(rate).map_or(1.0, |(ceiling, rate)| (f64::from(ceiling.get()) / rate).min(1.0));
    let each = measured.unwrap_or(COMMIT_BYTES * commits);
    let years = rate.map(|rate| endurance_tbw * 1e12 / (each * rate * SECONDS_A_YEAR));
    info["bytes_per_transaction"] = json!(each);
    info["bytes_per_transaction_measured"] = json!(measured.is_some());
    info["endurance_tbw"] = json!(endurance_tbw);
    info["flash_years"] = json!(years);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_lone_swipes_a_second_wear_a_small_card_out_within_a_year() {
        let mut info = json!({ "rate_per_s": 20.0, "bytes_per_transaction": null });
        wear(&mut info, ENDURANCE_TBW, None);
        let years = info["flash_years"].as_f64().unwrap();
        assert!((0.9..1.0).contains(&years), "{years}");
        assert_eq!(info["bytes_per_transaction_measured"], false);
        let mut idle = json!({ "rate_per_s": 0.0, "bytes_per_transaction": 6_600.0 });
        wear(&mut idle, ENDURANCE_TBW, None);
        assert_eq!(idle["flash_years"], Value::Null);
    }

    #[test]
    fn a_ceiling_of_syncs_spares_the_medium_above_it_alone() {
        for (rate, bytes) in [(20.0, 6_600.0), (4.0, 33_000.0), (0.5, 33_000.0)] {
            let mut info = json!({ "rate_per_s": rate, "bytes_per_transaction": null });
            wear(&mut info, ENDURANCE_TBW, NonZeroU32::new(4));
            assert_eq!(info["bytes_per_transaction"], bytes, "at {rate} a second");
        }
    }
}
