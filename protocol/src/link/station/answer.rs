//! What a verified request does, and the answer to it.

use super::device::Device;
use crate::id::Index;
use crate::link::frame::HEADER;
use crate::link::message::{
    DoorState, Flags, MAX_DOORS, Refusal, Reply, Request, Status, Table, put, runs,
};

/// The longest head of [`Reply::Events`]: tag, two numbers, flags.
const MAX_EVENTS_HEAD: usize = 1 + 10 + 5 + 1;

/// A generation that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Staging {
    /// Two reigns may mean different pages by one number: they are never mixed.
    role_term: u64,
    table: Table,
    generation: u32,
    pages: u16,
    next: u16,
}

/// What is to be answered, once the request is no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Events { asked: u64, room: usize },
    Identity,
    Status,
    Doors,
    Done,
    Staged { next: u16 },
    Refused(Refusal),
}

/// Carries a request out. `bytes` is its encoding.
pub(super) fn carry_out<D: Device>(
    bytes: &[u8],
    staging: &mut Option<Staging>,
    device: &mut D,
) -> Answer {
    let request = match postcard::take_from_bytes(bytes) {
        Ok((request, _)) => request,
        // The last request that this version knows has number 6; numbers below 128 are one byte.
        Err(_) if bytes.first().is_some_and(|tag| *tag > 6) => {
            return Answer::Refused(Refusal::Unknown);
        }
        Err(_) => return Answer::Refused(Refusal::Malformed),
    };
    let done = match request {
        Request::Poll { committed, skip, room } => poll(committed, skip, room, device),
        Request::Identify => Ok(Answer::Identity),
        Request::Status => Ok(Answer::Status),
        Request::Doors => Ok(Answer::Doors),
        Request::SetTime { ms: 1_000.., .. } => Err(Refusal::Malformed),
        Request::SetTime { at, ms } => device.set_clock(at, ms).map(|()| Answer::Done),
        Request::Page { role_term, table, generation, page, pages, bytes } => {
            if page >= pages {
                return Answer::Refused(Refusal::Malformed);
            }
            let wanted = Staging { role_term, table, generation, pages, next: page };
            obey(role_term, device).and_then(|()| stage(wanted, bytes, staging, device))
        }
        Request::OpenDoor { role_term, door, ms } => {
            obey(role_term, device).and_then(|()| device.open_door(door, ms)).map(|()| Answer::Done)
        }
    };
    done.unwrap_or_else(Answer::Refused)
}

/// Only the highest role term is obeyed, and only once it is kept.
fn obey<D: Device>(role_term: u64, device: &mut D) -> Result<(), Refusal> {
    let highest = device.condition().role_term;
    match role_term.cmp(&highest) {
        core::cmp::Ordering::Less => Err(Refusal::RoleTerm { highest }),
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => device.keep_role_term(role_term),
    }
}

fn poll<D: Device>(
    committed: u64,
    skip: u64,
    room: u16,
    device: &mut D,
) -> Result<Answer, Refusal> {
    let log = device.log();
    let read = committed.checked_add(skip).ok_or(Refusal::Index)?;
    if read > log.newest().0 {
        return Err(Refusal::Index);
    }
    log.commit(Index(committed));
    // Not above the newest, which has a successor, or there could be no more events.
    Ok(Answer::Events { asked: read.saturating_add(1), room: usize::from(room) })
}

fn stage<D: Device>(
    wanted: Staging,
    bytes: &[u8],
    staging: &mut Option<Staging>,
    device: &mut D,
) -> Result<Answer, Refusal> {
    let Staging { table, generation, pages, next: page, .. } = wanted;
    let condition = device.condition();
    let present = match table {
        Table::Settings => condition.settings,
        Table::Cards => condition.cards,
    };
    if generation == present && present > 0 {
        // It took effect, and the answer was lost.
        return Ok(Answer::Staged { next: pages });
    }
    if generation < present || generation == 0 {
        return Err(Refusal::Generation { present });
    }
    let known = staging.filter(|known| Staging { next: page, ..*known } == wanted);
    let next = known.map_or(0, |known| known.next);
    if page < next {
        return Ok(Answer::Staged { next });
    }
    if page > next {
        return Err(Refusal::Page { next });
    }
    if page == 0 {
        // The device drops what it kept of another generation, whatever comes of this page.
        *staging = None;
    }
    device.stage(table, generation, page, bytes)?;
    let next = page.saturating_add(1);
    if next == pages {
        // Where this fails, the last page is still the next one: it is not said to have taken effect.
        *staging = Some(wanted);
        device.activate(table, generation, pages)?;
        *staging = None;
    } else {
        *staging = Some(Staging { next, ..wanted });
    }
    Ok(Answer::Staged { next })
}

/// Writes an answer behind the header, into at most `limit` bytes of `scratch`, header included; how long
/// all is.
pub(super) fn write<D: Device>(
    answer: Answer,
    restarted: bool,
    scratch: &mut [u8],
    limit: usize,
    device: &mut D,
) -> Option<usize> {
    let flag = Flags(if restarted { Flags::RESTARTED } else { 0 });
    let reply = match answer {
        Answer::Events { asked, room } => {
            return events(asked, room, flag, scratch, limit, device);
        }
        Answer::Identity => return put(&Reply::Identity(device.identity()), scratch, HEADER),
        Answer::Doors => {
            let mut states = [DoorState::default(); MAX_DOORS];
            let count = device.doors(&mut states);
            let bytes = states.map(|state| state.0);
            let states = bytes.get(..count.min(MAX_DOORS))?;
            return put(&Reply::Doors(states), scratch, HEADER);
        }
        Answer::Status => {
            let condition = device.condition();
            let log = device.log();
            Reply::Status(Status {
                clock: condition.clock,
                oldest: log.oldest().0,
                committed: log.committed().0,
                newest: log.newest().0,
                overwritten: log.overwritten(),
                flags: Flags(condition.flags.0 | flag.0),
                settings: condition.settings,
                cards: condition.cards,
                role_term: condition.role_term,
            })
        }
        Answer::Done => Reply::Done,
        Answer::Staged { next } => Reply::Staged { next },
        Answer::Refused(refusal) => Reply::Refused(refusal),
    };
    put(&reply, scratch, HEADER)
}

fn events<D: Device>(
    asked: u64,
    room: usize,
    flag: Flags,
    scratch: &mut [u8],
    limit: usize,
    device: &mut D,
) -> Option<usize> {
    let flags = Flags(device.condition().flags.0 | flag.0);
    let log = device.log();
    let first = asked.max(log.oldest().0);
    let begin = HEADER + MAX_EVENTS_HEAD;
    let end = begin.saturating_add(room).min(limit);
    let mut writer = runs::Writer::new(scratch.get_mut(begin..end)?);
    let mut next = first;
    while let Some(event) = log.get(Index(next)) {
        if !writer.push(event) {
            break;
        }
        next = next.saturating_add(1);
    }
    let length = writer.length();
    let behind = log.newest().0.saturating_add(1).saturating_sub(next);
    let behind = u32::try_from(behind).unwrap_or(u32::MAX);
    let head = Reply::Events { lost: first - asked, behind, flags };
    let at = put(&head, scratch.get_mut(..begin)?, HEADER)?;
    scratch.copy_within(begin..begin + length, at);
    Some(at + length)
}

#[cfg(test)]
#[cfg(feature = "link-gateway")]
mod tests {
    use super::*;
    use crate::link::rig::TestDevice;

    fn page(
        generation: u32,
        page: u16,
        staging: &mut Option<Staging>,
        device: &mut TestDevice,
    ) -> Answer {
        let request = Request::Page {
            role_term: 1,
            table: Table::Cards,
            generation,
            page,
            pages: 2,
            bytes: b"cards",
        };
        let mut buffer = [0; 64];
        let length = put(&request, &mut buffer, 0).unwrap();
        carry_out(&buffer[..length], staging, device)
    }

    /// The last page of a generation whose taking effect had failed was answered with "kept" when it came
    /// once more, and that means "in effect".
    #[test]
    fn what_did_not_take_effect_is_not_said_to_be_in_effect() {
        let (mut device, mut staging) = (TestDevice::new(8), None);
        assert_eq!(page(7, 0, &mut staging, &mut device), Answer::Staged { next: 1 });
        device.refuse_activation = Some(Refusal::Memory);
        for _ in 0..2 {
            assert_eq!(page(7, 1, &mut staging, &mut device), Answer::Refused(Refusal::Memory));
        }
        device.refuse_activation = None;
        assert_eq!(page(7, 1, &mut staging, &mut device), Answer::Staged { next: 2 });
        assert_eq!(device.active, [(Table::Cards, 7, 2)]);
    }

    /// Page 0 of another generation drops the pages of the one before in the device, also where it is
    /// refused; the one before went on from where it was, and took effect without its first pages.
    #[test]
    fn a_generation_whose_pages_were_dropped_begins_again() {
        let (mut device, mut staging) = (TestDevice::new(8), None);
        assert_eq!(page(7, 0, &mut staging, &mut device), Answer::Staged { next: 1 });
        device.refuse = Some(Refusal::Memory);
        assert_eq!(page(8, 0, &mut staging, &mut device), Answer::Refused(Refusal::Memory));
        device.refuse = None;
        let refused = Answer::Refused(Refusal::Page { next: 0 });
        assert_eq!(page(7, 1, &mut staging, &mut device), refused);
        assert!(device.active.is_empty());
    }
}
