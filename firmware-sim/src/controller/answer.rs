//! The table of all functions: which part of the board answers, and with what.
//!
//! A request whose reply could not say "no" (a door that the board does not have) gets none.

use jiff::Timestamp;
use postern_protocol::uhppote::field::Date;
use postern_protocol::uhppote::message::response;
use postern_protocol::uhppote::{Request, Response};

use super::Controller;
use super::card::CardList;
use super::setting::{Listener, door_slot};
use crate::ledger::{LedgerError, Truth};

/// When the firmware was made, as boards with 8.92 say it.
const FIRMWARE_DATE: Date = Date { year: 2018, month: 11, day: 5 };

/// The reply that says no more than whether it was done.
macro_rules! ok {
    ($name:ident, $controller:expr, $ok:expr) => {
        Response::$name(response::$name { controller: $controller, ok: $ok })
    };
}

impl Controller {
    #[allow(clippy::too_many_lines, reason = "one arm for each function")]
    pub(super) fn answer(
        &mut self,
        request: &Request,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Option<Response>, LedgerError> {
        let controller = self.setup.serial;
        let settings = &mut self.settings;
        Ok(Some(match request {
            Request::GetStatus(_) => Response::GetStatus(self.status(now)),
            Request::SetTime(set) => {
                self.clock.set(set.datetime, now);
                Response::SetTime(response::SetTime { controller, datetime: set.datetime })
            }
            Request::GetTime(_) => {
                let datetime = self.clock.read(now);
                Response::GetTime(response::GetTime { controller, datetime })
            }
            Request::OpenDoor(open) => {
                let known = door_slot(open.door).is_some();
                if known {
                    self.remote_open(open.door, now, truth)?;
                }
                ok!(OpenDoor, controller, known)
            }

            Request::PutCard(card) => ok!(PutCard, controller, self.cards.put(card)),
            Request::DeleteCard(card) => ok!(DeleteCard, controller, self.cards.delete(card.card)),
            Request::DeleteCards(_) => {
                self.cards = CardList::default();
                ok!(DeleteCards, controller, true)
            }
            Request::GetCards(_) => Response::GetCards(response::GetCards {
                controller,
                cards: u32::try_from(self.cards.count()).unwrap_or(u32::MAX),
            }),
            Request::GetCard(get) => Response::GetCard(self.cards.by_number(controller, get.card)),
            Request::GetCardByIndex(get) => {
                Response::GetCardByIndex(self.cards.by_index(controller, get.index))
            }

            Request::SetDoor(set) => {
                let Some(door) = settings.set_door(*set) else { return Ok(None) };
                Response::SetDoor(response::SetDoor {
                    controller,
                    door: set.door,
                    mode: door.mode,
                    delay: door.delay,
                })
            }
            Request::GetDoor(get) => {
                let Some(door) = settings.door(get.door) else { return Ok(None) };
                Response::GetDoor(response::GetDoor {
                    controller,
                    door: get.door,
                    mode: door.mode,
                    delay: door.delay,
                })
            }
            Request::SetAntipassback(set) => {
                ok!(SetAntipassback, controller, settings.set_antipassback(set.antipassback))
            }
            Request::GetAntipassback(_) => Response::GetAntipassback(response::GetAntipassback {
                controller,
                antipassback: settings.antipassback,
            }),
            Request::SetTimeProfile(set) => {
                ok!(SetTimeProfile, controller, settings.set_time_profile(set))
            }
            Request::GetTimeProfile(get) => {
                Response::GetTimeProfile(settings.time_profile(controller, get.profile))
            }
            Request::ClearTimeProfiles(_) => {
                settings.time_profiles.clear();
                ok!(ClearTimeProfiles, controller, true)
            }
            Request::SetDoorPasscodes(set) => {
                ok!(SetDoorPasscodes, controller, settings.set_passcodes(set))
            }
            Request::SetPcControl(set) => {
                settings.pc_control = set.enabled;
                ok!(SetPcControl, controller, true)
            }
            Request::SetInterlock(set) => {
                ok!(SetInterlock, controller, settings.set_interlock(set.interlock))
            }
            Request::ActivateKeypads(set) => {
                settings.keypads = [set.reader_1, set.reader_2, set.reader_3, set.reader_4];
                ok!(ActivateKeypads, controller, true)
            }
            Request::SetFirstCard(set) => {
                ok!(SetFirstCard, controller, settings.set_first_card(set))
            }
            Request::AddTask(task) => ok!(AddTask, controller, settings.add_task(task)),
            Request::RefreshTaskList(_) => {
                settings.refresh_tasks();
                ok!(RefreshTaskList, controller, true)
            }
            Request::ClearTaskList(_) => {
                settings.clear_tasks();
                ok!(ClearTaskList, controller, true)
            }

            Request::RecordSpecialEvents(set) => {
                settings.record_special_events = set.enabled;
                ok!(RecordSpecialEvents, controller, true)
            }
            Request::SetListener(set) => {
                settings.listener =
                    Listener { address: set.address, port: set.port, interval: set.interval };
                ok!(SetListener, controller, true)
            }
            Request::GetListener(_) => {
                let Listener { address, port, interval } = settings.listener;
                Response::GetListener(response::GetListener { controller, address, port, interval })
            }
            Request::GetController(_) => Response::GetController(response::GetController {
                controller,
                address: settings.address,
                netmask: settings.netmask,
                gateway: settings.gateway,
                mac: self.setup.mac,
                version: self.setup.firmware,
                date: FIRMWARE_DATE,
            }),
            Request::SetAddress(set) => {
                // It says so from now on; the simulator's sockets stay where they are.
                settings.address = set.address;
                settings.netmask = set.netmask;
                settings.gateway = set.gateway;
                return Ok(None);
            }

            Request::GetEvent(get) => Response::GetEvent(self.event(get.index)),
            Request::SetEventIndex(set) => {
                ok!(SetEventIndex, controller, self.set_event_index(set.index))
            }
            Request::GetEventIndex(_) => Response::GetEventIndex(response::GetEventIndex {
                controller,
                index: self.event_index,
            }),
            Request::RestoreDefaults(_) => {
                self.restore_defaults(now, truth)?;
                ok!(RestoreDefaults, controller, true)
            }
        }))
    }
}
