//! Cursors: where a page ended, as text that is handed out and taken back.
//!
//! A cursor belongs to one store, filter and order, which its first 16 digits stand for: with any other
//! it would skip or repeat rows, so it is refused.

use postern_protocol::Digest;

use super::Position;

/// Why a cursor cannot be gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// No cursor of ours.
    #[error("the cursor is not one that was handed out here")]
    Malformed,
    /// It does not fit.
    #[error("the cursor belongs to another question, or to another server's store")]
    Foreign,
}

/// The text of a place in a listing. `asked` is the question's one spelling, without cursor
/// and limit.
pub fn write(at: Position, asked: &str, store: &str) -> String {
    let Position { key, row } = at;
    format!("{:016x}{:016x}{row:016x}", fingerprint(asked, store), key.cast_unsigned())
}

/// The place that a text stands for.
pub fn read(text: &str, asked: &str, store: &str) -> Result<Position, CursorError> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 48 || !text.bytes().all(digits) {
        return Err(CursorError::Malformed);
    }
    let part = |at: usize| {
        let digits = text.get(16 * at..16 * (at + 1)).ok_or(CursorError::Malformed)?;
        u64::from_str_radix(digits, 16).map_err(|_| CursorError::Malformed)
    };
    if part(0)? != fingerprint(asked, store) {
        return Err(CursorError::Foreign);
    }
    let row = part(2)?;
    if i64::try_from(row).is_err() {
        return Err(CursorError::Malformed);
    }
    Ok(Position { key: part(1)?.cast_signed(), row })
}

fn fingerprint(asked: &str, store: &str) -> u64 {
    let Digest(bytes) = Digest::of("postern cursor", &[store.as_bytes(), &[0], asked.as_bytes()]);
    bytes.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_where_it_belongs_and_nowhere_else(key: i64, row in 0..=i64::MAX) {
            let at = Position { key, row: row.unsigned_abs() };
            let text = write(at, "by=row", "s1");
            prop_assert_eq!(read(&text, "by=row", "s1"), Ok(at));
            prop_assert_eq!(read(&text, "by=stored", "s1"), Err(CursorError::Foreign));
            prop_assert_eq!(read(&text, "by=row", "s2"), Err(CursorError::Foreign));
        }

        #[test]
        fn whatever_else_is_refused(text in ".{0,60}", digits in "[0-9a-f]{48}", cut in 0_usize..48) {
            prop_assert!(read(&text, "", "").is_err());
            prop_assert!(read(&digits, "", "").is_err());
            prop_assert_eq!(read(&digits[..cut], "", ""), Err(CursorError::Malformed));
        }
    }

    #[test]
    fn a_row_beyond_what_is_counted_is_refused() {
        let text = write(Position { key: 0, row: u64::MAX }, "", "");
        assert_eq!(read(&text, "", ""), Err(CursorError::Malformed));
        assert_eq!(read(&text.to_uppercase(), "", ""), Err(CursorError::Malformed));
    }
}
