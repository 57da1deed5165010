//! `[backup]` in `server.toml`: where backups go, how often, and how many are kept.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

/// How often, where the table does not say.
const EVERY: Duration = Duration::from_hours(24);

/// How many, where the table does not say.
const KEEP: usize = 14;

/// The most that are kept: all of them are looked at for each new one.
const MAX_KEEP: i64 = 10_000;

/// The longest time between two.
const MAX_EVERY: Duration = Duration::from_hours(366 * 24);

/// The units of times, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];

/// The plan of a server's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPlan {
    /// Where they go: an absolute path to a directory that exists.
    pub dir: PathBuf,
    /// How often one is made.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    dir: Spanned<String>,
    every: Option<Spanned<String>>,
    keep: Option<Spanned<i64>>,
}

impl Text {
    /// Checks what was read; the error is a place and what is wrong there.
    pub(super) fn check(&self) -> Result<BackupPlan, (Range<usize>, String)> {
        let dir = Path::new(self.dir.get_ref());
        if !dir.is_absolute() {
            let why = format!("{:?} is no absolute path", self.dir.get_ref());
            return Err((self.dir.span(), why));
        }
        let every = self.every.as_ref().map_or(Ok(EVERY), |every| {
            parse(every.get_ref()).ok_or_else(|| {
                let got = every.get_ref();
                let why = format!(
                    "{got:?} is no time between backups: a number with s, m, h or d such as \
                     \"24h\", at most 366d"
                );
                (every.span(), why)
            })
        })?;
        let keep = self.keep.as_ref().map_or(Ok(KEEP), |keep| {
            let number = keep.get_ref();
            let why = || (keep.span(), format!("{number} cannot be kept: 1 to {MAX_KEEP}"));
            if !(1..=MAX_KEEP).contains(number) {
                return Err(why());
            }
            usize::try_from(*number).map_err(|_| why())
        })?;
        Ok(BackupPlan { dir: dir.to_owned(), every, keep })
    }
}

impl BackupPlan {
    /// As a table of the file.
    pub(super) fn to_toml(&self) -> String {
        let Self { dir, every, keep } = self;
        let dir = toml::Value::String(dir.display().to_string());
        let seconds = every.as_secs();
        let (number, unit) = UNITS
            .into_iter()
            .rev()
            .find(|(_, unit)| seconds % unit == 0)
            .map_or((seconds, "s"), |(name, unit)| (seconds / unit, name));
        format!("\n[backup]\ndir = {dir}\nevery = \"{number}{unit}\"\nkeep = {keep}\n")
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let every = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    (!every.is_zero() && every <= MAX_EVERY).then_some(every)
}
