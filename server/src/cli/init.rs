//! `init`: makes the data directory of a server or of the witness.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failed, output};
use crate::exit;
use crate::site::{self, First, Second, Site};

#[derive(Args)]
pub(super) struct Init {
    /// The data directory to make
    #[arg(long)]
    dir: PathBuf,
    /// The first server's data directory, to make the second server of its site; of a witness both servers' directories,
    /// as far as they are here
    #[arg(long, conflicts_with_all = ["site", "group"], value_name = "DIR")]
    join: Vec<PathBuf>,
    /// Make the witness: the third voter, without which no failover happens by itself
    #[arg(long, requires = "join")]
    witness: bool,
    /// The site's name
    #[arg(long, required_unless_present = "join")]
    site: Option<String>,
    /// The failover group's name
    #[arg(long, required_unless_present = "join")]
    group: Option<String>,
    /// The server's name
    #[arg(long)]
    name: String,
    /// Where gateways and the other server reach it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Where it listens [default: every IPv4 interface, at the address's port]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
}

pub(super) fn init(args: &Init) -> Result<(), Failed> {
    let Init { dir, join, witness, site, group, name, address, listen } = args;
    let listen = listen.as_deref();
    match join.as_slice() {
        [join, others @ ..] if *witness => {
            let others: Vec<&Path> = others.iter().map(PathBuf::as_path).collect();
            site::join_witness(dir, &Second { join, name, address, listen }, &others)?;
            return made_witness(args, &Site::open(dir)?);
        }
        [_, _, ..] => {
            let hint = "name the first server's directory alone; only a witness joins both";
            return Err(Failed::new(exit::USAGE, "--join was given more than once", Some(hint)));
        }
        [join] => {
            site::join(dir, &Second { join, name, address, listen })?;
            output::say(&format!(
                "Made server {name} in {}; {} knows it now. A running server finds out by itself.",
                dir.display(),
                join.display()
            ))?;
            output::say(
                "Gateways that were enrolled before do not know its address: enrol them anew.",
            )?;
        }
        [] => {
            // clap requires both where there is no --join.
            let (site, group) = (site.as_deref().unwrap_or(""), group.as_deref().unwrap_or(""));
            site::init(dir, &First { site, group, name, address, listen })?;
            output::say(&format!("Made site {site} with server {name} in {}.", dir.display()))?;
        }
    }
    output::say(&format!("Start it with: postern-server run --dir {}", dir.display()))
}

fn made_witness(args: &Init, site: &Site) -> Result<(), Failed> {
    let Init { dir, name, join, .. } = args;
    output::say(&format!("Made witness {name} in {}.", dir.display()))?;
    if let (Some(witness), [_]) = (&site.config.witness, join.as_slice()) {
        output::say(&format!(
            "Add this to the other server's server.toml:\n{}",
            witness.to_toml()
        ))?;
    }
    output::say("A server that runs has to be started again to know it.")?;
    output::say(&format!("Start it with: postern-server witness --dir {}", dir.display()))?;
    output::say(
        "Once all three run: postern-server rules --dir DIR --mode automatic lets the standby take over by itself.",
    )
}
