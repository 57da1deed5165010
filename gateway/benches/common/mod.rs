//! What the benchmarks share: the machine they ran on, figures with their spread, tables and the file.

pub(crate) mod disk;
pub(crate) mod measure;
pub(crate) mod report;

/// What can go wrong in a benchmark goes wrong for the whole of it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
