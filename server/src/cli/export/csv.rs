//! Transactions as RFC 4180 has it: a header, CRLF, quotes where they have to be.
//!
//! Spreadsheets run a field that begins like a formula, so a text that does is written with a `'` in
//! front. Numbers of ours cannot be anything else and stay numbers.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::store::query::{Item, KindWord};
use crate::zone::Zone;

const COLUMNS: [&str; 22] = [
    "row",
    "occurred",
    "received",
    "stored",
    "time_source",
    "time_trust",
    "gateway",
    "controller",
    "epoch",
    "index",
    "after",
    "kind",
    "detail",
    "door",
    "direction",
    "credential",
    "live",
    "flags",
    "journal",
    "seq",
    "role_term",
    "raw",
];

pub(super) struct Writer<W: Write> {
    out: csv::Writer<W>,
    zone: Zone,
}

impl<W: Write> Writer<W> {
    /// Writes the header; times are to be of `zone`.
    pub(super) fn new(out: W, zone: Zone) -> io::Result<Self> {
        let mut out = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .buffer_capacity(64 * 1_024)
            .from_writer(out);
        out.write_record(COLUMNS)?;
        Ok(Self { out, zone })
    }

    /// Writes a line; `mask` stands for the card where that is not to be written.
    pub(super) fn item(&mut self, item: &Item, mask: Option<String>) -> io::Result<()> {
        let time = |time: &Option<String>| {
            let shown = time.as_deref().and_then(|time| self.zone.show_text(time));
            shown.unwrap_or_default()
        };
        let detail = item.kind.as_object().and_then(|object| object.values().next());
        let card = mask.or_else(|| item.credential.map(|card| card.to_string()));
        let fields: [String; COLUMNS.len()] = [
            item.rowid.to_string(),
            time(&item.occurred),
            time(&item.received),
            time(&item.stored_at),
            word(item.time_source.as_deref()),
            word(item.time_trust.as_deref()),
            word(item.gateway.as_deref()),
            word(item.controller.as_deref()),
            number(item.epoch),
            number(item.index),
            number(item.after),
            word(KindWord::of(&item.kind).map(KindWord::as_str)),
            word(detail.map(plain).as_deref()),
            number(item.door),
            word(item.direction.as_deref()),
            card.unwrap_or_default(),
            item.live.to_string(),
            word(Some(&item.flags.join(" "))),
            item.journal.to_string(),
            item.seq.to_string(),
            item.role_term.to_string(),
            item.raw.clone(),
        ];
        Ok(self.out.write_record(&fields)?)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What there is to say about a kind: a word, or JSON.
fn plain(detail: &serde_json::Value) -> Cow<'_, str> {
    detail.as_str().map_or_else(|| Cow::Owned(detail.to_string()), Cow::Borrowed)
}

/// Numbers and ids, whose text is digits.
fn number<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A text, so that no spreadsheet takes it for a formula.
fn word(text: Option<&str>) -> String {
    match text {
        None => String::new(),
        Some(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) => {
            format!("'{text}")
        }
        Some(text) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
