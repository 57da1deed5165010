//! That the faults are what they say, each way by itself, and that nothing is left.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::*;

/// What arrives in one machine arrives within microseconds; what is cut off is waited for this long.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

/// A listener at a host, and who connects to it from another one.
fn connect(network: &Network, from: &str, to: &TcpListener) -> std::io::Result<TcpStream> {
    let address = to.local_addr().unwrap();
    network.host(from).unwrap().run(|| TcpStream::connect_timeout(&address, SHORT)).unwrap()
}

fn listener(network: &Network, at: &str) -> TcpListener {
    let host = network.host(at).unwrap();
    host.run(|| TcpListener::bind((host.address, 0))).unwrap().unwrap()
}

fn socket(network: &Network, at: &str) -> UdpSocket {
    let host = network.host(at).unwrap();
    host.run(|| UdpSocket::bind((host.address, 0))).unwrap().unwrap()
}

/// Whether a datagram arrives.
fn arrives(from: &UdpSocket, to: &UdpSocket, within: Duration) -> bool {
    to.set_read_timeout(Some(within)).unwrap();
    from.send_to(b"x", to.local_addr().unwrap()).unwrap();
    to.recv(&mut [0; 8]).is_ok()
}

#[test]
fn each_way_is_cut_and_refused_and_healed_by_itself() {
    let Some(network) = Network::make(&["a", "b", "c"]).unwrap() else { return };
    let server = listener(&network, "a");
    connect(&network, "b", &server).unwrap();

    let (at_a, at_b) = (socket(&network, "a"), socket(&network, "b"));
    network.cut("a", "b").unwrap();
    assert!(!arrives(&at_a, &at_b, SHORT));
    assert!(arrives(&at_b, &at_a, LONG), "the way back is another one");
    // The first packet of a connection arrives, and its answer does not.
    assert_eq!(connect(&network, "b", &server).unwrap_err().kind(), ErrorKind::TimedOut);
    connect(&network, "c", &server).unwrap();
    network.heal("a", "b").unwrap();
    assert!(arrives(&at_a, &at_b, LONG));
    connect(&network, "b", &server).unwrap();

    network.set("b", "a", Some(Fault::Refused)).unwrap();
    assert_eq!(network.fault("b", "a"), Some(Fault::Refused));
    assert_eq!(connect(&network, "b", &server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    network.set("b", "a", Some(Fault::Lossy(1_000))).unwrap();
    assert_eq!(connect(&network, "b", &server).unwrap_err().kind(), ErrorKind::TimedOut);
    network.part("a", "c").unwrap();
    network.heal_all().unwrap();
    connect(&network, "b", &server).unwrap();
    connect(&network, "c", &server).unwrap();
}

#[test]
fn a_network_that_stalls_carries_nothing_until_it_goes_on_and_breaks_nothing_off() {
    let Some(network) = Network::make(&["a", "b"]).unwrap() else { return };
    let server = listener(&network, "a");
    let mut client = connect(&network, "b", &server).unwrap();
    let (mut other, _) = server.accept().unwrap();
    let (at_a, at_b) = (socket(&network, "a"), socket(&network, "b"));
    assert!(arrives(&at_a, &at_b, LONG));
    network.stall().unwrap();
    assert!(!arrives(&at_a, &at_b, SHORT));
    assert!(!arrives(&at_b, &at_a, SHORT));
    client.write_all(b"x").unwrap();
    network.go_on().unwrap();
    other.set_read_timeout(Some(LONG)).unwrap();
    other.read_exact(&mut [0]).unwrap();
    assert!(arrives(&at_a, &at_b, LONG));
}

#[test]
fn two_networks_know_nothing_of_each_other() {
    let Some(one) = Network::make(&["a", "b"]).unwrap() else { return };
    let Some(other) = Network::make(&["a", "b"]).unwrap() else { return };
    let server = listener(&one, "a");
    connect(&one, "b", &server).unwrap();
    let same: SocketAddr = server.local_addr().unwrap();
    let elsewhere = other.host("b").unwrap().run(|| TcpStream::connect_timeout(&same, LONG));
    assert_eq!(elsewhere.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn nothing_is_left_of_a_network_whatever_became_of_its_scenario() {
    let Some(network) = Network::make(&["a", "b"]).unwrap() else { return };
    let paths = ["a", "b"].map(|host| Path::new(NAMES).join(&network.host(host).unwrap().name));
    assert!(paths.iter().all(|path| path.exists()));
    let ended = thread::spawn(move || {
        let _network = network;
        panic!("as a scenario ends that fails");
    });
    assert!(ended.join().is_err());
    assert!(paths.iter().all(|path| !path.exists()));
}
