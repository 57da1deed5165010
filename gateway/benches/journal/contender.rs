//! Who is compared.

use std::path::Path;

use crate::Outcome;
use crate::limit::Limit;
use crate::one_key::OneKey;
use crate::ours::Ours;
use crate::sqlite::Sqlite;
use crate::subject::Subject;

/// The contenders, in the order of every table.
pub(crate) const NAMES: [&str; 6] =
    ["limit", "journal", "growing", "one_key", "sqlite_ring", "sqlite"];

/// All of them, new and empty.
pub(crate) fn all(directory: &Path) -> Outcome<[Box<dyn Subject>; NAMES.len()]> {
    Ok([
        Box::new(Limit::create(directory)?),
        Box::new(Ours::in_service(directory)?),
        Box::new(Ours::growing(directory)?),
        Box::new(OneKey::create(directory)?),
        Box::new(Sqlite::in_service(directory)?),
        Box::new(Sqlite::growing(directory)?),
    ])
}
