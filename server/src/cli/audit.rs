//! `audit`: who changed what, and alarms.

use clap::Args;

use super::asked::ZoneOption;
use super::{Failed, Source, output};

#[derive(Args)]
pub(super) struct Arguments {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    /// How many at most
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5_000), value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Begin after this line
    #[arg(long, default_value_t = 0, value_name = "ID")]
    after: u64,
    #[command(flatten)]
    zone: ZoneOption,
}

pub(super) async fn audit(source: &Source, arguments: Arguments) -> Result<(), Failed> {
    let Arguments { json, limit, after, zone } = arguments;
    let page = source.audit(after, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    if json {
        return output::json("postern-server.audit.v1", &source.answer(page));
    }
    let zone = zone.of(source);
    let rows = page.items.iter().map(|item| {
        let at = item.at.as_deref().and_then(|at| zone.show_text(at));
        vec![
            item.id.to_string(),
            at.unwrap_or_else(|| "-".to_owned()),
            item.actor.clone(),
            item.event.clone(),
            item.subject.clone(),
            item.detail.clone(),
        ]
    });
    let summary = match page.next {
        Some(next) => format!("{} lines; more with --after {next}.", page.items.len()),
        None => format!("{} lines.", page.items.len()),
    };
    output::table(&["ID", "AT", "WHO", "EVENT", "SUBJECT", "DETAIL"], rows.collect(), &summary)
}
