//! Role terms without a shared coordination store: the member with ordinal *k* uses only the terms
//! *t* with (*t* − 1) mod [`MAX_MEMBERS`] = *k*. The first server (ordinal 0) has 1, 3, 5, …, the
//! second 2, 4, 6, …. So two failovers that were forced apart from each other can never mint one
//! role term with two holders, and the higher term wins when they meet.

use postern_protocol::RoleTerm;

use crate::site::MAX_MEMBERS;

/// The highest role term: stores count in signed 64-bit integers.
pub const MAX_TERM: RoleTerm = RoleTerm(i64::MAX.cast_unsigned());

/// How many classes of role terms there are.
const CLASSES: u64 = MAX_MEMBERS as u64;

/// The first role term of a member.
pub const fn first_term(ordinal: u64) -> RoleTerm {
    RoleTerm(ordinal + 1)
}

/// Whether a member may mint this role term.
pub const fn owns_term(ordinal: u64, term: RoleTerm) -> bool {
    term.0 > 0 && (term.0 - 1) % CLASSES == ordinal
}

/// The member's lowest role term above `floor`; `None` where there are no more numbers.
pub fn next_term(ordinal: u64, floor: RoleTerm) -> Option<RoleTerm> {
    (1..=CLASSES)
        .filter_map(|step| floor.0.checked_add(step).map(RoleTerm))
        .find(|term| owns_term(ordinal, *term) && *term <= MAX_TERM)
}
