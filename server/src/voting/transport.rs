//! The voters' messages over the site's mutual TLS.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use postern_protocol::pki::LinkFailure;
use tokio::sync::Semaphore;

use super::message::RAFT;
use crate::coordination::{Transport, TransportError, VoterAddress};
use crate::peer::{Client, PEER_TIMEOUT, PeerError};

/// Messages under way to one voter. Raft gives a message up after a heartbeat and sends another one: what
/// was given up is waited for all the same, or its connection would be lost with it and made anew at each
/// beat of a voter whose disk is slow.
const UNDER_WAY: usize = 4;

/// HTTPS to the other voters.
pub(super) struct Https {
    client: Client,
    /// By address.
    places: BTreeMap<String, Arc<Semaphore>>,
}

impl Https {
    pub(super) fn new(client: Client, others: &[VoterAddress]) -> Self {
        let place =
            |voter: &VoterAddress| (voter.address.clone(), Arc::new(Semaphore::new(UNDER_WAY)));
        Self { client, places: others.iter().map(place).collect() }
    }
}

impl Transport for Https {
    fn send<'a>(
        &'a self,
        to: &'a VoterAddress,
        message: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let unsent = |why: &str| TransportError::Unsent(why.to_owned());
            let place = self.places.get(&to.address).ok_or_else(|| unsent("an unknown voter"))?;
            let place = place.clone().try_acquire_owned();
            let place = place.map_err(|_| unsent("earlier messages are still under way"))?;
            let (client, address) = (self.client.clone(), to.address.clone());
            let sent = tokio::spawn(async move {
                let _place = place;
                client.bytes(&address, RAFT, message, PEER_TIMEOUT).await
            });
            let sent = sent.await.map_err(|error| TransportError::Lost(error.to_string()))?;
            sent.map_err(|error| match error {
                PeerError::Link(LinkFailure::Unreachable(why)) => TransportError::Unsent(why),
                PeerError::Refused(refusal) => TransportError::Refused(refusal.message),
                PeerError::Link(_) | PeerError::Answer(_) | PeerError::Role(_) => {
                    TransportError::Lost(error.to_string())
                }
            })
        })
    }
}
