//! Invariant 10: a message is read or refused, and never takes more memory than the longest one.

use postern_protocol::{Digest, JournalId, Seq, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::store::change::{AuditLine, Change, Line, link};

fn ask() -> Ask {
    Ask {
        store: StoreName { server: "b".into(), store: "b1".into() },
        head: Head::genesis(),
        role_term: RoleTerm(7),
        wait_ms: 2_000,
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, LEVEL).unwrap()
}

#[test]
fn what_is_packed_is_unpacked() {
    let bytes = pack(&ask()).unwrap();
    assert_eq!(unpack::<Ask>(&bytes).unwrap(), ask());
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused_or_read() {
    let bytes = pack(&ask()).unwrap();
    for length in 0..bytes.len() {
        assert!(unpack::<Ask>(&bytes[..length]).is_err(), "{length} bytes");
    }
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let _ = unpack::<Ask>(&flipped);
    }
}

#[test]
fn another_version_and_an_empty_message_are_refused() {
    for version in [0, VERSION + 1, u8::MAX] {
        let bytes = postcard::to_extend(&ask(), vec![version]).unwrap();
        let error = unpack::<Ask>(&packed(&bytes)).unwrap_err();
        assert!(error.to_string().contains(&format!("version {version}")), "{error}");
    }
    assert!(unpack::<Ask>(&packed(&[])).unwrap_err().to_string().contains("empty"));
    assert!(unpack::<Ask>(&[]).is_err());
    assert!(unpack::<Ask>(b"{\"store\":1}").is_err());
}

#[test]
fn a_bomb_is_unpacked_no_further_than_the_longest_message() {
    // 128 MiB of zeros in some kilobytes.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..128 {
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let error = unpack::<Found>(&bomb).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    // The same, made of many small frames.
    let frame = packed(&zeros);
    let error = unpack::<Found>(&frame.repeat(128)).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn a_frame_that_wants_a_huge_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &postcard::to_extend(&ask(), vec![VERSION]).unwrap())
        .unwrap();
    assert!(unpack::<Ask>(&encoder.finish().unwrap()).is_err());
    // A header that asks for 2 GiB and 1.75 TiB, with nothing behind it.
    for window in [0xa8, 0xff] {
        assert!(unpack::<Ask>(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0, 0, 0]).is_err());
    }
}

#[test]
fn a_length_that_nothing_stands_behind_takes_no_memory() {
    // A sequence of 2^60 elements.
    let mut bytes = vec![VERSION];
    bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    assert!(unpack::<Found>(&packed(&bytes)).is_err());
    assert!(unpack::<Heads>(&packed(&bytes)).is_err());
    assert!(unpack::<Ask>(&packed(&bytes)).is_err(), "a name of 2^60 bytes");
}

/// The longest page: filled up to its target, and then one entry that contradicts line by line.
#[test]
fn the_longest_page_is_half_as_long_as_may_be() {
    let line = |id| Line {
        id,
        journal: JournalId([0xff; 16]),
        seq: Seq(i64::MAX.unsigned_abs()),
        epoch: Some(postern_protocol::EpochId([0xff; 16])),
        kind: "x".repeat(150),
        stored_at: Timestamp(i64::MIN),
        live: true,
        role_term: RoleTerm(i64::MAX.unsigned_abs()),
        flags: "conflict".into(),
        entry: postern_protocol::uplink::Bytes(vec![0xff; 256]),
    };
    let audit = AuditLine {
        server: "s".repeat(64),
        at: Timestamp(i64::MIN),
        actor: "a".repeat(64),
        event: "conflict".into(),
        subject: "s".repeat(36),
        detail: "d".repeat(200),
    };
    let entry = |lines: u64, audits: usize| LogEntry {
        head: link(&Head::genesis(), RoleTerm(1), &[]),
        change: Change {
            audit: vec![audit.clone(); audits],
            rows: Some((1, lines)),
            lines: Some(Digest([0xff; 32])),
            ..Change::default()
        },
        lines: (1..=lines).map(|n| line(i64::MAX.unsigned_abs() - n)).collect(),
    };
    let mut entries = Vec::new();
    let mut length = 0;
    while length < PAGE_BYTES {
        entries.push(entry(1, 0));
        length += 256 + 100 + 50;
    }
    entries.push(entry(1_024, 1_025));
    let answer = Answer::Page { role_term: RoleTerm(1), entries, end: 1 };
    let length = postcard::to_extend(&answer, Vec::new()).unwrap().len();
    assert!(length < MAX_MESSAGE / 2, "{length} bytes");
    assert_eq!(unpack::<Answer>(&pack(&answer).unwrap()).unwrap(), answer);
}

proptest! {
    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut versioned = vec![VERSION];
        versioned.extend(&bytes);
        for message in [&bytes, &packed(&bytes), &packed(&versioned)] {
            let _ = unpack::<Ask>(message);
            let _ = unpack::<Answer>(message);
            let _ = unpack::<Heads>(message);
            let _ = unpack::<Found>(message);
            let _ = unpack::<Merge>(message);
            let _ = unpack::<Pause>(message);
            let _ = unpack::<Paused>(message);
        }
    }
}
