//! Accepting connections: TLS 1.3 with the site's certificates on both sides, or nothing.
//!
//! Each handshake is a task of its own with a time-out, so that nobody who dawdles holds up
//! another; there are limits on handshakes, on those of one address, on connections, on those of
//! one identity, and on how long an answer may find no reader.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::DATE;
use axum::http::{HeaderValue, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::fmt::rfc2822::DateTimePrinter;
use postern_protocol::pki::{self, PeerIdentity};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::drain::Drained;
use super::stall::Unstalled;
use crate::clock;

/// How long a handshake may take: a few round trips of a slow link.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes under way: what a stranger can make us hold, at some 20 KiB each.
const MAX_HANDSHAKES: usize = 256;

/// Handshakes under way from one address: so that one stranger cannot take them all, and many enough
/// for the gateways behind one router that come back together after a restart.
const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;

/// Open connections: two for each of a thousand gateways, with room. Each takes some 30 KiB.
pub(crate) const MAX_CONNECTIONS: usize = 3_072;

/// Descriptors beside those of connections: handshakes under way, the store's files, a copy.
pub(crate) const MORE_FILES: u64 = 512;

/// Open connections of one identity: a gateway has two, the commands of an operator one each; so one
/// that runs wild or is malicious leaves the others theirs.
pub(super) const MAX_CONNECTIONS_PER_IDENTITY: usize = 16;

/// How long an answer may make no progress: whoever reads nothing for so long has gone without a
/// word, and holds a connection and what is in its way.
const WRITE: Duration = Duration::from_secs(30);

/// How long a request's head may take, and so how long a connection may idle between requests.
const HEAD: Duration = Duration::from_mins(1);

/// How long to wait after `accept` failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 4_096;

/// Listens. The kernel keeps so many connections until they are accepted: gateways that come back in one
/// moment are not to send their first packet again, a second later.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As a server that is started again wants it: what the one before left may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until `stop`; each runs in `tasks`.
pub async fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    site: String,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let door = Arc::new(Door {
        tls: TlsAcceptor::from(tls),
        router,
        site,
        handshakes: Places::new(MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS),
        connections: Places::new(connections(), MAX_CONNECTIONS_PER_IDENTITY),
        stop: stop.clone(),
    });
    loop {
        // Cancel-safety: `accept` of a TcpListener loses no connection when it is dropped.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Some(ticket) = door.handshakes.take(from.ip()) {
                    tasks.spawn(door.clone().serve(stream, from, ticket));
                } else {
                    tracing::debug!(%from, "too many handshakes; turned away");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// As many connections as open files are allowed for.
fn connections() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let places = allowed.saturating_sub(MORE_FILES).max(allowed / 2);
    MAX_CONNECTIONS.min(usize::try_from(places).unwrap_or(usize::MAX))
}

/// An answer with the time of day. The library says it too, and goes on saying the latest that it ever said where
/// the clock was set back; gateways compare theirs with it.
fn dated(mut answer: Response<Body>) -> Response<Body> {
    let now = jiff::Timestamp::from_millisecond(clock::now().0).ok();
    let text = now.and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok());
    if let Some(date) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(DATE, date);
    }
    answer
}

struct Door {
    tls: TlsAcceptor,
    router: Router,
    site: String,
    handshakes: Arc<Places<IpAddr>>,
    connections: Arc<Places<String>>,
    stop: CancellationToken,
}

/// Places that are limited in all and for each who takes them.
struct Places<K> {
    taken: Mutex<BTreeMap<K, usize>>,
    all: usize,
    each: usize,
}

/// The right to one place, given back when dropped.
struct Ticket<K: Ord> {
    places: Arc<Places<K>>,
    who: K,
}

impl<K: Ord + Clone> Places<K> {
    fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::new(BTreeMap::new()), all, each })
    }

    fn take(self: &Arc<Self>, who: K) -> Option<Ticket<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&who).copied().unwrap_or(0);
        if all >= self.all || own >= self.each {
            return None;
        }
        taken.insert(who.clone(), own + 1);
        Some(Ticket { places: self.clone(), who })
    }
}

impl<K: Ord> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

impl Door {
    async fn serve(self: Arc<Self>, stream: TcpStream, from: SocketAddr, ticket: Ticket<IpAddr>) {
        // An answer is small and somebody waits for it.
        let _ = stream.set_nodelay(true);
        // Cancel-safety: a handshake that is dropped takes its connection with it.
        let shaken = tokio::select! {
            () = self.stop.cancelled() => return,
            shaken = tokio::time::timeout(HANDSHAKE, self.tls.accept(stream)) => shaken,
        };
        drop(ticket);
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "handshake refused");
                return;
            }
            Err(_) => {
                tracing::debug!(%from, "handshake took too long");
                return;
            }
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let Some(identity) = certificates
            .and_then(|chain| chain.first())
            .and_then(|certificate| pki::identity(certificate).ok())
            .filter(|identity| identity.site == self.site)
        else {
            tracing::debug!(%from, "a certificate without an identity of this site");
            return;
        };
        let Some(_place) = self.connections.take(identity.to_string()) else {
            tracing::warn!(%from, %identity, "too many connections; turned away");
            return;
        };
        self.answer(stream, identity).await;
    }

    async fn answer(
        &self,
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        identity: PeerIdentity,
    ) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(|body| Body::new(Drained::new(body, self.stop.clone())));
            request.extensions_mut().insert(identity.clone());
            let answering = self.router.clone().oneshot(request);
            async move { answering.await.map(dated) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(Unstalled::new(stream, WRITE)), service);
        let mut connection = std::pin::pin!(connection);
        // Cancel-safety: the connection is pinned and polled on until its last answer is out.
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%identity, %error, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_places_than_are_his_nor_all_together_more_than_there_are() {
        let places = Places::new(3, 2);
        let hall = [places.take("hall"), places.take("hall")];
        assert!(hall.iter().all(Option::is_some));
        assert!(places.take("hall").is_none(), "its own are taken");
        let gate = places.take("gate");
        assert!(gate.is_some());
        assert!(places.take("yard").is_none(), "all are taken");
        drop(hall);
        assert!(places.take("yard").is_some() && places.take("hall").is_some());
        drop(gate);
        assert!(places.taken.lock().unwrap().is_empty(), "who has none left is forgotten");
    }
}
