//! The tests that start processes, apart from all others: see `main.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

mod archive;
mod backup;
mod common;
mod process;
