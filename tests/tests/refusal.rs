//! What a gateway refuses, and what is refused to it: each with a word that says which.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use postern_protocol::pki::Bundle;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{
    Board, Error, LinkStatus, Ports, Server, Side, Site, SiteConfig, wait_until,
};

const WITHIN: Duration = Duration::from_secs(30);

fn small_site(seed: u64) -> Result<Site, Error> {
    Site::prepare(SiteConfig::new(seed, 1, Board::roomy))
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    fs::read_to_string(path).map_err(failed)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    fs::write(path, text).map_err(failed)
}

/// Waits until the link to server a is of this kind.
fn link_is(site: &Site, link: &str) -> Result<LinkStatus, Error> {
    let what = format!("the link to server a to be {link}");
    wait_until(&what, WITHIN, || {
        let servers = site.gateway.status()?.uplink.servers;
        Ok(servers.into_iter().find(|server| server.name == "a" && server.link == link))
    })
}

#[test]
fn a_second_gateway_on_the_same_journal_exits_with_11_and_the_first_goes_on() -> Result<(), Error> {
    let mut site = small_site(61)?;
    site.gateway.start()?;
    let mut second = site.gateway.spawn()?;
    let exit = second.wait(WITHIN)?;
    let messages = second.messages();
    assert_eq!(exit.code, Some(11), "{messages}");
    assert!(messages.contains("error: ") && messages.contains("hint: "), "{messages}");
    site.note_exit(exit, 11);

    site.simulator.people(50.0)?;
    site.wait_for_traffic(50)?;
    site.settle(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_wrong_configuration_is_shown_with_its_place_and_nothing_is_started() -> Result<(), Error> {
    let mut site = small_site(62)?;
    let config = site.gateway.config();
    let good = read(&config)?;
    write(&config, &good.replace("transport = \"udp\"", "transport = \"telegraph\""))?;
    let line = good.lines().position(|line| line.starts_with("transport")).map_or(0, |at| at + 1);

    let checked = site.gateway.command(&["config", "check"])?;
    let mut process = site.gateway.spawn()?;
    let run = process.wait(WITHIN)?;
    for (code, said) in [(checked.exit.code, checked.stderr), (run.code, process.messages())] {
        assert_eq!(code, Some(10), "{said}");
        let place = format!("postern.toml:{line}:");
        assert!(
            said.contains(&place) && said.contains('^') && said.contains("telegraph"),
            "{said}"
        );
    }
    assert!(!site.gateway.dir.join("data").join("journal.redb").exists(), "a journal was made");
    site.remove()
}

#[test]
fn a_server_that_cannot_be_reached_is_unreachable() -> Result<(), Error> {
    let mut site = small_site(63)?;
    site.link(Side::A).cut();
    site.gateway.start()?;
    let link = link_is(&site, "unreachable")?;
    assert!(link.message.is_some(), "{link:?}");
    // Who is active it knows from server b.
    wait_until("the problem to have its health code", WITHIN, || {
        let health = site.gateway.status()?.health;
        Ok(health.into_iter().find(|problem| problem.code == "active_unreachable"))
    })?;
    site.link(Side::A).open()?;
    link_is(&site, "ok")?;
    site.remove()
}

/// Something that speaks plain HTTP. It ends with the test process.
fn plain_server() -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    Ok(address)
}

#[test]
fn a_server_that_speaks_no_tls_is_called_that() -> Result<(), Error> {
    let mut site = small_site(64)?;
    let plain =
        plain_server().map_err(|source| Error::Start { process: "plain".into(), source })?;
    site.gateway.reach_servers_at(&[plain, plain])?;
    site.gateway.start()?;
    let link = link_is(&site, "not_tls")?;
    assert!(link.message.is_some(), "{link:?}");
    site.remove()
}

/// The other site's first server, running.
fn other_site(site: &Site, ports: &Ports) -> Result<Server, Error> {
    let (root, logs) = (site.dir.join("south"), site.dir.join("logs"));
    let failed = |source| Error::File { action: "create", path: root.clone(), source };
    fs::create_dir_all(&root).map_err(failed)?;
    let mut server = Server::init(&root, &logs, "south", "c", ports.address(0))?;
    server.start()?;
    Ok(server)
}

#[test]
fn a_server_of_another_site_has_the_wrong_certificate() -> Result<(), Error> {
    let mut site = small_site(65)?;
    let ports = Ports::claim()?;
    let other = other_site(&site, &ports)?;
    site.gateway.reach_servers_at(&[other.address, other.address])?;
    site.gateway.start()?;
    let link = link_is(&site, "wrong_certificate")?;
    assert!(link.message.is_some(), "{link:?}");
    assert!(other.journals()?.is_empty());
    drop(other);
    site.remove()
}

/// It believes our servers, but its own certificate was issued by another site.
#[test]
fn a_gateway_that_this_site_did_not_enrol_is_refused() -> Result<(), Error> {
    let mut site = small_site(66)?;
    let ports = Ports::claim()?;
    let other = other_site(&site, &ports)?;
    let foreign = site.dir.join("foreign.json");
    other.enrol("g1", &foreign)?;
    let parse = |path: &Path| {
        let unexpected = |error: serde_json::Error| Error::Answer {
            program: path.display().to_string(),
            what: error.to_string(),
        };
        serde_json::from_str::<Bundle>(&read(path)?).map_err(unexpected)
    };
    let mut bundle = parse(&site.gateway.bundle())?;
    let foreign = parse(&foreign)?;
    (bundle.certificate, bundle.key) = (foreign.certificate, foreign.key);
    let text =
        serde_json::to_string(&bundle).map_err(|error| Error::Scenario(error.to_string()))?;
    write(&site.gateway.bundle(), &text)?;

    site.gateway.start()?;
    link_is(&site, "refused")?;
    assert!(site.server(Side::A).journals()?.is_empty(), "a stranger's journal was taken");
    drop(other);
    site.remove()
}
