//! Which transactions, as the command line says it: the same for every command that reads them.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use postern_protocol::ControllerId;

use super::{Failed, Source, gateway_name};
use crate::store::query::{Direction, Filter, KINDS, KindWord, Query, QueryError, Sort, Span};
use crate::zone::{End, NoTime, Zone};
use crate::{clock, exit};

/// Which transactions. A TIME is 2026-11-28, 2026-11-28T10:00, either with an offset such as +01:00 or Z,
/// or how long ago, such as -24h or -7d.
#[derive(Args)]
pub(super) struct Filters {
    /// That happened at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// That happened before this time; a date is its first moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// That this server stored at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    stored_from: Option<String>,
    /// That this server stored before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    stored_to: Option<String>,
    /// Of this controller, such as uhppote-405419896
    #[arg(long)]
    controller: Option<ControllerId>,
    /// At the door of this number
    #[arg(long, value_name = "N")]
    door: Option<u8>,
    /// Of this card
    #[arg(long, value_name = "NUMBER")]
    card: Option<u64>,
    /// Of this kind
    #[arg(long, value_parser = kinds(), hide_possible_values = true)]
    kind: Option<KindWord>,
    /// That came by this gateway
    #[arg(long, value_name = "NAME", value_parser = gateway_name)]
    gateway: Option<String>,
    /// That were news when they were stored
    #[arg(long, conflicts_with = "backfill")]
    live: bool,
    /// That came from a backlog
    #[arg(long)]
    backfill: bool,
    #[command(flatten)]
    zone: ZoneOption,
}

#[derive(Args)]
pub(super) struct ZoneOption {
    /// The time zone of what is written and shown, such as Europe/Berlin [default: server.toml's, else the machine's]
    #[arg(long, value_parser = zone)]
    zone: Option<Zone>,
}

/// In which order.
#[derive(Args)]
pub(super) struct Sorting {
    /// Sort by the row in the store, by when it happened, or by when it was stored
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Which come first
    #[arg(long, value_enum)]
    order: Option<Order>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Row,
    Occurred,
    Stored,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    Oldest,
    Newest,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = KindWord> {
    PossibleValuesParser::new(KINDS).try_map(|word| word.parse::<KindWord>())
}

fn zone(text: &str) -> Result<Zone, &'static str> {
    Zone::named(text).ok_or("there is no such zone; write one such as Europe/Berlin or UTC")
}

impl ZoneOption {
    /// The zone that is asked for, or the source's.
    pub(super) fn of(&self, source: &Source) -> Zone {
        self.zone.clone().unwrap_or_else(|| source.zone())
    }
}

impl Filters {
    /// The zone that is asked for, or the source's.
    pub(super) fn zone(&self, source: &Source) -> Zone {
        self.zone.of(source)
    }

    /// As the store takes it.
    pub(super) fn filter(&self, zone: &Zone) -> Result<Filter, Failed> {
        let now = clock::now();
        let time = |option: &str, text: &Option<String>, end| {
            let read = |text: &String| zone.read(text, end, now);
            text.as_ref().map(read).transpose().map_err(|error| {
                Failed::new(exit::USAGE, format!("{option}: {error}"), Some(NoTime::HINT))
            })
        };
        let filter = Filter {
            occurred: Span {
                from: time("--from", &self.from, End::From)?,
                to: time("--to", &self.to, End::To)?,
            },
            stored: Span {
                from: time("--stored-from", &self.stored_from, End::From)?,
                to: time("--stored-to", &self.stored_to, End::To)?,
            },
            controller: self.controller,
            door: self.door,
            card: self.card,
            kind: self.kind,
            gateway: self.gateway.clone(),
            live: (self.live || self.backfill).then_some(self.live),
        };
        check(&Query { filter: filter.clone(), limit: 1, ..Query::default() })?;
        Ok(filter)
    }

    /// The times that were given as how long ago, as the times that they are: a question that goes on
    /// from a cursor has to be the same question.
    pub(super) fn fixed(&self, filter: &Filter) -> String {
        [
            ("--from", &self.from, filter.occurred.from),
            ("--to", &self.to, filter.occurred.to),
            ("--stored-from", &self.stored_from, filter.stored.from),
            ("--stored-to", &self.stored_to, filter.stored.to),
        ]
        .into_iter()
        .filter(|(_, text, _)| text.as_ref().is_some_and(|text| text.trim().starts_with('-')))
        .filter_map(|(option, _, time)| Some(format!("{option} {} ", clock::rfc3339(time?)?)))
        .collect()
    }
}

impl Sorting {
    /// What is asked for; else everything comes by row, a part of it by its time, oldest first, and a
    /// look at some of it newest first.
    pub(super) fn of(&self, filter: &Filter, is_whole: bool) -> (Sort, Direction) {
        let sort = match self.by {
            Some(By::Row) => Sort::Row,
            Some(By::Stored) => Sort::Stored,
            None if is_whole && *filter == Filter::default() => Sort::Row,
            None if filter.occurred == Span::default() && filter.stored != Span::default() => {
                Sort::Stored
            }
            Some(By::Occurred) | None => Sort::Occurred,
        };
        let direction = match self.order {
            Some(Order::Oldest) => Direction::Oldest,
            None if is_whole => Direction::Oldest,
            Some(Order::Newest) | None => Direction::Newest,
        };
        (sort, direction)
    }
}

fn check(query: &Query) -> Result<(), Failed> {
    query.check().map_err(|error| match error {
        QueryError::Span(from, to) => {
            let option = |name: &str| format!("--{}", name.replace('_', "-"));
            let message = format!("{} is not before {}", option(from), option(to));
            let hint = "the end is not counted in: for one day, end at the date of the next";
            Failed::new(exit::USAGE, message, Some(hint))
        }
        QueryError::Limit(_) => Failed::new(exit::USAGE, error.to_string(), None),
    })
}
