mod silence;

use super::*;

const MILLI: Duration = Duration::from_millis(1);
/// 33 and 30 bytes at 115,200 baud, 8N1, rounded up.
const REQUEST: Duration = Duration::from_nanos(2_864_584);
const REPLY: Duration = Duration::from_nanos(2_604_167);

/// Answers what begins with its address, and keeps all that it hears.
#[derive(Clone, Debug, Default)]
struct Station {
    address: u8,
    after: Duration,
    reply: Vec<u8>,
    heard: Vec<(Vec<u8>, Duration)>,
    power_cuts: usize,
}

impl Talker for Station {
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply> {
        self.heard.push((bytes.to_vec(), now));
        (bytes.first() == Some(&self.address))
            .then(|| Reply { after: self.after, bytes: self.reply.clone() })
    }

    fn on_power_cut(&mut self, _now: Duration) {
        self.power_cuts += 1;
    }
}

fn station(address: u8) -> Station {
    Station { address, after: MILLI, reply: vec![address | 0x80; 30], ..Station::default() }
}

fn fast() -> LineSettings {
    LineSettings { baud: 115_200, seed: 1, ..LineSettings::default() }
}

fn request(address: u8) -> Vec<u8> {
    let mut bytes = vec![0; 33];
    bytes[0] = address;
    bytes
}

/// Runs until nothing is due, a deadline at a time; returns when that was.
fn settle(wire: &mut Wire, stations: &mut [Station]) -> Duration {
    let mut now = Duration::ZERO;
    while let Some(deadline) = wire.next_deadline() {
        now = deadline;
        wire.advance(now, stations);
    }
    now
}

#[test]
fn an_exchange_takes_the_time_of_its_bytes_and_the_turn_around() {
    let mut wire = Wire::new(&fast(), 2);
    let mut stations = [station(1), station(2)];
    assert_eq!(wire.host_sends(&request(1), Duration::ZERO), 33);
    assert_eq!(wire.next_deadline(), Some(REQUEST));
    wire.advance(REQUEST.saturating_sub(Duration::from_nanos(1)), &mut stations);
    assert!(stations[0].heard.is_empty());
    wire.advance(REQUEST, &mut stations);
    assert_eq!(stations[0].heard, [(request(1), REQUEST)]);
    assert_eq!(wire.next_deadline(), Some(REQUEST + MILLI + REPLY));
    let end = settle(&mut wire, &mut stations);
    assert_eq!(end, REQUEST + MILLI + REPLY);
    assert_eq!(wire.take_for_host(), vec![0x81; 30]);
    assert!(wire.take_for_host().is_empty());

    let counters = wire.counters();
    assert_eq!((counters.host_bytes, counters.heard_by_host), (33, 30));
    assert_eq!(counters.stations[0].bytes, 30);
    assert_eq!(counters.busy, REQUEST + REPLY);
    assert_eq!((counters.collided, counters.overrun), (0, 0));
}

#[test]
fn no_byte_is_there_before_its_last_bit() {
    let mut wire = Wire::new(&fast(), 1);
    let mut stations = [station(1)];
    wire.host_sends(&request(1), Duration::ZERO);
    wire.advance(REQUEST, &mut stations);
    let begin = REQUEST + MILLI;
    assert_eq!(wire.next_arrival(1), Some(begin + Duration::from_nanos(86_806)));
    assert_eq!(wire.next_arrival(2), Some(begin + Duration::from_nanos(173_612)));
    assert_eq!(wire.next_arrival(1_000), Some(begin + REPLY));
    wire.advance(begin + Duration::from_nanos(86_805), &mut stations);
    assert!(wire.take_for_host().is_empty());
    wire.advance(begin + Duration::from_nanos(173_612), &mut stations);
    assert_eq!(wire.take_for_host().len(), 2);
}

#[test]
fn what_the_host_writes_while_it_sends_goes_out_behind() {
    let mut wire = Wire::new(&fast(), 1);
    let mut stations = [station(9)];
    wire.host_sends(&[1; 33], Duration::ZERO);
    wire.host_sends(&[2; 30], MILLI);
    settle(&mut wire, &mut stations);
    let whole = Duration::from_nanos(5_468_750);
    assert_eq!(stations[0].heard, [(vec![1; 33], REQUEST), (vec![2; 30], whole)]);
    assert_eq!(wire.counters().collided, 0);
}

#[test]
fn the_other_stations_hear_a_reply() {
    let mut wire = Wire::new(&fast(), 3);
    let mut stations = [station(1), station(2), station(3)];
    wire.host_sends(&request(2), Duration::ZERO);
    let end = settle(&mut wire, &mut stations);
    for index in [0, 2] {
        assert_eq!(stations[index].heard, [(request(2), REQUEST), (vec![0x82; 30], end)]);
    }
    assert_eq!(stations[1].heard.len(), 1, "its own it does not hear");
}

#[test]
fn a_host_that_talks_into_a_reply_garbles_both() {
    let mut wire = Wire::new(&fast(), 1);
    let mut stations = [station(1)];
    wire.host_sends(&request(1), Duration::ZERO);
    // One byte, from the middle of the tenth byte of the reply to the middle of the eleventh.
    let middle = REQUEST + MILLI + Duration::from_nanos(9 * 86_806 + 43_000);
    wire.advance(middle, &mut stations);
    wire.host_sends(&[0x55], middle);
    settle(&mut wire, &mut stations);
    let heard = wire.take_for_host();
    assert_eq!(heard.len(), 30);
    assert_eq!(wire.counters().collided, 3);
    let wrong: Vec<_> = (0..30).filter(|place| heard[*place] != 0x81).collect();
    assert_eq!(wrong, [9, 10]);
    assert_ne!(stations[0].heard[1].0, [0x55]);
    let both = REQUEST + REPLY;
    assert_eq!(wire.counters().busy, both, "both at once is busy once");
}

#[test]
fn two_stations_that_answer_at_once_garble_each_other() {
    let mut wire = Wire::new(&fast(), 2);
    let mut stations = [station(1), station(1)];
    stations[1].reply.truncate(10);
    wire.host_sends(&request(1), Duration::ZERO);
    settle(&mut wire, &mut stations);
    assert_eq!(wire.counters().collided, 20);
    let heard = wire.take_for_host();
    assert_eq!(heard.len(), 40);
    assert_eq!(heard[20..], [0x81; 20], "the end of the longer one has the line for itself");
}

#[test]
fn a_host_behind_an_echoing_adapter_hears_itself() {
    let mut wire = Wire::new(&LineSettings { echo: true, ..fast() }, 1);
    let mut stations = [station(1)];
    wire.host_sends(&request(1), Duration::ZERO);
    settle(&mut wire, &mut stations);
    let mut expected = request(1);
    expected.extend([0x81; 30]);
    assert_eq!(wire.take_for_host(), expected);
}

#[test]
fn everybody_hears_the_same_noise() {
    let noise = Noise { bit_error_rate: 0.02, ..Noise::default() };
    let mut wire = Wire::new(&LineSettings { noise, echo: true, ..fast() }, 2);
    let mut stations = [station(9), station(9)];
    for _ in 0..20 {
        wire.host_sends(&request(1), Duration::ZERO);
    }
    settle(&mut wire, &mut stations);
    assert!(wire.counters().noise.bit_errors > 0);
    assert_eq!(stations[0].heard, stations[1].heard);
    let heard: Vec<u8> = stations[0].heard.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    assert_eq!(wire.take_for_host(), heard);
}

/// A noisy line with misbehaving stations, advanced in steps of `step` bytes for the host.
fn troubled(seed: u64, step: usize) -> (Vec<u8>, Counters) {
    let noise = Noise {
        bit_error_rate: 1e-3,
        burst_rate: 1e-3,
        burst_bits: 30,
        insert_rate: 1e-3,
        drop_rate: 1e-3,
    };
    let mut wire = Wire::new(&LineSettings { noise, seed, ..fast() }, 2);
    let mut stations = [station(1), station(2)];
    let misbehaviour = Misbehaviour {
        deaf: 0.1,
        dumb: 0.1,
        slow: 0.1,
        slow_by: MILLI,
        stale: 0.1,
        duplicate: 0.1,
        cut: 0.1,
        babble_every: 100 * MILLI,
        babble_bytes: 10,
    };
    assert!(wire.set_misbehaviour(0, misbehaviour));
    let mut heard = Vec::new();
    for round in 0..500 {
        let until = 8 * round * MILLI;
        loop {
            let next = wire.next_deadline().into_iter().chain(wire.next_arrival(step)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            wire.advance(next, &mut stations);
            heard.extend(wire.take_for_host());
        }
        wire.advance(until, &mut stations);
        heard.extend(wire.take_for_host());
        wire.host_sends(&request(u8::try_from(1 + round % 2).unwrap()), until);
    }
    (heard, wire.counters())
}

#[test]
fn the_same_seed_gives_the_same_line_however_often_it_is_looked_at() {
    let whole = troubled(5, usize::MAX);
    assert_eq!(troubled(5, 1), whole);
    assert_eq!(troubled(5, 7), whole);
    assert_ne!(troubled(6, usize::MAX), whole);
    let (_, counters) = whole;
    let station = counters.stations[0];
    for (what, count) in [
        ("collided", counters.collided),
        ("missed", station.missed),
        ("power_cuts", station.power_cuts),
        ("babbles", station.babbles),
        ("lost", counters.noise.lost),
    ] {
        assert!(count > 0, "{what}: {counters:?}");
    }
    assert_eq!(counters.stations[1].missed, 0);
}

#[test]
fn a_deaf_station_hears_nothing_and_a_dumb_one_says_nothing() {
    let mut wire = Wire::new(&fast(), 2);
    let mut stations = [station(1), station(2)];
    assert!(wire.set_misbehaviour(0, Misbehaviour { deaf: 1.0, ..Misbehaviour::default() }));
    assert!(wire.set_misbehaviour(1, Misbehaviour { dumb: 1.0, ..Misbehaviour::default() }));
    assert!(!wire.set_misbehaviour(2, Misbehaviour::default()));
    wire.host_sends(&request(1), Duration::ZERO);
    wire.host_sends(&request(2), Duration::ZERO);
    settle(&mut wire, &mut stations);
    assert!(wire.take_for_host().is_empty());
    assert!(stations[0].heard.is_empty());
    assert_eq!(stations[1].heard.len(), 2);
    let counters = wire.counters().stations;
    assert_eq!((counters[0].missed, counters[0].replies, counters[1].replies), (2, 0, 1));

    assert!(wire.set_misbehaviour(0, Misbehaviour::default()));
    wire.host_sends(&request(1), Duration::ZERO);
    settle(&mut wire, &mut stations);
    assert_eq!(wire.take_for_host().len(), 30, "healthy again");
}

#[test]
fn a_station_that_is_cut_off_learns_of_it_when_its_last_byte_has_passed() {
    let mut wire = Wire::new(&fast(), 1);
    let mut stations = [station(1)];
    wire.set_misbehaviour(0, Misbehaviour { cut: 1.0, ..Misbehaviour::default() });
    wire.host_sends(&request(1), Duration::ZERO);
    wire.advance(REQUEST + MILLI, &mut stations);
    assert_eq!(stations[0].power_cuts, 0);
    let end = settle(&mut wire, &mut stations);
    assert_eq!(stations[0].power_cuts, 1);
    let heard = wire.take_for_host();
    assert!((1..30).contains(&heard.len()), "{}", heard.len());
    assert!(end < REQUEST + MILLI + REPLY);
}

#[test]
fn a_babbler_talks_without_being_asked() {
    let mut wire = Wire::new(&fast(), 1);
    let mut stations = [station(1)];
    let babble =
        Misbehaviour { babble_every: 100 * MILLI, babble_bytes: 3, ..Misbehaviour::default() };
    wire.set_misbehaviour(0, babble);
    wire.advance(Duration::from_secs(10), &mut stations);
    let babbles = wire.counters().stations[0].babbles;
    assert!((80..=120).contains(&babbles), "{babbles}");
    assert_eq!(wire.take_for_host().len() as u64, 3 * babbles);
    wire.set_misbehaviour(0, Misbehaviour::default());
    assert_eq!(wire.next_deadline(), None);
}

#[test]
fn what_nobody_takes_and_what_nobody_can_send_is_bounded_and_counted() {
    let mut wire = Wire::new(&LineSettings { echo: true, ..fast() }, 1);
    let mut stations = [station(1)];
    assert_eq!(wire.host_sends(&vec![0; MAX_WAITING + 1], Duration::ZERO), MAX_WAITING);
    assert_eq!((wire.room(), wire.host_sends(&[0], Duration::ZERO)), (0, 0));
    settle(&mut wire, &mut stations);
    assert_eq!(wire.host_sends(&[0; 10], wire_end(&wire)), 10);
    settle(&mut wire, &mut stations);
    assert_eq!(wire.counters().overrun, 10);
    assert_eq!(wire.take_for_host().len(), MAX_INBOX);

    // Asked faster than it can answer.
    stations[0].after = Duration::from_secs(1);
    stations[0].reply = vec![1; MAX_WRITE + 1];
    for _ in 0..10 {
        wire.host_sends(&[1], Duration::ZERO);
    }
    settle(&mut wire, &mut stations);
    let station = wire.counters().stations[0];
    assert_eq!(station.replies, 10);
    assert_eq!(station.bytes, u64::try_from(MAX_REPLIES * MAX_WRITE).unwrap());
    assert!(station.refused >= 6, "{station:?}");
}

fn wire_end(wire: &Wire) -> Duration {
    Duration::from_nanos(wire.busy_until)
}

#[test]
fn without_a_speed_replies_come_at_once_after_the_turn_around() {
    let mut wire = Wire::new(&LineSettings { baud: 0, ..fast() }, 1);
    let mut stations = [station(1)];
    wire.host_sends(&request(1), MILLI);
    assert_eq!(settle(&mut wire, &mut stations), 2 * MILLI);
    assert_eq!(wire.take_for_host().len(), 30);
    assert_eq!((wire.byte_time(), wire.counters().busy), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn fifty_million_bytes_pass_to_the_nanosecond() {
    let noise = Noise { bit_error_rate: 1e-6, ..Noise::default() };
    let mut wire = Wire::new(&LineSettings { noise, ..fast() }, 1);
    let mut stations = [station(255)];
    let bytes = vec![7; 50_000];
    let mut now = Duration::ZERO;
    for _ in 0..1_000 {
        assert_eq!(wire.host_sends(&bytes, now), bytes.len());
        now = settle(&mut wire, &mut stations);
        stations[0].heard.clear();
    }
    // 50,000,000 · 10 bits at 115,200 baud, rounded up.
    assert_eq!(now, Duration::from_nanos(4_340_277_777_778));
    let errors = wire.counters().noise.bit_errors;
    assert!((410..=590).contains(&errors), "{errors}");
}
