//! Data directories: made whole, readable by their owner alone, refused with reasons.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postern_protocol::pki::{Bundle, PeerRole, identity};
use rustls_pki_types::UnixTime;

use super::*;
use crate::clock;

fn first(dir: &Path) -> Result<(), SiteError> {
    let (site, group, name) = ("north", "main", "a");
    init(dir, &First { site, group, name, address: "127.0.0.1:7443", listen: None })
}

fn second(dir: &Path, join_dir: &Path) -> Result<(), SiteError> {
    let second = Second { join: join_dir, name: "b", address: "b.example:7444", listen: None };
    join(dir, &second)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_site_can_be_read_by_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let (a, b, out) = (root.path().join("a"), root.path().join("b"), root.path().join("hall.json"));
    first(&a).unwrap();
    second(&b, &a).unwrap();
    enrol(&a, "hall", None, &out).unwrap();
    assert_eq!(mode(&out), 0o600);
    for dir in [a, b] {
        assert_eq!(mode(&dir), 0o700);
        for file in fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn a_monitor_gets_one_file_with_a_certificate_and_a_key_that_only_its_owner_reads() {
    let root = tempfile::tempdir().unwrap();
    let (a, out) = (root.path().join("a"), root.path().join("lb.pem"));
    first(&a).unwrap();
    enrol_monitor(&a, "lb", &out).unwrap();
    assert_eq!(mode(&out), 0o600);
    PrivateKeyDer::from_pem_file(&out).unwrap();
    let certificate = CertificateDer::from_pem_file(&out).unwrap();
    let authority = Site::open(&a).unwrap().authority;
    let who = pki::verify(&certificate, &authority, UnixTime::now()).unwrap();
    assert_eq!(who.to_string(), "postern://north/monitor/lb");

    assert!(matches!(enrol_monitor(&a, "lb", &out), Err(SiteError::Exists { .. })));
    let other = root.path().join("other.pem");
    assert!(matches!(enrol_monitor(&a, "L B", &other), Err(SiteError::Name { .. })));
    assert!(!other.exists());
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("keep"), "me").unwrap();
    assert!(matches!(first(root.path()), Err(SiteError::NotEmpty { .. })));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn the_second_server_can_stand_in_for_the_first() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    first(&a).unwrap();
    second(&b, &a).unwrap();
    let (site_a, site_b) = (Site::open(&a).unwrap(), Site::open(&b).unwrap());
    assert_eq!(site_a.config.members, site_b.config.members);
    assert_eq!(site_b.config.me().unwrap().ordinal, 1);
    let who = identity(&site_b.certificate().unwrap()).unwrap();
    assert_eq!((who.role, who.name.as_str()), (PeerRole::Server, "b"));

    // It enrols gateways on its own, and its role document is the first one's.
    let bundle = site_b.bundle("hall", "main").unwrap();
    assert_eq!(bundle.servers.len(), 2);
    let certificate = CertificateDer::from(bundle.certificate.0.clone());
    let gateway = pki::verify(&certificate, &site_a.authority, UnixTime::now()).unwrap();
    assert_eq!(gateway.to_string(), "postern://north/gateway/main/hall");
    let (role, _) = crate::store::Store::read_role(&site_b.store_path()).unwrap().unwrap();
    let document = role.verify(&site_b.authority, "north", clock::unix_now()).unwrap();
    assert_eq!(document.groups["main"].active, "a");
    assert_eq!(document.groups["main"].role_term, postern_protocol::RoleTerm(1));

    let third = Second { join: &a, name: "c", address: "127.0.0.1:7445", listen: None };
    assert!(matches!(join(&root.path().join("c"), &third), Err(SiteError::Full { .. })));
}

#[test]
fn names_addresses_and_existing_files_are_refused_with_reasons() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a");
    let bad = First { site: "North", group: "main", name: "a", address: "h:1", listen: None };
    assert!(matches!(init(&a, &bad), Err(SiteError::Name { what: "site", .. })));
    for address in ["", "7443", "host:0", "host:65536", "-x:1", "a b:1", "1.2.3:1", "h\":1"] {
        let bad = First { site: "north", address, ..bad };
        assert!(matches!(init(&a, &bad), Err(SiteError::Address { .. })), "{address}");
    }
    assert!(!a.exists());
    first(&a).unwrap();
    let same = Second { join: &a, name: "a", address: "h:1", listen: None };
    assert!(matches!(join(&root.path().join("b"), &same), Err(SiteError::Taken { .. })));
    let out = root.path().join("out.json");
    fs::write(&out, "precious").unwrap();
    assert!(matches!(enrol(&a, "hall", None, &out), Err(SiteError::Exists { .. })));
    assert_eq!(fs::read_to_string(&out).unwrap(), "precious");
    let free = root.path().join("free.json");
    assert!(matches!(enrol(&a, "Hall", None, &free), Err(SiteError::Name { .. })));
    assert!(matches!(enrol(&a, "hall", Some("else"), &free), Err(SiteError::Group { .. })));
    enrol(&a, "hall", Some("main"), &free).unwrap();
    let bundle: Bundle = serde_json::from_slice(&fs::read(&free).unwrap()).unwrap();
    assert_eq!((bundle.gateway.as_str(), bundle.servers.len()), ("hall", 1));
}

#[test]
fn a_gateway_that_is_enrolled_again_is_known() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a");
    first(&a).unwrap();
    let again = |name: &str, out: &str| enrol(&a, name, None, &root.path().join(out)).unwrap();
    assert!(!again("hall", "1.json"));
    assert!(!again("hall-2", "2.json"));
    assert!(again("hall", "3.json"));
    assert!(again("hall-2", "4.json"));
    assert!(enrol(&a, "gate", None, &root.path().join("1.json")).is_err());
    assert!(!again("gate", "5.json"), "a bundle that was not written counts for nothing");
    assert_eq!(mode(&a.join(ENROLLED)), 0o600);
}

#[test]
fn a_wrong_configuration_is_shown_with_line_and_caret() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a");
    first(&a).unwrap();
    let path = a.join(CONFIG);
    let good = fs::read_to_string(&path).unwrap();
    assert_eq!(Config::read(&path).unwrap().to_toml(), good);
    for (from, to, expected) in [
        ("group = ", "gruop = ", "toml:3:1: unknown field `gruop`"),
        ("\"north\"", "\"No rth\"", "toml:2:8: \"No rth\" cannot be the name of a site"),
        ("ordinal = 0", "ordinal = 1", "ordinals count"),
        ("\"0.0.0.0:7443\"", "\"everywhere\"", "not an IP address and port"),
        ("\"127.0.0.1:7443\"", "\"nowhere\"", "is not HOST:PORT"),
        ("name = \"a\"\nlisten", "name = \"z\"\nlisten", "not among the members (a)"),
        ("site = \"north\"", "site = ", "toml:2:"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Site::open(&a).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(text.contains('^') && error.hint().is_some(), "{text}");
        assert_eq!(error.exit_code(), crate::exit::CONFIGURATION);
    }
}

#[test]
fn a_plan_of_backups_is_read_and_written_and_what_is_wrong_is_shown() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a");
    first(&a).unwrap();
    let path = a.join(CONFIG);
    let plain = fs::read_to_string(&path).unwrap();
    let with = |table: &str| fs::write(&path, format!("{plain}\n[backup]\n{table}\n")).unwrap();
    with("dir = '/srv/back \"up\"'\nevery = \"90m\"\nkeep = 3");
    let config = Config::read(&path).unwrap();
    let read = config.backup.clone().unwrap();
    assert_eq!((read.every.as_secs(), read.keep), (5_400, 3));
    assert_eq!(read.dir, Path::new("/srv/back \"up\""));
    fs::write(&path, config.to_toml()).unwrap();
    assert_eq!(Config::read(&path).unwrap(), config, "joining a server keeps it");
    with("dir = \"/srv\"");
    let read = Config::read(&path).unwrap().backup.unwrap();
    assert_eq!((read.every.as_secs(), read.keep), (24 * 3_600, 14));

    for (table, expected) in [
        ("every = \"24h\"", "missing field `dir`"),
        ("dir = \"backups\"", "\"backups\" is no absolute path"),
        ("dir = \"/srv\"\nevery = \"daily\"", "is no time between backups"),
        ("dir = \"/srv\"\nevery = \"0h\"", "is no time between backups"),
        ("dir = \"/srv\"\nevery = \"367d\"", "is no time between backups"),
        ("dir = \"/srv\"\nevery = \"99999999999999999999d\"", "is no time between backups"),
        ("dir = \"/srv\"\nevery = \"ü\"", "is no time between backups"),
        ("dir = \"/srv\"\nkeep = 0", "0 cannot be kept: 1 to 10000"),
        ("dir = \"/srv\"\nkeep = \"all\"", "invalid type"),
        ("dir = \"/srv\"\nkept = 2", "unknown field `kept`"),
    ] {
        with(table);
        let error = Config::read(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains('^') && text.contains("toml:"), "{text}");
        assert!(error.hint().unwrap().contains("[backup]"));
    }
}

#[test]
fn a_directory_is_locked_by_whoever_runs_on_it() {
    let root = tempfile::tempdir().unwrap();
    let lock = Lock::take(root.path()).unwrap();
    let error = Lock::take(root.path()).unwrap_err();
    assert!(matches!(error, SiteError::Locked { .. }));
    assert_eq!(error.exit_code(), crate::exit::LOCKED);
    drop(lock);
    Lock::take(root.path()).unwrap();
}

fn witness(dir: &Path, join: &Path, others: &[&Path]) -> Result<(), SiteError> {
    let second = Second { join, name: "w", address: "w.example:7445", listen: None };
    join_witness(dir, &second, others)
}

/// A machine that anybody may have gets neither the authority's key nor an operator's.
#[test]
fn a_witness_can_vouch_for_nobody_and_holds_no_store() {
    let root = tempfile::tempdir().unwrap();
    let [a, b, w] = ["a", "b", "w"].map(|name| root.path().join(name));
    first(&a).unwrap();
    second(&b, &a).unwrap();
    witness(&w, &a, &[&b]).unwrap();
    let mut files: Vec<String> = fs::read_dir(&w)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["ca.crt", "server.crt", "server.key", "server.toml"]);
    let site = Site::open(&w).unwrap();
    assert!(site.config.is_witness());
    let who = identity(&site.certificate().unwrap()).unwrap();
    assert_eq!((who.role, who.name.as_str()), (PeerRole::Witness, "w"));
    for server in [&a, &b] {
        let site = Site::open(server).unwrap();
        assert!(!site.config.is_witness());
        assert_eq!(site.config.witness.unwrap().address, "w.example:7445");
    }
}

#[test]
fn a_site_has_one_witness_beside_two_servers_and_it_may_be_made_again() {
    let root = tempfile::tempdir().unwrap();
    let [a, b, w, again] = ["a", "b", "w", "again"].map(|name| root.path().join(name));
    first(&a).unwrap();
    assert!(matches!(witness(&w, &a, &[]), Err(SiteError::NoSecond { .. })));
    second(&b, &a).unwrap();
    witness(&w, &a, &[]).unwrap();
    assert!(Site::open(&b).unwrap().config.witness.is_none(), "it was not named");
    witness(&again, &a, &[&b]).unwrap();
    assert!(Site::open(&b).unwrap().config.witness.is_some());
    let none = root.path().join("none");
    let another = Second { join: &a, name: "v", address: "v.example:7445", listen: None };
    assert!(matches!(join_witness(&none, &another, &[]), Err(SiteError::HasWitness { .. })));
    let taken = Second { join: &a, name: "b", address: "v.example:7445", listen: None };
    assert!(matches!(join_witness(&none, &taken, &[]), Err(SiteError::Taken { .. })));
    assert!(!none.exists());
}

#[test]
fn the_voters_are_founded_anew_at_a_server_whose_file_is_gone_alone() {
    let root = tempfile::tempdir().unwrap();
    let [a, b, w] = ["a", "b", "w"].map(|name| root.path().join(name));
    first(&a).unwrap();
    second(&b, &a).unwrap();
    witness(&w, &a, &[&b]).unwrap();
    assert!(matches!(found_voters(&a), Err(SiteError::Voter { .. })), "it founds them anyway");
    assert!(matches!(found_voters(&w), Err(SiteError::IsWitness { .. })));
    fs::remove_file(a.join("voter.redb")).unwrap();
    let running = Lock::take(&a).unwrap();
    assert!(matches!(found_voters(&a), Err(SiteError::Locked { .. })));
    drop(running);
    found_voters(&a).unwrap();
    assert!(a.join("voter.redb").exists());
}
