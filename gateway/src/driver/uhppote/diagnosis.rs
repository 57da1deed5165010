//! Why a board does not answer as it should: somebody else answers at its address, or it answers from
//! another one. A board ignores what is meant for another serial number, so a mistyped one looks like a
//! dead board until somebody asks the address who is there.

use std::net::SocketAddr;
use std::time::Duration;

use postern_protocol::uhppote::message::request::GetController;
use postern_protocol::uhppote::{Request, Response};
use tokio::time::Instant;

use super::client::Target;
use super::transport::{RECEIVE, Transport, any, bind, exchange_tcp, show};
use crate::driver::DriverError;

/// How long whoever is there has to say so; boards answer within milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks once more, and then who is there at all.
pub(super) async fn of(target: Target) -> Result<Response, DriverError> {
    let within = target.timeout.min(PATIENCE);
    for serial in [target.serial, 0] {
        let answer = match target.transport {
            Transport::Udp => ask_udp(target.address, serial, within).await,
            Transport::Tcp => ask_tcp(target.address, serial, within).await,
        };
        let Some((response, from)) = answer? else { continue };
        return if response.controller() != target.serial {
            Err(DriverError::OtherController { found: response.controller() })
        } else if from != target.address {
            Err(DriverError::Elsewhere { from })
        } else {
            Ok(response)
        };
    }
    Err(DriverError::TimedOut)
}

type Found = Option<(Response, SocketAddr)>;

/// From a socket that hears everybody, unlike the one that is connected to the board.
async fn ask_udp(to: SocketAddr, serial: u32, within: Duration) -> Result<Found, DriverError> {
    let failed = |error: std::io::Error| DriverError::Line(error.kind());
    let deadline = Instant::now() + within;
    let request = Request::GetController(GetController { controller: serial });
    let socket = bind(any(to)).await.map_err(failed)?;
    let frame = request.encode();
    show(to, ">", &frame);
    socket.send_to(&frame, to).await.map_err(failed)?;
    let mut bytes = [0; RECEIVE];
    loop {
        let received = tokio::time::timeout_at(deadline, socket.recv_from(&mut bytes)).await;
        let Ok(received) = received else { return Ok(None) };
        let (length, from) = received.map_err(failed)?;
        let bytes = bytes.get(..length).unwrap_or_default();
        show(from, "<", bytes);
        if let Some(response) = read(&request, bytes) {
            return Ok(Some((response, from)));
        }
    }
}

async fn ask_tcp(to: SocketAddr, serial: u32, within: Duration) -> Result<Found, DriverError> {
    let request = Request::GetController(GetController { controller: serial });
    let frame = request.encode();
    match tokio::time::timeout(within, exchange_tcp(to, &frame)).await {
        Ok(received) => Ok(read(&request, received?.as_slice()).map(|response| (response, to))),
        Err(_) => Ok(None),
    }
}

fn read(request: &Request, bytes: &[u8]) -> Option<Response> {
    let response = Response::decode_reply(bytes, request.function()).ok()?;
    request.is_answered_by(&response).then_some(response)
}
