//! A standby: it follows, or brings what it alone holds, takes its own log back, and follows then; or
//! gets a full copy. Any of it may be broken off at any point.

use super::World;
use crate::store::change::{Head, LogEntry, Position};
use crate::store::testing::{NOW, Node};
use crate::store::{MAX_LINES, NoPage, NotApplied, Returned, ReturnedJournal};

/// In how small portions a server rejoins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions {
    /// How much of the log is looked at for merges.
    pub(super) bytes: usize,
    /// From how many lines on a merge is full.
    pub(super) lines: usize,
    /// How many entries are taken back at once.
    pub(super) undo: i64,
}

impl Portions {
    /// So small that a few transactions take several.
    pub(super) const SMALL: Self = Self { bytes: 1_500, lines: 4, undo: 3 };
    /// As the servers have them.
    pub(super) const REAL: Self = Self { bytes: 256 * 1024, lines: MAX_LINES, undo: 256 };
}

impl World {
    /// A standby asks for what follows its log, and applies a page, if it gets it; or goes on with
    /// what it takes to rejoin, so many portions of it.
    pub(super) fn pull(&mut self, standby: usize, bytes: usize, lost: bool, portions: u32) {
        let active = 1 - standby;
        let now = self.now;
        let (own, other) = (&self.servers[standby], &self.servers[active]);
        let follows = own.role().active == other.name().server;
        if !follows || !other.is_active() || own.term() != other.term() {
            return;
        }
        let (store, head) = (own.name(), own.node.head());
        let page = other.node.store.log_page(&head, bytes).unwrap();
        match page {
            Ok(entries) => {
                self.servers[active].acks().confirm(&store, head.position, now);
                if !lost {
                    self.servers[standby].node.apply_log(&entries).unwrap();
                }
            }
            Err(NoPage::TooOld) => self.copy(standby, portions),
            Err(NoPage::Differs | NoPage::Beyond) if head.role_term == other.term() => {
                panic!("the active server lost what it wrote in its own reign")
            }
            Err(NoPage::Differs | NoPage::Beyond) => self.rejoin(standby, portions),
        }
    }

    fn rejoin(&mut self, standby: usize, mut portions: u32) {
        let [own, other] = self.nodes(standby);
        let end = own.head().position;
        let at = |node: &Node, position| node.store.head_at(position).unwrap().ok();
        let is_common = |position: &Position| {
            let held: Option<Head> = at(own, *position);
            held.is_some() && held == at(other, *position)
        };
        let Some(parted) = (0..=end).rev().find(is_common) else {
            return self.copy(standby, portions);
        };
        let mut after = parted;
        while after < end {
            let entries =
                self.servers[standby].node.store.log_behind(after, self.portions.bytes).unwrap();
            after = entries.last().map_or(end, |last| last.head.position);
            for returned in batches(entries, self.portions.lines) {
                if !self.bring(standby, returned, false, &mut portions) {
                    return;
                }
            }
        }
        if !self.bring(standby, Returned::default(), true, &mut portions) {
            return;
        }
        while portions > 0 {
            portions -= 1;
            self.saw("portions taken back", 1);
            let (node, undo) = (&mut self.servers[standby].node, self.portions.undo);
            if node.store.undo_some(node.term, parted, undo).unwrap() {
                return;
            }
        }
    }

    /// All of what a store holds goes to the active server before it is replaced by a copy of that
    /// one's.
    fn copy(&mut self, standby: usize, mut portions: u32) {
        let mut after = 0;
        loop {
            let node = &self.servers[standby].node;
            let lines = node.lines(after, u64::try_from(MAX_LINES).unwrap());
            let Some(last) = lines.last() else { break };
            after = last.id;
            let entries = node.store.log_behind(0, usize::MAX).unwrap();
            let aliases = entries.into_iter().flat_map(|entry| entry.change.aliases).collect();
            let returned = Returned { lines, aliases, ..Returned::default() };
            if !self.bring(standby, returned, false, &mut portions) {
                return;
            }
        }
        if !self.bring(standby, Returned::default(), true, &mut portions) {
            return;
        }
        self.crash(standby);
        let file = self.file();
        let (path, name) = (self.folder.path().join(file), self.servers[standby].name());
        let copy = self.servers[1 - standby].node.full_copy(path, &name.server);
        self.servers[standby].node = copy;
        self.saw("full copies", 1);
    }

    /// Brings one portion; `false` where it is broken off.
    fn bring(
        &mut self,
        standby: usize,
        mut returned: Returned,
        all: bool,
        portions: &mut u32,
    ) -> bool {
        if *portions == 0 {
            return false;
        }
        *portions -= 1;
        let node = &self.servers[standby].node;
        returned.journals = node
            .store
            .journals()
            .unwrap()
            .into_iter()
            .filter(|item| all || returned.lines.iter().any(|line| line.journal == item.journal))
            .map(|item| ReturnedJournal {
                journal: item.journal,
                gateway: item.gateway,
                holds: all.then_some((item.stored, item.holes)),
            })
            .collect();
        let (from, active) = (node.store.name().server, &mut self.servers[1 - standby]);
        let term = active.term();
        match active.node.store.merge(term, &from, &returned, NOW).unwrap() {
            Ok((merged, _)) => {
                self.saw("merged", merged.stored);
                self.saw("merged already", merged.doubles);
                self.saw("holes filled", merged.filled);
                true
            }
            Err(NotApplied::Fenced) => false,
            Err(refused) => panic!("{refused}"),
        }
    }

    fn nodes(&self, standby: usize) -> [&Node; 2] {
        [&self.servers[standby].node, &self.servers[1 - standby].node]
    }
}

/// Lines of entries in portions.
fn batches(entries: Vec<LogEntry>, most: usize) -> Vec<Returned> {
    let mut batches = vec![Returned::default()];
    for entry in entries {
        let held = batches.last().map_or(0, |last| last.lines.len());
        if held > 0 && held + entry.lines.len() > most {
            batches.push(Returned::default());
        }
        let last = batches.last_mut().unwrap();
        last.lines.extend(entry.lines);
        last.aliases.extend(entry.change.aliases);
        last.audit.extend(entry.change.audit);
    }
    batches
}
