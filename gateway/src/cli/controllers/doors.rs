//! `postern controllers doors`: how each door is set, and how it is now.

use postern_protocol::uhppote::message::response::GetStatus;
use serde_json::{Value, json};

use super::super::{Failure, print, show};
use super::board::{Board, Session, ask, failed};
use crate::driver::DriverError;

pub(super) fn run(board: &Board) -> Result<(), Failure> {
    let mut session = Session::open(board)?;
    let status = ask!(session, GetStatus {})?;
    let mut doors = now(&status);
    for (door, number) in doors.iter_mut().zip(1..) {
        let (mode, delay) = match settings(&mut session, number)? {
            Some((mode, delay)) => (Some(mode_name(mode)), Some(delay)),
            None => (None, None),
        };
        door["mode"] = json!(mode);
        door["delay_s"] = json!(delay);
    }
    let mut report = session.report("postern.controller.doors.v1");
    report["doors"] = json!(doors);
    print(board.common.json, &report, text)
}

/// How a door is set; none where the board does not answer for it: one with fewer doors.
fn settings(session: &mut Session, door: u8) -> Result<Option<(u8, u8)>, Failure> {
    use postern_protocol::uhppote::message::request;
    use postern_protocol::uhppote::{Request, Response};
    let request = request::GetDoor { controller: session.serial(), door };
    match session.try_ask(&Request::GetDoor(request)) {
        Ok(Response::GetDoor(answer)) => Ok(Some((answer.mode, answer.delay))),
        Ok(_) => Err(session.nonsense()),
        Err(DriverError::TimedOut) if door > 1 => Ok(None),
        Err(error) => Err(failed(session.target(), error)),
    }
}

/// The doors as they are now.
pub(super) fn now(status: &GetStatus) -> Vec<Value> {
    let doors = [
        (status.door_1_open, status.door_1_button),
        (status.door_2_open, status.door_2_button),
        (status.door_3_open, status.door_3_button),
        (status.door_4_open, status.door_4_button),
    ];
    let doors = doors.iter().enumerate().map(|(at, (open, button))| {
        json!({
            "door": at + 1,
            "open": open,
            "button": button,
            "relay": status.relays & (1 << at) != 0,
        })
    });
    doors.collect()
}

/// How a door is kept.
fn mode_name(mode: u8) -> String {
    match mode {
        1 => "normally_open".to_owned(),
        2 => "normally_closed".to_owned(),
        3 => "controlled".to_owned(),
        other => format!("unknown_{other}"),
    }
}

/// Yes and no for what is true or not.
pub(super) fn word(value: &Value) -> String {
    match value.as_bool() {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => show::text(value).replace('_', " "),
    }
}

fn text(report: &Value) -> String {
    let rows = show::list(&report["doors"]).map(|door| {
        ["door", "mode", "delay_s", "open", "button", "relay"].map(|key| word(&door[key])).to_vec()
    });
    let table = show::table(&["DOOR", "MODE", "DELAY S", "OPEN", "BUTTON", "RELAY"], rows);
    let open = show::list(&report["doors"]).filter(|door| door["open"] == true).count();
    format!("{table}\n{}, {open} open\n", show::count(show::list(&report["doors"]).count(), "door"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names_and_unknown_ones_keep_their_number() {
        assert_eq!(mode_name(3), "controlled");
        assert_eq!(mode_name(9), "unknown_9");
    }
}
