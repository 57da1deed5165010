//! `backup create|list|verify`: through the running server where one runs, else on the files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Console, Failed, output};
use crate::api::backup::{Begin, Begun, Progress};
use crate::backup::{self, BackupError, Kept, Minder, Place, Sidecar, Who};
use crate::clock;
use crate::exit;
use crate::site::{Lock, Site, SiteError};
use crate::store::backup::Depth;
use crate::store::{Audit, Store, snapshot};

/// How often a running server is asked how far it is.
const ASK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(super) enum Backup {
    /// Make a verified backup of the store, whether the server runs or not
    Create(Create),
    /// List the backups in a directory
    List(List),
    /// Check a backup: that it is whole, and what its sidecar says
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Create {
    /// The server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// The file to make; it must not exist [default: a new name in the directory of `[backup]`]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    /// The server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// Where the backups lie [default: the directory of `[backup]`]
    #[arg(long, value_name = "DIR")]
    r#in: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The backup
    file: PathBuf,
    /// Compare every index with its table as well, which takes much longer
    #[arg(long)]
    full: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), code: error.exit_code() }
    }
}

#[derive(Serialize)]
struct Made<'a> {
    path: String,
    backup: &'a Sidecar,
}

pub(super) async fn create(args: Create) -> Result<(), Failed> {
    let Create { dir, out, json } = args;
    let absolute = |path: PathBuf| std::path::absolute(path).map_err(Failed::from);
    let out = out.map(absolute).transpose()?;
    let site = Site::open(&dir)?;
    let (path, sidecar) = match Lock::take(&dir) {
        Err(SiteError::Locked { .. }) => ask(&dir, out).await?,
        Err(error) => return Err(error.into()),
        Ok(lock) => {
            // A server may well be started meanwhile.
            drop(lock);
            make_here(&site, out.as_deref())?
        }
    };
    if json {
        let made = Made { path, backup: &sidecar };
        return output::json("postern-server.backup-create.v1", &made);
    }
    output::say(&format!(
        "Wrote {path}: {} transactions, {} bytes, verified.",
        sidecar.rows.transactions, sidecar.bytes
    ))
}

/// By the running server: it alone keeps its commits from moving a long log.
async fn ask(dir: &Path, out: Option<PathBuf>) -> Result<(String, Sidecar), Failed> {
    let console = Console::open(dir)?;
    let member = console.member(None)?;
    let failed = |error| Failed::at(&member, error);
    let path = "/v1/admin/backups";
    let Begun { number } =
        console.client.post(&member.address, path, &Begin { out }).await.map_err(failed)?;
    loop {
        let Progress { finished, .. } =
            console.client.get(&member.address, path).await.map_err(failed)?;
        match finished {
            Some(outcome) if outcome.number >= number => {
                let Some(sidecar) = outcome.backup else {
                    let message = outcome.error.unwrap_or_default();
                    return Err(Failed { message, hint: outcome.hint, code: exit::FAILED });
                };
                return Ok((outcome.path, sidecar));
            }
            _ => tokio::time::sleep(ASK).await,
        }
    }
}

/// With no server running.
fn make_here(site: &Site, out: Option<&Path>) -> Result<(String, Sidecar), Failed> {
    let (config, store) = (&site.config, site.store_path());
    let Some(place) = Minder::new(&site.dir, config).place(out) else {
        let hint = "name a file with --out, or say in [backup] of server.toml where backups go";
        return Err(Failed::new(exit::FAILED, "nothing says where the backup goes", Some(hint)));
    };
    let who =
        Who { site: config.site.clone(), group: config.group.clone(), server: config.name.clone() };
    let path = place.path().display().to_string();
    let take = |to: &Path, watch: &mut dyn FnMut(snapshot::Progress) -> ControlFlow<()>| {
        snapshot::take(&store, to, watch)
    };
    let made = backup::make(&who, &site.dir, &place, take, &mut |_| ControlFlow::Continue(()));
    let line = match &made {
        Ok(sidecar) => {
            let Sidecar { rows, bytes, .. } = sidecar;
            let detail = format!("{} transactions, {bytes} bytes", rows.transactions);
            Audit::now("operator", "backup", &path, &detail)
        }
        Err(error) => Audit::now("operator", "backup_failed", &path, &error.to_string()),
    };
    let recorded = Store::open(&store, &config.name).and_then(|mut store| store.record_here(&line));
    let sidecar = made?;
    recorded.map_err(BackupError::from)?;
    prune(site, &sidecar, &place)?;
    Ok((path, sidecar))
}

fn prune(site: &Site, made: &Sidecar, place: &Place) -> Result<(), Failed> {
    match &site.config.backup {
        Some(plan) if plan.dir == place.dir => {
            backup::prune(&place.dir, made, plan.keep)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct Listed {
    dir: String,
    backups: Vec<Listing>,
}

#[derive(Serialize)]
struct Listing {
    path: String,
    #[serde(flatten)]
    sidecar: Sidecar,
}

pub(super) fn list(args: List) -> Result<(), Failed> {
    let List { dir, r#in, json } = args;
    let site = Site::open(&dir)?;
    let planned = site.config.backup.map(|plan| plan.dir);
    let Some(place) = r#in.or(planned) else {
        let hint = "name a directory with --in, or say in [backup] of server.toml";
        return Err(Failed::new(exit::FAILED, "nothing says where backups are", Some(hint)));
    };
    let kept = backup::list(&place)?;
    if json {
        let backups = kept
            .into_iter()
            .map(|Kept { path, sidecar, .. }| Listing { path: path.display().to_string(), sidecar })
            .collect();
        let listed = Listed { dir: place.display().to_string(), backups };
        return output::json("postern-server.backup-list.v1", &listed);
    }
    let now = clock::now();
    let rows = kept.iter().map(|Kept { at, sidecar, .. }| {
        vec![
            sidecar.file.clone(),
            age(now.0.saturating_sub(at.0)),
            sidecar.rows.transactions.to_string(),
            sidecar.bytes.to_string(),
            sidecar.role_term.to_string(),
        ]
    });
    let summary = format!("{} backups in {}.", kept.len(), place.display());
    output::table(&["FILE", "AGE", "TRANSACTIONS", "BYTES", "ROLE TERM"], rows.collect(), &summary)
}

pub(super) fn verify(args: &Verify) -> Result<(), Failed> {
    let Verify { file, full, json } = args;
    let depth = if *full { Depth::Indexes } else { Depth::Rows };
    let verified = backup::verify(file, depth)?;
    if *json {
        return output::json("postern-server.backup-verify.v1", &verified);
    }
    let backup::Verified { bytes, rows, role_term, content_sha256, .. } = &verified;
    output::say(&format!(
        "{} is whole: {} transactions, {bytes} bytes, role term {role_term}.",
        file.display(),
        rows.transactions
    ))?;
    output::say(&format!("SHA-256 of its transactions: {content_sha256}"))?;
    output::say(&match &verified.sidecar {
        Some(Sidecar { at, who, .. }) => {
            format!(
                "It is what its sidecar says: of server {} of site {}, {at}.",
                who.server, who.site
            )
        }
        None => "There is no sidecar: that it is what was backed up cannot be told.".to_owned(),
    })
}

/// A span of milliseconds, for people.
pub(super) fn age(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        ..0 => "in the future".to_owned(),
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
