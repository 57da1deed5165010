//! What can go wrong with a voter.

use std::path::PathBuf;

/// Why a voter's file could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum FileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} has format {got}; this version reads {wanted}", path.display())]
    Format { path: PathBuf, got: u32, wanted: u32 },
    #[error("{} is the file of voter {got}, not of {wanted}", path.display())]
    OtherVoter { path: PathBuf, got: String, wanted: String },
    #[error("the voter's file: {0}")]
    Store(Box<redb::Error>),
    #[error("the voter's file failed earlier: {0}")]
    Dead(String),
    #[error("the voter's file is closed")]
    Closed,
}

/// redb has an error for each thing that is done; they differ in nothing that matters here.
macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for FileError {
            fn from(error: $error) -> Self {
                Self::Store(Box::new(error.into()))
            }
        })+
    };
}
from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::DatabaseError
);

/// Why a voter could not be started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum VoterError {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("the voters' timing: {0}")]
    Timing(String),
    #[error("a voter needs two others, each with another name; {0}")]
    Peers(String),
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Refused {
    #[error("the message makes no sense: {0}")]
    Malformed(&'static str),
    #[error("the role document does not count: {0}")]
    Document(String),
    #[error("{0} is not one of this site's voters")]
    Stranger(String),
    #[error("node {node} is {is}, not {says}")]
    OtherName { node: u64, is: String, says: String },
    #[error("the message is for node {wanted}, and this is {}", match is { Some(node) => format!("node {node}"), None => "a voter without a node id".into() })]
    OtherNode { wanted: u64, is: Option<u64> },
    #[error("another process with the identity of {0} has been heard since")]
    Doubled(String),
    #[error("this voter does not take part: it is {0}")]
    NotStanding(&'static str),
    #[error("this voter's Raft has stopped: {0}")]
    Failed(String),
}

/// Why a message brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It was not delivered: no connection, or a refused one.
    #[error("not delivered: {0}")]
    Unsent(String),
    /// It may have been delivered, but no answer came back.
    #[error("no answer: {0}")]
    Lost(String),
    /// It was delivered, and refused without being acted on: [`Refused`], in words.
    #[error("refused: {0}")]
    Refused(String),
}
