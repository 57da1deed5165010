//! A device behind a connection that counts what its one reader shows, and what stands for the journal.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use postern_protocol::modbus::card::{Align, First, Format};
use postern_protocol::modbus::profile::{Card, Events, Place as At, Reader};
use postern_protocol::modbus::register::Table;
use postern_protocol::transaction::{Gap, Origin};
use postern_protocol::{Digest, EpochId, Index, Kind, Transaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::collector::{Action, ClockSettings, Machine, Now, Refused, Settings as Pace};
use crate::driver::Record;
use crate::driver::line::LineSettings;
use crate::journal::Cursor;

/// Where it counts; behind it the newest card, or a ring of [`RECORDS`] of them, of two registers each.
const COUNTER: u16 = 100;
const CARDS: u16 = 101;
pub(super) const RECORDS: u16 = 16;
pub(super) const FIRST: EpochId = EpochId([1; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Sequence,
    Ring,
}

/// What happens to the device when it is asked for these registers, before it answers.
type Hook = Box<dyn FnMut(&mut Device, u16) + Send>;

pub(super) struct Device {
    how: How,
    words: BTreeMap<u16, u16>,
    pub(super) hook: Option<Hook>,
    /// What it says of its counter instead, as often as that is asked for.
    pub(super) lies: VecDeque<u16>,
}

impl Device {
    pub(super) fn count(&self) -> u16 {
        self.words.get(&COUNTER).copied().unwrap_or(0)
    }

    pub(super) fn set_count(&mut self, count: u16) {
        self.words.insert(COUNTER, count);
    }

    /// A card under the number that it shows, as another life of its log would have.
    pub(super) fn set_card(&mut self, card: u32) {
        let at = match self.how {
            How::Sequence => CARDS,
            How::Ring => CARDS + (self.count().wrapping_sub(1) % RECORDS) * 2,
        };
        let [a, b, c, d] = card.to_be_bytes();
        self.words.insert(at, u16::from_be_bytes([a, b]));
        self.words.insert(at + 1, u16::from_be_bytes([c, d]));
    }

    pub(super) fn swipe(&mut self, card: u32) {
        self.set_count(self.count().wrapping_add(1));
        self.set_card(card);
    }

    pub(super) fn restart(&mut self) {
        self.words.clear();
    }

    fn answer(&mut self, request: &[u8; 12]) -> Vec<u8> {
        let [.., unit, function, a, b, c, d] = *request;
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if let Some(mut hook) = self.hook.take() {
            hook(self, address);
            self.hook.get_or_insert(hook);
        }
        assert_eq!(function, 3);
        let lie = if address == COUNTER { self.lies.pop_front() } else { None };
        let value = |at| self.words.get(&at).copied().unwrap_or(0);
        let word = |at| if at == COUNTER { lie.unwrap_or(value(at)) } else { value(at) };
        let values: Vec<u8> =
            (address..address + count).flat_map(|at| word(at).to_be_bytes()).collect();
        let length = u8::try_from(values.len()).unwrap();
        [&request[..5], &[length + 3, unit, function, length], &values].concat()
    }
}

/// Serves it until the test ends.
async fn serve(how: How) -> (LineSettings, Arc<Mutex<Device>>) {
    let device = Device { how, words: BTreeMap::new(), hook: None, lies: VecDeque::new() };
    let device = Arc::new(Mutex::new(device));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::clone(&device);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let served = Arc::clone(&served);
            tokio::spawn(async move {
                let mut request = [0; 12];
                while stream.read_exact(&mut request).await.is_ok() {
                    let answer = served.lock().unwrap().answer(&request);
                    let _ = stream.write_all(&answer).await;
                }
            });
        }
    });
    (LineSettings::Tcp { address }, device)
}

fn profile(how: How) -> Profile {
    let table = Table::HoldingRegister;
    let counter = At { table, address: COUNTER };
    let (events, address) = match how {
        How::Sequence => (Events::Sequence { counter }, CARDS),
        How::Ring => (Events::Ring { counter, first: CARDS, records: RECORDS, words: 2, table }, 0),
    };
    let (words, bytes, align, format) = (First::High, First::High, Align::Right, Format::Raw);
    let card = Card { table, address, count: 2, bits: None, words, bytes, align, format };
    let readers = vec![Reader { door: 1, direction: None, events, card }];
    Profile { model: "counts".to_owned(), gap: 0, restarted: None, readers, doors: Vec::new() }
}

/// A device, its driver, and what is durable of it.
pub(super) struct Rig {
    how: How,
    line: LineSettings,
    device: Arc<Mutex<Device>>,
    pub(super) driver: Modbus,
    machine: Machine,
    cursor: Option<Cursor>,
    pub(super) stored: Vec<Transaction>,
    /// So many commits find the journal full.
    pub(super) is_full: u32,
    now: Instant,
    minted: u8,
}

fn driver(how: How, line: &LineSettings) -> Modbus {
    let profile = profile(how);
    assert!(profile.check().is_ok());
    let (line, framing, gap) = (line.clone(), Framing::Tcp, Duration::ZERO);
    let wire = WireSettings { line, framing, reply: Duration::from_secs(5), gap, late: gap };
    let unit = Unit { address: 9, serial: 1, profile: Arc::new(profile) };
    Modbus::new(Settings { wire, units: vec![unit] })
}

fn machine(driver: &Modbus, cursor: Option<Cursor>, mint: u8, now: Instant) -> Machine {
    let clock = ClockSettings { limit: Duration::from_secs(10), set: false };
    let poll = Duration::from_millis(250);
    let pace = Pace { poll, quiet_poll: poll, clock };
    let mint = Box::new(move || EpochId([mint; 16]));
    let name = ControllerId::modbus_reader(1, 1);
    Machine::new(name, driver.log(0), cursor, pace, mint, at(now))
}

fn at(monotonic: Instant) -> Now {
    Now { monotonic, utc: Timestamp(0), utc_is_right: true }
}

impl Rig {
    pub(super) async fn new(how: How) -> Self {
        let (line, device) = serve(how).await;
        let (driver, now) = (driver(how, &line), Instant::now());
        let machine = machine(&driver, None, 1, now);
        let (cursor, stored) = (None, Vec::new());
        Self { how, line, device, driver, machine, cursor, stored, is_full: 0, now, minted: 1 }
    }

    pub(super) fn with<T>(&self, what: impl FnOnce(&mut Device) -> T) -> T {
        what(&mut self.device.lock().unwrap())
    }

    pub(super) fn swipe(&self, cards: impl IntoIterator<Item = u32>) {
        self.with(|device| cards.into_iter().for_each(|card| device.swipe(card)));
    }

    /// The gateway starts anew, with what is durable.
    pub(super) fn crash(&mut self) {
        self.minted += 1;
        self.driver = driver(self.how, &self.line);
        self.machine = machine(&self.driver, self.cursor, self.minted, self.now);
    }

    /// As if it had been read up to here by an earlier run.
    pub(super) fn goes_on(&mut self, index: u64, anchor: Digest) {
        self.cursor = Some(Cursor { epoch: FIRST, index: Index(index), anchor });
        self.crash();
    }

    /// Until it has rested so often. Less than so many exchanges for that: it does not go round in circles.
    pub(super) async fn rests(&mut self, rests: u32) {
        self.run(rests, false).await;
    }

    /// Until a commit was asked for.
    pub(super) async fn next_commit(&mut self) {
        self.run(10, true).await;
    }

    async fn run(&mut self, mut rests: u32, until_commit: bool) {
        for _ in 0..400 {
            let now = at(self.now);
            self.machine.set_room(true);
            match self.machine.action(now) {
                Action::Wait { until } => {
                    if rests == 0 {
                        return;
                    }
                    rests -= 1;
                    self.now = until;
                }
                Action::Identify => self.machine.on_identity(self.driver.identify(0).await, now),
                Action::Status => {
                    self.machine.on_status(self.driver.status(0).await, now.utc, now);
                }
                Action::FindBounds => self.machine.on_bounds(self.driver.bounds(0).await, now),
                Action::Fetch(span) => {
                    self.machine.on_page(self.driver.fetch(0, span).await, now);
                }
                Action::Commit(_) if self.is_full > 0 => {
                    self.is_full -= 1;
                    self.machine.on_commit(Err(Refused::Full), now);
                    if until_commit {
                        return;
                    }
                }
                Action::Commit(append) => {
                    self.cursor = Some(append.cursor);
                    self.stored.extend(append.transactions);
                    self.machine.on_commit(Ok(()), now);
                    if until_commit {
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("it goes round in circles");
    }

    /// Two turns, and what is told of them: records as which life, index and card; gaps by their ends.
    pub(super) async fn told(&mut self) -> Told {
        let before = self.stored.len();
        self.rests(3).await;
        Told::of(&self.stored[before..])
    }

    pub(super) fn contradictions(&self) -> u64 {
        self.machine.report().contradictions
    }

    /// One page of what stands behind an index of the first life.
    pub(super) async fn page(&mut self, behind: Option<&Record>) -> Result<Page, DriverError> {
        let committed = behind.map(|record| (record.index, record.raw.digest()));
        let from = committed.map_or(Index(1), |(index, _)| index.next());
        let until = Instant::now() + Duration::from_secs(60);
        let epoch = Some(FIRST);
        self.driver
            .fetch(0, Span { from, at_most: 512, until, epoch, committed, shared: false })
            .await
    }
}

/// What was stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Lives of the log, in their order.
    pub(super) epochs: Vec<EpochId>,
    /// Which of them, index, card.
    pub(super) records: Vec<(usize, u64, u64)>,
    /// Likewise, and the ends.
    pub(super) gaps: Vec<(usize, u64, Option<u64>)>,
}

impl Told {
    pub(super) fn of(stored: &[Transaction]) -> Self {
        let mut told = Self::default();
        for each in stored {
            let place = told.epochs.iter().position(|epoch| *epoch == each.origin.epoch());
            let place = place.unwrap_or_else(|| {
                told.epochs.push(each.origin.epoch());
                told.epochs.len() - 1
            });
            match (each.origin, each.kind) {
                (Origin::Controller { index, .. }, _) => {
                    let card = each.credential.map_or(0, |card| card.0);
                    told.records.push((place, index.0, card));
                }
                (Origin::Gateway { .. }, Kind::Gap(Gap { first, last, .. })) => {
                    told.gaps.push((place, first.0, last.map(|last| last.0)));
                }
                (Origin::Gateway { .. }, _) => {}
            }
        }
        told
    }
}
