//! Which reply answers which request.
//!
//! The protocol has no request identifier: a late reply to an earlier request looks like the reply to
//! this one unless something of the request comes back in it. What does is compared here; of the
//! requests that nothing comes back of, see [`Request::is_echoed`], a caller has to make sure by other
//! means that no earlier reply can reach it.

use super::message::{request, response};
use super::{NEWEST, OLDEST, Request, Response, TYPE_NONE, TYPE_OVERWRITTEN};

impl Request {
    /// Whether this reply can be the one to this request: the same function, the serial number that was
    /// asked, and whatever of the request comes back. A request to every board (serial number 0) is
    /// answered by any.
    pub fn is_answered_by(&self, reply: &Response) -> bool {
        let asked = self.controller();
        if self.function() != reply.function() || (asked != 0 && asked != reply.controller()) {
            return false;
        }
        match (self, reply) {
            (Self::GetEvent(asked), Response::GetEvent(event)) => answers(*asked, event),
            (Self::SetTime(asked), Response::SetTime(time)) => asked.datetime == time.datetime,
            // Number 0: there is no such card.
            (Self::GetCard(asked), Response::GetCard(card)) => {
                card.card == asked.card || card.card == 0
            }
            (Self::GetDoor(asked), Response::GetDoor(door)) => asked.door == door.door,
            (Self::SetDoor(asked), Response::SetDoor(door)) => {
                (asked.door, asked.mode, asked.delay) == (door.door, door.mode, door.delay)
            }
            (Self::GetTimeProfile(asked), Response::GetTimeProfile(profile)) => {
                profile.profile == asked.profile || profile.profile == 0
            }
            _ => true,
        }
    }

    /// Whether enough of the request comes back in every reply to tell it from the reply to another
    /// request of the same function.
    pub fn is_echoed(&self) -> bool {
        matches!(self, Self::SetTime(_) | Self::GetDoor(_) | Self::SetDoor(_))
    }
}

/// A record answers the index that it carries. The sentinels carry none, so they may be the late answer
/// to any index; so may the ends of the log.
fn answers(asked: request::GetEvent, event: &response::GetEvent) -> bool {
    let sentinel = event.is_sentinel();
    let end = (asked.index == OLDEST || asked.index == NEWEST) && event.index != 0;
    sentinel || end || event.index == asked.index
}

impl response::GetEvent {
    /// Whether it stands for "no such record": past the newest, or overwritten.
    pub fn is_sentinel(&self) -> bool {
        self.index == 0 && matches!(self.event_type, TYPE_NONE | TYPE_OVERWRITTEN)
    }
}
