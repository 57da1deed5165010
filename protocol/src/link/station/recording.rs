//! Openings that come once more: from the gateway, or from who recorded one.

use std::vec::Vec;

use crate::id::{EpochId, Index};
use crate::link::gateway::{Access, Peer, Settings};
use crate::link::log::{EventLog, Slot};
use crate::link::message::Request;
use crate::link::rig::{ADDRESS, Outcome, Rig, SERIAL, Way, honest};

/// The answer that a station kept for a repetition was gone once somebody played an old opening back: the
/// door was open, and the gateway had to say that nobody knows.
#[test]
fn an_opening_played_back_leaves_the_kept_answer_alone() {
    let mut rig = Rig::keyed();
    let mut sent = Vec::new();
    rig.open(&mut |way, bytes| {
        if way == Way::ToStation {
            sent.push(bytes.to_vec());
        }
        honest(way, bytes)
    });
    let opening = sent.pop().unwrap();
    let (mut asked, mut answered) = (0, 0);
    let open = Request::OpenDoor { role_term: 1, door: 1, ms: 0 };
    let outcome = rig.ask(&open, None, &mut |way, bytes| match way {
        Way::ToStation => {
            asked += 1;
            if asked == 2 { std::vec![opening.clone(), bytes.to_vec()] } else { honest(way, bytes) }
        }
        Way::ToGateway => {
            answered += 1;
            if answered == 1 { Vec::new() } else { honest(way, bytes) }
        }
    });
    assert_eq!(outcome, Outcome::Other("Done".into()));
    assert_eq!((asked, answered, rig.device.opened.len()), (2, 3, 1));
}

#[test]
fn an_opening_is_answered_however_long_the_log_has_been_alive() {
    for mut rig in [Rig::keyed(), Rig::plain()] {
        let slots = std::vec![Slot::EMPTY; 4];
        rig.device.log = EventLog::resume(slots, EpochId([0xff; 16]), Index(u64::MAX), 4);
        assert_eq!(rig.open(&mut honest), Outcome::Opened);
        assert_eq!(rig.peer.welcome().unwrap().newest, u64::MAX);
    }
    // A token of five bytes, too.
    let mut rig = Rig::plain();
    rig.secret = 0xfe;
    rig.peer = Peer::new(Settings { address: ADDRESS, serial: SERIAL, access: Access::Plain });
    assert_eq!(rig.open(&mut honest), Outcome::Opened);
}

/// A station that was slow to answer an opening heard it again and made other keys; the gateway took the first
/// answer, and its session was none.
#[test]
fn an_opening_that_is_repeated_has_the_same_answer() {
    for mut rig in [Rig::keyed(), Rig::plain()] {
        let mut answers = Vec::new();
        let outcome = rig.open(&mut |way, bytes| {
            if way == Way::ToGateway {
                answers.push(bytes.to_vec());
                return honest(way, bytes);
            }
            // Twice, as after a time that was too short.
            std::vec![bytes.to_vec(), bytes.to_vec()]
        });
        assert_eq!(outcome, Outcome::Opened);
        // The repetition is heard when the first answer is on its way.
        let opening = rig.peer.wire().to_vec();
        let again = rig.station.on_bytes(&opening, &mut rig.device).unwrap().to_vec();
        assert_eq!(answers.last(), Some(&again));
        assert_eq!(rig.station.counters().sessions, 1);
        let outcome = rig.ask(&Request::Doors, None, &mut honest);
        assert_eq!(outcome, Outcome::Other("Doors([0, 1])".into()));
        assert_eq!(rig.peer.counters().sessions, 1);
        // Once the session is used, an opening begins another.
        let other = rig.station.on_bytes(&opening, &mut rig.device).unwrap().to_vec();
        assert_eq!(rig.station.counters().sessions, 2);
        assert_eq!(other == again, !rig.peer.is_sealed());
    }
}
