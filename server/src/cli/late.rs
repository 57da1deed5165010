//! `late`: how long after it happened each record was received and stored.

use clap::Args;
use jiff::SignedDuration;

use super::asked::Filters;
use super::{Failed, Source, output};
use crate::api::parameter::DEFAULT_OVER_MS;
use crate::late::{LateCounts, LateQuery, LateReport, Percentiles};
use crate::zone::Zone;

/// The filters narrow down which records are counted.
#[derive(Args)]
pub(super) struct Arguments {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    /// Late is what was stored more than this after it happened, such as 90s, 5m or 2h [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    over: Option<u64>,
    /// How many of the latest are named
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    worst: u64,
    #[command(flatten)]
    filters: Filters,
}

fn duration(text: &str) -> Result<u64, &'static str> {
    let wrong = "write a duration such as 90s, 5m or 2h";
    let duration: SignedDuration = text.parse().map_err(|_| wrong)?;
    u64::try_from(duration.as_millis()).map_err(|_| wrong)
}

pub(super) async fn late(source: &Source, arguments: Arguments) -> Result<(), Failed> {
    let Arguments { json, over, worst, filters } = arguments;
    let zone = filters.zone(source);
    let filter = filters.filter(&zone)?;
    let over_ms = over.unwrap_or(DEFAULT_OVER_MS);
    let worst = usize::try_from(worst).unwrap_or(usize::MAX);
    let report = source.late(LateQuery { filter, over_ms, worst }).await?;
    if json {
        return output::json("postern-server.late.v1", &source.answer(report));
    }
    source.check()?;
    show(&report, &zone)
}

fn show(report: &LateReport, zone: &Zone) -> Result<(), Failed> {
    let LateReport { over_ms, controllers, total, worst } = report;
    let rows = controllers.iter().map(|group| {
        let counts = &group.counts;
        let LateCounts { records, late, untimed, ahead, .. } = counts;
        let mut row = vec![group.gateway.clone(), group.controller.clone()];
        row.extend([records, late, untimed, ahead].map(u64::to_string));
        for percentiles in [&counts.received_after, &counts.stored_after, &counts.delivered_after] {
            row.extend(three(percentiles.as_ref()));
        }
        row
    });
    let headers = [
        "GATEWAY",
        "CONTROLLER",
        "RECORDS",
        "LATE",
        "UNTIMED",
        "AHEAD",
        "RECEIVED 50%",
        "99%",
        "MAX",
        "STORED 50%",
        "99%",
        "MAX",
        "DELIVERED 50%",
        "99%",
        "MAX",
    ];
    let LateCounts { records, late, untimed, ahead, .. } = total;
    let over = words(*over_ms);
    let summary =
        format!("{records} records, {late} of them stored more than {over} after they happened.");
    output::table(&headers, rows.collect(), &summary)?;
    output::say(
        "RECEIVED by the gateway and STORED by this server after it happened, by the controller's clock; \
         DELIVERED from gateway to server.",
    )?;
    if *untimed > 0 {
        output::say(&format!(
            "{untimed} records have no time of their own to be trusted (none was recorded, summer time \
             makes it doubtful, or the gateway's clock gave it): of them DELIVERED alone is known."
        ))?;
    }
    if *ahead > 0 {
        output::say(&format!(
            "{ahead} records are of clocks more than 2s ahead of the gateway's: of them DELIVERED alone \
             is known. `postern controllers clock SERIAL` shows how far a clock is off."
        ))?;
    }
    if worst.is_empty() {
        return Ok(());
    }
    output::say("")?;
    let shown = |time: &Option<String>| {
        time.as_deref().and_then(|time| zone.show_text(time)).unwrap_or_else(|| "-".to_owned())
    };
    let rows = worst.iter().map(|item| {
        vec![
            item.rowid.to_string(),
            item.gateway.clone(),
            item.controller.clone(),
            item.index.to_string(),
            shown(&item.occurred),
            words(item.received_after_ms),
            words(item.stored_after_ms),
        ]
    });
    let headers =
        ["ROW", "GATEWAY", "CONTROLLER", "INDEX", "OCCURRED", "RECEIVED AFTER", "STORED AFTER"];
    output::table(&headers, rows.collect(), &format!("The {} latest.", worst.len()))
}

fn three(percentiles: Option<&Percentiles>) -> [String; 3] {
    percentiles.map_or_else(
        || ["-", "-", "-"].map(str::to_owned),
        |found| [found.p50_ms, found.p99_ms, found.max_ms].map(words),
    )
}

/// A duration in its two largest units, the smaller where there is any of it.
fn words(ms: u64) -> String {
    let two = |large: u64, unit, small: u64, smaller| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{smaller}"),
    };
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60_000..3_600_000 => two(minutes, 'm', seconds % 60, 's'),
        3_600_000..86_400_000 => two(hours, 'h', minutes % 60, 'm'),
        _ => two(hours / 24, 'd', hours % 24, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_people_say_them() {
        for (text, ms) in [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250)] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for wrong in ["", "5", "-5m", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        let shown = [0, 999, 1_000, 61_000, 300_000, 5_400_000, 90_000_000].map(words);
        assert_eq!(shown, ["0ms", "999ms", "1.0s", "1m1s", "5m", "1h30m", "1d1h"]);
    }
}
