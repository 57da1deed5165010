//! What one voter sees of another: each keeps a stream open to each other, on which both say every so
//! often that they are there.
//!
//! A process that ended is told from a line that broke: its machine closes the stream, and *refuses*
//! the next one. A firewall's reset alone closes a stream too, and is no more than a broken line.

use std::time::Duration;

use super::{BootInstant, Timing};

/// What is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There was no stream to it yet: nothing is known.
    Never,
    /// Nobody listens at its address, and there was no stream to it since this voter's own process
    /// began: it may have ended, or not begun yet.
    Absent {
        /// Since when.
        since: BootInstant,
    },
    /// There is a stream, and it was heard on it lately.
    Connected,
    /// Its stream ended or is silent, and no new one was to be had.
    Broken {
        /// Since when.
        since: BootInstant,
    },
    /// Its stream ended, and its machine refused a new one: nobody listens there.
    Refused {
        /// Since when.
        since: BootInstant,
    },
}

impl Sight {
    /// Whether it was heard lately.
    pub fn is_connected(self) -> bool {
        self == Self::Connected
    }

    /// Whether its process is seen to have ended.
    pub const fn is_refused(self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether nobody listens there: enough for whoever confirms what another one saw end.
    pub const fn nobody_listens(self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Absent { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Never,
    Absent {
        since: BootInstant,
    },
    Open {
        heard: BootInstant,
    },
    /// Given up for its silence: that its machine refuses a new stream then may be a firewall's doing.
    Lost {
        since: BootInstant,
    },
    Closed {
        since: BootInstant,
    },
    Refused {
        since: BootInstant,
    },
}

/// What one voter knows of another.
#[derive(Clone, Debug)]
pub struct Watch {
    silent_after: Duration,
    state: State,
}

impl Watch {
    /// Nothing is known yet.
    pub const fn new(timing: &Timing) -> Self {
        Self { silent_after: timing.silent_after(), state: State::Never }
    }

    /// A stream was accepted. Whoever accepts one has not ended, whatever was seen before.
    pub fn on_connected(&mut self, now: BootInstant) {
        self.state = State::Open { heard: now };
    }

    /// It said something on the stream that is open.
    pub fn on_message(&mut self, now: BootInstant) {
        if let State::Open { heard } = &mut self.state {
            *heard = now.max(*heard);
        }
    }

    /// The stream was ended by the other side, or on the way. One that was silent by then is lost: whoever
    /// cuts a line may refuse on it as well, and a process that lives would be taken for ended.
    pub fn on_closed(&mut self, now: BootInstant) {
        if let State::Open { heard } = self.state {
            self.state = if self.is_silent(heard, now) {
                State::Lost { since: heard + self.silent_after }
            } else {
                State::Closed { since: now }
            };
        }
    }

    /// Its machine refused a new stream that was asked for at `asked`: that nobody listens is an end only
    /// after a stream that had been open is seen to be closed.
    pub fn on_refused(&mut self, asked: BootInstant, now: BootInstant) {
        self.state = match self.state {
            State::Never => State::Absent { since: now },
            State::Closed { since } if asked >= since => State::Refused { since: now },
            State::Closed { .. }
            | State::Absent { .. }
            | State::Open { .. }
            | State::Lost { .. }
            | State::Refused { .. } => self.state,
        };
    }

    /// It is known to have lived at this moment, whatever was seen before: it has begun a reign. That
    /// nobody listens there has to be seen anew.
    pub fn on_alive(&mut self, now: BootInstant) {
        self.state = match self.state {
            State::Absent { .. } => State::Never,
            State::Refused { .. } => State::Closed { since: now },
            State::Never | State::Open { .. } | State::Lost { .. } | State::Closed { .. } => {
                self.state
            }
        };
    }

    /// A new stream was neither accepted nor refused in time: nothing is seen of its process any more.
    pub fn on_timeout(&mut self) {
        self.state = match self.state {
            State::Absent { .. } => State::Never,
            State::Refused { since } => State::Closed { since },
            State::Never | State::Open { .. } | State::Lost { .. } | State::Closed { .. } => {
                self.state
            }
        };
    }

    /// What is seen now.
    pub fn sight(&self, now: BootInstant) -> Sight {
        match self.state {
            State::Never => Sight::Never,
            State::Absent { since } => Sight::Absent { since },
            State::Open { heard } if self.is_silent(heard, now) => {
                Sight::Broken { since: heard + self.silent_after }
            }
            State::Open { .. } => Sight::Connected,
            State::Lost { since } | State::Closed { since } => Sight::Broken { since },
            State::Refused { since } => Sight::Refused { since },
        }
    }

    /// When what is seen changes by itself.
    pub fn next_deadline(&self) -> Option<BootInstant> {
        match self.state {
            State::Open { heard } => Some(heard + self.silent_after),
            State::Never
            | State::Absent { .. }
            | State::Lost { .. }
            | State::Closed { .. }
            | State::Refused { .. } => None,
        }
    }

    fn is_silent(&self, heard: BootInstant, now: BootInstant) -> bool {
        now >= heard + self.silent_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the input comes that is looked at.
    const NOW: u64 = 1_000;

    const fn at(ms: u64) -> BootInstant {
        BootInstant(Duration::from_millis(ms))
    }

    const fn broken(ms: u64) -> Sight {
        Sight::Broken { since: at(ms) }
    }

    const fn refused(ms: u64) -> Sight {
        Sight::Refused { since: at(ms) }
    }

    /// A state by what came before, and what is seen after each input in it.
    type Row = (&'static str, &'static [(u64, Input)], [Sight; 6]);

    #[derive(Clone, Copy, Debug)]
    enum Input {
        Connected,
        Message,
        Closed,
        Refused,
        Timeout,
        Alive,
    }

    fn watch(inputs: &[(u64, Input)]) -> Watch {
        let mut watch = Watch::new(&Timing::NEAR);
        for (ms, input) in inputs {
            put(&mut watch, *input, *ms);
        }
        watch
    }

    fn put(watch: &mut Watch, input: Input, ms: u64) {
        match input {
            Input::Connected => watch.on_connected(at(ms)),
            Input::Message => watch.on_message(at(ms)),
            Input::Closed => watch.on_closed(at(ms)),
            Input::Refused => watch.on_refused(at(ms), at(ms)),
            Input::Timeout => watch.on_timeout(),
            Input::Alive => watch.on_alive(at(ms)),
        }
    }

    fn absent(ms: u64) -> Sight {
        Sight::Absent { since: at(ms) }
    }

    /// Every input in every state.
    #[test]
    fn the_table_of_states_and_inputs() {
        use Input::{Alive, Closed, Connected, Message, Refused, Timeout};
        use Sight::Never;

        const INPUTS: [Input; 6] = [Connected, Message, Closed, Refused, Timeout, Alive];
        const OPEN: (u64, Input) = (900, Connected);
        const CLOSED: (u64, Input) = (950, Closed);
        let table: [Row; 7] = [
            ("never", &[], [Sight::Connected, Never, Never, absent(NOW), Never, Never]),
            ("absent", &[(900, Refused)], {
                let since = absent(900);
                [Sight::Connected, since, since, since, Never, Never]
            }),
            ("open", &[OPEN], {
                let open = Sight::Connected;
                [open, open, broken(NOW), open, open, open]
            }),
            // Silent since 300 + 600. A word ends that; what is closed then was silent before.
            ("silent", &[(300, Connected)], {
                let since = broken(900);
                [Sight::Connected, Sight::Connected, since, since, since, since]
            }),
            // Regression: a line that goes silent and then refuses looked like a process that ended.
            ("lost", &[(300, Connected), (950, Closed)], {
                let since = broken(900);
                [Sight::Connected, since, since, since, since, since]
            }),
            ("closed", &[OPEN, CLOSED], {
                let since = broken(950);
                [Sight::Connected, since, since, refused(NOW), since, since]
            }),
            ("refused", &[OPEN, CLOSED, (960, Refused)], {
                let since = refused(960);
                [Sight::Connected, since, since, since, broken(960), broken(NOW)]
            }),
        ];
        for (state, before, expected) in table {
            for (input, expected) in INPUTS.into_iter().zip(expected) {
                let mut watch = watch(before);
                put(&mut watch, input, NOW);
                assert_eq!(watch.sight(at(NOW)), expected, "{state} {input:?}");
            }
        }
    }

    #[test]
    fn a_reset_alone_is_not_an_end() {
        let inputs = [(0, Input::Connected), (10, Input::Closed), (20, Input::Timeout)];
        let mut watch = watch(&inputs);
        assert_eq!(watch.sight(at(60_000)), broken(10));
        watch.on_refused(at(60_000), at(60_000));
        assert_eq!(watch.sight(at(60_000)), refused(60_000));
        watch.on_connected(at(60_100));
        assert!(watch.sight(at(60_100)).is_connected());
    }

    /// Regression: a server that was killed, came back and had its new reign was taken for dead once more by
    /// what had been seen of the process before.
    #[test]
    fn what_was_seen_before_a_reign_began_says_nothing_of_it() {
        let inputs = [(0, Input::Connected), (10, Input::Closed), (20, Input::Refused)];
        let mut watch = watch(&inputs);
        watch.on_alive(at(50));
        assert_eq!(watch.sight(at(60)), broken(50));
        watch.on_refused(at(45), at(60));
        assert_eq!(watch.sight(at(60)), broken(50), "that was asked for before");
        watch.on_refused(at(51), at(61));
        assert_eq!(watch.sight(at(61)), refused(61));
    }

    #[test]
    fn three_messages_missing_are_silence() {
        let mut watch = watch(&[(0, Input::Connected)]);
        assert_eq!(watch.next_deadline(), Some(at(600)));
        watch.on_message(at(200));
        assert_eq!(watch.next_deadline(), Some(at(800)));
        assert!(watch.sight(at(799)).is_connected());
        assert_eq!(watch.sight(at(800)), broken(800));
        watch.on_message(at(2_000));
        assert!(watch.sight(at(2_000)).is_connected(), "it was only slow");
        watch.on_closed(at(2_001));
        assert_eq!((watch.sight(at(2_001)), watch.next_deadline()), (broken(2_001), None));
    }
}
