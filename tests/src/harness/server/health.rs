//! What a server or a witness says of its health, asked as a load balancer asks, at its own host.

use std::net::SocketAddr;
use std::time::Duration;

use postern_server::peer::{Client, PeerError};
use postern_server::site::{SERVER, Site, SiteError};
use serde::de::DeserializeOwned;

use super::Server;
use crate::harness::namespace::run_at;
use crate::harness::{Error, Namespace};

/// A server that is stopped answers nobody; when it goes on it has to meet questions that wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Asks one server.
pub(in crate::harness) struct Asker {
    /// Its name.
    pub name: String,
    address: SocketAddr,
    host: Option<Namespace>,
    site: Site,
}

impl Asker {
    /// Under the server's own certificate.
    pub(in crate::harness) fn new(server: &Server) -> Result<Self, Error> {
        let unusable = |error: SiteError| Error::Answer {
            program: format!("the data directory of server {}", server.name),
            what: error.to_string(),
        };
        let site = Site::open(&server.dir).map_err(unusable)?;
        let (name, host) = (server.name.clone(), server.host.clone());
        Ok(Self { name, address: server.address, host, site })
    }

    /// Runs this with something that asks for the answer at a path; an error where that is not 200.
    pub(in crate::harness) fn asking<T: Send, A: DeserializeOwned>(
        &self,
        run: impl FnOnce(&dyn Fn(&str) -> Result<A, PeerError>) -> T + Send,
    ) -> Result<T, Error> {
        let failed =
            |what: String| Error::Request { request: format!("asking server {}", self.name), what };
        // Sockets belong to the host of the thread that makes them: a runtime of this thread alone.
        run_at(self.host.as_ref(), || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime =
                runtime.enable_all().build().map_err(|error| failed(error.to_string()))?;
            let client = Client::new(&self.site, SERVER, ANSWER_WITHIN);
            let client = client.map_err(|error| failed(error.to_string()))?;
            let at = self.address.to_string();
            Ok(run(&|path: &str| runtime.block_on(client.get(&at, path))))
        })
    }
}

impl Server {
    /// What it answers at this path where that is 200; `None` where it says with 503 that it is not so now. Whoever
    /// answers neither is asked in vain, which is an error.
    pub fn healthy(&self, path: &str) -> Result<Option<serde_json::Value>, Error> {
        match Asker::new(self)?.asking(|ask| ask(path))? {
            Ok(answer) => Ok(Some(answer)),
            Err(PeerError::Answer(what)) if what.starts_with("HTTP status 503") => Ok(None),
            Err(error) => {
                let request = format!("{path} of server {}", self.name);
                Err(Error::Request { request, what: error.to_string() })
            }
        }
    }
}
