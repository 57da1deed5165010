//! Processes that end, with and without warning: what they had promised is noted, and what of it is left
//! when they are back.

use postern_protocol::Seq;
use serde_json::{Value, json};

use super::{GATEWAY, Site};
use crate::checker::{Kill, Told};
use crate::harness::{ControllerStatus, Error, Fault, GatewayStatus, Side, Station, Wired};

/// How the gateway's way to a server was before it was closed.
enum Way {
    Wire { was_open: bool },
    Network(Option<Fault>),
}

impl Site {
    /// Kills the gateway without warning. What it had promised is noted and is compared with what
    /// is left once it was started again.
    pub fn kill_gateway(&mut self) -> Result<(), Error> {
        self.note_promises()?;
        self.crash_gateway()
    }

    /// Notes what the gateway has promised by now: it is about to end, and is compared with what is
    /// left once it was started again.
    pub fn note_promises(&mut self) -> Result<(), Error> {
        let read = self.gateway.controllers()?;
        let journal = self.gateway.status()?.journal;
        let read = read.iter().filter_map(|line| {
            let (controller, told) = (line.controller, line.position()?);
            Some(Told::Read { controller, told, kept: None })
        });
        let (journal, forgotten) = (journal.id, journal.oldest.previous());
        let told = read.chain([Told::Forgotten { journal, forgotten, stored: Seq(0) }]).collect();
        self.pending.number += 1;
        let victim = format!("gateway (kill {})", self.pending.number);
        self.pending.gateway = Some(Kill { victim, told });
        Ok(())
    }

    /// Starts the gateway again. The controllers are deaf until it has told its cursors, so that these
    /// are what the kill left: a cursor that was lost would move again with the first answer.
    /// Afterwards they misbehave as they did before, see [`Site::misbehave`].
    pub fn restart_gateway(&mut self) -> Result<(), Error> {
        let Some(mut kill) = self.pending.gateway.take() else { return self.gateway.start() };
        self.all_deaf()?;
        self.gateway.start()?;
        let now = self.gateway.controllers()?;
        self.heal_after_restart()?;
        for told in &mut kill.told {
            if let Told::Read { controller, kept, .. } = told {
                let line = now.iter().find(|line| line.controller == *controller);
                *kept = line.and_then(ControllerStatus::position);
            }
        }
        self.kills.push(kill);
        Ok(())
    }

    /// How a board misbehaves from now on, kills of the gateway included; `{}` heals it.
    pub fn misbehave(&mut self, serial: u32, faults: &Value) -> Result<(), Error> {
        self.simulator.faults(serial, faults)?;
        self.faults.insert(serial, faults.clone());
        Ok(())
    }

    /// How a line and its stations misbehave, kills of the gateway included; `{}` heals them.
    pub fn misbehave_on_line(&mut self, line: &str, faults: &Value) -> Result<(), Error> {
        self.simulator.line_faults(line, faults)?;
        self.line_faults.insert(line.to_owned(), faults.clone());
        Ok(())
    }

    fn heal_after_restart(&self) -> Result<(), Error> {
        let healthy = json!({});
        for Wired { bus, .. } in &self.buses {
            let faults = self.line_faults.get(bus.name).unwrap_or(&healthy);
            self.simulator.line_faults(bus.name, faults)?;
        }
        self.simulator.addresses.keys().try_for_each(|serial| {
            self.simulator.faults(*serial, self.faults.get(serial).unwrap_or(&healthy))
        })
    }

    /// Nobody hears anything.
    fn all_deaf(&self) -> Result<(), Error> {
        for serial in self.simulator.addresses.keys() {
            self.simulator.faults(*serial, &json!({ "deaf": true }))?;
        }
        for Wired { bus, .. } in &self.buses {
            let deaf = |station: &Station| (station.serial.to_string(), json!({ "deaf": 1.0 }));
            let stations: serde_json::Map<_, _> = bus.stations.iter().map(deaf).collect();
            self.simulator.line_faults(bus.name, &json!({ "stations": stations }))?;
        }
        Ok(())
    }

    /// Kills a server without warning. What it had acknowledged is noted and is compared with what
    /// is left once it was started again.
    pub fn kill_server(&mut self, side: Side) -> Result<(), Error> {
        self.ask_servers()?;
        let told = self.acknowledged_by(side)?;
        self.end_server(side, told)
    }

    fn end_server(&mut self, side: Side, told: Vec<Told>) -> Result<(), Error> {
        let exit = self.server(side).kill()?;
        self.exits.push(exit);
        self.pending.number += 1;
        let victim = format!("server {} (kill {})", side.name(), self.pending.number);
        self.pending.server.push((side, Kill { victim, told }));
        Ok(())
    }

    /// Ends both servers and the witness without warning, before any of them can do anything about it; server a is
    /// the active one. What was acknowledged is noted as where one server is killed.
    pub fn cut_power_of_voters(&mut self) -> Result<(), Error> {
        // The servers last, the first of them at the very end: at no moment is there a majority without it.
        self.ask_servers()?;
        let told = Side::BOTH.map(|side| self.acknowledged_by(side));
        self.kill_witness()?;
        for (side, told) in Side::BOTH.into_iter().zip(told).rev() {
            self.end_server(side, told?)?;
        }
        Ok(())
    }

    /// Kills the witness without warning.
    pub fn kill_witness(&mut self) -> Result<(), Error> {
        let exit = self.witness()?.kill()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Kills a server without warning and promises nothing: for scenarios that lose its disk afterwards.
    pub fn crash_server(&mut self, side: Side) -> Result<(), Error> {
        self.ask_servers()?;
        let exit = self.server(side).kill()?;
        self.exits.push(exit);
        Ok(())
    }

    /// What the gateway was told by this server, if it is the active one.
    fn acknowledged_by(&self, side: Side) -> Result<Vec<Told>, Error> {
        let Ok(GatewayStatus { journal, uplink, .. }) = self.gateway.status() else {
            // It does not run: nobody was told anything since.
            return Ok(Vec::new());
        };
        let is_active = uplink.active.as_deref() == Some(side.name());
        let Some(told) = uplink.stored.filter(|_| is_active) else { return Ok(Vec::new()) };
        // The server is asked after the gateway, so it has more, unless the gateway's figure is
        // still that of the server before.
        let own = self.stored_by(side, journal.id)?.unwrap_or_default();
        Ok(vec![Told::Stored { journal: journal.id, told: told.min(own), kept: Seq(0) }])
    }

    /// Starts a server again and looks what it has left, before the gateway can send it anything.
    pub fn restart_server(&mut self, side: Side) -> Result<(), Error> {
        let way = self.close_way(side)?;
        self.server(side).start()?;
        let left = self.server(side).journals()?;
        for (_, mut kill) in self.pending.server.extract_if(.., |(dead, _)| *dead == side) {
            for told in &mut kill.told {
                if let Told::Stored { journal, kept, .. } = told {
                    let known = left.iter().find(|known| known.journal == *journal);
                    *kept = known.map_or(Seq(0), |known| known.stored);
                }
            }
            self.kills.push(kill);
        }
        match way {
            Way::Wire { was_open: true } => self.link(side).open(),
            Way::Wire { was_open: false } => Ok(()),
            Way::Network(before) => self.network()?.set(GATEWAY, side.name(), before),
        }
    }

    /// Nothing of the gateway reaches this server.
    fn close_way(&self, side: Side) -> Result<Way, Error> {
        if let Ok(network) = self.network() {
            let before = network.fault(GATEWAY, side.name());
            network.cut(GATEWAY, side.name())?;
            return Ok(Way::Network(before));
        }
        let was_open = self.link(side).is_open();
        self.link(side).cut();
        Ok(Way::Wire { was_open })
    }

    /// Asks a server to end.
    pub fn stop_server(&mut self, side: Side) -> Result<(), Error> {
        self.expect_overlap(side)?;
        let exit = self.server(side).stop()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Asks both servers to end.
    pub fn stop_servers(&mut self) -> Result<(), Error> {
        Side::BOTH.into_iter().try_for_each(|side| self.stop_server(side))
    }

    /// Starts both servers again.
    pub fn restart_servers(&mut self) -> Result<(), Error> {
        Side::BOTH.into_iter().try_for_each(|side| self.restart_server(side))
    }

    /// Kills the gateway without warning and promises nothing: for scenarios that damage its journal
    /// afterwards, so that it may come back with less than it told.
    pub fn crash_gateway(&mut self) -> Result<(), Error> {
        let exit = self.gateway.kill()?;
        self.exits.push(exit);
        Ok(())
    }

    /// Starts the gateway and kills it at some moment, perhaps before it is ready.
    pub fn crash_starting_gateway(
        &mut self,
        moment: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut process = self.gateway.spawn()?;
        moment()?;
        self.exits.push(process.kill()?);
        Ok(())
    }

    /// Asks the gateway to end.
    pub fn stop_gateway(&mut self) -> Result<(), Error> {
        let exit = self.gateway.stop()?;
        self.exits.push(exit);
        Ok(())
    }
}
