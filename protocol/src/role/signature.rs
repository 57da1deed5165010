//! Verification of a signed role document. Signing is the servers' business: they have the key.

use alloc::string::String;
use core::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::{MAX_DOCUMENT, RoleDocument, SIGNATURE_DOMAIN, SignedRole};
use crate::pki::{self, PeerRole};

/// Why a role document is not to be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The certificate is not one of a server of this site.
    Signer {
        /// Why.
        reason: String,
    },
    /// The signature is not of this text by this key.
    Signature,
    /// The text is no role document.
    Document,
    /// It is of another site.
    Site {
        /// Which.
        got: String,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer { reason } => {
                write!(f, "role document not signed by a server of this site: {reason}")
            }
            Self::Signature => f.write_str("role document with a wrong signature"),
            Self::Document => f.write_str("role document that cannot be read"),
            Self::Site { got } => write!(f, "role document of another site ({got})"),
        }
    }
}

impl core::error::Error for SignatureError {}

impl SignedRole {
    /// The document, once its signer was found to be a server of `site` under `authority` (DER).
    pub fn verify(
        &self,
        authority: &CertificateDer<'_>,
        site: &str,
        now: UnixTime,
    ) -> Result<RoleDocument, SignatureError> {
        if self.document.len() > MAX_DOCUMENT {
            return Err(SignatureError::Document);
        }
        let der = CertificateDer::from(self.certificate.0.as_slice());
        let signer = pki::verify(&der, authority, now)
            .map_err(|error| SignatureError::Signer { reason: alloc::format!("{error}") })?;
        if signer.site != site || signer.role != PeerRole::Server {
            return Err(SignatureError::Signer { reason: alloc::format!("signed by {signer}") });
        }
        let mut message = String::from(SIGNATURE_DOMAIN);
        message.push_str(&self.document);
        EndEntityCert::try_from(&der)
            .and_then(|cert| {
                cert.verify_signature(
                    webpki::ring::ECDSA_P256_SHA256,
                    message.as_bytes(),
                    &self.signature.0,
                )
            })
            .map_err(|_| SignatureError::Signature)?;
        let document: RoleDocument =
            serde_json::from_str(&self.document).map_err(|_| SignatureError::Document)?;
        if document.site != site {
            return Err(SignatureError::Site { got: document.site });
        }
        Ok(document)
    }
}
