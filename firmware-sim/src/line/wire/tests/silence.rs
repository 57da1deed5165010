//! Stations that are told of a silence, as those are whose frames end with one.

use super::*;

/// 3.5 characters at 9600 baud, 8N1: one takes 1,041,667 ns.
const SILENCE: Duration = Duration::from_nanos(3_645_833);

/// Waits for silence once anything was heard, and says back how much that was.
#[derive(Clone, Debug, Default)]
struct Listener {
    heard: usize,
    told: Vec<(usize, Duration)>,
    reply: Option<Vec<u8>>,
}

impl Talker for Listener {
    fn on_bytes(&mut self, bytes: &[u8], _: Duration) -> Option<Reply> {
        self.heard += bytes.len();
        None
    }

    fn silence(&self) -> Option<Duration> {
        (self.heard > 0).then_some(SILENCE)
    }

    fn on_silence(&mut self, now: Duration) -> Option<Reply> {
        self.told.push((std::mem::take(&mut self.heard), now));
        self.reply.take().map(|bytes| Reply { after: MILLI, bytes })
    }
}

fn slow() -> (Wire, Duration) {
    let wire = Wire::new(&LineSettings::default(), 1);
    let character = Duration::from_nanos(1_041_667);
    (wire, character)
}

fn run(wire: &mut Wire, stations: &mut [Listener]) -> Duration {
    let mut now = Duration::ZERO;
    while let Some(deadline) = wire.next_deadline() {
        assert!(deadline >= now, "time goes on");
        now = deadline;
        wire.advance(now, stations);
    }
    now
}

#[test]
fn a_silence_is_told_when_it_is_long_enough_and_once() {
    let (mut wire, _) = slow();
    let mut stations = [Listener::default()];
    wire.host_sends(&[1; 8], Duration::ZERO);
    let end = Duration::from_nanos(8_333_334);
    wire.advance(end, &mut stations);
    assert_eq!(wire.next_deadline(), Some(end + SILENCE));
    wire.advance((end + SILENCE).saturating_sub(Duration::from_nanos(1)), &mut stations);
    assert_eq!(stations[0].told, []);
    wire.advance(end + SILENCE, &mut stations);
    assert_eq!(stations[0].told, [(8, end + SILENCE)]);
    wire.advance(Duration::from_secs(9), &mut stations);
    assert_eq!((stations[0].told.len(), wire.next_deadline()), (1, None));
}

#[test]
fn what_comes_within_the_silence_breaks_it_and_what_comes_after_does_not() {
    for (gap, told) in [(3, vec![12]), (4, vec![8, 4])] {
        let (mut wire, character) = slow();
        let mut stations = [Listener::default()];
        wire.host_sends(&[1; 8], Duration::ZERO);
        let second = character * 8 + character * gap;
        wire.advance(second, &mut stations);
        // It takes longer than the silence that it breaks.
        wire.host_sends(&[2; 4], second);
        run(&mut wire, &mut stations);
        let heard: Vec<_> = stations[0].told.iter().map(|(heard, _)| *heard).collect();
        assert_eq!(heard, told, "{gap} characters");
    }
}

/// The same, in steps of a microsecond, as a busy thread takes them.
#[test]
fn steps_in_the_middle_of_what_breaks_a_silence_change_nothing() {
    let (mut wire, character) = slow();
    let mut stations = [Listener::default()];
    wire.host_sends(&[1; 8], Duration::ZERO);
    let second = character * 11;
    let mut now = Duration::ZERO;
    while now < Duration::from_millis(60) {
        wire.advance(now, &mut stations);
        if now <= second && second < now + Duration::from_micros(1) {
            wire.host_sends(&[2; 20], second);
        }
        now += Duration::from_micros(1);
    }
    let [(heard, at)] = stations[0].told[..] else { panic!("{:?}", stations[0].told) };
    assert_eq!(heard, 28);
    let expected = character * 31 + SILENCE;
    assert!(at.abs_diff(expected) < Duration::from_micros(2), "{at:?}, not {expected:?}");
}

#[test]
fn a_reply_begins_its_turn_around_after_the_silence_and_others_hear_it() {
    let mut wire = Wire::new(&LineSettings::default(), 2);
    let speaker = Listener { reply: Some(vec![9; 5]), ..Listener::default() };
    let mut stations = [speaker, Listener::default()];
    wire.host_sends(&[1; 8], Duration::ZERO);
    run(&mut wire, &mut stations);
    assert_eq!(wire.take_for_host(), [9; 5]);
    let silent = Duration::from_nanos(8_333_334) + SILENCE;
    assert_eq!(stations[0].told, [(8, silent)], "nobody hears themselves");
    let answered = silent + MILLI + Duration::from_nanos(5_208_334) + SILENCE;
    let [first, (heard, at)] = stations[1].told[..] else { panic!("{:?}", stations[1].told) };
    assert_eq!((first, heard), ((8, silent), 5));
    assert!(at.abs_diff(answered) < Duration::from_nanos(3), "{at:?}, not {answered:?}");
    assert_eq!(wire.counters().stations[0].replies, 1);
}

#[test]
fn without_a_speed_a_silence_is_as_long() {
    let settings = LineSettings { baud: 0, ..LineSettings::default() };
    let mut wire = Wire::new(&settings, 1);
    let mut stations = [Listener::default()];
    let second = SILENCE.saturating_sub(Duration::from_nanos(1));
    wire.host_sends(&[1; 8], Duration::ZERO);
    wire.advance(second, &mut stations);
    wire.host_sends(&[1; 8], second);
    wire.advance(second + SILENCE, &mut stations);
    assert_eq!(stations[0].told, [(16, second + SILENCE)]);
}
