//! What frames say, in words for who listens. No card number is ever among them: events are counted, pages
//! measured.

use postern_protocol::link::frame::{From, HEADER, Header, Kind};
use postern_protocol::link::message::{
    Hello, Opening, Present, Refusal, Reply, Request, Welcome, runs,
};
use serde::Deserialize;

/// What a frame says that is sent in clear: `plain` is the whole of it, header included. `None` where it is
/// sealed.
pub(super) fn in_clear(header: Header, plain: &[u8]) -> Option<String> {
    let body = plain.get(HEADER..).unwrap_or_default();
    let said = match (header.kind, header.from) {
        (Kind::Sealed, _) => return None,
        (Kind::Hello, From::Gateway) => read(body).map(|(hello, _)| hello_words(hello)),
        (Kind::Hello, From::Station) => read(body).map(|(present, _)| present_words(present)),
        (Kind::Open, from) => read(body).map(|(opening, rest)| opening_words(from, opening, rest)),
        (Kind::Plain, From::Gateway) => read(body).map(|(asked, _)| request(&asked)),
        (Kind::Plain, From::Station) => {
            read(body).map(|(said, rest)| reply(&said, runs::Reader::new(rest)))
        }
        (Kind::Refused, _) => read::<Refusal>(body).map(|(why, _)| format!("refused: {why}")),
    };
    Some(said.unwrap_or_else(|| "makes no sense".to_owned()))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<(T, &'a [u8])> {
    postcard::take_from_bytes(body).ok()
}

/// One version, or a range of them.
fn versions(min: u8, max: u8) -> String {
    if min == max { format!("version {min}") } else { format!("versions {min}-{max}") }
}

fn hello_words(Hello { min, max }: Hello) -> String {
    format!("who is there? {}", versions(min, max))
}

fn present_words(Present { min, max, serial, wire, is_keyed }: Present) -> String {
    let key = if is_keyed { "a key" } else { "no key" };
    format!("serial {serial}, {}, frames of {wire} bytes, {key}", versions(min, max))
}

fn opening_words(from: From, opening: Opening, rest: &[u8]) -> String {
    let how = match opening {
        Opening::Noise { version } => format!("sealed, version {version}"),
        Opening::Plain { version, .. } => format!("in clear, version {version}"),
    };
    // Of a sealed one the gateway alone can read the rest.
    let welcome = match (from, opening) {
        (From::Station, Opening::Plain { .. }) => read::<Welcome>(rest),
        (From::Gateway, _) | (_, Opening::Noise { .. }) => None,
    };
    match (from, welcome) {
        (From::Gateway, _) => format!("opens a session {how}"),
        (From::Station, None) => format!("session {how}"),
        (From::Station, Some((Welcome { oldest, newest, .. }, _))) => {
            format!("session {how}, log {oldest}-{newest}")
        }
    }
}

/// What a gateway asks.
pub(super) fn request(request: &Request<'_>) -> String {
    match request {
        Request::Poll { committed, skip: 0, room } => {
            format!("poll behind {committed}, {room} bytes")
        }
        Request::Poll { committed, skip, room } => {
            format!("poll behind {committed}+{skip}, {room} bytes")
        }
        Request::Identify => "who are you?".to_owned(),
        Request::Status => "how are you?".to_owned(),
        Request::Doors => "how are the doors?".to_owned(),
        Request::SetTime { at, ms } => format!("set the clock to {}.{ms:03} s", at.0),
        // Pages hold cards.
        Request::Page { table, generation, page, pages, bytes, .. } => format!(
            "page {} of {pages}, generation {generation} of {table:?}, {} bytes",
            u32::from(*page) + 1,
            bytes.len()
        ),
        Request::OpenDoor { door, ms, .. } => format!("open door {door} for {ms} ms"),
    }
}

/// What a station answers; `events` stand behind it.
pub(super) fn reply(reply: &Reply<'_>, events: runs::Reader<'_>) -> String {
    match reply {
        Reply::Events { lost, behind, .. } => {
            let count = events.count();
            let s = if count == 1 { "" } else { "s" };
            let lost = if *lost > 0 { format!(", {lost} lost before") } else { String::new() };
            format!("{count} event{s}{lost}, {behind} more")
        }
        Reply::Identity(who) => {
            let text = |text| super::record::printable(text);
            format!("{} {}, serial {}", text(who.model), text(who.firmware), who.serial)
        }
        Reply::Status(status) => format!(
            "log {}-{}, committed {}, clock {} s, flags {:#04x}",
            status.oldest, status.newest, status.committed, status.clock.0, status.flags.0
        ),
        Reply::Doors(doors) => format!("{} doors", doors.len()),
        Reply::Done => "done".to_owned(),
        Reply::Staged { next } => format!("page kept, {} next", u32::from(*next) + 1),
        Reply::Refused(why) => format!("refused: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::link::frame;

    use super::*;

    /// The frames of docs/protocol.md §12, "The same in clear" and the opening of the sealed one.
    #[test]
    fn the_frames_of_the_specification_are_put_into_words() {
        for (hex, words) in [
            ("0905010101ce444479", "who is there? version 1"),
            (
                "0a85010101f1a204800205455d4816",
                "serial 70001, version 1, frames of 256 bytes, no key",
            ),
            ("0e0522010191a3c68c0981d196b2", "opens a session in clear, version 1"),
            (
                "0a8522010191a3c68c0916112233445566778899aabbccddeeff01050823adf1",
                "session in clear, version 1, log 1-5",
            ),
            ("030561010107c801f641d878", "poll behind 0, 200 bytes"),
            (
                "038561010103102c0562113201074281808080200d621132020942828080802028010101020c01010105621132030202021115621132c80342ffffffffffffffffff01b0864d53",
                "5 events, 0 more",
            ),
            ("030562020507c8016ac392c9", "poll behind 5, 200 bytes"),
        ] {
            let mut bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            let (header, plain) = frame::decode(&mut bytes).unwrap();
            assert_eq!(in_clear(header, plain).as_deref(), Some(words));
        }
    }

    #[test]
    fn what_is_sealed_stays_so_and_nonsense_is_called_that() {
        let header = |kind| Header { address: 5, from: From::Station, kind, sequence: 0 };
        assert_eq!(in_clear(header(Kind::Sealed), &[0x85, 0x40, 1, 2]), None);
        for kind in [Kind::Hello, Kind::Open, Kind::Plain, Kind::Refused] {
            assert_eq!(in_clear(header(kind), &[0x85, 0]).as_deref(), Some("makes no sense"));
        }
        let refused = in_clear(header(Kind::Refused), &[0x85, 0x80, 2]);
        assert_eq!(refused.as_deref(), Some("refused: it has no session"));
        let page = Request::Page {
            role_term: 1,
            table: postern_protocol::link::message::Table::Cards,
            generation: 3,
            page: 0,
            pages: 2,
            bytes: b"8165536",
        };
        assert_eq!(request(&page), "page 1 of 2, generation 3 of Cards, 7 bytes");
    }
}
