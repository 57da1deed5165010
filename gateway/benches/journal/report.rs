//! The goals.

use crate::common::report::Goal::{self, AtLeast, AtMost};
pub(crate) use crate::common::report::{Report, short};

/// The goals, by key, and what the figure says.
pub(crate) const GOALS: [(&str, Goal, &str); 11] = [
    ("append_256_vs_limit", AtLeast(0.5), "256 a commit, one append at a time, of the limit"),
    ("append_1024_vs_limit", AtLeast(0.5), "1,024 a commit, one append at a time, of the limit"),
    ("append_1024_vs_sqlite", AtLeast(2.0), "1,024 a commit, times SQLite as a ring"),
    ("lone_vs_fdatasync", AtMost(2.0), "a lone durable append, times a raw fdatasync"),
    ("syncs_per_commit", AtMost(1.0), "syncs of a commit"),
    ("group_64_vs_fdatasync", AtLeast(8.0), "64 appenders, times the raw fdatasync rate"),
    ("bytes_per_transaction_at_20", AtMost(7.0 * 1024.0), "bytes written of each at 20/s"),
    ("ring_file_growth", AtMost(1.0), "file size at the end of the ring run, times at its begin"),
    ("reopen_1m_s", AtMost(0.5), "seconds from SIGKILL to the first append, a million behind"),
    ("drain_vs_append", AtLeast(5.0), "drain, times the append rate at 1,024 a commit"),
    ("resident_mib_1m_backlog", AtMost(64.0), "MiB resident, a million behind (journal alone)"),
];
