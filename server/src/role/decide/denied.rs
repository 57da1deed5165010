//! Why a command does not fit the document.

use postern_protocol::RoleTerm;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Denied {
    #[error("the role document knows no group {group}")]
    NoGroup { group: String },
    #[error("server {server} is active already, under role term {term}")]
    AlreadyActive { server: String, term: RoleTerm },
    #[error("role term {got} is not above the present one ({present})")]
    TermNotAbove { got: RoleTerm, present: RoleTerm },
    #[error("role term {got} is not one that the member with ordinal {ordinal} may use")]
    TermNotOwn { got: RoleTerm, ordinal: u64 },
    #[error("server {server} with store {store} is not in sync; in sync: {in_sync}")]
    NotInSync { server: String, store: String, in_sync: String },
    #[error("server {server} with store {store} does not hold role term {term}")]
    NotReigning { server: String, store: String, term: RoleTerm },
    #[error("server {server} is not the active one, which is {active}: it cannot begin again")]
    NotItsOwn { server: String, active: String },
    #[error("the role of group {group} changes by an operator's hand alone")]
    OperatorOnly { group: String },
    #[error("the failover of group {group} waits for an operator to confirm it")]
    Unconfirmed { group: String },
    #[error("group {group} is under maintenance")]
    Maintenance { group: String },
    #[error(
        "the last automatic failover of group {group} has stood for {reigned_ms} ms that are known \
         of, less than {dwell_ms}"
    )]
    TooSoon { group: String, reigned_ms: u64, dwell_ms: u64 },
    #[error("{away} groups are away from their preferred server already, the limit is {limit}")]
    TooMany { away: usize, limit: u8 },
    #[error("the active server cannot leave its own group")]
    DropsItself,
    #[error("server {server} with store {store} has confirmed {confirmed} of {since}")]
    Behind { server: String, store: String, confirmed: u64, since: u64 },
    #[error("{copies} copies are not possible with {in_sync} stores in sync")]
    Copies { copies: u8, in_sync: usize },
    #[error("a group has 1 or 2 copies, not {copies}")]
    CopiesWanted { copies: u8 },
    #[error("the document stands so already")]
    NothingToDo,
}
