//! What every decoder of the protocol crate is asked with bytes from anywhere: not to panic, and that
//! what it reads, it writes and reads again as the same.
//!
//! The fuzz targets call these functions with what a fuzzer thinks of, and a plain test of the
//! protocol crate (`tests/corpus.rs`, which includes this file) with what the fuzzer found to matter.

#[cfg(feature = "link-gateway")]
pub mod link;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use postern_protocol::pki::{self, Bundle, PeerIdentity};
use postern_protocol::role::{RoleDocument, SignedRole};
use postern_protocol::transaction::{MAX_ENTRY, Transaction};
use postern_protocol::uhppote::field::{Date, DateTime, HourMinute, Mac, Time, Version};
use postern_protocol::uhppote::message::{FUNCTIONS, name_of, record_bytes};
use postern_protocol::uhppote::{FRAME, Request, Response, peek, reason};
use postern_protocol::uplink::{Batch, Last, Refusal, Watermark};
use postern_protocol::{ControllerId, Digest, EpochId, JournalId};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Frames of UHPPOTE boards: a datagram, and behind it, where there is more, another one that is taken
/// for the reply to it.
pub fn frame(bytes: &[u8]) {
    whole(bytes);
    let Some((asked, reply)) = bytes.split_at_checked(FRAME) else { return };
    whole(asked);
    whole(reply);
    if let (Ok(request), Ok(response)) = (Request::decode(asked), Response::decode(reply))
        && request.is_answered_by(&response)
    {
        assert_eq!(request.function(), response.function());
        assert!(request.controller() == 0 || request.controller() == response.controller());
    }
}

fn whole(bytes: &[u8]) {
    let peeked = peek(bytes);
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
        assert_eq!(peeked.map(|(_, function, _)| function), Ok(request.function()));
        assert!(name_of(request.function()).is_some());
        text(&request);
    }
    let decoded = Response::decode(bytes);
    if let Ok(response) = decoded {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
        assert_eq!(peeked.map(|(.., controller)| controller), Ok(response.controller()));
        text(&response);
        if let Response::GetEvent(event) = response {
            // Whoever is kept as a record is none of the values that stand for none.
            let _ = (reason::kind(&event), reason::door(&event), reason::direction(&event));
            assert!(!event.is_sentinel() || event.index == 0);
        }
    }
    for function in FUNCTIONS {
        if let Ok(reply) = Response::decode_reply(bytes, *function) {
            assert_eq!(decoded, Ok(reply));
            assert_eq!(reply.function(), *function);
        }
    }
    if let Ok((frame, ..)) = peeked {
        assert_eq!(record_bytes(frame).len(), 20);
    }
}

/// Encoded transactions, as they stand in a journal and travel in a batch.
pub fn transaction(bytes: &[u8]) {
    let Ok(transaction) = Transaction::decode(bytes) else { return };
    let mut buffer = [0; MAX_ENTRY];
    // The bytes rule and are never encoded anew, so another encoding of the same is no harm, but it has
    // to fit and to read as the same.
    let encoded = transaction.encode(&mut buffer).expect("what was read fits");
    assert_eq!(Transaction::decode(encoded), Ok(transaction.clone()));
    let _ = (transaction.record_digest(), format!("{transaction:?}"));
    text(&transaction);
}

/// What gateways and servers say to each other. The first byte says what the rest is.
pub fn message(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which {
        b'b' => {
            if let Some(batch) = json::<Batch>(rest)
                && let Ok((before, after)) = batch.check()
            {
                let count = u64::try_from(batch.entries.len()).unwrap_or(u64::MAX);
                assert_eq!(before.seq.0 + count, after.seq.0);
            }
        }
        b'w' => drop(json::<Watermark>(rest)),
        b'l' => drop(json::<Last>(rest)),
        b'r' => drop(json::<Refusal>(rest)),
        b'd' => drop(json::<RoleDocument>(rest)),
        b's' => {
            if let Some(role) = json::<SignedRole>(rest) {
                let authority = CertificateDer::from(role.certificate.0.as_slice());
                let verified = role.verify(&authority, "north", UnixTime::since_unix_epoch(NOW));
                let _ = verified.map_err(|error| error.to_string());
            }
        }
        b'B' => {
            let _ = serde_json::from_slice::<Bundle>(rest).map(|bundle| format!("{bundle:?}"));
        }
        b'c' => {
            let _ = pki::identity(&CertificateDer::from(rest)).map_err(|error| error.to_string());
        }
        _ => {
            let Ok(rest) = str::from_utf8(rest) else { return };
            shown::<ControllerId>(rest);
            shown::<Digest>(rest);
            shown::<EpochId>(rest);
            shown::<JournalId>(rest);
            shown::<PeerIdentity>(rest);
            shown::<Date>(rest);
            shown::<DateTime>(rest);
            shown::<HourMinute>(rest);
            shown::<Mac>(rest);
            shown::<Time>(rest);
            shown::<Version>(rest);
        }
    }
}

/// Some moment of 2026.
const NOW: std::time::Duration = std::time::Duration::from_secs(1_780_000_000);

/// Reads JSON; what was read is written and read again as the same.
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = serde_json::from_slice(bytes).ok()?;
    text(&value);
    Some(value)
}

/// What was read can be written, and reads as what is written the same again. The text of a date that was
/// never set is empty, whatever the time beside it.
fn text<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("what was read can be written");
    let again = serde_json::from_str::<T>(&text).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(text), "{value:?}");
}

/// Reads what stands for an identity in paths and configurations.
fn shown<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    assert_eq!(value.to_string().parse().ok(), Some(value));
}
