//! How long the medium lasts.

use serde_json::{Value, json};

/// Terabytes that may be written to a small industrial eMMC or SD card, by common data sheets.
pub(super) const ENDURANCE_TBW: f64 = 20.0;

/// What a transaction costs where nothing was measured: a commit of its own.
const ESTIMATED_BYTES: f64 = 33_000.0;

const SECONDS_A_YEAR: f64 = 365.0 * 86_400.0;

/// Adds the years of life at the present rate: endurance / (bytes a transaction x rate).
pub(super) fn wear(info: &mut Value, endurance_tbw: f64) {
    let measured = info["bytes_per_transaction"].as_f64();
    let each = measured.unwrap_or(ESTIMATED_BYTES);
    let rate = info["rate_per_s"].as_f64().filter(|rate| *rate > 0.0);
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
        wear(&mut info, ENDURANCE_TBW);
        let years = info["flash_years"].as_f64().unwrap();
        assert!((0.9..1.0).contains(&years), "{years}");
        assert_eq!(info["bytes_per_transaction_measured"], false);
        let mut idle = json!({ "rate_per_s": 0.0, "bytes_per_transaction": 6_600.0 });
        wear(&mut idle, ENDURANCE_TBW);
        assert_eq!(idle["flash_years"], Value::Null);
    }
}
