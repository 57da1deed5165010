//! `enrol`, `enrol-monitor`: give a gateway, or whatever asks for health, its identity, as one file.

use std::path::Path;

use postern_protocol::pki::{Bundle, PeerIdentity, PeerRole, is_name};
use postern_protocol::uplink::Bytes;

use super::{AUTHORITY, Authority, ENROLLED, Member, Site, SiteError, file};

impl Site {
    /// The site's authority with its key.
    pub fn load_authority(&self) -> Result<Authority, SiteError> {
        let path = self.dir.join(format!("{AUTHORITY}.key"));
        let key = std::fs::read_to_string(&path).map_err(SiteError::io("read", &path))?;
        Authority::load(&self.config.site, self.authority.clone(), &key)
    }

    /// A gateway's bundle. A name may be enrolled again: the new key stands for the same gateway.
    pub fn bundle(&self, gateway: &str, group: &str) -> Result<Bundle, SiteError> {
        let config = &self.config;
        if !is_name(gateway) {
            return Err(SiteError::Name { what: "gateway", got: gateway.to_owned() });
        }
        if group != config.group {
            return Err(SiteError::Group { ours: config.group.clone(), got: group.to_owned() });
        }
        let identity = PeerIdentity {
            site: config.site.clone(),
            role: PeerRole::Gateway { group: group.to_owned() },
            name: gateway.to_owned(),
        };
        let credential = self.load_authority()?.issue(&identity, None)?;
        Ok(Bundle {
            site: config.site.clone(),
            group: group.to_owned(),
            gateway: gateway.to_owned(),
            servers: config.members.iter().map(Member::server_address).collect(),
            authority: Bytes(self.authority.to_vec()),
            certificate: Bytes(credential.certificate.der().to_vec()),
            key: Bytes(credential.key.serialize_der()),
        })
    }
}

/// Writes a certificate and key that are good for asking how the servers are and for nothing else, as one
/// new file in PEM, as load balancers want it. Whoever holds it stands for that name, so a name may be used again.
pub fn enrol_monitor(dir: &Path, name: &str, out: &Path) -> Result<(), SiteError> {
    let site = Site::open(dir)?;
    if !is_name(name) {
        return Err(SiteError::Name { what: "monitor", got: name.to_owned() });
    }
    if out.exists() {
        return Err(SiteError::Exists { path: out.to_owned() });
    }
    let identity = PeerIdentity {
        site: site.config.site.clone(),
        role: PeerRole::Monitor,
        name: name.to_owned(),
    };
    let credential = site.load_authority()?.issue(&identity, None)?;
    let text = format!("{}{}", credential.certificate.pem(), credential.key.serialize_pem());
    file::create(out, text.as_bytes())?;
    file::sync_directory(out.parent().unwrap_or(Path::new(".")))
}

/// Writes a gateway's bundle to a new file; `true` where the name was enrolled at this server
/// before, and so somebody else may hold a key that stands for the same gateway.
pub fn enrol(
    dir: &Path,
    gateway: &str,
    group: Option<&str>,
    out: &Path,
) -> Result<bool, SiteError> {
    let site = Site::open(dir)?;
    let group = group.unwrap_or(&site.config.group).to_owned();
    if out.exists() {
        return Err(SiteError::Exists { path: out.to_owned() });
    }
    let bundle = site.bundle(gateway, &group)?;
    let mut text = serde_json::to_string_pretty(&bundle)
        .map_err(|error| SiteError::Pki { reason: error.to_string() })?;
    text.push('\n');
    file::create(out, text.as_bytes())?;
    file::sync_directory(out.parent().unwrap_or(Path::new(".")))?;
    let list = dir.join(ENROLLED);
    let known = file::read_if_there(&list)?.unwrap_or_default();
    let again = known.lines().any(|name| name == gateway);
    if !again {
        file::append(&list, &format!("{gateway}\n"))?;
    }
    Ok(again)
}
