//! Who somebody is, by certificate; and what went wrong with a TLS connection, in words.
//!
//! A site is its own certificate authority. Each certificate carries one identity as a URI name:
//! `postern://SITE/server/NAME`, `postern://SITE/admin/NAME`, `postern://SITE/gateway/GROUP/NAME`.
//! Every connection is TLS 1.3 with certificates on both sides; there is no other way in. Certificates
//! are judged at the time of a [`Floor`], never at that of the clock alone.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::text::ParseError;

mod floor;

pub use floor::{BUILT, Floor};

/// What a certificate's holder may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// One of the servers.
    Server,
    /// The third voter of the servers' coordination store.
    Witness,
    /// An operator.
    Admin,
    /// Whatever asks for health alone, such as a load balancer.
    Monitor,
    /// A gateway of this failover group.
    Gateway {
        /// The group.
        group: String,
    },
}

/// The identity that a certificate carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The site.
    pub site: String,
    /// What it is.
    pub role: PeerRole,
    /// Its name, unique among those of its role and group.
    pub name: String,
}

/// Whether a text can name a site, a group, a server or a gateway: 1 to 32 of `a-z`, `0-9`, `-`.
pub fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, role, name } = self;
        match role {
            PeerRole::Server => write!(f, "postern://{site}/server/{name}"),
            PeerRole::Witness => write!(f, "postern://{site}/witness/{name}"),
            PeerRole::Admin => write!(f, "postern://{site}/admin/{name}"),
            PeerRole::Monitor => write!(f, "postern://{site}/monitor/{name}"),
            PeerRole::Gateway { group } => write!(f, "postern://{site}/gateway/{group}/{name}"),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { expected: "an identity such as postern://site/server/a" };
        let mut parts = text.strip_prefix("postern://").ok_or(error)?.split('/');
        let mut next = || parts.next().filter(|part| is_name(part)).ok_or(error);
        let site = next()?.to_string();
        let role = match next()? {
            "server" => PeerRole::Server,
            "witness" => PeerRole::Witness,
            "admin" => PeerRole::Admin,
            "monitor" => PeerRole::Monitor,
            "gateway" => PeerRole::Gateway { group: next()?.to_string() },
            _ => return Err(error),
        };
        let name = next()?.to_string();
        if parts.next().is_some() { Err(error) } else { Ok(Self { site, role, name }) }
    }
}

/// What a gateway is given when it is enrolled: a JSON file that only its owner may read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The site.
    pub site: String,
    /// The failover group.
    pub group: String,
    /// The gateway's name.
    pub gateway: String,
    /// The servers that may become active for the group.
    pub servers: Vec<ServerAddress>,
    /// The site's certificate authority, DER.
    pub authority: Bytes,
    /// The gateway's certificate, DER.
    pub certificate: Bytes,
    /// The gateway's private key, PKCS #8 DER. Secret.
    pub key: Bytes,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bundle of gateway {} of group {}", self.gateway, self.group)
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAddress {
    /// The server's name.
    pub name: String,
    /// `HOST:PORT`; the host is a name of its certificate.
    pub address: String,
}

/// Why a certificate is not one of this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// The chain does not verify.
    Chain(webpki::Error),
    /// It carries no identity of ours.
    Identity,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(error) => write!(f, "certificate does not verify: {error}"),
            Self::Identity => f.write_str("certificate carries no identity of this product"),
        }
    }
}

impl core::error::Error for CertificateError {}

/// The identity of a certificate whose chain TLS has verified already.
pub fn identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, CertificateError> {
    let cert = EndEntityCert::try_from(certificate).map_err(CertificateError::Chain)?;
    let mut names = cert.valid_uri_names().filter_map(|uri| uri.parse().ok());
    match (names.next(), names.next()) {
        (Some(identity), None) => Ok(identity),
        _ => Err(CertificateError::Identity),
    }
}

/// The identity of a certificate, once it was verified against the site's authority.
pub fn verify(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<PeerIdentity, CertificateError> {
    let cert = EndEntityCert::try_from(certificate).map_err(CertificateError::Chain)?;
    let anchor = anchor_from_trusted_cert(authority).map_err(CertificateError::Chain)?;
    cert.verify_for_usage(
        &[webpki::ring::ECDSA_P256_SHA256],
        &[anchor],
        &[],
        now,
        KeyUsage::client_auth(),
        None,
        None,
    )
    .map_err(CertificateError::Chain)?;
    identity(certificate)
}

/// TLS 1.3 from us to a server of the site, with our own certificate.
pub fn client_config(
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    floor: Floor,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority)?;
    rustls::ClientConfig::builder_with_details(provider, Arc::new(floor))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
}

/// TLS 1.3 of a server of the site: a peer without a certificate of ours gets no further.
pub fn server_config(
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    floor: Floor,
) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority)?;
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    )
    .build()
    .map_err(|error| rustls::Error::General(error.to_string()))?;
    rustls::ServerConfig::builder_with_details(provider, Arc::new(floor))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
}

/// Why a server could not be talked to, told apart for whoever has to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFailure {
    /// Nobody answers there.
    Unreachable(String),
    /// Somebody answers, but does not speak TLS.
    NotTls,
    /// Its certificate is not one of this site for this address.
    WrongCertificate(String),
    /// It does not accept our certificate.
    Refused(String),
    /// It took too long.
    TimedOut,
    /// The connection broke.
    Broken(String),
}

impl LinkFailure {
    /// A stable word for logs, JSON and health.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NotTls => "not_tls",
            Self::WrongCertificate(_) => "wrong_certificate",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timed_out",
            Self::Broken(_) => "broken",
        }
    }

    /// Finds the reason in the chain of causes of an HTTP client's error.
    pub fn of(error: &(dyn core::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        let mut deepest = error.to_string();
        while let Some(error) = cause {
            deepest = error.to_string();
            if let Some(found) = Self::of_one(error) {
                return found;
            }
            // An `io::Error` that wraps another shows it by `get_ref`, not by `source`.
            let inner = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .map(|inner| inner as &(dyn core::error::Error + 'static));
            cause = inner.or_else(|| error.source());
        }
        if deepest.contains("timed out") { Self::TimedOut } else { Self::Broken(deepest) }
    }

    fn of_one(error: &(dyn core::error::Error + 'static)) -> Option<Self> {
        use std::io::ErrorKind;
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "only these three say who is at fault"
            )]
            return Some(match error {
                rustls::Error::InvalidCertificate(reason) => {
                    Self::WrongCertificate(reason.to_string())
                }
                rustls::Error::InvalidMessage(_) => Self::NotTls,
                rustls::Error::AlertReceived(alert) => Self::Refused(alloc::format!("{alert:?}")),
                other => Self::Broken(other.to_string()),
            });
        }
        let io = error.downcast_ref::<std::io::Error>()?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "every other kind is looked at deeper")]
        match io.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => Some(Self::Unreachable(io.to_string())),
            ErrorKind::TimedOut => Some(Self::TimedOut),
            _ => None,
        }
    }
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "nobody answers: {why}"),
            Self::NotTls => f.write_str("what answers there does not speak TLS"),
            Self::WrongCertificate(why) => {
                write!(f, "the certificate there is not this site's for this address: {why}")
            }
            Self::Refused(why) => write!(f, "our certificate is not accepted there: {why}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
        }
    }
}

impl core::error::Error for LinkFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back_and_garbage_does_not() {
        for text in [
            "postern://north/server/a",
            "postern://north/admin/operator",
            "postern://north/gateway/main/hall-2",
        ] {
            let identity: PeerIdentity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
        }
        for text in [
            "https://north/server/a",
            "postern://north/server",
            "postern://north/server/a/b",
            "postern://north/gateway/a",
            "postern://North/server/a",
            "postern://north/root/a",
            "postern:///server/a",
        ] {
            assert!(text.parse::<PeerIdentity>().is_err(), "{text}");
        }
    }
}
