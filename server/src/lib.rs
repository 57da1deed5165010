//! Postern's server: one of a pair that keeps the transactions of a site's gateways.
//!
//! - [`site`]: the data directory: certificates, configuration, `init`, `join`, `enrol`.
//! - [`role`]: which server is active, under which role term, and what this one may do.
//! - [`coordination`]: the role document by the agreement of three voters, over Raft.
//! - [`liveness`]: leases, what the voters see of each other, and when the role changes by itself.
//! - [`store`]: transactions in `SQLite`, a batch in one commit, answered only after it.
//! - [`api`]: HTTPS with certificates on both sides, specified in `docs/uplink.md`.
//! - [`peer`] and [`failover`]: what the servers say to each other, and the change of the role.
//! - [`backup`]: verified copies of the store, by schedule and on request, and the way back.
//! - [`late`] and [`zone`]: how late transactions came; the times that people read and write.
//! - [`serve`]: all of it together as a running server; [`cli`]: the command line.
//!
//! Arrows point downwards only: `store`, `role::decide` and `liveness` know neither network nor clock; `api`
//! knows `role` and `store`; only `serve` and `cli` know everything.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod coordination;
pub mod exit;
pub mod failover;
pub mod late;
pub mod liveness;
pub mod peer;
pub mod reign;
pub mod replication;
pub mod role;
pub mod serve;
pub mod site;
pub mod store;
pub mod voting;
pub mod witness;
pub mod zone;
