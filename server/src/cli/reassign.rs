//! `reassign`: shows whose a controller is, asks, gives it to another gateway, shows it again.

use serde::Serialize;

use super::{Console, Failed, Reassign as Args, output};
use crate::api::controller::{Ownership, Reassign, Reassigned};
use crate::site::Member;

#[derive(Serialize)]
struct Done<'a> {
    server: &'a str,
    #[serde(flatten)]
    result: Reassigned,
    before: Ownership,
    after: Ownership,
}

pub(super) async fn reassign(args: Args) -> Result<(), Failed> {
    let Args { reading, controller, to, yes } = args;
    let console = Console::open(&reading.dir)?;
    let member = console.member(reading.server.as_deref())?;
    let request = Reassign { controller, to };
    let before = owner(&console, &member, &request).await?;
    if !reading.json {
        show(&before)?;
    }
    if !yes {
        let Reassign { controller, to } = &request;
        let from = &before.gateway;
        output::confirm(
            "reassign",
            &format!(
                "\nFrom then on gateway {from} is refused with all that it sends, for as long as \
                 it holds undelivered transactions of {controller}.\n\
                 Give {controller} from gateway {from} to gateway {to}?"
            ),
        )?;
    }
    let result: Reassigned = console
        .client
        .post(&member.address, "/v1/admin/reassign", &request)
        .await
        .map_err(|error| Failed::at(&member, error))?;
    let after = owner(&console, &member, &request).await?;
    if reading.json {
        let done = Done { server: &member.name, result, before, after };
        return output::json("postern-server.reassign.v1", &done);
    }
    if !result.changed {
        output::say("Nothing changed.")?;
    }
    show(&after)
}

async fn owner(
    console: &Console,
    member: &Member,
    request: &Reassign,
) -> Result<Ownership, Failed> {
    let path = format!("/v1/admin/controllers/{}", request.controller);
    console.client.get(&member.address, &path).await.map_err(|error| Failed::at(member, error))
}

fn show(Ownership { controller, gateway }: &Ownership) -> Result<(), Failed> {
    output::say(&format!("Controller {controller} belongs to gateway {gateway}."))
}
