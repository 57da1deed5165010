//! `failover`: shows the state before, asks, acts, shows the state after.

use serde::Serialize;

use super::status::{Seen, look, show};
use super::{Console, Failed, Failover as Args, output};
use crate::api::admin::{FailedOver, Failover};

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    result: FailedOver,
    before: Vec<Seen>,
    after: Vec<Seen>,
}

pub(super) async fn failover(args: Args) -> Result<(), Failed> {
    let Args { dir, to, force, yes, json } = args;
    let console = Console::open(&dir)?;
    let target = console.member(Some(&to))?;
    let before = look(&console).await;
    if !json {
        show(&before)?;
    }
    if !yes {
        output::confirm("failover", &question(&to, force))?;
    }
    let request = Failover { to, force };
    let result: FailedOver = console
        .client
        .post(&target.address, "/v1/admin/failover", &request)
        .await
        .map_err(|error| Failed::at(&target, error))?;
    let after = look(&console).await;
    if json {
        let done = Done { result, before, after };
        return output::json("postern-server.failover.v1", &done);
    }
    output::say("")?;
    show(&after)?;
    let FailedOver { changed, active, role_term } = result;
    output::say(&if changed {
        format!("Server {active} has taken the role under role term {role_term}.")
    } else {
        format!("Nothing changed: server {active} was active already, under role term {role_term}.")
    })
}

fn question(to: &str, force: bool) -> String {
    let warning = if force {
        "\nWith --force the role is taken although the other server may still be running. \
         What it alone holds is missing here until the gateways send it again.\n"
    } else {
        ""
    };
    format!("{warning}\nMake server {to} the active one?")
}
