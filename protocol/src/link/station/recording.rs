//! Whoever plays a recorded opening back disturbs nobody.

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
