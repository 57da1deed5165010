//! Any bytes for an answer.

use proptest::prelude::*;

use super::*;

/// Bytes; frames with a right checksum and anything in them; and those after a beginning as an answer has it.
fn said() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let any_bytes = || prop::collection::vec(any::<u8>(), 0..80);
    let function =
        prop_oneof![Just(3), Just(0x2b), Just(0x11), Just(0x83), Just(0x18), any::<u8>()];
    let answer =
        (function, any_bytes()).prop_map(|(function, rest)| [&[function][..], &rest].concat());
    prop_oneof![
        1 => any_bytes().prop_map(|bytes| (bytes, false)),
        1 => any_bytes().prop_map(|bytes| ([&[UNIT][..], &bytes].concat(), false)),
        2 => any_bytes().prop_map(|bytes| (bytes, true)),
        4 => answer.prop_map(|bytes| (bytes, true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// They are an error, or as many values as were asked for; and what comes next is as it would be otherwise.
    #[test]
    fn any_bytes_are_an_error_or_what_was_asked_for(
        (bytes, is_framed) in said(),
        count in 1..4_u16,
        is_rtu in any::<bool>(),
    ) {
        let framing = if is_rtu { Framing::Rtu } else { Framing::Tcp };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (settings, mut peer) = rig::line(Over::Tcp, framing).await;
            let (reply, late) = (Duration::from_millis(10), Duration::from_millis(5));
            let mut wire = Wire::new(WireSettings { reply, late, ..settings });
            let mut counters = LineCounters::default();
            let answers = async {
                if is_framed { peer.tell(&bytes).await } else { peer.answer(&bytes).await }
            };
            let asks = wire.read(UNIT, registers(10, count), &mut counters);
            let (read, ()) = both(asks, answers).await;
            match read {
                Ok(Values::Words(words)) => assert_eq!(words.len(), usize::from(count)),
                Ok(Values::Bits(_)) => panic!("registers are no bits"),
                Err(_) => assert_eq!(counters.replies, 0),
            }
            let failures = counters.refused() + counters.broken + counters.timeouts;
            assert!(counters.replies + counters.exceptions + counters.line_errors + failures > 0);
            // Whatever it was, it is over.
            wire.settings.reply = PATIENT;
            let is_new = framing == Framing::Tcp && wire.open.is_none();
            let answers = async {
                if is_new {
                    peer.accept().await;
                }
                peer.tell(&one(9)).await;
            };
            let asks = wire.read(UNIT, registers(10, 1), &mut counters);
            let (read, ()) = both(asks, answers).await;
            assert_eq!(read, Ok(words(&[9])));
        });
    }
}
