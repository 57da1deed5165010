//! A server's data directory: who it is, whom it knows, its certificates. Made by [`init`],
//! [`join`] and read by everything else.
//!
//! Invariants: the directory has mode 0700 and every secret in it 0600; `server.toml` is written
//! last, so that a directory without it was never finished; it is replaced atomically; no two
//! servers of a site have one ordinal. No default password or key exists anywhere: every key is
//! made where it is first needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::pki::{self, Floor};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::clock;

mod authority;
mod backup;
mod config;
mod enrol;
mod error;
mod file;
mod init;

pub use authority::Authority;
pub use backup::BackupPlan;
pub use config::{Config, ConfigError, Host, MAX_MEMBERS, Member, Timers, Witness, parse_address};
pub use enrol::{enrol, enrol_monitor};
pub use error::SiteError;
pub use file::Lock;
pub use init::{First, Second, found_voters, init, join, join_witness};

/// The configuration.
pub const CONFIG: &str = "server.toml";
/// The site's certificate authority; its key is `ca.key`.
pub const AUTHORITY: &str = "ca";
/// This server's certificate and key.
pub const SERVER: &str = "server";
/// The operator's certificate and key, which the command line uses.
pub const ADMIN: &str = "admin";
/// The `SQLite` store.
pub const STORE: &str = "store.sqlite";
/// A full copy that is being received.
pub const INCOMING: &str = "store.incoming";
/// Held while a server runs on the directory.
pub const LOCK: &str = "lock";
/// The names that gateways were enrolled under at this server, one to a line.
const ENROLLED: &str = "enrolled";
/// Held while a second server is joined to this one's site.
const JOIN_LOCK: &str = "join.lock";
/// The name of the server whose join was begun and is not finished.
const JOINING: &str = "joining";

/// An opened data directory.
pub struct Site {
    /// Where it is.
    pub dir: PathBuf,
    /// What `server.toml` says.
    pub config: Config,
    /// The site's certificate authority.
    pub authority: CertificateDer<'static>,
    /// The time at which certificates are judged, by all that this opening is used for.
    pub floor: Floor,
}

impl Site {
    /// Reads the configuration and the authority's certificate.
    pub fn open(dir: &Path) -> Result<Self, SiteError> {
        if file::is_unfinished(dir) {
            return Err(SiteError::Unfinished { dir: dir.to_owned() });
        }
        let config = Config::read(&dir.join(CONFIG))?;
        let authority = certificate(dir, AUTHORITY)?;
        let floor = Floor::new(clock::unix_now, &certificate(dir, SERVER)?)
            .map_err(|error| SiteError::Pki { reason: error.to_string() })?;
        Ok(Self { dir: dir.to_owned(), config, authority, floor })
    }

    /// The `SQLite` store's path.
    pub fn store_path(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    /// This server's certificate.
    pub fn certificate(&self) -> Result<CertificateDer<'static>, SiteError> {
        certificate(&self.dir, SERVER)
    }

    /// This server's key.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, SiteError> {
        key(&self.dir, SERVER)
    }

    /// TLS settings of the listening side.
    pub fn accept_config(&self) -> Result<Arc<rustls::ServerConfig>, SiteError> {
        let mut config = pki::server_config(
            self.authority.clone(),
            self.certificate()?,
            self.key()?,
            self.floor.clone(),
        )
        .map_err(|error| SiteError::Pki { reason: error.to_string() })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// TLS settings for talking to servers under the certificate called `who` ([`SERVER`] or
    /// [`ADMIN`]).
    pub fn connect_config(&self, who: &str) -> Result<rustls::ClientConfig, SiteError> {
        pki::client_config(
            self.authority.clone(),
            certificate(&self.dir, who)?,
            key(&self.dir, who)?,
            self.floor.clone(),
        )
        .map_err(|error| SiteError::Pki { reason: error.to_string() })
    }
}

fn certificate(dir: &Path, who: &str) -> Result<CertificateDer<'static>, SiteError> {
    let path = dir.join(format!("{who}.crt"));
    CertificateDer::from_pem_file(&path)
        .map_err(|error| SiteError::Unreadable { path, reason: error.to_string() })
}

fn key(dir: &Path, who: &str) -> Result<PrivateKeyDer<'static>, SiteError> {
    let path = dir.join(format!("{who}.key"));
    PrivateKeyDer::from_pem_file(&path)
        .map_err(|error| SiteError::Unreadable { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
