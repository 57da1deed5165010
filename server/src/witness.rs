//! The witness: the third voter. It has no store, no authority's key and no operator's, and holds the
//! role document and a log of its changes, a few megabytes at most.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::voters::Voters;
use crate::api::{self, tls};
use crate::serve::{FAREWELL, ServeError};
use crate::site::{Lock, Site, SiteError};
use crate::voting::Voting;

/// A witness that runs until it is stopped.
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The voter.
    pub voting: Arc<Voting>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _lock: Lock,
}

/// Starts the witness of a data directory.
pub async fn start(dir: &Path) -> Result<Witness, ServeError> {
    let site = Site::open(dir)?;
    if !site.config.is_witness() {
        return Err(SiteError::IsServer { dir: dir.to_owned() }.into());
    }
    let lock = Lock::take(dir)?;
    let config = &site.config;
    let tls = site.accept_config()?;
    let listen = |source| ServeError::Listen { address: config.listen, source };
    let listener = tls::listen(config.listen).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let voting = Voting::start(&site, &tasks, &stop).await?;
    let voting = voting.ok_or_else(|| SiteError::IsServer { dir: dir.to_owned() })?;
    let router = api::witness(Voters { voting: Some(voting.clone()), stop: stop.clone() });
    let name = config.site.clone();
    tasks.spawn(tls::accept(listener, tls, router, name, tasks.clone(), stop.clone()));
    Ok(Witness { name: config.name.clone(), address, voting, stop, tasks, _lock: lock })
}

impl Witness {
    /// Stops: no new connections, the present requests are answered, then it is over.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::info!("connections did not end in time");
        }
    }
}
