//! The format of an `uhppoted.conf`, as the tools of the uhppoted project write it: `key = value` lines,
//! comments behind `#` or `;`. Pure: text in, boards and what cannot be taken over out. Nothing that
//! stands in the file is left out of both.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::tz::TimeZone;
use postern_protocol::uhppote::PORT;

use super::board::address;
use crate::driver::uhppote::Transport;

/// What the keys of a controller begin with.
const PREFIX: &str = "UT0311-L0x.";

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conf {
    /// The boards, by serial number.
    pub(super) boards: BTreeMap<u32, ConfBoard>,
    /// Where boards push to.
    pub(super) listen: Option<(usize, SocketAddr)>,
    /// What cannot be taken over.
    pub(super) left: Vec<Left>,
}

/// One board.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ConfBoard {
    /// The first line that names it.
    pub(super) line: usize,
    /// Where it is.
    pub(super) address: Option<(SocketAddr, Transport)>,
    /// The IANA name of its zone.
    pub(super) zone: Option<String>,
}

/// A line that is not taken over, and why. Values are not repeated: some are secrets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Which, from 1.
    pub(super) line: usize,
    /// Its key; the beginning of the line where it has none.
    pub(super) key: String,
    /// Why.
    pub(super) why: String,
}

impl Conf {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut seen = BTreeMap::new();
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                conf.leave(number, line, "it is no `key = value`");
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            if let Some(first) = seen.insert(key.to_owned(), number) {
                conf.leave(number, key, &format!("it stands in line {first} already"));
                seen.insert(key.to_owned(), first);
                continue;
            }
            if let Err(why) = conf.take(number, key, value) {
                conf.leave(number, key, &why);
            }
        }
        conf
    }

    fn leave(&mut self, line: usize, key: &str, why: &str) {
        /// Enough to find the line again.
        const MAX_KEY: usize = 48;
        let key = key.chars().filter(|each| !each.is_control()).take(MAX_KEY).collect();
        self.left.push(Left { line, key, why: why.to_owned() });
    }

    fn take(&mut self, line: usize, key: &str, value: &str) -> Result<(), String> {
        if let Some(rest) = key.strip_prefix(PREFIX) {
            return self.take_board(line, rest, value);
        }
        match key {
            "listen.address" => {
                self.listen = Some((line, listen(value)?));
                Ok(())
            }
            "bind.address" => Err("the gateway takes any free port to ask from".to_owned()),
            "broadcast.address" => {
                Err("only discovery needs one: `postern controllers discover --broadcast`"
                    .to_owned())
            }
            "timeout" => Err("each board has its own: `timeout_ms`".to_owned()),
            _ => Err("it is not about reading boards".to_owned()),
        }
    }

    fn take_board(&mut self, line: usize, rest: &str, value: &str) -> Result<(), String> {
        let (serial, name) = rest.split_once('.').unwrap_or((rest, ""));
        let serial: u32 = match serial.parse() {
            Ok(serial) if serial != 0 => serial,
            _ => return Err("this is no serial number".to_owned()),
        };
        let board = self.boards.entry(serial).or_insert(ConfBoard { line, ..Default::default() });
        match name {
            "address" => board.address = Some(address_and_transport(value)?),
            // Some files have it as a key of its own.
            "protocol" => {
                let transport = transport(value)?;
                let Some((_, over)) = &mut board.address else {
                    return Err("it stands before the address of the board".to_owned());
                };
                *over = transport;
            }
            "timezone" => board.zone = Some(zone(value)?),
            "name" => return Err("names of controllers are the servers'".to_owned()),
            "door.1" | "door.2" | "door.3" | "door.4" => {
                return Err("names of doors are the servers'".to_owned());
            }
            _ => return Err("it is no setting of a board".to_owned()),
        }
        Ok(())
    }
}

/// `192.168.1.100:60000`, with `tcp:` or `udp:` before it or not; port 60000 where none is named.
fn address_and_transport(value: &str) -> Result<(SocketAddr, Transport), String> {
    let (word, rest) = value.split_once(':').unwrap_or(("", value));
    match transport(word) {
        Ok(transport) => Ok((address(rest)?, transport)),
        Err(_) => Ok((address(value)?, Transport::Udp)),
    }
}

fn transport(word: &str) -> Result<Transport, String> {
    match word {
        "udp" => Ok(Transport::Udp),
        "tcp" => Ok(Transport::Tcp),
        _ => Err("it is neither udp nor tcp".to_owned()),
    }
}

fn listen(value: &str) -> Result<SocketAddr, String> {
    match value.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err("port 0 is no port to push to".to_owned()),
        Ok(address) if address.port() == PORT => Err(format!("port {PORT} is the boards' own")),
        Ok(address) => Ok(address),
        Err(_) => Err("it is no IP:PORT".to_owned()),
    }
}

/// An IANA name as it is; `UTC+2` as the zone with that fixed offset, which IANA names the other way
/// round.
fn zone(value: &str) -> Result<String, String> {
    if TimeZone::get(value).is_ok() {
        return Ok(value.to_owned());
    }
    let hours = value.strip_prefix("UTC").and_then(|offset| offset.parse::<i8>().ok());
    let name = hours.map(|hours| match hours {
        0 => "UTC".to_owned(),
        hours => format!("Etc/GMT{:+}", -i16::from(hours)),
    });
    name.filter(|name| TimeZone::get(name).is_ok())
        .ok_or_else(|| "it is no IANA zone such as Europe/Berlin; give one with --zone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the tools write it: what has its default is commented out.
    const FILE: &str = "# SYSTEM
; bind.address = 0.0.0.0:0
broadcast.address = 192.168.1.255:60000
listen.address = 192.168.1.10:60001
; timeout = 2.5s

# MQTT
mqtt.connection.password = hunter2

# DEVICES
UT0311-L0x.405419896.name = Alpha
UT0311-L0x.405419896.address = 192.168.1.100:60000
UT0311-L0x.405419896.door.1 = Front Door
UT0311-L0x.405419896.timezone = Europe/Berlin
UT0311-L0x.303986753.address = tcp:192.168.1.101:60000
UT0311-L0x.303986753.timezone = UTC+2
UT0311-L0x.201020304.timezone = PDT
# UT0311-L0x.1.address = 192.168.1.100:60000
";

    fn why<'a>(conf: &'a Conf, key: &str) -> &'a str {
        &conf.left.iter().find(|left| left.key == key).unwrap().why
    }

    #[test]
    fn boards_are_taken_over_with_address_transport_and_zone() {
        let conf = Conf::parse(FILE);
        let board = |serial: u32| &conf.boards[&serial];
        let at = |text: &str, over| Some((text.parse().unwrap(), over));
        assert_eq!(board(405_419_896).address, at("192.168.1.100:60000", Transport::Udp));
        assert_eq!(board(405_419_896).zone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(board(303_986_753).address, at("192.168.1.101:60000", Transport::Tcp));
        assert_eq!(board(303_986_753).zone.as_deref(), Some("Etc/GMT-2"));
        assert_eq!((board(201_020_304).address, &board(201_020_304).zone), (None, &None));
        assert_eq!(conf.boards.len(), 3);
        assert_eq!(conf.listen, Some((4, "192.168.1.10:60001".parse().unwrap())));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        let text = "listen.address = 192.0.2.1:60001\n";
        assert_eq!(Conf::parse(&format!("\u{feff}{text}")), Conf::parse(text));
    }

    #[test]
    fn everything_else_is_listed_with_the_reason_and_without_its_value() {
        let conf = Conf::parse(FILE);
        let lines: Vec<usize> = conf.left.iter().map(|left| left.line).collect();
        assert_eq!(lines, [3, 8, 11, 13, 17]);
        assert!(why(&conf, "broadcast.address").contains("discover"));
        assert!(why(&conf, "UT0311-L0x.405419896.door.1").contains("servers"));
        assert!(why(&conf, "UT0311-L0x.201020304.timezone").contains("--zone"));
        assert!(!format!("{conf:?}").contains("hunter2"));
    }

    #[test]
    fn lines_that_make_no_sense_are_listed_and_the_others_go_on() {
        let conf = Conf::parse(
            "nonsense\nUT0311-L0x.hall.address = 192.0.2.1:60000\nUT0311-L0x.7.address = nowhere\n\
             UT0311-L0x.8.address = 192.0.2.8\nUT0311-L0x.8.address = 192.0.2.9\nlisten.address = 0.0.0.0:60000\n\
             UT0311-L0x.8.protocol = tcp\nUT0311-L0x.8.colour = red\nUT0311-L0x = 7\n",
        );
        let lines: Vec<usize> = conf.left.iter().map(|left| left.line).collect();
        assert_eq!(lines, [1, 2, 3, 5, 6, 8, 9]);
        let board = &conf.boards[&8];
        assert_eq!(board.address, Some(("192.0.2.8:60000".parse().unwrap(), Transport::Tcp)));
        assert_eq!(why(&conf, "UT0311-L0x.8.address"), "it stands in line 4 already");
    }
}
