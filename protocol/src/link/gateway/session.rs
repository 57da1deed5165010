//! A session from the gateway's side: Noise by `snow`, or in clear.

use alloc::boxed::Box;
use alloc::vec::Vec;

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};

use crate::link::message::Welcome;
use crate::link::noise::{PROTOCOL_NAME, TAG};

/// A handshake that waits for its answer.
pub(super) enum Handshake {
    Noise(Box<HandshakeState>),
    Plain { version: u8, token: u32 },
}

/// See the module.
pub(super) struct Session {
    transport: Option<Box<StatelessTransportState>>,
    pub(super) welcome: Welcome,
    /// The number of the last request; 0 for none.
    pub(super) last: u64,
    /// The number of the last request that was answered.
    pub(super) answered: u64,
    /// When it was opened, on the caller's clock.
    pub(super) since: core::time::Duration,
}

/// `snow` asks for its secret once; here it is.
struct Given([u8; 32]);

impl Random for Given {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), snow::Error> {
        if to.len() != self.0.len() {
            return Err(snow::Error::Rng);
        }
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

/// The curve, less what a peer could choose so that no secret of ours counts: a public key of low order.
struct Strict(Box<dyn Dh>);

impl Dh for Strict {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(pubkey, out)?;
        let shared = out.get(..self.dh_len()).ok_or(snow::Error::Dh)?;
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            Err(snow::Error::Dh)
        } else {
            Ok(())
        }
    }
}

impl CryptoResolver for Given {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Self(self.0)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice).map(|curve| Box::new(Strict(curve)) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

impl Handshake {
    /// Begins a secured session: the handshake, and its first message.
    pub(super) fn noise(
        key: &[u8; 32],
        prologue: &[u8],
        secret: [u8; 32],
    ) -> Result<(Self, Vec<u8>), snow::Error> {
        let params: NoiseParams = PROTOCOL_NAME.parse()?;
        let mut state = Builder::with_resolver(params, Box::new(Given(secret)))
            .psk(0, key)?
            .prologue(prologue)?
            .build_initiator()?;
        let mut message = [0; 64];
        let length = state.write_message(&[], &mut message)?;
        let message = message.get(..length).unwrap_or_default().to_vec();
        Ok((Self::Noise(Box::new(state)), message))
    }
}

/// Ends a handshake with the answer to it; the keys, and the payload of the answer.
pub(super) fn finish(
    mut state: Box<HandshakeState>,
    message: &[u8],
) -> Result<(Box<StatelessTransportState>, Vec<u8>), snow::Error> {
    let mut payload = alloc::vec![0; message.len()];
    let length = state.read_message(message, &mut payload)?;
    payload.truncate(length);
    Ok((Box::new(state.into_stateless_transport_mode()?), payload))
}

impl Session {
    pub(super) fn new(
        transport: Option<Box<StatelessTransportState>>,
        welcome: Welcome,
        since: core::time::Duration,
    ) -> Self {
        Self { transport, welcome, last: 0, answered: 0, since }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.transport.is_some()
    }

    /// Appends a request to a frame.
    pub(super) fn seal(&self, number: u64, body: &[u8], frame: &mut Vec<u8>) -> Option<()> {
        let Some(transport) = &self.transport else {
            frame.extend_from_slice(body);
            return Some(());
        };
        let at = frame.len();
        frame.resize(at + body.len() + TAG, 0);
        let out = frame.get_mut(at..)?;
        transport.write_message(number, body, out).ok().map(drop)
    }

    /// The answer to a request, or `None` where it is nobody's or another one's.
    pub(super) fn open(&self, number: u64, body: &[u8], answer: &mut Vec<u8>) -> Option<()> {
        answer.clear();
        let Some(transport) = &self.transport else {
            answer.extend_from_slice(body);
            return Some(());
        };
        answer.resize(body.len(), 0);
        let length = transport.read_message(number, body, answer).ok()?;
        answer.truncate(length);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        let curve = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        let mut curve = Strict(curve);
        curve.set(&[7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        let mut shared = [0; 32];
        for low in [[0; 32], one] {
            assert!(curve.dh(&low, &mut shared).is_err());
        }
        let mut base = [0; 32];
        base[0] = 9;
        assert!(curve.dh(&base, &mut shared).is_ok());
    }
}
