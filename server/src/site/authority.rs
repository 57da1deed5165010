//! The site as its own certificate authority: ECDSA P-256, made by `init`, handed on by `join`.
//!
//! Certificates begin a day before they are made, since clocks at a site's edge are wrong; the
//! authority's lasts ten years, every other three. There is no revocation: whoever lost a key
//! begins a new site, or waits (a later version will carry a list of those shut out).

use std::time::Duration;

use postern_protocol::pki::{PeerIdentity, PeerRole};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use super::{Host, SiteError};
use crate::clock;

/// How far back a certificate begins.
const BACKDATED: Duration = Duration::from_hours(24);

/// How long the authority's certificate lasts.
const AUTHORITY_LIFE: Duration = Duration::from_hours(3_650 * 24);

/// How long every other certificate lasts.
const LEAF_LIFE: Duration = Duration::from_hours(1_095 * 24);

/// A certificate and its key.
pub struct Credential {
    /// The certificate.
    pub certificate: rcgen::Certificate,
    /// The key. Secret.
    pub key: KeyPair,
}

/// The authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl From<rcgen::Error> for SiteError {
    fn from(error: rcgen::Error) -> Self {
        Self::Pki { reason: error.to_string() }
    }
}

impl Authority {
    /// Makes a new authority; its own certificate and key are to be kept.
    pub fn create(site: &str) -> Result<(Self, Credential), SiteError> {
        let params = authority_params(site);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let again = KeyPair::from_pem(&key.serialize_pem())?;
        let authority =
            Self { certificate: certificate.der().clone(), issuer: Issuer::new(params, again) };
        Ok((authority, Credential { certificate, key }))
    }

    /// Takes up an authority from its files.
    pub fn load(
        site: &str,
        certificate: CertificateDer<'static>,
        key_pem: &str,
    ) -> Result<Self, SiteError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self { certificate, issuer: Issuer::new(authority_params(site), key) })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Certifies somebody; `host` is where a server is reached.
    pub fn issue(&self, who: &PeerIdentity, host: Option<Host>) -> Result<Credential, SiteError> {
        let mut params = CertificateParams::default();
        lasting(&mut params, LEAF_LIFE);
        params.distinguished_name = common_name(&who.to_string());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(who.role, PeerRole::Server | PeerRole::Witness) {
            // It is client to its peers, and what it signs is verified for a client's usage.
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.subject_alt_names.push(SanType::URI(who.to_string().try_into()?));
        match host {
            Some(Host::Ip(ip)) => params.subject_alt_names.push(SanType::IpAddress(ip)),
            Some(Host::Dns(name)) => {
                params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
            }
            None => {}
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credential { certificate, key })
    }
}

/// The same for each server of the site: what it issues names its issuer by this.
fn authority_params(site: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    lasting(&mut params, AUTHORITY_LIFE);
    params.distinguished_name = common_name(&format!("Postern site {site}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn lasting(params: &mut CertificateParams, life: Duration) {
    let now = Duration::from_secs(clock::unix_now().as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + life;
}
