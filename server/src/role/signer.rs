//! Signing role documents with the server's own key.

use postern_protocol::role::{RoleDocument, SIGNATURE_DOMAIN, SignedRole};
use postern_protocol::uplink::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use crate::site::{Site, SiteError};

/// This server's key, for role documents.
pub struct Signer {
    key: EcdsaKeyPair,
    certificate: Bytes,
}

impl Signer {
    /// Takes a certificate (DER) and its key (PKCS #8 DER).
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, SiteError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &random)
            .map_err(|error| SiteError::Pki { reason: format!("the server's key: {error}") })?;
        Ok(Self { key, certificate: Bytes(certificate.to_vec()) })
    }

    /// The signer of a data directory.
    pub fn of(site: &Site) -> Result<Self, SiteError> {
        Self::new(&site.certificate()?, site.key()?.secret_der())
    }

    /// Signs a document.
    pub fn sign(&self, document: &RoleDocument) -> Result<SignedRole, SiteError> {
        let failed = |reason: String| SiteError::Pki { reason };
        let text = serde_json::to_string(document).map_err(|error| failed(error.to_string()))?;
        let message = format!("{SIGNATURE_DOMAIN}{text}");
        let signature = self
            .key
            .sign(&SystemRandom::new(), message.as_bytes())
            .map_err(|_| failed("the role document could not be signed".to_owned()))?;
        Ok(SignedRole {
            document: text,
            certificate: self.certificate.clone(),
            signature: Bytes(signature.as_ref().to_vec()),
        })
    }
}
