//! Accepting connections: TLS 1.3 with the site's certificates on both sides, or nothing.
//!
//! Each handshake is a task of its own with a time-out, so that nobody who dawdles holds up
//! another; there are limits on handshakes, on those of one address, and on connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use postern_protocol::pki::{self, PeerIdentity};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a handshake may take: a few round trips of a slow link.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes under way: what a stranger can make us hold, at some 20 KiB each.
const MAX_HANDSHAKES: usize = 256;

/// Handshakes under way from one address: so that one stranger cannot take them all, and many enough
/// for the gateways behind one router that come back together after a restart.
const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;

/// Open connections: two for each of a hundred gateways, with room.
const MAX_CONNECTIONS: usize = 512;

/// How long a request's head may take, and so how long a connection may idle between requests.
const HEAD: Duration = Duration::from_mins(1);

/// How long to wait after `accept` failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        handshakes: Mutex::new(BTreeMap::new()),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
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
                if let Some(ticket) = Ticket::take(&door, from.ip()) {
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

struct Door {
    tls: TlsAcceptor,
    router: Router,
    site: String,
    handshakes: Mutex<BTreeMap<IpAddr, usize>>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The right to one handshake, given back when dropped.
struct Ticket {
    door: Arc<Door>,
    from: IpAddr,
}

impl Ticket {
    fn take(door: &Arc<Door>, from: IpAddr) -> Option<Self> {
        let mut handshakes = door.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = handshakes.values().sum();
        let own = handshakes.get(&from).copied().unwrap_or(0);
        if all >= MAX_HANDSHAKES || own >= MAX_HANDSHAKES_PER_ADDRESS {
            return None;
        }
        handshakes.insert(from, own + 1);
        Some(Self { door: door.clone(), from })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut handshakes = self.door.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = handshakes.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                handshakes.remove(&self.from);
            }
        }
    }
}

impl Door {
    async fn serve(self: Arc<Self>, stream: TcpStream, from: SocketAddr, ticket: Ticket) {
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
        let Ok(_place) = self.connections.clone().try_acquire_owned() else {
            tracing::warn!(%from, "too many connections; turned away");
            return;
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
        self.answer(stream, identity).await;
    }

    async fn answer(
        &self,
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        identity: PeerIdentity,
    ) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(identity.clone());
            self.router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service);
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
