use std::fs::File;
use std::io::{Read, Write};

use super::*;
use crate::line::Reply;

/// Answers with what its door was given last, and the number of times that it was asked.
#[derive(Debug, Default)]
struct Door {
    address: u8,
    asked: u8,
    swiped: u8,
}

impl Talker for Door {
    fn on_bytes(&mut self, bytes: &[u8], _now: Duration) -> Option<Reply> {
        if bytes.first() != Some(&self.address) {
            return None;
        }
        self.asked += 1;
        let bytes = vec![0x80 | self.address, self.asked, self.swiped];
        Some(Reply { after: Duration::from_millis(1), bytes })
    }
}

fn doors() -> Vec<Door> {
    [1, 2].map(|address| Door { address, ..Door::default() }).into()
}

fn settings() -> LineSettings {
    LineSettings { baud: 115_200, ..LineSettings::default() }
}

fn open(line: &Line<Door>) -> File {
    let Place::Device(path) = line.place() else { panic!("{:?}", line.place()) };
    File::options().read(true).write(true).open(path).unwrap()
}

fn ask(host: &mut File, address: u8) -> [u8; 3] {
    host.write_all(&[address]).unwrap();
    let mut reply = [0; 3];
    host.read_exact(&mut reply).unwrap();
    reply
}

#[test]
fn a_host_polls_stations_through_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().join("line");
    let line = Line::on_pty(&settings(), doors(), Some(&name)).unwrap();
    let mut host = open(&line);
    for round in 1..=50 {
        assert_eq!(ask(&mut host, 1), [0x81, round, 0]);
        assert_eq!(ask(&mut host, 2), [0x82, round, 0]);
    }
    drop(host);
    let mut next = open(&line);
    assert_eq!(ask(&mut next, 1), [0x81, 51, 0], "a host that went is no harm");
    let counters = line.handle().counters();
    assert_eq!((counters.host_bytes, counters.heard_by_host), (101, 303));
    assert_eq!(counters.collided, 0);
    line.stop().unwrap();
    assert!(!name.exists());
}

#[test]
fn a_long_reply_comes_whole_and_in_order() {
    struct Reader;
    impl Talker for Reader {
        fn on_bytes(&mut self, _bytes: &[u8], _now: Duration) -> Option<Reply> {
            let bytes = (0..2_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            Some(Reply { after: Duration::ZERO, bytes })
        }
    }
    let line = Line::on_pty(&settings(), vec![Reader], None).unwrap();
    let Place::Device(path) = line.place() else { panic!("{:?}", line.place()) };
    let mut host = File::options().read(true).write(true).open(path).unwrap();
    host.write_all(&[1]).unwrap();
    let mut reply = vec![0; 2_000];
    host.read_exact(&mut reply).unwrap();
    assert!((0..2_000_u32).zip(reply).all(|(n, byte)| n.to_le_bytes()[0] == byte));
}

#[test]
fn stations_are_acted_on_and_misbehave_while_the_line_runs() {
    let line = Line::on_pty(&settings(), doors(), None).unwrap();
    let handle = line.handle();
    let mut host = open(&line);
    assert_eq!(handle.with_station(1, |door, _| door.swiped = 7), Some(()));
    assert_eq!(ask(&mut host, 2), [0x82, 1, 7]);
    assert_eq!(handle.with_station(2, |_, _| ()), None);

    let twice = Misbehaviour { duplicate: 1.0, ..Misbehaviour::default() };
    handle.set_misbehaviour(0, twice).unwrap();
    assert_eq!(handle.misbehaviour(0).unwrap(), twice);
    assert_eq!(ask(&mut host, 1), [0x81, 1, 0]);
    let mut again = [0; 3];
    host.read_exact(&mut again).unwrap();
    assert_eq!(again, [0x81, 1, 0]);

    assert!(matches!(
        handle.set_misbehaviour(2, twice),
        Err(LineError::NoStation { station: 2, stations: 2 })
    ));
    let wrong = Misbehaviour { deaf: 2.0, ..Misbehaviour::default() };
    assert!(matches!(handle.set_misbehaviour(0, wrong), Err(LineError::Misbehaviour(_))));
    let noise = Noise { drop_rate: 1.0, ..Noise::default() };
    handle.set_noise(&noise).unwrap();
    host.write_all(&[2]).unwrap();
    until(|| handle.counters().noise.lost == 1);
}

#[test]
fn a_host_that_does_not_read_loses_bytes_and_holds_nobody_up() {
    let line = Line::on_pty(&LineSettings { baud: 0, ..settings() }, doors(), None).unwrap();
    let handle = line.handle();
    let babble = Misbehaviour {
        babble_every: Duration::from_millis(1),
        babble_bytes: 4_096,
        ..Misbehaviour::default()
    };
    handle.set_misbehaviour(0, babble).unwrap();
    until(|| handle.counters().overrun > 0);
    line.stop().unwrap();
}

#[test]
fn wrong_settings_are_refused() {
    let wrong = LineSettings { bits_per_byte: 9, ..settings() };
    assert!(matches!(Line::on_pty(&wrong, doors(), None), Err(LineError::Settings(_))));
}

/// Waits for a level; the deadline is far beyond what any machine needs.
fn until(level: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if level() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("not in half a minute");
}
