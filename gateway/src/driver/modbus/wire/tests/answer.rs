//! What is an answer and what is none.

use super::*;

const FRAMINGS: [Framing; 2] = [Framing::Rtu, Framing::Tcp];

/// What comes of it where two registers are asked for and this is the answer.
async fn two(framing: Framing, bytes: &[u8]) -> (Result<Values, DriverError>, LineCounters) {
    let (mut wire, mut peer) = rig::hasty(framing).await;
    let mut counters = LineCounters::default();
    let asks = wire.read(UNIT, registers(10, 2), &mut counters);
    let (read, ()) = both(asks, peer.answer(bytes)).await;
    (read, counters)
}

/// The same where the answer has this behind the unit's address, and is well framed.
async fn two_pdu(framing: Framing, pdu: &[u8]) -> (Result<Values, DriverError>, LineCounters) {
    let (mut wire, mut peer) = rig::hasty(framing).await;
    let mut counters = LineCounters::default();
    let asks = wire.read(UNIT, registers(10, 2), &mut counters);
    let (read, ()) = both(asks, peer.tell(pdu)).await;
    (read, counters)
}

#[tokio::test]
async fn what_was_asked_for_stands_in_the_request_and_comes_back() {
    let block = |table, count| Block::new(table, 0x1234, count).unwrap();
    let bits = Values::Bits(vec![true, false, true, false, false, false, false, false, true]);
    for framing in FRAMINGS {
        let (mut wire, mut peer) = rig::patient(Over::Tcp, framing).await;
        let mut counters = LineCounters::default();
        for (table, count, pdu, wanted) in [
            (Table::Coil, 9, &[1, 2, 0b101, 0b1][..], bits.clone()),
            (Table::DiscreteInput, 9, &[2, 2, 0b101, 0b1], bits.clone()),
            (Table::HoldingRegister, 2, &[3, 4, 0xab, 0xcd, 0, 1], words(&[0xabcd, 1])),
            (Table::InputRegister, 1, &[4, 2, 0xff, 0xff], words(&[0xffff])),
        ] {
            let answers = async {
                let (request, _) = peer.request().await;
                let asked = [pdu[0], 0x12, 0x34, 0, u8::try_from(count).unwrap()];
                assert_eq!(request, rig::frame(framing, &request, &asked));
                peer.say(&rig::frame(framing, &request, pdu)).await;
            };
            let asks = wire.read(UNIT, block(table, count), &mut counters);
            let (read, ()) = both(asks, answers).await;
            assert_eq!(read, Ok(wanted), "{framing:?} {table:?}");
        }
        assert_eq!(counters, LineCounters { requests: 4, replies: 4, ..LineCounters::default() });
    }
}

#[tokio::test]
async fn noise_before_an_answer_is_skipped_and_counted() {
    let answer = rtu(UNIT, &[3, 4, 0, 1, 0, 2]);
    for noise in [&[0][..], &[0, 0xff, 0x80], &[0; 300]] {
        let (read, counters) = two(Framing::Rtu, &[noise, &answer].concat()).await;
        assert_eq!(read, Ok(words(&[1, 2])), "{noise:?}");
        assert_eq!((counters.bad_start, counters.replies), (1, 1));
    }
    // Over a line where the noise comes by itself, and is the unit's own address.
    let (mut wire, mut peer) = rig::patient(Over::Pty, Framing::Rtu).await;
    let mut counters = LineCounters::default();
    let answers = async {
        peer.request().await;
        peer.say(&[0]).await;
        tokio::task::yield_now().await;
        peer.say(&[UNIT]).await;
        tokio::task::yield_now().await;
        peer.say(&answer).await;
    };
    let asks = wire.read(UNIT, registers(10, 2), &mut counters);
    let (read, ()) = both(asks, answers).await;
    assert_eq!(read, Ok(words(&[1, 2])));
    assert_eq!(counters.bad_start, 1);
}

#[tokio::test]
async fn noise_alone_is_no_answer() {
    let (read, counters) = two(Framing::Rtu, &[0, 0, 0]).await;
    assert_eq!(read, Err(DriverError::TimedOut));
    assert_eq!((counters.bad_start, counters.timeouts), (1, 1));
}

/// Over RTU all of it was noise until the unit's own address came, and so nobody's.
#[tokio::test]
async fn an_answer_of_another_unit_is_foreign() {
    let pdu = [3, 4, 0, 1, 0, 2];
    let contains = [3, 4, 0, UNIT, UNIT, 2];
    for bytes in [
        rtu(UNIT + 1, &pdu),
        rtu(UNIT + 1, &contains),
        [&[0][..], &rtu(UNIT + 1, &pdu)].concat(),
        rtu(UNIT + 1, &[0x83, 2]),
    ] {
        let (read, counters) = two(Framing::Rtu, &bytes).await;
        assert_eq!(read, Err(DriverError::Nonsense), "{bytes:?}");
        assert_eq!((counters.foreign, counters.timeouts), (1, 0), "{bytes:?}");
    }
    for (number, unit) in [([0, 0], UNIT + 1), ([0, 1], UNIT)] {
        let (read, counters) = two(Framing::Tcp, &rig::mbap(&number, unit, &pdu)).await;
        assert_eq!(read, Err(DriverError::Nonsense));
        assert_eq!(counters.foreign, 1);
    }
}

#[tokio::test]
async fn an_answer_to_another_function_is_unexpected() {
    for framing in FRAMINGS {
        for pdu in [&[4, 4, 0, 1, 0, 2][..], &[1, 1, 0], &[6, 0, 1, 0, 2], &[0x84, 2]] {
            let (read, counters) = two_pdu(framing, pdu).await;
            assert_eq!(read, Err(DriverError::Nonsense), "{framing:?} {pdu:?}");
            assert_eq!(counters.unexpected, 1, "{framing:?} {pdu:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_length_is_none() {
    // As long as it says, and not as was asked; nothing; longer than any may be.
    let long = [&[3, 250][..], &[0; 250]].concat();
    for framing in FRAMINGS {
        for pdu in [&[3, 2, 0, 1][..], &[3, 6, 0, 1, 0, 2, 0, 3], &[3, 0], &long] {
            let (read, counters) = two_pdu(framing, pdu).await;
            assert_eq!(read, Err(DriverError::Nonsense), "{framing:?} {pdu:?}");
            assert_eq!(counters.bad_length, 1, "{framing:?} {pdu:?}");
        }
    }
    // Its count says more, or less, than there is, and its checksum is right.
    for count in [0, 1, 2, 3, 5, 6, 125, 255] {
        let (read, counters) = two_pdu(Framing::Rtu, &[3, count, 0, 1, 0, 2]).await;
        assert_eq!(read, Err(DriverError::Nonsense), "{count}");
        assert_eq!((counters.bad_length, counters.timeouts), (1, 0), "{count}");
        let (read, counters) = two_pdu(Framing::Tcp, &[3, count, 0, 1, 0, 2]).await;
        assert!(matches!(read, Err(DriverError::Nonsense | DriverError::Damaged)), "{count}");
        assert_eq!(counters.bad_length + counters.broken, 1, "{count}");
        assert_eq!((counters.line_errors, counters.replies), (0, 0), "{count}");
    }
    for pdu in [&[][..], &[3], &[0x83]] {
        let (read, counters) = two_pdu(Framing::Tcp, pdu).await;
        assert_eq!((read, counters.broken), (Err(DriverError::Damaged), 1), "{pdu:?}");
    }
}

/// One bit of it is wrong, wherever: often the library waited for an end that its wrong length promised, and what was
/// spoiled was taken for silence.
#[tokio::test]
async fn a_damaged_answer_is_never_a_value() {
    let answer = rtu(UNIT, &[3, 4, 0, 1, 0, 2]);
    let mut bits = tokio::task::JoinSet::new();
    for bit in 0..answer.len() * 8 {
        let mut damaged = answer.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        bits.spawn(async move { (bit, two(Framing::Rtu, &damaged).await) });
    }
    while let Some(done) = bits.join_next().await {
        let (bit, (read, counters)) = done.unwrap();
        // Where its address is wrong, all of it is noise.
        let told = if bit < 8 { DriverError::TimedOut } else { DriverError::Damaged };
        assert_eq!(read, Err(told), "bit {bit}");
        assert_eq!(counters.broken + counters.timeouts, 1, "bit {bit}");
    }
}

#[tokio::test]
async fn no_is_an_answer_and_the_line_is_as_good_as_before() {
    for framing in FRAMINGS {
        let (mut wire, mut peer) = rig::patient(Over::Tcp, framing).await;
        let mut counters = LineCounters::default();
        for (pdu, told) in [
            (&[0x83, 2][..], Err(DriverError::Exception { code: 2 })),
            (&[0x83, 0x0b], Err(DriverError::TimedOut)),
            (&[0x83, 0], Err(DriverError::Exception { code: 0 })),
            (&[0x83, 0xff], Err(DriverError::Exception { code: 0xff })),
            (&one(2), Ok(words(&[2]))),
        ] {
            let asks = wire.read(UNIT, registers(10, 1), &mut counters);
            let (read, ()) = both(asks, peer.tell(pdu)).await;
            assert_eq!(read, told, "{framing:?}");
        }
        let told = (counters.exceptions, counters.replies, counters.timeouts, counters.line_errors);
        assert_eq!(told, (4, 1, 0, 0));
    }
}

#[tokio::test]
async fn a_peer_that_closes_is_a_failure_of_the_line_and_comes_back() {
    for framing in FRAMINGS {
        for said in [&[][..], &[UNIT], &[0, 0, 0, 0, 0]] {
            let (mut wire, mut peer) = rig::patient(Over::Tcp, framing).await;
            let mut counters = LineCounters::default();
            let asks = async {
                let closed = wire.read(UNIT, registers(10, 1), &mut counters).await;
                assert!(matches!(closed, Err(DriverError::Line(_))), "{framing:?}: {closed:?}");
                wire.read(UNIT, registers(10, 1), &mut counters).await
            };
            let answers = async {
                peer.answer(said).await;
                peer.hang_up();
                peer.tell(&one(2)).await;
            };
            let (read, ()) = both(asks, answers).await;
            assert_eq!(read, Ok(words(&[2])), "{framing:?}");
            assert_eq!(counters.line_errors, 1);
        }
    }
}

#[tokio::test]
async fn nobody_at_the_other_end_is_a_failure_of_the_line() {
    let (mut wire, peer) = rig::patient(Over::Tcp, Framing::Rtu).await;
    drop(peer);
    let mut counters = LineCounters::default();
    let read = wire.read(UNIT, registers(10, 1), &mut counters).await;
    assert_eq!(read, Err(DriverError::Line(io::ErrorKind::ConnectionRefused)));
    assert_eq!((counters.line_errors, counters.requests), (1, 1));
}

#[tokio::test]
async fn what_was_written_is_what_comes_back() {
    for framing in FRAMINGS {
        let (mut wire, mut peer) = rig::hasty(framing).await;
        let mut counters = LineCounters::default();
        for (table, value, pdu, told) in [
            (Table::Coil, 0, [5, 3, 0xec, 0, 0], Ok(())),
            (Table::Coil, 1, [5, 3, 0xec, 0xff, 0], Ok(())),
            (Table::HoldingRegister, 0x102, [6, 3, 0xec, 1, 2], Ok(())),
            (Table::HoldingRegister, 0x102, [6, 3, 0xec, 1, 3], Err(DriverError::Nonsense)),
            (Table::HoldingRegister, 0x102, [6, 3, 0xed, 1, 2], Err(DriverError::Nonsense)),
            (Table::Coil, 0, [5, 3, 0xec, 0xff, 0], Err(DriverError::Nonsense)),
        ] {
            // After nonsense over TCP there is another connection.
            let again = framing == Framing::Tcp && counters.unexpected > 0;
            let answers = async {
                if again {
                    peer.accept().await;
                }
                peer.tell(&pdu).await;
            };
            let asks = wire.write(UNIT, table, 1_004, value, &mut counters);
            let (written, ()) = both(asks, answers).await;
            assert_eq!(written, told, "{framing:?} {pdu:?}");
        }
        assert_eq!((counters.replies, counters.unexpected, counters.requests), (3, 3, 6));
        for table in [Table::DiscreteInput, Table::InputRegister] {
            let refused = wire.write(UNIT, table, 1, 1, &mut counters).await;
            assert_eq!(refused, Err(DriverError::Refused));
        }
    }
}
