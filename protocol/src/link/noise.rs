//! The controller's side of `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`, without an allocator.
//!
//! The rules are those of the Noise Protocol Framework, revision 34; sections below are its. The
//! gateway's side is the `snow` crate; this one is for firmware and the simulator. It does the
//! responder's part of one pattern (§7, §9.4) and nothing else:
//!
//! ```text
//! -> psk, e        Responder::read
//! <- e, ee         Responder::write, which splits into the two transport keys
//! ```
//!
//! Both sides prove the pre-shared key; the ephemeral keys make old traffic safe from a key that
//! leaks later. Message 1 can be replayed by anyone who saw it: its sender is known to be there
//! only once a transport message has opened.
//!
//! Invariants: nothing panics on bytes from outside; nothing that failed its tag is decrypted; keys
//! are wiped when dropped. What cannot be wiped from here: copies that a move leaves on the stack,
//! and the inner state of the hash function.
//!
//! Transport nonces are the caller's: each is given by number (§11.4), must be used for one message
//! per key, and must be checked against replay by whoever calls [`Cipher::open`].

use core::fmt;

use blake2::{Blake2s256, Digest as _};
use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

/// The name that both sides hash first (§8); a different suite is a different name.
pub const PROTOCOL_NAME: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Bytes of a key, of a hash and of a public key (§4.1, §4.2, §4.3, §12.1, §12.3, §12.7).
pub const KEY: usize = 32;

/// Bytes by which a transport message is longer than its payload: the Poly1305 tag (§12.3).
pub const TAG: usize = 16;

/// Bytes by which each of the two handshake messages is longer than its payload: `e` and a tag.
pub const MESSAGE_OVERHEAD: usize = KEY + TAG;

/// Bytes of the longest message, of the handshake or after it (§3).
pub const MAX_MESSAGE: usize = 65_535;

/// The block of BLAKE2s in bytes, for HMAC (§12.7, §4.3).
const BLOCK: usize = 64;

/// Why a message was not read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseError {
    /// The tag is not that of this message under this key, nonce and handshake: a wrong pre-shared
    /// key, a wrong prologue, changed or foreign bytes. Which one cannot be told.
    Refused,
    /// The message is shorter than its overhead or longer than [`MAX_MESSAGE`], or the buffer for
    /// the result is too small.
    Length,
    /// The peer's public key is of low order: anyone could compute what would be shared (§12.1).
    PublicKey,
    /// The nonce is 2^64 - 1, which Noise keeps for itself (§5.1).
    Nonce,
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "authentication failed",
            Self::Length => "message or buffer of a wrong length",
            Self::PublicKey => "public key of low order",
            Self::Nonce => "nonce out of range",
        })
    }
}

impl core::error::Error for NoiseError {}

/// The pre-shared key of one link: 32 secret random bytes (§9, §14), wiped when dropped.
///
/// Not a password: nothing here slows guessing down. There is no `==`, which would take a time that
/// depends on the bytes.
#[derive(Clone)]
pub struct Psk(Zeroizing<[u8; KEY]>);

impl Psk {
    /// A key of these bytes. The caller's copy of them is the caller's to wipe.
    pub fn new(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever stores the key.
    pub fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

/// A handshake between its two messages: message 1 was read and is authentic.
pub struct Responder {
    symmetric: Symmetric,
    /// The initiator's ephemeral public key.
    remote: [u8; KEY],
}

impl Responder {
    /// Reads message 1, `-> psk, e`: 32 bytes of `e`, then the encrypted payload and its tag.
    ///
    /// `prologue` is what both sides must agree on without sending it here (§6), of any length. The
    /// payload goes to the front of `payload`; its length, which is that of the message less
    /// [`MESSAGE_OVERHEAD`], is returned. It is secret only as long as the pre-shared key is.
    ///
    /// Errors: [`NoiseError::Length`] before anything is computed, [`NoiseError::Refused`]. After an
    /// error `payload` holds nothing that was decrypted.
    pub fn read(
        psk: &Psk,
        prologue: &[u8],
        message: &[u8],
        payload: &mut [u8],
    ) -> Result<(Self, usize), NoiseError> {
        let (remote, text) = message
            .split_first_chunk::<KEY>()
            .filter(|(_, text)| text.len() >= TAG && message.len() <= MAX_MESSAGE)
            .ok_or(NoiseError::Length)?;
        let length = text.len().saturating_sub(TAG);
        let payload = payload.get_mut(..length).ok_or(NoiseError::Length)?;

        let mut symmetric = Symmetric::new(prologue);
        symmetric.mix_key_and_hash(psk.as_bytes());
        symmetric.mix_ephemeral(remote);
        symmetric.decrypt(text, payload)?;
        Ok((Self { symmetric, remote: *remote }, length))
    }

    /// Writes message 2, `<- e, ee`, to the front of `out` and splits (§5.2) into the keys of the
    /// link; returns these and the message's length, `payload.len()` + [`MESSAGE_OVERHEAD`].
    ///
    /// `ephemeral` is a secret key: 32 bytes from the system's random number generator, made for
    /// this call and never used again (§14). It needs no clamping.
    ///
    /// Errors: [`NoiseError::Length`], [`NoiseError::PublicKey`]; `out` is then as it was.
    pub fn write(
        mut self,
        ephemeral: [u8; KEY],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(Keys, usize), NoiseError> {
        let ephemeral = Zeroizing::new(ephemeral);
        let length = message_length(payload.len(), MESSAGE_OVERHEAD)?;
        let (public, text) = out
            .get_mut(..length)
            .and_then(<[u8]>::split_first_chunk_mut::<KEY>)
            .ok_or(NoiseError::Length)?;
        let shared = Zeroizing::new(x25519(*ephemeral, self.remote));
        // Every byte is looked at, so that the time says nothing about a good secret.
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(NoiseError::PublicKey);
        }

        *public = x25519(*ephemeral, X25519_BASEPOINT_BYTES);
        self.symmetric.mix_ephemeral(public);
        self.symmetric.mix_key(&shared);
        self.symmetric.encrypt(payload, text)?;
        Ok((self.symmetric.split(), length))
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder(..)")
    }
}

/// What a finished handshake leaves: a key for each direction.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Keys {
    /// Opens what the gateway, the initiator, sends.
    pub receive: Cipher,
    /// Seals what goes to the gateway.
    pub send: Cipher,
    /// The handshake hash: the same on both sides of this handshake alone, and no secret, so that
    /// something outside of the link can be bound to it (§11.2).
    pub hash: [u8; KEY],
}

/// The key of one direction of a link; wiped when dropped. Transport messages carry no associated
/// data (§5.2).
#[cfg_attr(test, derive(Clone))]
pub struct Cipher(Zeroizing<[u8; KEY]>);

impl Cipher {
    /// Encrypts `buffer[..length]` in place and puts the tag behind it; returns `length` + [`TAG`].
    ///
    /// A nonce must never be used for a second message of this key: that would give both away.
    ///
    /// Errors: [`NoiseError::Nonce`], [`NoiseError::Length`]; `buffer` is then as it was.
    pub fn seal(&self, nonce: u64, buffer: &mut [u8], length: usize) -> Result<usize, NoiseError> {
        let total = message_length(length, TAG)?;
        let message = buffer.get_mut(..total).ok_or(NoiseError::Length)?;
        self.encrypt(nonce, &[], message)?;
        Ok(total)
    }

    /// Decrypts the message that `buffer` is, payload and tag, in place; returns the payload.
    ///
    /// Errors: [`NoiseError::Nonce`], [`NoiseError::Length`], [`NoiseError::Refused`]. `buffer` is
    /// then as it was: the tag is checked before anything is decrypted.
    pub fn open<'a>(&self, nonce: u64, buffer: &'a mut [u8]) -> Result<&'a mut [u8], NoiseError> {
        if buffer.len() > MAX_MESSAGE {
            return Err(NoiseError::Length);
        }
        let (payload, tag) = buffer.split_last_chunk_mut::<TAG>().ok_or(NoiseError::Length)?;
        self.decrypt(nonce, &[], payload, tag)?;
        Ok(payload)
    }

    /// Encrypts `message` less its last [`TAG`] bytes, which become the tag.
    fn encrypt(&self, nonce: u64, data: &[u8], message: &mut [u8]) -> Result<(), NoiseError> {
        let nonce = nonce_bytes(nonce)?;
        let (text, tag) = message.split_last_chunk_mut::<TAG>().ok_or(NoiseError::Length)?;
        // Its one error is a text of more than 256 GiB.
        *tag = ChaCha20Poly1305::new((&*self.0).into())
            .encrypt_in_place_detached((&nonce).into(), data, text)
            .map_err(|_| NoiseError::Length)?
            .into();
        Ok(())
    }

    fn decrypt(
        &self,
        nonce: u64,
        data: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), NoiseError> {
        let nonce = nonce_bytes(nonce)?;
        ChaCha20Poly1305::new((&*self.0).into())
            .decrypt_in_place_detached((&nonce).into(), data, text, tag.into())
            .map_err(|_| NoiseError::Refused)
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

/// The `SymmetricState` of §5.2 with the part of the `HandshakeState` (§5.3) that this pattern
/// needs. No nonce is counted: a new key comes before each of the two payloads, so it is always 0.
struct Symmetric {
    /// `ck`.
    chaining: Zeroizing<[u8; KEY]>,
    /// `h`.
    hash: [u8; KEY],
    /// `k`, of no use before the first key is mixed in.
    cipher: Cipher,
}

impl Symmetric {
    fn new(prologue: &[u8]) -> Self {
        // The name is longer than a hash, so it is hashed and not padded.
        const { assert!(PROTOCOL_NAME.len() > KEY) };
        let hash = blake2s(&[PROTOCOL_NAME.as_bytes()]);
        let cipher = Cipher(Zeroizing::new([0; KEY]));
        let mut symmetric = Self { chaining: Zeroizing::new(hash), hash, cipher };
        symmetric.mix_hash(prologue);
        symmetric
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = blake2s(&[&self.hash, data]);
    }

    fn mix_key(&mut self, material: &[u8; KEY]) {
        let [chaining, key, _] = hkdf(&self.chaining, material);
        self.chaining = chaining;
        self.cipher = Cipher(key);
    }

    fn mix_key_and_hash(&mut self, material: &[u8; KEY]) {
        let [chaining, hash, key] = hkdf(&self.chaining, material);
        self.chaining = chaining;
        self.mix_hash(&*hash);
        self.cipher = Cipher(key);
    }

    /// The token `e`; with a pre-shared key the public key is mixed into the key as well (§9.2).
    fn mix_ephemeral(&mut self, public: &[u8; KEY]) {
        self.mix_hash(public);
        self.mix_key(public);
    }

    /// `EncryptAndHash`; `text` is as long as the payload and its tag.
    fn encrypt(&mut self, payload: &[u8], text: &mut [u8]) -> Result<(), NoiseError> {
        text.get_mut(..payload.len()).ok_or(NoiseError::Length)?.copy_from_slice(payload);
        self.cipher.encrypt(0, &self.hash, text)?;
        self.mix_hash(text);
        Ok(())
    }

    /// `DecryptAndHash`; `payload` is as long as `text` less its tag.
    fn decrypt(&mut self, text: &[u8], payload: &mut [u8]) -> Result<(), NoiseError> {
        let (body, tag) = text.split_last_chunk::<TAG>().ok_or(NoiseError::Length)?;
        if body.len() != payload.len() {
            return Err(NoiseError::Length);
        }
        payload.copy_from_slice(body);
        self.cipher.decrypt(0, &self.hash, payload, tag)?;
        self.mix_hash(text);
        Ok(())
    }

    /// `Split`, as the responder: the first key is that of what the initiator sends.
    fn split(&self) -> Keys {
        let [receive, send, _] = hkdf(&self.chaining, &[]);
        Keys { receive: Cipher(receive), send: Cipher(send), hash: self.hash }
    }
}

/// The length of a message, if it may be that long.
fn message_length(payload: usize, overhead: usize) -> Result<usize, NoiseError> {
    payload.checked_add(overhead).filter(|length| *length <= MAX_MESSAGE).ok_or(NoiseError::Length)
}

/// Four zero bytes and the number, little-endian (§12.3).
fn nonce_bytes(nonce: u64) -> Result<[u8; 12], NoiseError> {
    if nonce == u64::MAX {
        return Err(NoiseError::Nonce);
    }
    let mut bytes = [0; 12];
    if let Some(number) = bytes.last_chunk_mut() {
        *number = nonce.to_le_bytes();
    }
    Ok(bytes)
}

/// `HKDF` of §4.3 with three outputs. The first two are the same when two are asked for.
fn hkdf(chaining: &[u8; KEY], material: &[u8]) -> [Zeroizing<[u8; KEY]>; 3] {
    let key = hmac(chaining, &[material]);
    let first = hmac(&key, &[&[1]]);
    let second = hmac(&key, &[&*first, &[2]]);
    let third = hmac(&key, &[&*second, &[3]]);
    [first, second, third]
}

/// HMAC-BLAKE2s (RFC 2104) of the concatenation of `parts`. Noise wants HMAC and not the keyed mode
/// that BLAKE2s has itself.
fn hmac(key: &[u8; KEY], parts: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
    let pad = |byte: u8| {
        let mut pad = Zeroizing::new([byte; BLOCK]);
        pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        Blake2s256::new_with_prefix(pad.as_slice())
    };
    let inner = Zeroizing::new(finish(pad(0x36), parts));
    Zeroizing::new(finish(pad(0x5c), &[&*inner]))
}

fn blake2s(parts: &[&[u8]]) -> [u8; KEY] {
    finish(Blake2s256::new(), parts)
}

fn finish(mut hash: Blake2s256, parts: &[&[u8]]) -> [u8; KEY] {
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
