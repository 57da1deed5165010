//! The uplink: delivers the journal to whichever server is active, in `seq` order, once.
//!
//! [`machine`] decides, `epoch` settles provisional epochs, `role` follows role changes, `client`
//! does HTTPS. [`Uplink::run`] is the one task that carries out; one request is in flight at a time,
//! and news of a new active server ends it at once (a batch is idempotent).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::pki::{Bundle, Floor, ServerAddress};
use postern_protocol::uplink::{
    Batch, Bytes, Entry, EpochAlias, MAX_BATCH, RefusalCode, Told, Watermark,
};
use postern_protocol::{Chain, ControllerId, Digest, EpochId, Index, Origin, Seq, Transaction};
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::{Board, Link, UplinkLine};
use crate::clock;
use crate::journal::{EpochRecord, Journal, JournalBatch, JournalError};

mod client;
mod epoch;
pub mod machine;
mod pace;
mod role;

pub use client::BundleError;
use client::{Client, RequestError};
use epoch::Resolution;
use machine::{Action, Machine, Verdict};
use pace::Pace;
use role::{KnownRole, Watcher};

/// Role documents that may wait: each server sends one at a time.
const ROLES: usize = 16;

/// The most bytes of entries in one batch: [`MAX_BATCH`] of them are never more.
const MAX_BYTES: usize = MAX_BATCH * (postern_protocol::transaction::MAX_ENTRY + 2);

/// How long to wait when the server refuses us altogether: somebody has to mend that.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(5);

/// Why the uplink ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Cancelled,
    /// A server holds another past under this journal's name.
    Fork,
    /// The journal is dead.
    JournalDead,
}

/// See the module.
pub struct Uplink {
    bundle: Arc<Bundle>,
    floor: Floor,
    clients: BTreeMap<String, Client>,
    journal: Journal,
    board: Board,
    machine: Machine,
    pace: Pace,
    highest: watch::Sender<Option<KnownRole>>,
    epochs: BTreeMap<EpochId, EpochRecord>,
}

/// What every request says of the journal.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// The highest `safe` that it was told.
    told: Option<Told>,
    /// How full it is of what may not be reused, in percent.
    full: u8,
    /// How long until it is full if nothing more is ever safe.
    lasts: Option<Duration>,
}

/// Whole seconds; what is longer than a century counts as that.
fn seconds(lasts: Duration) -> u32 {
    u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX)
}

/// What a request led to.
enum Step {
    Watermark(Watermark),
    Failed(RequestError),
    /// Nothing to send after all.
    Nothing,
    Journal(JournalError),
}

impl Uplink {
    /// An uplink that has talked to nobody yet.
    pub fn new(bundle: Arc<Bundle>, journal: Journal, board: Board) -> Result<Self, BundleError> {
        let floor = client::floor(&bundle)?;
        if let Some(received) = newest(&journal) {
            floor.raise(received);
        }
        let client = |server: &ServerAddress| {
            let client = Client::new(&bundle, server, floor.clone(), board.clock.clone())?;
            Ok((server.name.clone(), client))
        };
        let clients = bundle.servers.iter().map(client).collect::<Result<_, BundleError>>()?;
        let head = journal.state().borrow().head.seq;
        let machine = Machine::new(head);
        let highest = watch::Sender::new(None);
        let (pace, epochs) = (Pace::default(), BTreeMap::new());
        Ok(Self { bundle, floor, clients, journal, board, machine, pace, highest, epochs })
    }

    /// Delivers until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) -> End {
        let (seen, mut roles) = mpsc::channel(ROLES);
        let watchers = TaskTracker::new();
        let stop = cancel.child_token();
        for (server, client) in &self.clients {
            let watcher = Watcher {
                server: server.clone(),
                client: client.clone(),
                bundle: Arc::clone(&self.bundle),
                floor: self.floor.clone(),
                seen: seen.clone(),
                highest: self.highest.subscribe(),
                board: self.board.clone(),
            };
            watchers.spawn(watcher.run(stop.clone()));
        }
        watchers.close();
        let end = match self.restore() {
            Ok(()) => self.deliver(&mut roles, &cancel).await,
            Err(_) => End::JournalDead,
        };
        stop.cancel();
        drop(roles);
        watchers.wait().await;
        end
    }

    /// What an earlier process remembered.
    fn restore(&mut self) -> Result<(), JournalError> {
        for record in self.journal.reader().epochs()? {
            self.epochs.insert(record.epoch, record);
        }
        if let Some((_, signed)) = self.journal.reader().role()?
            && let Ok(role) = role::verify(&self.bundle, &signed, self.floor.now())
        {
            self.obey(role);
        }
        Ok(())
    }

    fn obey(&mut self, role: KnownRole) {
        tracing::info!(active = %role.active, role_term = %role.term, "role known");
        self.machine.on_role(role.term, &role.active, Instant::now(), jitter());
        self.highest.send_replace(Some(role));
    }

    async fn on_role(&mut self, role: KnownRole) -> Result<(), JournalError> {
        let known = self.highest.borrow().as_ref().map(|highest| highest.term);
        if known.is_some_and(|known| known >= role.term) {
            return Ok(());
        }
        // Remembered before it is obeyed. A term that is remembered although its document cannot be
        // verified now (a wrong clock, an expired signer) is still the floor.
        if self.journal.remember_role(role.term, role.signed.clone()).await? {
            self.obey(role);
        } else {
            self.board.count_bad_role();
            tracing::warn!(role_term = %role.term, "role document below the remembered one refused");
        }
        Ok(())
    }

    async fn deliver(
        &mut self,
        roles: &mut mpsc::Receiver<KnownRole>,
        cancel: &CancellationToken,
    ) -> End {
        let mut journal = self.journal.state();
        loop {
            self.machine.on_head(journal.borrow_and_update().head.seq);
            let action = self.machine.action(Instant::now());
            self.board.set_uplink(self.line(&action));
            if let Action::Wait { until } = action {
                // Cancel-safety: all branches wait for a level or for a message that stays queued.
                tokio::select! {
                    () = cancel.cancelled() => return End::Cancelled,
                    () = sleep_until(until) => {}
                    Some(role) = roles.recv() => if self.on_role(role).await.is_err() {
                        return End::JournalDead;
                    },
                    changed = journal.changed() => if changed.is_err() {
                        return End::JournalDead;
                    },
                }
                continue;
            }
            let standing = self.standing();
            // Cancel-safety: a request that is broken off is asked anew; the server applies a batch
            // whole or not at all, and a batch twice is a batch once.
            let step = tokio::select! {
                () = cancel.cancelled() => return End::Cancelled,
                Some(role) = roles.recv() => {
                    if self.on_role(role).await.is_err() {
                        return End::JournalDead;
                    }
                    continue;
                }
                step = carry_out(&self.clients, &self.journal, &mut self.epochs, &self.highest, standing, &action) => step,
            };
            if let Some(end) = self.on_step(step, &action).await {
                return end;
            }
        }
    }

    /// What a request says of the journal beside what it is for.
    fn standing(&mut self) -> Standing {
        let state = self.journal.state();
        let ring = &state.borrow().ring;
        // Whatever it is full of, nothing is read any more.
        let is_full = ring.full.is_some();
        Standing {
            told: self.machine.told(),
            full: if is_full { 100 } else { u8::try_from(ring.percent()).unwrap_or(u8::MAX) },
            lasts: self.pace.lasts(ring, Instant::now()).filter(|_| !is_full),
        }
    }

    fn line(&self, action: &Action) -> UplinkLine {
        let active = self.machine.active();
        let state = match action {
            Action::Ask { .. } => "asking",
            Action::Send { .. } => "sending",
            Action::Wait { .. } if active.is_none() => "no_active_server",
            Action::Wait { until: Some(_) } => "waiting",
            Action::Wait { until: None } => "idle",
        };
        UplinkLine {
            state,
            active: active.map(|(_, active)| active.clone()),
            role_term: active.map(|(term, _)| *term),
            stored: self.machine.stored(),
            bad_roles: 0,
        }
    }

    async fn on_step(&mut self, step: Step, action: &Action) -> Option<End> {
        let (Action::Ask { server } | Action::Send { server, .. }) = action else { return None };
        let now = Instant::now();
        match step {
            Step::Nothing => self.machine.on_failure(now, None, jitter()),
            Step::Journal(error) => {
                tracing::error!(%error, "the journal cannot be read");
                return Some(End::JournalDead);
            }
            Step::Watermark(watermark) => {
                if matches!(action, Action::Send { stored, .. } if watermark.stored <= *stored) {
                    // It took the batch and stored nothing of it: not to be tried again at once.
                    tracing::warn!(server, stored = %watermark.stored, "server stored nothing of a batch");
                    self.machine.on_failure(now, None, jitter());
                    return None;
                }
                self.board.set_link(server, Link::Ok);
                // The head may have grown since; what the server holds came from here in any case.
                self.machine.on_head(self.journal.state().borrow().head.seq);
                let Ok(own) = self.chain_at(watermark.stored) else {
                    return Some(End::JournalDead);
                };
                match self.machine.on_watermark(&watermark, own, now) {
                    Verdict::Agreed { safe } => {
                        self.journal.raise_safe(safe);
                    }
                    Verdict::Stale => self.machine.on_failure(now, None, jitter()),
                    Verdict::Fork => return Some(End::Fork),
                }
            }
            Step::Failed(RequestError::Refused(refusal, retry_after)) => {
                return self.on_refusal(server, &refusal, retry_after).await;
            }
            Step::Failed(error) => {
                self.board.set_link(server, role::link(&error));
                self.machine.on_failure(now, None, jitter());
            }
        }
        None
    }

    async fn on_refusal(
        &mut self,
        server: &str,
        refusal: &postern_protocol::uplink::Refusal,
        retry_after: Option<Duration>,
    ) -> Option<End> {
        let now = Instant::now();
        match refusal.code {
            RefusalCode::Fork => return Some(End::Fork),
            RefusalCode::NotActive => {
                let judged_at = self.floor.now();
                let verify = |signed| role::verify(&self.bundle, signed, judged_at);
                let role = refusal.role.as_ref().map(verify);
                if let Some(Ok(role)) = role
                    && self.on_role(role).await.is_err()
                {
                    return Some(End::JournalDead);
                }
                self.machine.on_failure(now, None, jitter());
            }
            // What is stored is asked anew; nothing else is wrong.
            RefusalCode::OutOfSequence => self.machine.on_failure(now, None, jitter()),
            RefusalCode::Unavailable => self.machine.on_failure(now, retry_after, jitter()),
            RefusalCode::Foreign
            | RefusalCode::Forbidden
            | RefusalCode::NotFound
            | RefusalCode::BadRequest
            | RefusalCode::TooLarge
            | RefusalCode::Denied => {
                let hint = refusal.hint.as_deref().map(|hint| format!(" (hint: {hint})"));
                let message = refusal.message.clone() + hint.as_deref().unwrap_or_default();
                self.board.set_link(server, Link::Failed { code: "refused", message });
                self.machine.on_failure(now, Some(FORBIDDEN_PAUSE), jitter());
            }
        }
        None
    }

    fn chain_at(&self, seq: Seq) -> Result<Option<Chain>, JournalError> {
        if seq == Seq(0) {
            return Ok(Some(Chain::genesis(self.journal.state().borrow().id)));
        }
        self.journal.reader().chain_at(seq)
    }
}

/// When the journal's newest entry was received, by our clock of then.
fn newest(journal: &Journal) -> Option<UnixTime> {
    let head = journal.state().borrow().head.seq;
    // What cannot be read now is found by whoever needs it; here it is no evidence of time.
    let batch = journal.reader().batch(head, 1, MAX_BYTES).ok()??;
    let (_, bytes) = batch.iter().next()?;
    let received = Transaction::decode(bytes).ok()?.received;
    let since = u64::try_from(received.0).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_millis(since)))
}

async fn carry_out(
    clients: &BTreeMap<String, Client>,
    journal: &Journal,
    epochs: &mut BTreeMap<EpochId, EpochRecord>,
    highest: &watch::Sender<Option<KnownRole>>,
    standing: Standing,
    action: &Action,
) -> Step {
    let id = journal.state().borrow().id;
    let (server, stored) = match action {
        Action::Wait { .. } => return Step::Nothing,
        Action::Ask { server } => (server, None),
        Action::Send { server, stored } => (server, Some(*stored)),
    };
    let Some(client) = clients.get(server) else {
        // The role document names a server that was added after this gateway was enrolled.
        return Step::Failed(RequestError::Link(postern_protocol::pki::LinkFailure::Unreachable(
            format!("server {server} is not in this gateway's bundle; enrol the gateway again"),
        )));
    };
    let Some(stored) = stored else {
        return match client.watermark(id, standing).await {
            Ok(watermark) => Step::Watermark(watermark),
            Err(error) => Step::Failed(error),
        };
    };
    let role = highest.borrow().as_ref().map(|role| role.signed.clone());
    match batch(client, journal, epochs, stored).await {
        Ok(Some(batch)) => {
            let Standing { told, full, lasts } = standing;
            let lasts_s = lasts.map(seconds);
            match client.send(id, &Batch { role, told, full, lasts_s, ..batch }).await {
                Ok(watermark) => Step::Watermark(watermark),
                Err(error) => Step::Failed(error),
            }
        }
        Ok(None) => Step::Nothing,
        Err(step) => step,
    }
}

/// The next batch behind `stored`, with every provisional epoch in it settled durably first.
async fn batch(
    client: &Client,
    journal: &Journal,
    epochs: &mut BTreeMap<EpochId, EpochRecord>,
    stored: Seq,
) -> Result<Option<Batch>, Step> {
    let read =
        journal.reader().batch(stored.next(), MAX_BATCH, MAX_BYTES).map_err(Step::Journal)?;
    let Some(read) = read else { return Ok(None) };
    let mut transactions = decode(&read).map_err(Step::Journal)?;
    let mut aliases = BTreeSet::new();
    for position in 0..transactions.len() {
        let Some(transaction) = transactions.get(position) else { break };
        let (controller, epoch) = (transaction.origin.controller(), transaction.origin.epoch());
        if !epochs.contains_key(&epoch) {
            // Opened by a collector since the last look.
            for record in journal.reader().epochs().map_err(Step::Journal)? {
                epochs.insert(record.epoch, record);
            }
        }
        // An epoch without a record of its own is one that a server named: it stands for itself.
        let Some(record) = epochs.get(&epoch).copied() else { continue };
        let settled = match record.known_as {
            Some(known_as) => Some(known_as),
            None => settle(client, journal, epochs, record, &transactions).await?,
        };
        let known_as = match settled {
            Some(known_as) => known_as,
            // Its first record stands behind this batch's end: it begins the next batch.
            None if position > 0 => {
                transactions.truncate(position);
                break;
            }
            // A note at the beginning of a batch has no record of its epoch behind it: they were
            // sent before, by a journal that was put back to before it knew what they were. The
            // server knows, and keeps to it.
            None => {
                let itself = EpochRecord { known_as: Some(epoch), ..record };
                journal.resolve(itself, &[]).await.map_err(Step::Journal)?;
                epochs.insert(epoch, itself);
                epoch
            }
        };
        if known_as != epoch {
            aliases.insert(EpochAlias { controller, provisional: epoch, epoch: known_as });
        }
    }
    if transactions.is_empty() {
        return Ok(None);
    }
    let oldest = journal.state().borrow().oldest().min(read.before.seq.next());
    let entries = read.iter().zip(&transactions).map(|((seq, bytes), transaction)| Entry {
        seq,
        bytes: Bytes(bytes.to_vec()),
        transaction: Some(transaction.clone()),
    });
    Ok(Some(Batch {
        role: None,
        oldest,
        told: None,
        full: 0,
        lasts_s: None,
        chain_before: read.before.hash,
        epochs: aliases.into_iter().collect(),
        entries: entries.collect(),
    }))
}

fn decode(read: &JournalBatch) -> Result<Vec<Transaction>, JournalError> {
    read.iter()
        .map(|(seq, bytes)| {
            Transaction::decode(bytes).map_err(|_| JournalError::Corrupt { at: seq })
        })
        .collect()
}

/// Asks what the server knows of the controller, decides, and commits the decision.
async fn settle(
    client: &Client,
    journal: &Journal,
    epochs: &mut BTreeMap<EpochId, EpochRecord>,
    record: EpochRecord,
    transactions: &[Transaction],
) -> Result<Option<EpochId>, Step> {
    // A decision that was broken off may be on its way to the writer still: it comes first.
    journal.barrier().await.map_err(Step::Journal)?;
    for known in journal.reader().epochs().map_err(Step::Journal)? {
        epochs.insert(known.epoch, known);
    }
    let known_as = epochs.get(&record.epoch).and_then(|record| record.known_as);
    if known_as.is_some() {
        return Ok(known_as);
    }
    let records = records_of(record.controller, record.epoch, transactions);
    let Some(highest) = records.keys().next_back().copied() else { return Ok(None) };
    let last = client.last(record.controller, highest).await.map_err(Step::Failed)?;
    let before = record
        .predecessor
        .map(|before| epochs.get(&before).and_then(|record| record.known_as).unwrap_or(before));
    let resolution = epoch::resolve(&record, before, &records, &last, clock::utc());
    let (known_as, notes) = match resolution {
        Resolution::Continues(epoch) => (epoch, Vec::new()),
        Resolution::New(notes) => (record.epoch, notes),
    };
    let settled = EpochRecord { known_as: Some(known_as), ..record };
    journal.resolve(settled, &notes).await.map_err(Step::Journal)?;
    epochs.insert(record.epoch, settled);
    let continues = known_as != record.epoch;
    tracing::info!(controller = %record.controller, epoch = %known_as, continues, "epoch settled");
    Ok(Some(known_as))
}

fn records_of(
    controller: ControllerId,
    epoch: EpochId,
    transactions: &[Transaction],
) -> BTreeMap<Index, Digest> {
    transactions
        .iter()
        .filter_map(|transaction| match transaction.origin {
            Origin::Controller { controller: c, epoch: e, index }
                if c == controller && e == epoch =>
            {
                Some((index, transaction.record_digest()))
            }
            Origin::Controller { .. } | Origin::Gateway { .. } => None,
        })
        .collect()
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A number in 0..1 to spread retries; nothing depends on its quality.
fn jitter() -> f64 {
    let [a, b, ..] = uuid::Uuid::new_v4().into_bytes();
    f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
