//! The clock of a controller of the link protocol, as the running gateway knows it: it looks every ten
//! seconds, and a bus has room for nobody else.

use std::path::Path;

use postern_protocol::{ControllerId, Timestamp};
use serde_json::{Value, json};

use super::super::super::{Failure, show};
use crate::control::{Request, client};
use crate::{clock, exit};

/// How the controller is to be reached was said, and that is not for anybody to say.
pub(super) fn not_direct(controller: ControllerId) -> Failure {
    Failure {
        code: exit::USAGE,
        message: format!(
            "{controller} is a controller of the link protocol, to which only the running gateway talks\nhint: leave --address, --timeout-ms and --trace-wire out"
        ),
    }
}

/// The fields with which a report begins.
pub(super) fn report(
    data_dir: &Path,
    controller: ControllerId,
    schema: &str,
) -> Result<Value, Failure> {
    let entry = entry(data_dir, controller)?;
    let mut report = json!({ "schema": schema, "serial": controller.serial });
    for key in ["controller", "address", "transport", "bus", "station"] {
        report[key] = entry[key].clone();
    }
    Ok(report)
}

/// What its clock says.
pub(super) fn clock(data_dir: &Path, controller: ControllerId) -> Result<Value, Failure> {
    of(&entry(data_dir, controller)?, clock::utc()).ok_or_else(|| Failure {
        code: exit::CONTROLLER,
        message: format!(
            "the gateway does not know yet what the clock of {controller} says\nhint: `postern controllers` shows how it stands, `postern status` what is wrong with it"
        ),
    })
}

fn entry(data_dir: &Path, controller: ControllerId) -> Result<Value, Failure> {
    let mut controllers = client::ask_one(data_dir, &Request::Controllers)?;
    let id = json!(controller);
    let known = show::list(&controllers["controllers"]).position(|each| each["controller"] == id);
    let Some(place) = known else {
        return Err(Failure {
            code: exit::CONFIG,
            message: format!(
                "the running gateway has no {controller}\nhint: `postern controllers` shows those that it has; restart it to read its configuration"
            ),
        });
    };
    Ok(controllers["controllers"][place].take())
}

/// By what the gateway found at its last look; `None` where there was none.
fn of(entry: &Value, now: Timestamp) -> Option<Value> {
    let clock = entry["clock"].as_object()?;
    let skew_s = clock.get("skew_s").and_then(Value::as_i64);
    let at = skew_s.map(|skew| clock::text(Timestamp(now.0.saturating_add(skew * 1_000))));
    Some(json!({
        "wall": at,
        // They count in UTC, which stands in the text.
        "zone": null,
        "utc": at,
        "gateway_utc": clock::text(now),
        "skew_s": skew_s,
        "ambiguous": false,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::sentence;
    use super::*;

    #[test]
    fn a_clock_is_told_by_what_the_gateway_saw() {
        let now = Timestamp(1_768_474_800_000);
        let entry = |clock: Value| json!({ "clock": clock });
        assert_eq!(of(&entry(Value::Null), now), None);
        let ahead = of(&entry(json!({ "skew_s": 90, "state": "off" })), now).unwrap();
        assert_eq!(ahead["skew_s"], 90);
        assert_eq!(sentence(&ahead), "2026-01-15T11:01:30Z, 90 s ahead");
        let unset = of(&entry(json!({ "skew_s": null, "state": "needs_operator" })), now).unwrap();
        assert_eq!(sentence(&unset), "never set");
    }
}
