//! Where the answers come from: a server over HTTPS, or a store's file. What is asked and how it is shown
//! is the same for both.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Console, Failed};
use crate::api::listing::{AuditPage, Journals, Listing, Transactions};
use crate::api::parameter::{spell, spell_late};
use crate::exit;
use crate::late::{Late, LateQuery, LateReport};
use crate::site::Member;
use crate::store::query::{MAX_ROWS, Query};
use crate::store::{Archive, StoreError};
use crate::zone::Zone;

/// How long an answer may take: a report over ten million records reads each of them.
const PATIENCE: Duration = Duration::from_mins(10);

/// Whom to ask.
pub(super) enum Source {
    /// A running server.
    Server { console: Box<Console>, member: Member },
    /// A file.
    Archive(Box<Archive>),
}

/// An answer with who gave it.
#[derive(Serialize)]
pub(super) struct Answer<'a, T> {
    #[serde(flatten)]
    from: From<'a>,
    #[serde(flatten)]
    value: T,
}

#[derive(Serialize)]
#[serde(untagged)]
enum From<'a> {
    Server { server: &'a str },
    Archive { archive: String, store: String },
}

impl Source {
    /// A server of the site of a data directory.
    pub(super) fn server(dir: &Path, name: Option<&str>) -> Result<Self, Failed> {
        let console = Console::patient(dir, PATIENCE)?;
        let member = console.member(name)?;
        Ok(Self::Server { console: Box::new(console), member })
    }

    /// A file.
    pub(super) fn archive(path: &Path) -> Result<Self, Failed> {
        match Archive::open(path) {
            Ok(archive) => Ok(Self::Archive(Box::new(archive))),
            Err(error @ StoreError::NotAStore { .. }) => {
                // What helps a server is no help here.
                let hint = Some("name a server's store.sqlite, or a whole copy of one".to_owned());
                Err(Failed { hint, ..error.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The site's zone, as far as it is known here.
    pub(super) fn zone(&self) -> Zone {
        let configured = match self {
            Self::Server { console, .. } => console.site.config.zone.clone(),
            Self::Archive(_) => None,
        };
        configured.unwrap_or_else(Zone::system)
    }

    /// For `--json`.
    pub(super) fn answer<T>(&self, value: T) -> Answer<'_, T> {
        let from = match self {
            Self::Server { member, .. } => From::Server { server: &member.name },
            Self::Archive(archive) => From::Archive {
                archive: archive.path().display().to_string(),
                store: archive.name().store,
            },
        };
        Answer { from, value }
    }

    /// A page of transactions.
    pub(super) async fn page(
        &self,
        query: &Query,
        cursor: Option<&str>,
    ) -> Result<Transactions, Failed> {
        match self {
            Self::Server { console, member } => {
                let group = &console.site.config.group;
                let from = match (cursor, query.after) {
                    (Some(cursor), _) => format!("&cursor={}", cursor_of(cursor)?),
                    (None, Some(after)) => format!("&after={}", after.row),
                    (None, None) => String::new(),
                };
                let (asked, limit) = (spell(query), query.limit);
                let path = format!("/v1/groups/{group}/transactions?{asked}&limit={limit}{from}");
                get(console, member, &path).await
            }
            Self::Archive(archive) => {
                let listing = Listing::new(query.clone(), cursor, archive.name())
                    .map_err(|error| Failed::new(exit::USAGE, error.to_string(), Some(AGAIN)))?;
                Ok(listing.answer(archive.list(listing.query())?))
            }
        }
    }

    /// Every page, one after the other, until there are no more or so many rows were seen; `each` is
    /// told whether it is the last.
    pub(super) async fn pages(
        &self,
        mut query: Query,
        mut cursor: Option<String>,
        wanted: Option<usize>,
        mut each: impl FnMut(Transactions, bool) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let mut left = wanted;
        loop {
            query.limit = left.unwrap_or(MAX_ROWS).min(MAX_ROWS);
            let page = self.page(&query, cursor.as_deref()).await?;
            left = left.map(|left| left.saturating_sub(page.items.len()));
            cursor.clone_from(&page.cursor);
            let is_last = cursor.is_none() || left == Some(0);
            each(page, is_last)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// All journals.
    pub(super) async fn journals(&self) -> Result<Journals, Failed> {
        match self {
            Self::Server { console, member } => {
                let path = format!("/v1/groups/{}/journals", console.site.config.group);
                get(console, member, &path).await
            }
            Self::Archive(archive) => Ok(Journals { items: archive.journals()? }),
        }
    }

    /// A page of the audit log.
    pub(super) async fn audit(&self, after: u64, limit: usize) -> Result<AuditPage, Failed> {
        match self {
            Self::Server { console, member } => {
                let path = format!("/v1/admin/audit?after={after}&limit={limit}");
                get(console, member, &path).await
            }
            Self::Archive(archive) => Ok(AuditPage::of(archive.audit(after, limit)?, limit)),
        }
    }

    /// How late things came.
    pub(super) async fn late(&self, asked: LateQuery) -> Result<LateReport, Failed> {
        match self {
            Self::Server { console, member } => {
                let group = &console.site.config.group;
                let path = format!("/v1/groups/{group}/late?{}", spell_late(&asked));
                get(console, member, &path).await
            }
            Self::Archive(archive) => {
                let mut late = Late::new(asked);
                while let Some(query) = late.query() {
                    late.page(archive.delays(&query)?);
                }
                Ok(late.report())
            }
        }
    }

    /// Whether what was read fits together; to be asked before anyone relies on it.
    pub(super) fn check(&self) -> Result<(), Failed> {
        match self {
            Self::Server { .. } => Ok(()),
            Self::Archive(archive) => Ok(archive.check_unchanged()?),
        }
    }
}

const AGAIN: &str = "repeat the question as it was, or begin without a cursor";

/// A cursor is of letters and digits, else it would end up elsewhere in the URL.
fn cursor_of(text: &str) -> Result<&str, Failed> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(text);
    }
    Err(Failed::new(exit::USAGE, "the cursor is not one that was handed out here", Some(AGAIN)))
}

async fn get<T: DeserializeOwned>(
    console: &Console,
    member: &Member,
    path: &str,
) -> Result<T, Failed> {
    console.client.get(&member.address, path).await.map_err(|error| Failed::at(member, error))
}
