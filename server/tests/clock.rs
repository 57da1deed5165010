//! Certificates and wrong clocks, over real TLS: whoever starts in 1970 is not shut out, and what is
//! expired stays so.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Pair, gateway_identity, http};
use postern_protocol::pki::{self, BUILT, Floor, LinkFailure};
use postern_server::serve;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn in_1970() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::ZERO)
}

/// So many years after this program was built.
fn year(years: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(BUILT + years * 365 * 86_400))
}

fn in_year_11() -> UnixTime {
    year(11)
}

/// What rustls asks when it is left alone.
#[derive(Debug)]
struct ClockAlone;

impl TimeProvider for ClockAlone {
    fn current_time(&self) -> Option<UnixTime> {
        Some(in_1970())
    }
}

#[tokio::test]
async fn a_gateway_that_starts_in_1970_reaches_its_server_and_is_told_the_time() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let url = format!("https://{}/v1/role", pair.address("a"));
    let who = gateway_identity("main", "hall");
    let config = crate::common::tls_under(in_1970, &pair.site(), &pair.site(), &who);
    let mut without = config.clone();
    without.time_provider = Arc::new(ClockAlone);

    let error = http(without).get(&url).send().await.unwrap_err();
    let failure = LinkFailure::of(&error);
    assert!(
        matches!(&failure, LinkFailure::WrongCertificate(why) if why.contains("not valid yet"))
    );

    let answer = http(config).get(&url).send().await.unwrap();
    assert!(answer.status().is_success());
    let date = answer.headers()["date"].to_str().unwrap();
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap();
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap();
    assert!((now - 20..=now + 1).contains(&date.as_second()), "{date}");
    running.stop().await;
}

/// An authority and what it issues, with chosen times.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

struct Holder {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate from one year after the build to another.
    fn issue(&self, begins: u64, ends: u64) -> Holder {
        let mut params = CertificateParams::new(vec!["here".to_owned()]).unwrap();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(year(begins).as_secs());
        params.not_after = epoch + Duration::from_secs(year(ends).as_secs());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Holder { certificate, key }
    }

    /// What each side says of a handshake under its floor.
    async fn shake(
        &self,
        (client, below): (&Holder, &Floor),
        (server, under): (&Holder, &Floor),
    ) -> (Result<(), String>, Result<(), String>) {
        let parts = |who: &Holder| (who.certificate.clone(), who.key.clone_key());
        let ((certificate, key), authority) = (parts(client), self.certificate.clone());
        let client = pki::client_config(authority, certificate, key, below.clone()).unwrap();
        let ((certificate, key), authority) = (parts(server), self.certificate.clone());
        let server = pki::server_config(authority, certificate, key, under.clone()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("here").unwrap();
        let said = |error: std::io::Error| error.to_string();
        let (connected, accepted) = tokio::join!(
            TlsConnector::from(Arc::new(client)).connect(name, ours),
            TlsAcceptor::from(Arc::new(server)).accept(theirs),
        );
        (connected.map(drop).map_err(said), accepted.map(drop).map_err(said))
    }
}

fn floor(clock: fn() -> UnixTime, holder: &Holder, newest: Option<u64>) -> Floor {
    let floor = Floor::new(clock, &holder.certificate).unwrap();
    if let Some(newest) = newest {
        floor.raise(year(newest));
    }
    floor
}

/// What is said of a certificate from year 10 to 13 by somebody whose own runs from year 1 to 20.
#[tokio::test]
async fn either_side_judges_at_the_latest_time_it_can_be_sure_of() {
    let authority = Authority::new();
    let (judge, judged) = (authority.issue(1, 20), authority.issue(10, 13));
    let easy = floor(in_year_11, &judged, None);
    let table: [(fn() -> UnixTime, _, _); 7] = [
        (in_1970, None, Some("not valid yet")),
        (in_1970, Some(9), Some("not valid yet")),
        (in_1970, Some(11), None),
        // Expired by the true time, which the clock does not show.
        (in_1970, Some(14), Some("expired")),
        (in_year_11, Some(14), Some("expired")),
        // Received while the clock was years ahead: past the judge's own end.
        (in_year_11, Some(30), None),
        (in_1970, Some(30), Some("not valid yet")),
    ];
    for (clock, newest, refused) in table {
        let judging = floor(clock, &judge, newest);
        let as_client = authority.shake((&judge, &judging), (&judged, &easy)).await.0;
        let as_server = authority.shake((&judged, &easy), (&judge, &judging)).await.1;
        for said in [as_client, as_server] {
            match refused {
                None => assert_eq!(said, Ok(()), "{newest:?}"),
                Some(word) => {
                    let why = said.unwrap_err();
                    assert!(why.contains(word), "{newest:?}: {why}");
                }
            }
        }
    }
}

/// The beginning of our own certificate is past for sure: after an enrolment no clock can be so wrong
/// that servers as old as it are refused.
#[tokio::test]
async fn an_empty_journal_and_a_dead_battery_shut_nobody_out() {
    let authority = Authority::new();
    let (gateway, server) = (authority.issue(11, 14), authority.issue(10, 13));
    let (below, under) = (floor(in_1970, &gateway, None), floor(in_1970, &server, Some(11)));
    let said = authority.shake((&gateway, &below), (&server, &under)).await;
    assert_eq!(said, (Ok(()), Ok(())));
}
