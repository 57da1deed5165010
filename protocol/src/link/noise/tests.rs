use super::*;
use proptest::prelude::*;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher as SnowCipher, Dh, Hash, Random};
use snow::{HandshakeState, StatelessTransportState};
use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const PROLOGUE: &[u8] = b"prologue";

fn psk() -> Psk {
    Psk::new([0x5a; KEY])
}

/// What `snow` stands on, with a secret key of the test's choice in place of randomness.
struct Peer([u8; KEY]);

impl Random for Peer {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        dest.iter_mut().zip(self.0.iter().cycle()).for_each(|(dest, byte)| *dest = *byte);
        Ok(())
    }
}

impl CryptoResolver for Peer {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Self(self.0)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn SnowCipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn initiator(psk: &Psk, prologue: &[u8], secret: [u8; KEY]) -> HandshakeState {
    snow::Builder::with_resolver(PROTOCOL_NAME.parse().unwrap(), Box::new(Peer(secret)))
        .psk(0, psk.as_bytes())
        .unwrap()
        .prologue(prologue)
        .unwrap()
        .build_initiator()
        .unwrap()
}

/// Message 1 of a peer with this pre-shared key, prologue and payload.
fn first(peer: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; payload.len() + MESSAGE_OVERHEAD];
    assert_eq!(peer.write_message(payload, &mut message), Ok(message.len()));
    message
}

fn read(psk: &Psk, prologue: &[u8], message: &[u8]) -> Result<(Responder, Vec<u8>), NoiseError> {
    let mut payload = vec![0; MAX_MESSAGE];
    let (responder, length) = Responder::read(psk, prologue, message, &mut payload)?;
    payload.truncate(length);
    Ok((responder, payload))
}

fn write(
    responder: Responder,
    secret: [u8; KEY],
    payload: &[u8],
) -> Result<(Keys, Vec<u8>), NoiseError> {
    let mut message = vec![0; payload.len() + MESSAGE_OVERHEAD];
    let (keys, length) = responder.write(secret, payload, &mut message)?;
    assert_eq!(length, message.len());
    Ok((keys, message))
}

fn seal(cipher: &Cipher, nonce: u64, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [payload, &[0; TAG]].concat();
    assert_eq!(cipher.seal(nonce, &mut buffer, payload.len()), Ok(buffer.len()));
    buffer
}

fn open(cipher: &Cipher, nonce: u64, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut buffer = message.to_vec();
    let opened = cipher.open(nonce, &mut buffer).map(|payload| payload.to_vec());
    if opened.is_err() {
        assert_eq!(buffer, message, "a refused message was changed");
    }
    opened
}

/// A finished handshake with `snow`.
fn linked() -> (Keys, StatelessTransportState) {
    let mut peer = initiator(&psk(), PROLOGUE, [1; KEY]);
    let message = first(&mut peer, b"");
    let (responder, _) = read(&psk(), PROLOGUE, &message).unwrap();
    let (keys, message) = write(responder, [2; KEY], b"").unwrap();
    peer.read_message(&message, &mut []).unwrap();
    (keys, peer.into_stateless_transport_mode().unwrap())
}

#[derive(serde::Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    protocol_name: String,
    init_prologue: String,
    init_psks: Vec<String>,
    resp_prologue: String,
    resp_psks: Vec<String>,
    resp_ephemeral: String,
    handshake_hash: String,
    messages: Vec<Message>,
}

#[derive(serde::Deserialize)]
struct Message {
    payload: String,
    ciphertext: String,
}

fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn key(text: &str) -> [u8; KEY] {
    crate::text::parse_hex(text).unwrap()
}

/// Vectors of the cacophony project, see `vectors/NOTICE.md`: do not change this test.
#[test]
fn the_published_vector_is_reproduced_byte_for_byte() {
    let text = include_str!("../../../vectors/noise.json");
    let vectors = serde_json::from_str::<Vectors>(text).unwrap().vectors;
    assert_eq!(vectors.len(), 1);
    for vector in vectors {
        assert_eq!(vector.protocol_name, PROTOCOL_NAME);
        assert_eq!(
            (&vector.init_prologue, &vector.init_psks),
            (&vector.resp_prologue, &vector.resp_psks)
        );
        let messages: Vec<_> =
            vector.messages.iter().map(|m| (hex(&m.payload), hex(&m.ciphertext))).collect();
        let [one, two, transport @ ..] = messages.as_slice() else { panic!("no handshake") };
        assert_eq!(transport.len(), 4);

        let psk = Psk::new(key(&vector.resp_psks[0]));
        let (responder, payload) = read(&psk, &hex(&vector.resp_prologue), &one.1).unwrap();
        assert_eq!(payload, one.0);
        let (keys, message) = write(responder, key(&vector.resp_ephemeral), &two.0).unwrap();
        assert_eq!(message, two.1);
        assert_eq!(keys.hash, key(&vector.handshake_hash));

        // The initiator has the first word after the handshake, and the sides take turns.
        for (turn, (payload, message)) in transport.iter().enumerate() {
            let nonce = u64::try_from(turn / 2).unwrap();
            let cipher = if turn % 2 == 0 { &keys.receive } else { &keys.send };
            assert_eq!(open(cipher, nonce, message).as_ref(), Ok(payload));
            assert_eq!(&seal(cipher, nonce, payload), message);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn snow_and_this_side_understand_each_other(
        bytes in any::<[u8; KEY]>(),
        prologue in prop::collection::vec(any::<u8>(), 0..200),
        secrets in any::<[[u8; KEY]; 2]>(),
        hello in prop::collection::vec(any::<u8>(), 0..300),
        answer in prop::collection::vec(any::<u8>(), 0..300),
        start in 0..u64::MAX - 100,
    ) {
        let psk = Psk::new(bytes);
        let mut peer = initiator(&psk, &prologue, secrets[0]);
        let message = first(&mut peer, &hello);
        let (responder, payload) = read(&psk, &prologue, &message).unwrap();
        prop_assert_eq!(&payload, &hello);

        let (keys, message) = write(responder, secrets[1], &answer).unwrap();
        let mut buffer = vec![0; answer.len()];
        prop_assert_eq!(peer.read_message(&message, &mut buffer), Ok(answer.len()));
        prop_assert_eq!(&buffer, &answer);
        prop_assert_eq!(peer.get_handshake_hash(), &keys.hash);

        let peer = peer.into_stateless_transport_mode().unwrap();
        // Payloads of every length from 0, nonces from anywhere: in order going, out of order coming.
        for length in 0..100u8 {
            let payload = vec![length; length.into()];
            let nonce = start + u64::from(length);
            let message = seal(&keys.send, nonce, &payload);
            let mut buffer = vec![0; payload.len()];
            prop_assert_eq!(peer.read_message(nonce, &message, &mut buffer), Ok(payload.len()));
            prop_assert_eq!(&buffer, &payload);

            let nonce = start + 99 - u64::from(length);
            let mut message = vec![0; payload.len() + TAG];
            prop_assert_eq!(peer.write_message(nonce, &payload, &mut message), Ok(message.len()));
            prop_assert_eq!(open(&keys.receive, nonce, &message), Ok(payload));
        }
    }

    #[test]
    fn no_bytes_from_outside_are_taken_or_panic(
        message in prop::collection::vec(any::<u8>(), 0..200),
        room in 0..200usize,
        nonce in any::<u64>(),
    ) {
        prop_assert!(Responder::read(&psk(), PROLOGUE, &message, &mut vec![0; room]).is_err());
        prop_assert!(open(&linked().0.receive, nonce, &message).is_err());
    }
}

#[test]
fn a_wrong_psk_or_prologue_is_refused() {
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), b"hello");
    assert!(read(&psk(), PROLOGUE, &message).is_ok());
    for bit in 0..KEY * 8 {
        let mut other = *psk().as_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = read(&Psk::new(other), PROLOGUE, &message).map(|_| ());
        assert_eq!(refused, Err(NoiseError::Refused), "bit {bit}");
    }
    for other in [b"".as_slice(), b"prologu", b"prologuf", b"prologue\0"] {
        assert_eq!(read(&psk(), other, &message).map(|_| ()), Err(NoiseError::Refused));
    }
}

#[test]
fn a_flipped_bit_anywhere_in_message_1_is_refused_and_leaves_no_plaintext() {
    let hello = b"hello".as_slice();
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), hello);
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut payload = [0; 5];
        let refused = Responder::read(&psk(), PROLOGUE, &flipped, &mut payload).map(|_| ());
        assert_eq!(refused, Err(NoiseError::Refused), "bit {bit}");
        assert_eq!(payload, flipped[KEY..KEY + 5], "bit {bit}: not the ciphertext");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_message_2_is_refused_by_snow() {
    let mut peer = initiator(&psk(), PROLOGUE, [1; KEY]);
    let (responder, _) = read(&psk(), PROLOGUE, &first(&mut peer, b"hello")).unwrap();
    let (_, message) = write(responder, [2; KEY], b"answer").unwrap();
    for bit in 0..message.len() * 8 {
        let mut peer = initiator(&psk(), PROLOGUE, [1; KEY]);
        first(&mut peer, b"hello");
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(peer.read_message(&flipped, &mut [0; 6]).is_err(), "bit {bit}");
    }
}

#[test]
fn a_message_1_cut_anywhere_is_refused() {
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), b"hello");
    for length in 0..message.len() {
        let expected =
            if length < MESSAGE_OVERHEAD { NoiseError::Length } else { NoiseError::Refused };
        let refused = read(&psk(), PROLOGUE, &message[..length]).map(|_| ());
        assert_eq!(refused, Err(expected), "{length} bytes");
    }
}

#[test]
fn a_transport_message_that_is_flipped_cut_or_lengthened_is_refused() {
    let (keys, peer) = linked();
    let mut message = [0; 5 + TAG];
    peer.write_message(7, b"hello", &mut message).unwrap();
    assert_eq!(open(&keys.receive, 7, &message).as_deref(), Ok(b"hello".as_slice()));
    for bit in 0..message.len() * 8 {
        let mut flipped = message;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&keys.receive, 7, &flipped), Err(NoiseError::Refused), "bit {bit}");
    }
    for length in 0..message.len() {
        let expected = if length < TAG { NoiseError::Length } else { NoiseError::Refused };
        assert_eq!(open(&keys.receive, 7, &message[..length]), Err(expected), "{length} bytes");
    }
    let longer = [&message[..], &[0]].concat();
    assert_eq!(open(&keys.receive, 7, &longer), Err(NoiseError::Refused));
}

#[test]
fn a_wrong_nonce_and_an_own_message_sent_back_are_refused() {
    let (keys, _) = linked();
    let message = seal(&keys.send, 7, b"hello");
    assert!(open(&keys.send, 7, &message).is_ok());
    for nonce in [0, 6, 8, 7 << 32, u64::MAX - 1] {
        assert_eq!(open(&keys.send, nonce, &message), Err(NoiseError::Refused), "{nonce}");
    }
    assert_eq!(open(&keys.receive, 7, &message), Err(NoiseError::Refused));
}

#[test]
fn message_2_sent_back_is_no_message_1() {
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), b"");
    let (responder, _) = read(&psk(), PROLOGUE, &message).unwrap();
    let (_, message) = write(responder, [2; KEY], b"").unwrap();
    assert_eq!(read(&psk(), PROLOGUE, &message).map(|_| ()), Err(NoiseError::Refused));
}

/// Message 1 with any public key, by a peer that has the pre-shared key.
fn crafted(public: [u8; KEY]) -> Vec<u8> {
    let mut symmetric = Symmetric::new(PROLOGUE);
    symmetric.mix_key_and_hash(psk().as_bytes());
    symmetric.mix_ephemeral(&public);
    let mut text = [0; TAG];
    symmetric.encrypt(&[], &mut text).unwrap();
    [&public[..], &text].concat()
}

/// All points of order 2, 4 and 8 of the curve and its twist, and their forms that are not
/// reduced; bit 255 is not looked at by X25519 (RFC 7748 §5).
#[test]
fn a_public_key_of_low_order_is_refused() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        for high in [0, 0x80] {
            let mut public = key(point);
            public[KEY - 1] |= high;
            let (responder, _) = read(&psk(), PROLOGUE, &crafted(public)).unwrap();
            let mut out = [0; MESSAGE_OVERHEAD];
            let refused = responder.write([2; KEY], b"", &mut out).map(|_| ());
            assert_eq!(refused, Err(NoiseError::PublicKey), "{point}");
            assert_eq!(out, [0; MESSAGE_OVERHEAD]);
        }
    }
    // The same way of making message 1, with a good key.
    let (responder, _) = read(&psk(), PROLOGUE, &crafted(X25519_BASEPOINT_BYTES)).unwrap();
    assert!(write(responder, [2; KEY], b"").is_ok());
}

#[test]
fn a_buffer_that_is_too_small_or_too_large_is_refused() {
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), b"hello");
    let small = Responder::read(&psk(), PROLOGUE, &message, &mut [0; 4]).map(|_| ());
    assert_eq!(small, Err(NoiseError::Length));
    let huge = vec![0; MAX_MESSAGE + 1];
    assert_eq!(read(&psk(), PROLOGUE, &huge).map(|_| ()), Err(NoiseError::Length));

    let responder = || read(&psk(), PROLOGUE, &message).unwrap().0;
    let mut small = [0; MESSAGE_OVERHEAD];
    let refused = responder().write([2; KEY], b"!", &mut small).map(|_| ());
    assert_eq!(refused, Err(NoiseError::Length));
    let payload = &huge[..=MAX_MESSAGE - MESSAGE_OVERHEAD];
    let refused = responder().write([2; KEY], payload, &mut huge.clone()).map(|_| ());
    assert_eq!(refused, Err(NoiseError::Length));
    assert!(write(responder(), [2; KEY], &payload[1..]).is_ok());

    let (keys, _) = linked();
    let mut buffer = huge.clone();
    assert_eq!(keys.send.seal(0, &mut buffer[..20], 5), Err(NoiseError::Length));
    for length in [MAX_MESSAGE - TAG + 1, usize::MAX] {
        assert_eq!(keys.send.seal(0, &mut buffer, length), Err(NoiseError::Length));
    }
    assert_eq!(keys.receive.open(0, &mut buffer), Err(NoiseError::Length));
    assert_eq!(buffer, huge);
    assert_eq!(keys.send.seal(0, &mut buffer, MAX_MESSAGE - TAG), Ok(MAX_MESSAGE));
    assert!(keys.send.open(0, &mut buffer[..MAX_MESSAGE]).is_ok());
}

#[test]
fn the_last_nonce_is_kept_for_noise_itself() {
    let (keys, _) = linked();
    let mut buffer = [7; 5 + TAG];
    assert_eq!(keys.send.seal(u64::MAX, &mut buffer, 5), Err(NoiseError::Nonce));
    assert_eq!(keys.receive.open(u64::MAX, &mut buffer), Err(NoiseError::Nonce));
    assert_eq!(buffer, [7; 5 + TAG]);
    let message = seal(&keys.send, u64::MAX - 1, b"hello");
    assert!(open(&keys.send, u64::MAX - 1, &message).is_ok());
}

#[test]
fn nothing_secret_is_printed() {
    let message = first(&mut initiator(&psk(), PROLOGUE, [1; KEY]), b"");
    let (responder, _) = read(&psk(), PROLOGUE, &message).unwrap();
    assert_eq!(format!("{responder:?} {:?}", psk()), "Responder(..) Psk(..)");
    let keys = write(responder, [2; KEY], b"").unwrap().0;
    let text = format!("{keys:?}");
    assert!(text.starts_with("Keys { receive: Cipher(..), send: Cipher(..), hash: ["), "{text}");
    assert_eq!(NoiseError::Refused.to_string(), "authentication failed");
}
