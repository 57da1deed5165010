//! What to do about what the parser of the file complains of.

/// Where every key stands.
const REFERENCE: &str = "`postern init --dry-run` shows every key with its unit, default and range";

/// The furthest that a slip of the fingers is from what was meant.
const SLIP: usize = 2;

/// A hint for a message of the parser; for an unknown word with the one that may be meant.
pub(super) fn of(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let wrong = words.next().filter(|_| message.starts_with("unknown "));
    match wrong.and_then(|wrong| nearest(wrong, words)) {
        Some(word) => format!("is `{word}` meant? {REFERENCE}"),
        None => REFERENCE.to_owned(),
    }
}

/// The word that may be meant, if one is near enough.
pub(super) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = words.map(|word| (distance(wrong, word), word));
    near.filter(|(far, word)| *far <= SLIP && *far < word.len()).min().map(|(_, word)| word)
}

/// How many letters have to be put in, left out or exchanged (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, a) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (at, at + 1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (b, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, far) in
            [("", "ab", 2), ("serail", "serial", 2), ("zone", "zone", 0), ("abc", "bc", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (far, far), "{a} {b}");
        }
    }

    #[test]
    fn a_word_that_is_nearly_right_is_named_and_another_is_not() {
        let unknown =
            |word: &str| format!("unknown field `{word}`, expected one of `serial`, `zone`");
        assert!(
            of(&unknown("serail")).starts_with("is `serial` meant? "),
            "{}",
            of(&unknown("serail"))
        );
        assert_eq!(of(&unknown("colour")), REFERENCE);
        assert_eq!(of("invalid type: string, expected u32"), REFERENCE);
    }
}
