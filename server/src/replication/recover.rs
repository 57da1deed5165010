//! A server whose log parted from the active one's: it was active itself, and was deposed before
//! everything was fetched from it. What it alone holds goes to the active server first; only then is
//! its log taken back to where the two parted, and followed from there.

use postern_protocol::uplink::MAX_BATCH;

use super::follow::{Halt, Leader, Phase, show};
use super::wire::{Found, Heads, Merge, MergeDone};
use crate::api::Server;
use crate::store::change::{Head, LogEntry, Position};
use crate::store::{Returned, ReturnedJournal, Store};

/// How much of the log is looked at for one merge.
const SUFFIX_BYTES: usize = 256 * 1024;

/// How many positions are compared with one question.
const PROBES: u64 = 64;

pub(super) async fn rejoin(server: &Server, leader: &Leader, head: &Head) -> Result<(), Halt> {
    let parted = common(server, leader, head).await?;
    tracing::warn!(
        own = head.position,
        parted,
        active = leader.member.name,
        "this server's log parted from the active one's; bringing what it alone holds"
    );
    bring(server, leader, parted, head.position).await?;
    loop {
        show(server, Phase::Undoing, head.position, parted);
        let term = leader.term;
        let done = server
            .embedded
            .write(move |store| {
                let done = store.undo_log(term, parted)?;
                Ok((done, store.head()?.position))
            })
            .await?;
        match done {
            (true, _) => return Ok(()),
            (false, position) if position > head.position => return Err(Halt::RoleChanged),
            // Fenced: the role changed; else some of it was taken back.
            (false, _) if leader_changed(server, leader) => return Err(Halt::RoleChanged),
            (false, _) => {}
        }
    }
}

fn leader_changed(server: &Server, leader: &Leader) -> bool {
    server.keeper.belief().role().role_term != leader.term
}

/// The last position at which both logs are one: looked for from the end, in ever longer steps,
/// since they have mostly parted not long ago, and since neither may reach back to the beginning.
async fn common(server: &Server, leader: &Leader, head: &Head) -> Result<Position, Halt> {
    let back =
        |steps: u32| 1_u64.checked_shl(steps).and_then(|step| head.position.checked_sub(step));
    let mut asked: Vec<Position> = (0..u64::BITS).map_while(back).collect();
    if asked.last() != Some(&0) {
        asked.push(0);
    }
    let mut high = head.position;
    let mut low = None;
    for (position, same) in compare(server, leader, asked).await? {
        if same {
            low = Some(position);
            break;
        }
        high = position;
    }
    let mut low = low.ok_or(Halt::TooOld)?;
    // Both are one at `low` and not at `high`.
    while high - low > 1 {
        let step = (high - low).div_ceil(PROBES);
        let positions =
            (1..PROBES).map(|n| low + n * step).take_while(|position| *position < high).collect();
        for (position, same) in compare(server, leader, positions).await? {
            if !same {
                high = position;
                break;
            }
            low = position;
        }
    }
    Ok(low)
}

/// At which of these positions both logs are one.
async fn compare(
    server: &Server,
    leader: &Leader,
    positions: Vec<Position>,
) -> Result<Vec<(Position, bool)>, Halt> {
    let asked = positions.clone();
    let own = server
        .embedded
        .read(move |store| {
            asked.iter().map(|at| Ok(store.head_at(*at)?.ok())).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let path = format!("/v1/groups/{}/log/heads", server.config.group);
    let heads = Heads { positions: positions.clone() };
    let Found { heads: theirs } = server.peer.ask(&leader.member, &path, &heads).await?;
    // Without an answer for each there is no end to it.
    if theirs.len() != positions.len() {
        return Err(Halt::TooOld);
    }
    let same = own.iter().zip(&theirs).map(|(own, theirs)| own.is_some() && own == theirs);
    Ok(positions.into_iter().zip(same).collect())
}

/// Brings what lies between two positions of the own log to the active server.
async fn bring(
    server: &Server,
    leader: &Leader,
    parted: Position,
    end: Position,
) -> Result<(), Halt> {
    let mut after = parted;
    while after < end {
        let entries =
            server.embedded.read(move |store| store.log_behind(after, SUFFIX_BYTES)).await?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.head.position;
        show(server, Phase::Merging, after, end);
        let owners = server.embedded.read(Store::journals).await?;
        for returned in batches(entries) {
            let mut returned = returned;
            returned.journals = owners
                .iter()
                .filter(|item| returned.lines.iter().any(|line| line.journal == item.journal))
                .map(|item| ReturnedJournal {
                    journal: item.journal,
                    gateway: item.gateway.clone(),
                    holds: None,
                })
                .collect();
            merge(server, leader, returned).await?;
        }
    }
    // All lines are there: the holes that they fill are no holes any more.
    let journals = server.embedded.read(Store::journals).await?;
    let journals = journals
        .into_iter()
        .map(|item| {
            let holds = Some((item.stored, item.holes));
            ReturnedJournal { journal: item.journal, gateway: item.gateway, holds }
        })
        .collect();
    merge(server, leader, Returned { journals, ..Returned::default() }).await
}

/// Lines and audit of entries, in portions that one commit takes.
fn batches(entries: Vec<LogEntry>) -> Vec<Returned> {
    let mut batches = vec![Returned::default()];
    for entry in entries {
        let room = batches.last().map_or(0, |last| MAX_BATCH.saturating_sub(last.lines.len()));
        if entry.lines.len() > room {
            batches.push(Returned::default());
        }
        if let Some(last) = batches.last_mut() {
            last.lines.extend(entry.lines);
            last.aliases.extend(entry.change.aliases);
            last.audit.extend(entry.change.audit);
        }
    }
    batches
}

/// Has the active server merge what is brought.
pub(super) async fn merge(
    server: &Server,
    leader: &Leader,
    returned: Returned,
) -> Result<(), Halt> {
    let path = format!("/v1/groups/{}/merge", server.config.group);
    let merge = Merge { role_term: leader.term, returned };
    let MergeDone { merged } = server.peer.ask(&leader.member, &path, &merge).await?;
    if merged.stored > 0 {
        let (stored, active) = (merged.stored, &leader.member.name);
        tracing::warn!(stored, active, "transactions that only this server held were merged");
    }
    Ok(())
}
