//! One request to the simulator's control API: plain HTTP on loopback, one connection each. Thirty
//! lines instead of a client library, so that the harness adds nothing to what is built.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::Error;

/// The API answers from memory; generating a million records takes a few seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest answer: the status of 400 boards is far below it.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

pub(super) fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Error> {
    let failed = |what: String| Error::Request { request: format!("{method} {path}"), what };
    let text = exchange(method, address, path, body).map_err(|error| failed(error.to_string()))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| failed("no HTTP".to_owned()))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(failed(format!("status {status}: {}", body.trim())));
    }
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).map_err(|error| failed(error.to_string()))
}

fn exchange(
    method: &str,
    address: SocketAddr,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut text)?;
    Ok(text)
}
