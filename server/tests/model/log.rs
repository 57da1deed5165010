//! A server's change log: transactions and a setting, each under the role term of whoever appended
//! it.

use std::fmt::{Debug, Formatter};

/// A transaction by its number in the gateway's journal, from 1; or [`SETTING`].
pub type Id = u8;

/// The one setting that an operator changes.
pub const SETTING: Id = 9;

/// The record of a hole: that the gateway had forgotten transaction `id` before it was seen here.
const fn hole(id: Id) -> Id {
    id + 4
}

/// The longest log: two transactions and their holes, or three, and the setting.
const LONGEST: usize = 5;

/// An entry: what it is, and under which role term it was appended. 0 is none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entry(u8);

impl Entry {
    const fn id(self) -> Id {
        self.0 >> 4
    }

    const fn term(self) -> u8 {
        self.0 & 0xf
    }
}

/// The log.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    entries: [Entry; LONGEST],
}

impl Log {
    /// Nothing.
    pub const EMPTY: Self = Self { entries: [Entry(0); LONGEST] };

    /// It in one number.
    pub fn packed(self) -> u64 {
        let [first, second, third, fourth, fifth] = self.entries.map(|entry| entry.0);
        u64::from_le_bytes([first, second, third, fourth, fifth, 0, 0, 0])
    }

    /// How many entries.
    pub fn len(self) -> u8 {
        let len = self.entries.iter().position(|entry| entry.0 == 0).unwrap_or(LONGEST);
        u8::try_from(len).unwrap()
    }

    fn ids(self) -> impl Iterator<Item = Id> {
        self.entries.into_iter().map(Entry::id).filter(|id| *id > 0)
    }

    /// Whether it is there.
    pub fn holds(self, id: Id) -> bool {
        self.ids().any(|held| held == id)
    }

    /// Where it stands, from 1.
    pub fn position(self, id: Id) -> Option<u8> {
        (1..=self.len()).find(|at| self.entries[usize::from(*at) - 1].id() == id)
    }

    /// Appends.
    pub fn append(&mut self, id: Id, term: u8) {
        let at = usize::from(self.len());
        self.entries[at] = Entry(id << 4 | term);
    }

    /// The highest transaction up to which none is missing but what a hole stands for, in the first
    /// `len` entries.
    pub fn stored(self, len: u8) -> Id {
        let head = &self.entries[..usize::from(len.min(self.len()))];
        let is = |id: Id| head.iter().any(|entry| entry.id() == id);
        let present = |id: &Id| is(*id) || is(hole(*id));
        (1..hole(0)).take_while(present).last().unwrap_or(0)
    }

    /// The role term of the entry at a position, from 1; 0 where there is none.
    pub fn term_at(self, position: u8) -> u8 {
        match position.checked_sub(1) {
            Some(at) => self.entries.get(usize::from(at)).map_or(0, |entry| entry.term()),
            None => 0,
        }
    }

    /// Whether an entry stands at this position with this role term, by which whoever holds
    /// `position` entries shows that they are the same ones.
    pub fn matches(self, position: u8, term: u8) -> bool {
        position <= self.len() && self.term_at(position) == term
    }

    /// Appends the record of a hole.
    pub fn append_hole(&mut self, id: Id, term: u8) {
        self.append(hole(id), term);
    }

    /// Appends the entry that follows `len` entries of another log.
    pub fn pull(&mut self, other: Self) {
        let at = usize::from(self.len());
        self.entries[at] = other.entries[at];
    }

    /// How many entries at the beginning both have.
    pub fn common(self, other: Self) -> u8 {
        let same = |at: &u8| {
            let at = usize::from(*at) - 1;
            self.entries[at] == other.entries[at]
        };
        (1..=self.len()).take_while(same).last().unwrap_or(0)
    }

    /// Appends what it lacks of the other's transactions after `len`, in their order.
    pub fn merge(&mut self, other: Self, len: u8, term: u8) {
        for id in other.ids().skip(len.into()).filter(|id| *id < hole(1)) {
            if !self.holds(id) {
                self.append(id, term);
            }
        }
    }

    /// Whether it lacks none of the other's transactions.
    pub fn has_all_of(self, other: Self) -> bool {
        other.ids().all(|id| id >= hole(1) || self.holds(id))
    }

    /// Takes away what follows `len` entries.
    pub fn truncate(&mut self, len: u8) {
        self.entries[len.into()..].fill(Entry::default());
    }

    /// Whether nothing is in it twice.
    pub fn is_once(self) -> bool {
        let len = usize::from(self.len());
        self.ids()
            .enumerate()
            .all(|(at, id)| self.entries[at + 1..len].iter().all(|entry| entry.id() != id))
    }
}

impl Debug for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (at, entry) in self.entries[..self.len().into()].iter().enumerate() {
            let blank = if at > 0 { " " } else { "" };
            match entry.id() {
                SETTING => write!(f, "{blank}setting@{}", entry.term())?,
                id if id >= hole(1) => write!(f, "{blank}no {}@{}", id - hole(0), entry.term())?,
                id => write!(f, "{blank}{id}@{}", entry.term())?,
            }
        }
        f.write_str("]")
    }
}
