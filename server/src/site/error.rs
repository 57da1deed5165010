//! What can be wrong with a data directory.

use std::io;
use std::path::PathBuf;

use super::{CONFIG, ConfigError, MAX_MEMBERS};
use crate::exit;
use crate::store::StoreError;

/// Why a data directory could not be made, read or changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum SiteError {
    #[error("{} is not empty", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("init never finished in {}", dir.display())]
    Unfinished { dir: PathBuf },
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a certificate or key that can be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{got:?} cannot be the name of a {what}")]
    Name { what: &'static str, got: String },
    #[error("{got:?} is not an address such as server-a.example:7443 or 192.0.2.7:7443")]
    Address { got: String },
    #[error("{got:?} is not an address to listen on such as 0.0.0.0:7443")]
    Listen { got: String },
    #[error("the site has {MAX_MEMBERS} servers already")]
    Full { dir: PathBuf },
    #[error("the site already has a server {what} {got}")]
    Taken { what: &'static str, got: String, dir: PathBuf },
    #[error("the site of {} has one server; a witness is the third of three voters", dir.display())]
    NoSecond { dir: PathBuf },
    #[error("the site has a witness already, {name}")]
    HasWitness { name: String, dir: PathBuf },
    #[error("{} is not a directory of the same site with the same servers", dir.display())]
    OtherSite { dir: PathBuf },
    #[error("{} is the directory of a witness", dir.display())]
    IsWitness { dir: PathBuf },
    #[error("{} is the directory of a server, not of a witness", dir.display())]
    IsServer { dir: PathBuf },
    #[error("the voter's file in {}: {reason}", dir.display())]
    Voter { dir: PathBuf, reason: String },
    #[error("another server is being joined to the one in {}", dir.display())]
    Joining { dir: PathBuf },
    #[error("this server belongs to group {ours}, not {got}")]
    Group { ours: String, got: String },
    #[error("{} exists and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("another process runs on {}", dir.display())]
    Locked { dir: PathBuf },
    #[error("certificates: {reason}")]
    Pki { reason: String },
    #[error("{} holds no role document", dir.display())]
    NoRole { dir: PathBuf },
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl SiteError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotEmpty { .. } => {
                "name a directory that does not exist yet; nothing here was touched".into()
            }
            Self::Name { .. } => "use 1 to 32 of a-z, 0-9 and -".into(),
            Self::Unfinished { .. } => "delete the directory and repeat the command".into(),
            Self::NoSecond { dir } => format!(
                "make the second server first: postern-server init --join {} --name NAME …",
                dir.display()
            ),
            Self::HasWitness { dir, .. } => format!(
                "make it again under its name and address, or take [witness] out of {} and of the other \
                 server's, and stop the old one for good",
                dir.join(CONFIG).display()
            ),
            Self::IsWitness { dir } => {
                format!("run it with `postern-server witness --dir {}`", dir.display())
            }
            Self::IsServer { dir } => {
                format!("run it with `postern-server run --dir {}`", dir.display())
            }
            Self::Full { dir } | Self::Taken { dir, .. } => format!(
                "if that server is gone for good, with every copy of its directory, take it out of \
                 {} and repeat",
                dir.join(CONFIG).display()
            ),
            Self::Joining { .. } => "wait until that is done".into(),
            Self::Exists { .. } => "choose another --out; a bundle holds a secret key".into(),
            Self::Locked { .. } => {
                "stop the other postern-server, or give this one its own --dir".into()
            }
            Self::Config(error) => return error.hint(),
            Self::Unreadable { .. } => {
                "restore the file from a backup, or join the server to its site anew".into()
            }
            Self::NoRole { .. } => "was this directory made by `postern-server init`?".into(),
            Self::Store(error) => return error.hint(),
            Self::Listen { .. } => "an IP address and a port; IPv6 in brackets".into(),
            Self::Address { .. }
            | Self::Io { .. }
            | Self::Group { .. }
            | Self::Pki { .. }
            | Self::OtherSite { .. }
            | Self::Voter { .. } => return None,
        })
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::Joining { .. } => exit::LOCKED,
            Self::Store(error) => error.exit_code(),
            Self::Config(_)
            | Self::Unfinished { .. }
            | Self::Unreadable { .. }
            | Self::NoRole { .. }
            | Self::IsWitness { .. }
            | Self::IsServer { .. }
            | Self::Pki { .. } => exit::CONFIGURATION,
            Self::NotEmpty { .. }
            | Self::Io { .. }
            | Self::Name { .. }
            | Self::Address { .. }
            | Self::Listen { .. }
            | Self::Full { .. }
            | Self::Taken { .. }
            | Self::HasWitness { .. }
            | Self::NoSecond { .. }
            | Self::OtherSite { .. }
            | Self::Voter { .. }
            | Self::Group { .. }
            | Self::Exists { .. } => exit::FAILED,
        }
    }

    pub(super) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
