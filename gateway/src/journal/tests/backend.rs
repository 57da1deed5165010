//! A disk in memory that knows what was synced: it logs every write, change of length and sync since
//! a starting image, makes the images that a power cut at any point may leave, and can fail.
//!
//! What a cut at operation `k` leaves: everything up to the last sync before `k`, and of the
//! operations after it all, some, or some of their sectors ([`Tear`]). What a failing call leaves is
//! with the [`Fault`].

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk writes at once: a power cut never leaves half of it.
const SECTOR: usize = 512;

/// The seeds of a run are told when it fails: the same seed gives the same run (`SplitMix64`).
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// What becomes of the operations between the last sync and the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tear {
    /// They all reached the disk.
    All,
    /// Each did with one half probability.
    Operations,
    /// Each of their sectors did with one half probability; a change of length is one operation.
    Sectors,
    /// None did.
    Nothing,
}

impl Tear {
    /// What an honest disk may do. `Nothing` would be a cut right after the sync.
    pub(super) const EACH: &[Self] = &[Self::All, Self::Operations, Self::Sectors];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Write,
    Sync,
    SetLen,
    Read,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// EIO once. A sync that failed so has thrown the unwritten pages away, as Linux does: a later one
    /// succeeds and does not make them durable, so whoever tries again and believes it loses.
    Eio,
    /// ENOSPC, and every later write or change of length too, until there is space.
    Enospc,
    /// Half of the bytes are written, then ENOSPC once; of other calls than writes, EIO once.
    Short,
}

/// The `nth` call of a kind (from 1) fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) nth: usize,
    pub(super) how: How,
}

#[derive(Clone, Debug)]
enum Operation {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
}

/// A handle on the disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct CutDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    start: Vec<u8>,
    now: Vec<u8>,
    log: Vec<Operation>,
    /// The file grows no further than this.
    limit: Option<usize>,
    deaf: bool,
    fault: Option<Fault>,
    calls: usize,
    hit: bool,
}

impl CutDisk {
    pub(super) fn with(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { start: image.clone(), now: image, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations were logged: a cut here comes after all of them.
    pub(super) fn position(&self) -> usize {
        self.state().log.len()
    }

    /// From now on syncs are answered and not done.
    pub(super) fn ignore_syncs(&self) {
        self.state().deaf = true;
    }

    /// The file system has room for a file of this length; what lies in it already may be
    /// overwritten.
    pub(super) fn set_limit(&self, limit: Option<usize>) {
        self.state().limit = limit;
    }

    /// Arms a fault; calls are counted from here.
    pub(super) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        (state.fault, state.calls, state.hit) = (Some(fault), 0, false);
    }

    /// The cause of the fault is gone: there is space again. Whether it was hit is still known.
    pub(super) fn heal(&self) {
        self.state().fault = None;
    }

    /// Whether the fault was hit.
    pub(super) fn hit(&self) -> bool {
        self.state().hit
    }

    /// Everything written so far, as a process sees it that starts after a crash of this one.
    pub(super) fn now(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    /// The images that cuts at `at`, in rising order, leave; torn by what `rng` says.
    pub(super) fn cuts(&self) -> Cuts<'_> {
        let state = self.state();
        Cuts { durable: state.start.clone(), synced: 0, state }
    }

    /// The image of a single cut.
    pub(super) fn cut(&self, at: usize, tear: Tear, rng: &mut Rng) -> Vec<u8> {
        self.cuts().image(at, tear, rng)
    }

    /// What the syncs so far made certain, and nothing else.
    pub(super) fn durable(&self) -> Vec<u8> {
        let mut cuts = self.cuts();
        cuts.advance(usize::MAX);
        cuts.durable
    }
}

/// Makes images at rising positions without starting over for each.
pub(super) struct Cuts<'a> {
    durable: Vec<u8>,
    synced: usize,
    state: MutexGuard<'a, State>,
}

impl Cuts<'_> {
    fn advance(&mut self, at: usize) {
        let log = &self.state.log;
        let before = &log[..at.min(log.len())];
        let Some(sync) = before.iter().rposition(|one| matches!(one, Operation::Sync)) else {
            return;
        };
        assert!(sync + 1 >= self.synced, "cuts are made in rising order");
        for operation in &log[self.synced..=sync] {
            apply(&mut self.durable, operation, || true);
        }
        self.synced = sync + 1;
    }

    pub(super) fn image(&mut self, at: usize, tear: Tear, rng: &mut Rng) -> Vec<u8> {
        self.advance(at);
        let mut image = self.durable.clone();
        for operation in &self.state.log[self.synced..at] {
            match tear {
                Tear::All => apply(&mut image, operation, || true),
                Tear::Operations => {
                    let kept = rng.coin();
                    apply(&mut image, operation, || kept);
                }
                Tear::Sectors => apply(&mut image, operation, || rng.coin()),
                Tear::Nothing => {}
            }
        }
        image
    }
}

/// Applies what `keep` keeps of an operation, asked once for each sector of a write.
fn apply(image: &mut Vec<u8>, operation: &Operation, mut keep: impl FnMut() -> bool) {
    match operation {
        Operation::Sync => {}
        Operation::SetLen(len) => {
            if keep() {
                image.resize(*len, 0);
            }
        }
        Operation::Write { offset, data } => {
            let mut at = 0;
            while at < data.len() {
                let sector = (SECTOR - (offset + at) % SECTOR).min(data.len() - at);
                if keep() {
                    write(image, offset + at, &data[at..at + sector]);
                }
                at += sector;
            }
        }
    }
}

/// A write behind the end lengthens the file, as the change of length before it may be what was lost.
fn write(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

impl State {
    /// How this call fails, if it does.
    fn failure(&mut self, call: Call) -> Option<How> {
        let fault = self.fault?;
        let writes = matches!(call, Call::Write | Call::SetLen);
        if self.hit && fault.how == How::Enospc && writes {
            return Some(How::Enospc);
        }
        if call != fault.call {
            return None;
        }
        self.calls += 1;
        (self.calls == fault.nth).then(|| {
            self.hit = true;
            fault.how
        })
    }

    fn is_beyond(&self, end: usize) -> bool {
        self.limit.is_some_and(|limit| end > limit.max(self.now.len()))
    }

    fn do_write(&mut self, offset: usize, data: &[u8]) {
        write(&mut self.now, offset, data);
        self.log.push(Operation::Write { offset, data: data.to_vec() });
    }
}

fn error(how: How, call: Call) -> io::Error {
    let full = how == How::Enospc || (how == How::Short && call == Call::Write);
    // ENOSPC and EIO.
    io::Error::from_raw_os_error(if full { 28 } else { 5 })
}

impl redb::StorageBackend for CutDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Some(how) = state.failure(Call::Read) {
            return Err(error(how, Call::Read));
        }
        let offset = usize::try_from(offset).unwrap();
        let bytes = state.now.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if let Some(how) = state.failure(Call::SetLen) {
            return Err(error(how, Call::SetLen));
        }
        let len = usize::try_from(len).unwrap();
        if state.is_beyond(len) {
            return Err(error(How::Enospc, Call::SetLen));
        }
        state.now.resize(len, 0);
        state.log.push(Operation::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(how) = state.failure(Call::Sync) {
            state.deaf |= how == How::Eio;
            return Err(error(how, Call::Sync));
        }
        if !state.deaf {
            state.log.push(Operation::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = usize::try_from(offset).unwrap();
        if let Some(how) = state.failure(Call::Write) {
            if how == How::Short {
                state.do_write(offset, &data[..data.len() / 2]);
            }
            return Err(error(how, Call::Write));
        }
        if state.is_beyond(offset + data.len()) {
            return Err(error(How::Enospc, Call::Write));
        }
        state.do_write(offset, data);
        Ok(())
    }
}
