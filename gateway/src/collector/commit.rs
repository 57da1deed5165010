//! Commits a pull; where entries of its controller are held after a salvage, what belongs before it first.

use super::held::{self, Circumstances, Plan};
use crate::journal::{Append, Cursor, EpochRecord, Journal, JournalError};

/// What was committed.
pub(super) enum Committed {
    /// The pull.
    AsItIs,
    /// Something else was appended instead; the controller is looked at again from here.
    Otherwise(Option<Cursor>),
}

/// See the module.
pub(super) async fn commit(
    journal: &Journal,
    before: Option<Cursor>,
    pull: Append,
    exhausted: bool,
) -> Result<Committed, JournalError> {
    if journal.state().borrow().held == 0 {
        return journal.append(pull).await.map(|_| Committed::AsItIs);
    }
    let controller = pull.controller;
    let rows = journal.reader().held(controller, None, held::CHUNK)?;
    let began =
        |epoch: &EpochRecord| epoch.epoch == pull.cursor.epoch && epoch.predecessor.is_none();
    let met_anew =
        pull.opens.as_ref().is_some_and(began) || journal.reader().epochs()?.iter().any(began);
    let of = Circumstances { met_anew, exhausted };
    match held::plan(&pull, of, &rows) {
        Plan::Commit { drops } => {
            let pull = Append { drops_held: drops, ..pull };
            journal.append(pull).await.map(|_| Committed::AsItIs)
        }
        Plan::Release { upto } => {
            held::release(journal, controller, before, upto).await.map(Committed::Otherwise)
        }
        Plan::CutAt(at) => {
            let part = held::cut_at(pull, at);
            let cursor = part.cursor;
            journal.append(part).await.map(|_| Committed::Otherwise(Some(cursor)))
        }
    }
}
