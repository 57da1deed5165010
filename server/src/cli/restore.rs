//! `restore`: a backup in the place of a lost store.

use std::path::PathBuf;

use clap::Args;

use super::{Failed, output};
use crate::backup::{Order, Restored, restore};
use crate::site::STORE;

#[derive(Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The data directory, with everything but the store; no server may run on it
    #[arg(long)]
    dir: PathBuf,
    /// Keep the store that is there under another name, and put the backup in its place
    #[arg(long)]
    set_aside: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Restore) -> Result<(), Failed> {
    let Restore { from, dir, set_aside, yes, json } = args;
    let store = dir.join(STORE);
    if *set_aside && store.exists() && !yes {
        let question = format!(
            "{} holds a store. What it alone has will be missing.\nPut {} in its place?",
            dir.display(),
            from.display()
        );
        output::confirm("restore", &question)?;
    }
    let done = restore(&Order { from, dir, set_aside: *set_aside })?;
    if *json {
        return output::json("postern-server.restore.v1", &done);
    }
    let Restored { server, store, role_term, backup, set_aside } = done;
    output::say(&format!(
        "Restored {} transactions as store {store}; the backup stood under role term {role_term}.",
        backup.rows.transactions
    ))?;
    if backup.sidecar.is_none() {
        output::say("There was no sidecar: that it is what was backed up could not be told.")?;
    }
    if let Some(path) = set_aside {
        output::say(&format!("The former store is {}.", path.display()))?;
    }
    let dir = dir.display();
    output::say(&format!(
        "No role document names this store: once it runs, server {server} does not act by itself.\n\
         Start it with: postern-server run --dir {dir}\n\
         If no other server is active, then: postern-server failover --to {server} --force --dir {dir}"
    ))
}
