//! What came too late, or unasked, is never taken for an answer.

use super::*;
use crate::driver::modbus::talk::Talk;

/// A unit that takes longer for an answer than anybody waits, and no longer than an answer may be late.
const BUSY: Duration = Duration::from_millis(300);

async fn sluggish(over: Over) -> (Wire, Peer) {
    let (settings, peer) = rig::line(over, Framing::Rtu).await;
    let (reply, late) = (Duration::from_millis(200), Duration::from_millis(400));
    (Wire::new(WireSettings { reply, late, ..settings }), peer)
}

/// A unit does one thing after the other: the first request is answered once nobody waits for it any more, with 1, the
/// second as soon as that is done, with 2.
async fn one_after_the_other(peer: &mut Peer) {
    let (_, began) = peer.request().await;
    tokio::time::sleep_until(began + BUSY).await;
    peer.say(&rtu(UNIT, &one(1))).await;
    peer.tell(&one(2)).await;
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_another_requests() {
    for over in [Over::Tcp, Over::Pty] {
        let (mut wire, mut peer) = sluggish(over).await;
        let mut counters = LineCounters::default();
        let asks = async {
            let first = wire.read(UNIT, registers(10, 1), &mut counters).await;
            assert_eq!(first, Err(DriverError::TimedOut), "{over:?}");
            let second = wire.read(UNIT, registers(20, 1), &mut counters).await;
            assert_eq!(second, Ok(words(&[2])), "{over:?}");
        };
        both(asks, one_after_the_other(&mut peer)).await;
        assert_eq!((counters.timeouts, counters.unexpected, counters.replies), (1, 1, 1));
    }
}

#[tokio::test]
async fn nor_for_that_of_the_same_request_when_it_is_repeated() {
    let (mut wire, mut peer) = sluggish(Over::Tcp).await;
    let mut talk = Talk::to(UNIT);
    let asks = async {
        let alive = talk.read(&mut wire, registers(10, 1)).await;
        assert_eq!(alive, Ok(words(&[7])));
        let repeated = talk.read(&mut wire, registers(10, 1)).await;
        assert_eq!(repeated, Ok(words(&[2])));
    };
    let answers = async {
        peer.tell(&one(7)).await;
        one_after_the_other(&mut peer).await;
    };
    both(asks, answers).await;
    let LineCounters { requests, repeats, timeouts, unexpected, .. } = talk.counters;
    assert_eq!((requests, repeats, timeouts, unexpected), (3, 1, 1, 1));
}

#[tokio::test]
async fn who_never_answered_is_asked_once() {
    let (mut wire, mut peer) = rig::hasty(Framing::Rtu).await;
    let mut talk = Talk::to(UNIT);
    let silence = async {
        peer.request().await;
    };
    let (read, ()) = both(talk.read(&mut wire, registers(10, 1)), silence).await;
    assert_eq!(read, Err(DriverError::TimedOut));
    assert_eq!((talk.counters.requests, talk.counters.repeats), (1, 0));
}

/// A device server hands on what comes over its serial line to whoever is connected by then: the answer to what was
/// asked over a connection that broke came over the next one, and was taken for that of the next request.
#[tokio::test]
async fn an_answer_that_comes_over_the_next_connection_is_nobodys() {
    let (settings, mut peer) = rig::line(Over::Tcp, Framing::Rtu).await;
    // It is late behind the time for the answer, and not only behind the new connection.
    let (reply, late) = (Duration::from_secs(1), Duration::from_millis(20));
    let mut wire = Wire::new(WireSettings { reply, late, ..settings });
    let mut counters = LineCounters::default();
    let asks = async {
        let broken = wire.read(UNIT, registers(10, 1), &mut counters).await;
        assert!(matches!(broken, Err(DriverError::Line(_))), "{broken:?}");
        wire.read(UNIT, registers(20, 1), &mut counters).await
    };
    let answers = async {
        peer.request().await;
        peer.hang_up();
        peer.accept().await;
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(100)).await;
        peer.say(&rtu(UNIT, &one(1))).await;
        peer.tell(&one(2)).await;
    };
    let (second, ()) = both(asks, answers).await;
    assert_eq!(second, Ok(words(&[2])));
    assert_eq!((counters.line_errors, counters.unexpected), (1, 1));
}

#[tokio::test]
async fn what_comes_late_over_a_connection_that_was_given_up_is_nothing() {
    let (mut wire, mut peer) = rig::hasty(Framing::Tcp).await;
    let mut counters = LineCounters::default();
    let asks = async {
        let first = wire.read(UNIT, registers(10, 1), &mut counters).await;
        assert_eq!(first, Err(DriverError::TimedOut));
        let second = wire.read(UNIT, registers(20, 1), &mut counters).await;
        assert_eq!(second, Ok(words(&[2])));
    };
    let answers = async {
        let (first, _) = peer.request().await;
        let mut old = peer.accept().await.unwrap();
        let (second, _) = peer.request().await;
        assert_eq!(first[..2], second[..2], "its number alone would be right");
        let late = rig::frame(Framing::Tcp, &first, &one(1));
        // It may be closed by now.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut old, &late).await;
        peer.say(&rig::frame(Framing::Tcp, &second, &one(2))).await;
    };
    both(asks, answers).await;
    assert_eq!((counters.timeouts, counters.replies, counters.unexpected), (1, 1, 0));
}

#[tokio::test]
async fn what_came_unasked_is_thrown_away_before_a_request() {
    for over in [Over::Tcp, Over::Pty] {
        let (mut wire, mut peer) = rig::patient(over, Framing::Rtu).await;
        let mut counters = LineCounters::default();
        let mut ask = async |peer: &mut Peer| {
            let ask = wire.read(UNIT, registers(10, 1), &mut counters);
            let second = one(2);
            let (read, ()) = both(ask, peer.tell(&second)).await;
            assert_eq!(read, Ok(words(&[2])), "{over:?}");
        };
        ask(&mut peer).await;
        peer.say(&rtu(UNIT, &one(1))).await;
        ask(&mut peer).await;
        assert_eq!((counters.unexpected, counters.replies), (1, 2), "{over:?}");
    }
}

/// Also over a line that never rests, an end comes.
#[tokio::test]
async fn a_line_that_only_babbles_is_given_up_within_its_time() {
    for noise in [[0xee; 512], [UNIT; 512]] {
        let (mut wire, mut peer) = rig::hasty(Framing::Rtu).await;
        let babble = async {
            peer.accept().await;
            peer.babble(&noise).await;
        };
        let began = Instant::now();
        let mut counters = LineCounters::default();
        let asks = wire.read(UNIT, registers(10, 1), &mut counters);
        let (read, ()) = both(asks, babble).await;
        assert!(matches!(read, Err(DriverError::Line(_))), "{read:?}");
        assert_eq!((counters.line_errors, counters.requests), (1, 1));
        assert!(began.elapsed() < MAX_DRAIN * 3, "{:?}", began.elapsed());
    }
}

/// The line rests before each request, also behind an answer that came at once.
#[tokio::test]
async fn the_gap_is_kept_before_each_request() {
    const GAP: Duration = Duration::from_millis(40);
    for over in [Over::Tcp, Over::Pty] {
        let (settings, mut peer) = rig::line(over, Framing::Rtu).await;
        let mut wire = Wire::new(WireSettings { gap: GAP, ..settings });
        let mut counters = LineCounters::default();
        let asks = async {
            for _ in 0..5 {
                let read = wire.read(UNIT, registers(10, 1), &mut counters).await;
                assert_eq!(read, Ok(words(&[2])));
            }
        };
        let answers = async {
            let mut last: Option<Instant> = None;
            for _ in 0..5 {
                let (_, at) = peer.request().await;
                if let Some(last) = last {
                    assert!(at - last >= GAP, "{over:?}: {:?}", at - last);
                }
                last = Some(Instant::now());
                peer.say(&rtu(UNIT, &one(2))).await;
            }
        };
        both(asks, answers).await;
    }
}
