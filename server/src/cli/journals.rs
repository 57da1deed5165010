//! `journals`: what is stored of each gateway, and what is missing.

use clap::Args;

use super::{Failed, Source, output};

#[derive(Args)]
pub(super) struct Arguments {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn journals(source: &Source, arguments: Arguments) -> Result<(), Failed> {
    let journals = source.journals().await?;
    if arguments.json {
        return output::json("postern-server.journals.v1", &source.answer(journals));
    }
    let rows = journals.items.iter().map(|item| {
        let holes: Vec<String> =
            item.holes.iter().map(|hole| format!("{}-{}", hole.first, hole.last)).collect();
        vec![
            item.gateway.clone(),
            item.journal.to_string(),
            item.stored.to_string(),
            item.safe.to_string(),
            item.doubles.to_string(),
            item.conflicts.to_string(),
            if holes.is_empty() { "none".to_owned() } else { holes.join(" ") },
        ]
    });
    let summary = format!("{} journals.", journals.items.len());
    let headers = ["GATEWAY", "JOURNAL", "STORED", "SAFE", "DOUBLES", "CONFLICTS", "HOLES"];
    output::table(&headers, rows.collect(), &summary)
}
