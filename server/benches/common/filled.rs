//! A store with millions of transactions, made faster than a server makes it.

use std::path::Path;

use rusqlite::{Connection, params};

use super::NOW;
use super::swipe::{self, BOARDS, CARDS, EPOCH, FIRST_CARD};

/// Gateways that sent them.
pub(crate) const GATEWAYS: u32 = 20;

/// Controllers in all.
pub(crate) const CONTROLLERS: u32 = GATEWAYS * BOARDS;

/// From one transaction to the next, in milliseconds: some 100,000 a day.
pub(crate) const STEP_MS: i64 = 864;

/// When one of them happened.
pub(crate) fn at(number: u64) -> i64 {
    NOW.0 + i64::try_from(number).unwrap() * STEP_MS
}

/// How many are written in one commit.
const COMMIT: usize = 250_000;

/// Adds transactions to a store that has none and that nobody has open. The change log does not tell
/// of them: whoever follows it needs a full copy.
///
/// As a server stores them: 4 % denied, one in a thousand of a rare kind, controllers in turn, cards and
/// doors at random.
pub(crate) fn fill(path: &Path, rows: u64) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            // Nothing of it has to outlive a crash.
            "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
             PRAGMA cache_size = -1048576; PRAGMA temp_store = MEMORY;
             CREATE TEMP TABLE sent (number INTEGER PRIMARY KEY, journal BLOB);",
        )
        .unwrap();
    for number in 0..GATEWAYS {
        let (id, name) = (swipe::journal(number), swipe::gateway(number));
        connection.execute("INSERT INTO sent VALUES (?, ?)", params![number, id.0]).unwrap();
        connection
            .execute(
                "INSERT INTO journals (journal, gateway, stored, chain, safe)
                 VALUES (?, ?, ?, zeroblob(32), 0)",
                params![id.0, name, rows.div_ceil(u64::from(GATEWAYS)).cast_signed()],
            )
            .unwrap();
        for board in 0..BOARDS {
            let controller = swipe::board(number, board).to_string();
            connection
                .execute("INSERT INTO controllers VALUES (?, ?)", params![controller, name])
                .unwrap();
        }
    }
    for from in (0..rows).step_by(COMMIT) {
        let to = rows.min(from + COMMIT as u64) - 1;
        connection.execute_batch(&statement(from, to)).unwrap();
    }
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
}

fn statement(from: u64, to: u64) -> String {
    let first = swipe::board(0, 0).to_string();
    let (protocol, serial) = first.rsplit_once('-').unwrap();
    let (begin, epoch) = (NOW.0, EPOCH);
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
         INSERT INTO transactions (controller, epoch, idx, journal, seq, kind, occurred,
             time_source, time_trust, received, stored_at, live, door, direction,
             credential, raw, digest, entry, role_term, flags)
         SELECT '{protocol}-' || ({serial} + i % {CONTROLLERS}), x'{epoch}', i / {CONTROLLERS} + 1,
             (SELECT journal FROM sent WHERE number = i % {CONTROLLERS} / {BOARDS}),
             i / {CONTROLLERS} * {BOARDS} + i % {BOARDS} + 1,
             CASE abs(random()) % 1000 WHEN 0 THEN '\"tamper\"'
                 ELSE iif(abs(random()) % 25, '\"granted\"', '{{\"denied\":\"schedule\"}}') END,
             {begin} + i * {STEP_MS}, 'controller', 'exact', {begin} + i * {STEP_MS} + 300,
             {begin} + i * {STEP_MS} + 350, 1, abs(random()) % 4 + 1, 'in',
             {FIRST_CARD} + abs(random()) % {CARDS}, randomblob(20), randomblob(32),
             randomblob(72), 1, ''
         FROM n;"
    )
}
