//! What disks do to a file while nobody looks: pure functions over its bytes.

use std::fmt;

use crate::random::Random;

/// The pages of the journal's file.
const PAGE: usize = 4_096;

/// A way to damage a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit of a page is another.
    FlippedBit,
    /// A page is all zeros.
    ZeroedPage,
    /// The file ends at a page before its end.
    Truncation,
    /// Two pages stand in each other's place.
    SwappedPages,
    /// A page is what it was at an earlier time.
    StalePage,
}

impl Rot {
    /// Every way, in the order in which a run takes turns.
    pub const ALL: [Self; 5] =
        [Self::FlippedBit, Self::ZeroedPage, Self::Truncation, Self::SwappedPages, Self::StalePage];

    /// Damages `file` somewhere where it is in use; `earlier` is what it was some time ago. Where
    /// nothing can be done in this way, nothing is changed.
    pub fn strike(self, file: &mut Vec<u8>, earlier: &[u8], random: &mut Random) {
        let used: Vec<usize> = (0..file.len() / PAGE)
            .filter(|page| bytes(file, *page).iter().any(|byte| *byte != 0))
            .collect();
        let mut any = |pages: &[usize]| pages.get(random.place(pages.len())).copied();
        let Some(page) = any(&used) else { return };
        match self {
            Self::FlippedBit => {
                let place = page * PAGE + random.place(PAGE);
                if let Some(byte) = file.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
            Self::ZeroedPage => replace(file, page, &[0; PAGE]),
            Self::Truncation => file.truncate(page * PAGE),
            Self::SwappedPages => {
                let other = any(&used).unwrap_or(page);
                let (one, two) = (bytes(file, page).to_vec(), bytes(file, other).to_vec());
                replace(file, page, &two);
                replace(file, other, &one);
            }
            Self::StalePage => {
                let stale = |page: &usize| {
                    let then = bytes(earlier, *page);
                    !then.is_empty() && then != bytes(file, *page)
                };
                let changed: Vec<usize> = used.iter().copied().filter(stale).collect();
                if let Some(page) = any(&changed) {
                    replace(file, page, bytes(earlier, page));
                }
            }
        }
    }
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlippedBit => "a flipped bit",
            Self::ZeroedPage => "a zeroed page",
            Self::Truncation => "a truncation",
            Self::SwappedPages => "two swapped pages",
            Self::StalePage => "a stale page",
        })
    }
}

/// The pages, but for the first, that differ between two states of a file.
pub(super) fn changed_pages(now: &[u8], before: &[u8]) -> Vec<usize> {
    (1..now.len() / PAGE).filter(|page| bytes(now, *page) != bytes(before, *page)).collect()
}

/// Flips one bit near the beginning of a page, where redb keeps what the page is.
pub(super) fn flip(file: &mut [u8], page: usize) {
    if let Some(byte) = file.get_mut(page * PAGE + 5) {
        *byte ^= 1 << 2;
    }
}

fn bytes(file: &[u8], page: usize) -> &[u8] {
    file.get(page * PAGE..(page + 1) * PAGE).unwrap_or_default()
}

fn replace(file: &mut [u8], page: usize, with: &[u8]) {
    if let Some(place) = file.get_mut(page * PAGE..(page + 1) * PAGE) {
        place.copy_from_slice(with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight pages, each full of its number, and two that are not in use.
    fn file(first: u8) -> Vec<u8> {
        let pages = (0..10).map(|page: u8| if page < 8 { page + first } else { 0 });
        pages.flat_map(|page| [page; PAGE]).collect()
    }

    #[test]
    fn every_way_damages_and_one_page_or_two_alone() {
        let earlier = file(9);
        for (rot, seed) in Rot::ALL.into_iter().flat_map(|rot| (0..20).map(move |s| (rot, s))) {
            let whole = file(1);
            let mut harmed = whole.clone();
            rot.strike(&mut harmed, &earlier, &mut Random::new(seed));
            let changed = (0..10).filter(|page| bytes(&harmed, *page) != bytes(&whole, *page));
            match rot {
                Rot::Truncation => assert!(harmed.len() < 8 * PAGE, "{rot}"),
                // Of two pages the second may be the first.
                Rot::SwappedPages => assert!(matches!(changed.count(), 0 | 2), "{rot}"),
                Rot::FlippedBit | Rot::ZeroedPage | Rot::StalePage => {
                    assert_eq!(changed.count(), 1, "{rot}");
                }
            }
        }
    }
}
