//! The voters' messages over the site's mutual TLS.

use futures_util::future::BoxFuture;
use postern_protocol::pki::LinkFailure;

use super::message::RAFT;
use crate::coordination::{Transport, TransportError, VoterAddress};
use crate::peer::{Client, PEER_TIMEOUT, PeerError};

/// HTTPS to the other voters.
pub(super) struct Https {
    client: Client,
}

impl Https {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Transport for Https {
    fn send<'a>(
        &'a self,
        to: &'a VoterAddress,
        message: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let sent = self.client.bytes(&to.address, RAFT, message, PEER_TIMEOUT).await;
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
