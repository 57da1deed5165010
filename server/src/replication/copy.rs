//! A full copy of the active server's store: for a server that is new, was wiped, or was away for
//! longer than the log is kept. What its own store alone holds goes to the active server first; the
//! old file is set aside, not deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::{JournalId, Seq};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::task::JoinHandle;

use super::follow::{Halt, Leader, Phase, show};
use super::recover::merge;
use super::wire::{Copy, Known, KnownJournals};
use crate::api::Server;
use crate::store::backup::{Depth, Unsound, Whole};
use crate::store::change::Head;
use crate::store::query::{Hole, JournalItem};
use crate::store::snapshot::forget;
use crate::store::{MAX_LINES, Replaced, Returned, ReturnedJournal, Store, StoreError};

/// Replaces the store by a copy of the active one's.
pub(super) async fn rebuild(server: &Server, leader: &Leader, head: &Head) -> Result<(), Halt> {
    tracing::warn!(
        own = head.position,
        active = leader.member.name,
        "the log does not reach back to this server's store: fetching a full copy"
    );
    if head.position > 0 {
        show(server, Phase::Merging, head.position, head.position);
        bring(server, leader).await?;
    }
    let path = &server.incoming;
    let received = receive(server, leader).await;
    if received.is_err() {
        forget(path);
    }
    received?;
    let checked = path.clone();
    let sound = tokio::task::spawn_blocking(move || {
        Whole::open(&checked).and_then(|whole| whole.check(Depth::Rows))
    });
    sound.await.unwrap_or(Err(Unsound::Store(StoreError::Dead)))?;
    loop {
        let (path, name) = (path.clone(), server.me.name.clone());
        let why = format!("a full copy of the store of server {}", leader.member.name);
        match server.embedded.replace(path, leader.term, name, why).await? {
            Replaced::Done(name) => {
                server.keeper.renamed(name).await;
                return Ok(());
            }
            Replaced::Fenced => return Err(Halt::RoleChanged),
            // A backup reads the old file.
            Replaced::Busy => tokio::time::sleep(BUSY).await,
        }
    }
}

/// How long to wait for whoever reads the old file.
const BUSY: Duration = Duration::from_secs(1);

async fn receive(server: &Server, leader: &Leader) -> Result<(), Halt> {
    let path = format!("/v1/groups/{}/copy", server.config.group);
    let mut answer =
        server.peer.open(&leader.member, &path, &Copy { role_term: leader.term }).await?;
    let total = answer.length();
    forget(&server.incoming);
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(&server.incoming).await?;
    let mut syncing =
        Syncing { file: Arc::new(file.try_clone().await?.into_std().await), at: None };
    let mut file = BufWriter::with_capacity(BUFFER, file);
    let (mut done, mut told) = (0, 0);
    show(server, Phase::Copying, 0, total);
    while let Some(chunk) = answer.next().await? {
        file.write_all(&chunk).await?;
        done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if done - told > PROGRESS {
            told = done;
            file.flush().await?;
            syncing.go_on().await?;
            show(server, Phase::Copying, done, total);
        }
    }
    if done != total {
        return Err(Halt::Copy(std::io::ErrorKind::UnexpectedEof.into()));
    }
    file.flush().await?;
    syncing.end().await?;
    file.into_inner().sync_all().await?;
    Ok(())
}

/// What is received is written to the disk while more is received, so that little is left at the end.
struct Syncing {
    file: Arc<std::fs::File>,
    at: Option<JoinHandle<std::io::Result<()>>>,
}

impl Syncing {
    /// Waits for the sync before, and begins one.
    async fn go_on(&mut self) -> std::io::Result<()> {
        self.end().await?;
        let file = self.file.clone();
        self.at = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        match self.at.take() {
            Some(sync) => sync.await.map_err(std::io::Error::other)?,
            None => Ok(()),
        }
    }
}

/// How much is written at once.
const BUFFER: usize = 1 << 20;

/// How often the progress of a copy is shown and a sync begun, in bytes.
const PROGRESS: u64 = 8 << 20;

/// Brings what this store holds of journals and the active one does not.
async fn bring(server: &Server, leader: &Leader) -> Result<(), Halt> {
    let path = format!("/v1/groups/{}/known", server.config.group);
    let known: KnownJournals =
        server.peer.ask(&leader.member, &path, &Known { role_term: leader.term }).await?;
    let known: BTreeMap<JournalId, (Seq, Vec<Hole>)> = known
        .journals
        .into_iter()
        .map(|(journal, stored, holes)| (journal, (stored, holes)))
        .collect();
    for own in server.embedded.read(Store::journals).await? {
        for span in missing(&own, known.get(&own.journal)) {
            send(server, leader, &own, span).await?;
        }
        let holds = Some((own.stored, own.holes.clone()));
        let journals =
            vec![ReturnedJournal { journal: own.journal, gateway: own.gateway.clone(), holds }];
        merge(server, leader, Returned { journals, ..Returned::default() }).await?;
    }
    Ok(())
}

/// What of a journal the active server lacks, as far as this one may have it.
fn missing(own: &JournalItem, known: Option<&(Seq, Vec<Hole>)>) -> Vec<Hole> {
    let (stored, holes) = match known {
        Some((stored, holes)) => (*stored, holes.as_slice()),
        None => (Seq(0), &[][..]),
    };
    let mut spans: Vec<Hole> =
        holes.iter().copied().filter(|hole| hole.first <= own.stored).collect();
    if stored < own.stored {
        spans.push(Hole { first: stored.next(), last: own.stored });
    }
    spans
}

async fn send(server: &Server, leader: &Leader, own: &JournalItem, span: Hole) -> Result<(), Halt> {
    let (journal, mut after) = (own.journal, span.first.previous());
    loop {
        let lines = server
            .embedded
            .read(move |store| store.journal_lines(journal, after, span.last))
            .await?;
        let Some(last) = lines.last() else { return Ok(()) };
        after = last.seq;
        let is_last = lines.len() < MAX_LINES;
        let journals = vec![ReturnedJournal { journal, gateway: own.gateway.clone(), holds: None }];
        merge(server, leader, Returned { lines, journals, ..Returned::default() }).await?;
        if is_last {
            return Ok(());
        }
    }
}
