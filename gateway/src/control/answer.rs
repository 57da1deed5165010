//! One line of an answer.

use std::io;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// Sends a value as a line.
pub(super) async fn send(
    write: &mut (impl AsyncWriteExt + Unpin),
    value: &Value,
) -> io::Result<()> {
    let mut line = value.to_string();
    line.push('\n');
    write.write_all(line.as_bytes()).await
}
