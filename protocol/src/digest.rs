//! SHA-256 digests: of a controller's record, and the chain that binds a journal's entries.

use core::fmt;
use core::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::id::{JournalId, Seq};
use crate::text::{ParseError, parse_hex, serde_as_text, write_hex};

/// A SHA-256 digest. Text: 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of the concatenation of `parts`, under a `domain` that keeps digests of
    /// different things apart.
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(domain.as_bytes());
        hash.update([0]);
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_hex(text)
            .map(Self)
            .ok_or(ParseError { expected: "a digest of 64 hexadecimal digits" })
    }
}

serde_as_text!(Digest, [u8; 32], |digest| digest.0, |bytes| Some(Digest(bytes)));

/// The hash chain of a journal: each entry's link covers its bytes, its position and every entry
/// before it, so that two journals with one id and different pasts are told apart by one digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The last entry that the hash covers.
    pub seq: Seq,
    /// The hash there.
    pub hash: Digest,
}

impl Chain {
    /// The chain before the first entry of a journal.
    pub fn genesis(journal: JournalId) -> Self {
        Self { seq: Seq(0), hash: Digest::of("postern journal chain", &[&journal.0]) }
    }

    /// The chain after one more entry with these bytes.
    #[must_use]
    pub fn link(self, entry: &[u8]) -> Self {
        let seq = self.seq.next();
        let mut hash = Sha256::new();
        hash.update(self.hash.0);
        hash.update(seq.0.to_be_bytes());
        hash.update(entry);
        Self { seq, hash: Digest(hash.finalize().into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_journals_positions_and_bytes_apart() {
        let a = Chain::genesis(JournalId([1; 16]));
        let b = Chain::genesis(JournalId([2; 16]));
        assert_ne!(a.hash, b.hash);
        assert_ne!(a.link(b"x").hash, b.link(b"x").hash);
        assert_ne!(a.link(b"x").hash, a.link(b"y").hash);
        assert_ne!(a.link(b"x").link(b"y").hash, a.link(b"y").link(b"x").hash);
        assert_eq!(a.link(b"x").link(b"y").seq, Seq(2));
    }

    /// The definition in `docs/uplink.md`, so that others can compute it: do not change this test.
    #[test]
    fn the_chain_is_the_documented_one() {
        use sha2::{Digest as _, Sha256};
        let journal = JournalId([7; 16]);
        let start: [u8; 32] =
            Sha256::digest([b"postern journal chain\0".as_slice(), &[7; 16]].concat()).into();
        let one: [u8; 32] =
            Sha256::digest([&start[..], &1u64.to_be_bytes(), b"entry"].concat()).into();
        assert_eq!(Chain::genesis(journal).link(b"entry").hash, Digest(one));
    }
}
