//! Transactions from what a contact, a relay and a button are seen to do. The device keeps no record of these: what
//! happens between two looks and is over by the second is not seen by anybody.
//!
//! - A change counts once it has lasted (`debounce`): a contact that chatters is one door.
//! - An opening is *forced* where no grant came before it, and the door was watched for as long as one counts: what
//!   nobody saw is not held against anybody.
//! - A door that stays open for too long is *held*, once for each opening.
//!
//! Every event carries between which two moments it was: the poll interval, as a rule, or longer where the line had
//! failed. Times are milliseconds of any clock that does not go back.

/// How a door is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For how long a change has to last.
    pub debounce_ms: u64,
    /// For how long a grant lets the door be opened.
    pub grant_ms: u64,
    /// After how long an open door is held; `None` where it may stand open.
    pub held_ms: Option<u64>,
    /// Whether an opening without a grant is forced. Not where nothing shows grants.
    pub forced: bool,
}

/// What was seen in one look. `None` of what the door does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether the door is open.
    pub open: Option<bool>,
    /// Whether its relay lets it be opened.
    pub released: Option<bool>,
    /// Whether the button to get out is pressed.
    pub button: Option<bool>,
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was opened.
    Opened,
    /// It was opened by force.
    Forced,
    /// It was closed.
    Closed,
    /// It has been open for too long.
    Held,
    /// The button to get out was pressed.
    Button,
}

/// Something that was seen to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub what: What,
    /// After this moment, when it had not happened yet.
    pub after_ms: u64,
    /// And not after this one, when it had.
    pub by_ms: u64,
}

/// How many events one look shows at most.
pub const MAX_EVENTS: usize = 4;

/// When a look was: what it shows may be of any moment of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// An input that counts once it has stayed as it is.
#[derive(Clone, Copy, Debug, Default)]
struct Input {
    settled: Option<bool>,
    /// When the last look that saw that began.
    settled_ms: u64,
    /// Another state, since when it is seen, and when it was not yet.
    pending: Option<(bool, u64, u64)>,
}

impl Input {
    /// A state is seen. What it has settled to anew, and between which moments.
    fn seen(&mut self, state: bool, now: Span, debounce: u64) -> Option<(bool, u64, u64)> {
        // What it is when it is first seen has not happened now.
        if *self.settled.get_or_insert(state) == state {
            (self.settled_ms, self.pending) = (now.began_ms, None);
            return None;
        }
        let (_, after, by) = *self.pending.get_or_insert((state, self.settled_ms, now.ended_ms));
        if now.began_ms.saturating_sub(by) < debounce {
            return None;
        }
        *self = Self { settled: Some(state), settled_ms: now.began_ms, pending: None };
        Some((state, after, by))
    }
}

/// A door that is looked at again and again.
#[derive(Clone, Debug)]
pub struct Door {
    rules: Rules,
    contact: Input,
    button: Input,
    /// Since when it is watched without a break.
    watched_since: Option<u64>,
    last: Option<u64>,
    /// Until when it may be opened.
    granted_until: Option<u64>,
    /// Since when it is open, and not said to be held.
    open_since: Option<u64>,
}

impl Door {
    /// Nothing is known yet.
    pub const fn new(rules: Rules) -> Self {
        let unknown = Input { settled: None, settled_ms: 0, pending: None };
        Self {
            rules,
            contact: unknown,
            button: unknown,
            watched_since: None,
            last: None,
            granted_until: None,
            open_since: None,
        }
    }

    /// Somebody was let through: by a reader, or by a command.
    pub fn on_grant(&mut self, now: u64) {
        let until = now.saturating_add(self.rules.grant_ms);
        self.granted_until = self.granted_until.max(Some(until));
    }

    /// The device could not be read, or was not for a while: nobody saw who was let through. What is on its way to count
    /// still is: between two looks nobody ever sees more.
    pub fn on_silence(&mut self) {
        self.watched_since = None;
    }

    /// What happened, by what is seen now. A look that is older than the last one shows nothing.
    pub fn on_look(&mut self, look: Look, at: Span) -> heapless::Vec<Event, MAX_EVENTS> {
        let mut events = heapless::Vec::new();
        let now = at.ended_ms;
        if self.last.is_some_and(|last| now < last) {
            return events;
        }
        let mut put = |what, after_ms, by_ms| {
            let fits = events.push(Event { what, after_ms, by_ms });
            debug_assert!(fits.is_ok(), "an opening or a closing, held, and a button");
        };
        self.watched_since.get_or_insert(now);
        let debounce = self.rules.debounce_ms;
        if let Some(pressed) = look.button
            && let Some((true, after, by)) = self.button.seen(pressed, at, debounce)
        {
            put(What::Button, after, by);
        }
        // A relay that is on, and a button while it is pressed, grant for as long as they do and a while after.
        if look.released == Some(true)
            || self.button.settled == Some(true) && look.button == Some(true)
        {
            self.on_grant(now);
        }
        if let Some(open) = look.open {
            let is_first = self.contact.settled.is_none();
            match self.contact.seen(open, at, debounce) {
                Some((true, after, by)) => {
                    put(if self.is_forced(after) { What::Forced } else { What::Opened }, after, by);
                    self.open_since = Some(by);
                }
                Some((false, after, by)) => {
                    put(What::Closed, after, by);
                    self.open_since = None;
                }
                None if is_first && open => self.open_since = Some(now),
                None => {}
            }
            if let (Some(since), Some(held)) = (self.open_since, self.rules.held_ms)
                && self.contact.pending.is_none()
                && now.saturating_sub(since) >= held
            {
                put(What::Held, since.saturating_add(held).min(now), now);
                self.open_since = None;
            }
        }
        self.last = Some(now);
        events
    }

    /// Whether an opening after this moment was without a grant, and that is known: the door was watched for all of
    /// the time in which one could have come.
    fn is_forced(&self, after: u64) -> bool {
        let granted = self.granted_until.is_some_and(|until| after <= until);
        let earliest = after.saturating_sub(self.rules.grant_ms);
        let watched = self.watched_since.is_some_and(|since| since <= earliest);
        self.rules.forced && watched && !granted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules =
        Rules { debounce_ms: 100, grant_ms: 5_000, held_ms: Some(30_000), forced: true };

    /// A look that takes no time.
    fn at(now: u64) -> Span {
        Span { began_ms: now, ended_ms: now }
    }

    fn contact(open: bool) -> Look {
        Look { open: Some(open), ..Look::default() }
    }

    /// What is seen of looks at these moments.
    fn events(rules: Rules, looks: &[(u64, Look)]) -> std::vec::Vec<(What, u64, u64)> {
        let mut door = Door::new(rules);
        let told = |(now, look): &(u64, Look)| {
            let events = door.on_look(*look, at(*now));
            events.iter().map(|event| (event.what, event.after_ms, event.by_ms)).collect()
        };
        looks.iter().flat_map::<std::vec::Vec<_>, _>(told).collect()
    }

    #[test]
    fn an_opening_without_a_grant_is_forced_where_the_door_was_watched() {
        let (open, closed) = (contact(true), contact(false));
        let watched = [(0, closed), (9_900, closed), (10_000, open), (10_100, open)];
        assert_eq!(events(RULES, &watched), [(What::Forced, 9_900, 10_000)]);
        let silent = Rules { forced: false, ..RULES };
        assert_eq!(events(silent, &watched), [(What::Opened, 9_900, 10_000)]);
        let soon = [(6_000, closed), (9_900, closed), (10_000, open), (10_100, open)];
        assert_eq!(events(RULES, &soon), [(What::Opened, 9_900, 10_000)], "watched for 4 s only");
    }

    #[test]
    fn a_relay_a_button_and_a_reader_grant() {
        let (open, closed) = (contact(true), contact(false));
        let mut door = Door::new(RULES);
        door.on_look(closed, at(0));
        door.on_look(closed, at(9_000));
        door.on_grant(9_050);
        door.on_look(open, at(9_200));
        assert_eq!(door.on_look(open, at(9_300))[0].what, What::Opened);

        let released = Look { released: Some(true), ..closed };
        let through =
            [(0, closed), (9_000, released), (13_999, closed), (14_100, open), (14_200, open)];
        assert_eq!(events(RULES, &through), [(What::Opened, 13_999, 14_100)]);
        let late =
            [(0, closed), (9_000, released), (14_001, closed), (14_100, open), (14_200, open)];
        assert_eq!(events(RULES, &late), [(What::Forced, 14_001, 14_100)]);

        let pressed = Look { button: Some(true), ..closed };
        let idle = Look { button: Some(false), ..closed };
        let out = [
            (0, idle),
            (9_000, pressed),
            (9_100, pressed),
            (9_200, Look { open: Some(true), ..idle }),
        ];
        let out = [&out[..], &[(9_300, Look { open: Some(true), ..idle })]].concat();
        assert_eq!(events(RULES, &out), [(What::Button, 0, 9_000), (What::Opened, 9_100, 9_200)]);
    }

    #[test]
    fn a_contact_that_chatters_is_one_door() {
        let (open, closed) = (contact(true), contact(false));
        let chatter = [
            (0, closed),
            (10_000, open),
            (10_030, closed),
            (10_060, open),
            (10_099, open),
            (10_160, open),
        ];
        assert_eq!(events(RULES, &chatter), [(What::Forced, 10_030, 10_060)]);
        let blip = [(0, closed), (10_000, open), (10_099, closed), (20_000, closed)];
        assert_eq!(events(RULES, &blip), []);
        let at_once = Rules { debounce_ms: 0, ..RULES };
        assert_eq!(
            events(at_once, &blip),
            [(What::Forced, 0, 10_000), (What::Closed, 10_000, 10_099)]
        );
    }

    #[test]
    fn a_door_is_held_once_for_each_opening() {
        let (open, closed) = (contact(true), contact(false));
        let held = [
            (0, open),
            (29_999, open),
            (30_005, open),
            (90_000, open),
            (90_500, closed),
            (90_600, closed),
        ];
        assert_eq!(
            events(RULES, &held),
            [(What::Held, 30_000, 30_005), (What::Closed, 90_000, 90_500)]
        );
        let free = Rules { held_ms: None, ..RULES };
        assert_eq!(events(free, &held), [(What::Closed, 90_000, 90_500)]);
    }

    #[test]
    fn what_nobody_saw_is_held_against_nobody() {
        let (open, closed) = (contact(true), contact(false));
        let mut door = Door::new(Rules { held_ms: None, ..RULES });
        door.on_look(closed, at(0));
        door.on_look(open, at(60_000));
        door.on_silence();
        let after = door.on_look(open, at(90_000));
        let opened = Event { what: What::Opened, after_ms: 0, by_ms: 60_000 };
        assert_eq!(after.as_slice(), [opened]);
        assert!(door.on_look(closed, at(80_000)).is_empty(), "a look of before says nothing");
    }

    /// What was first seen at the end of a long look was once said to have happened before that look could see it.
    #[test]
    fn what_counts_late_lies_between_the_looks_that_saw_it_shut_and_open() {
        let (open, closed) = (contact(true), contact(false));
        let look = |began_ms, ended_ms| Span { began_ms, ended_ms };
        let mut door = Door::new(Rules { forced: false, ..RULES });
        door.on_look(closed, look(1_000, 1_010));
        door.on_look(open, look(2_000, 2_250));
        assert!(door.on_look(open, look(2_340, 2_345)).is_empty(), "90 ms after the other's end");
        let opened = door.on_look(open, look(2_350, 2_355));
        assert_eq!(opened[0], Event { what: What::Opened, after_ms: 1_000, by_ms: 2_250 });
    }

    /// Regression: a silence between any two looks, or a line whose round was longer than a grant, made every door be forgotten
    /// before it counted, and none was ever opened.
    #[test]
    fn a_door_that_is_looked_at_seldom_or_between_failures_is_opened_all_the_same() {
        let (open, closed) = (contact(true), contact(false));
        let mut door = Door::new(RULES);
        let mut events = std::vec::Vec::new();
        for (now, look) in
            [(0, closed), (9_000, open), (18_000, open), (27_000, closed), (36_000, closed)]
        {
            door.on_silence();
            events.extend(door.on_look(look, at(now)));
        }
        let event = |what, after_ms, by_ms| Event { what, after_ms, by_ms };
        assert_eq!(events, [event(What::Opened, 0, 9_000), event(What::Closed, 18_000, 27_000)]);
    }

    proptest! {
        /// Openings and closings take turns, times are in order, and what is held is open.
        #[test]
        fn openings_and_closings_take_turns(
            steps in prop::collection::vec((0..400_u64, any::<bool>(), any::<bool>(), 0..8_u8), 0..200),
            debounce_ms in 0..300_u64,
        ) {
            let rules = Rules { debounce_ms, held_ms: Some(2_000), grant_ms: 700, forced: true };
            let (mut door, mut now, mut open, mut by) = (Door::new(rules), 0, None, 0);
            for (step, contact, released, other) in steps {
                now += step;
                if other == 0 {
                    door.on_silence();
                }
                let look = Look { open: Some(contact), released: Some(released), button: Some(other == 1) };
                for event in door.on_look(look, at(now)) {
                    prop_assert!(event.after_ms <= event.by_ms && event.by_ms <= now);
                    match event.what {
                        What::Opened | What::Forced => {
                            prop_assert_ne!(open, Some(true));
                            open = Some(true);
                        }
                        What::Closed => {
                            prop_assert_ne!(open, Some(false));
                            open = Some(false);
                        }
                        What::Held => prop_assert_ne!(open, Some(false)),
                        What::Button => continue,
                    }
                    prop_assert!(event.by_ms >= by);
                    by = event.by_ms;
                }
            }
        }
    }
}
