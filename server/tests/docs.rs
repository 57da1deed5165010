//! The examples of `docs/uplink.md` are what the code speaks, and `docs/query.md` names what can be asked.

use postern_protocol::role::{RoleDocument, SignedRole};
use postern_protocol::transaction::{
    Credential, Direction, Door, MAX_ENTRY, Occurred, RawRecord, TimeSource, TimeTrust,
};
use postern_protocol::uplink::{
    Batch, Bytes, Entry, EpochAlias, Last, MAX_BATCH, MAX_BODY, Refusal, Watermark,
};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, Seq, Timestamp, Transaction,
};
use postern_server::api::parameter::spell;
use postern_server::store::query::{Filter, Query, Span};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/uplink.md");

/// The JSON block under a heading.
fn example(heading: &str) -> Value {
    let (_, rest) = PAGE.split_once(heading).unwrap();
    let (_, rest) = rest.split_once("```json\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    serde_json::from_str(text).unwrap()
}

fn batch() -> Batch {
    let journal = JournalId([7; 16]);
    let epoch = EpochId([0x11; 16]);
    let controller = ControllerId::uhppote(405_419_896);
    let transaction = Transaction {
        origin: Origin::Controller { controller, epoch, index: Index(37) },
        kind: Kind::Granted,
        occurred: Occurred {
            at: Some(Timestamp(1_660_000_000_000)),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: Timestamp(1_660_000_000_500),
        door: Some(Door(4)),
        direction: Some(Direction::In),
        credential: Some(Credential(8_165_536)),
        raw: RawRecord::new(&[0xab; 4]).unwrap(),
    };
    let bytes = Bytes(transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec());
    Batch {
        role: None,
        oldest: Seq(1),
        told: None,
        full: 0,
        lasts_s: None,
        chain_before: Chain::genesis(journal).hash,
        epochs: vec![EpochAlias { controller, provisional: epoch, epoch }],
        entries: vec![Entry { seq: Seq(1), bytes, transaction: Some(transaction) }],
    }
}

#[test]
fn the_batch_and_its_watermark_are_as_documented() {
    let batch = batch();
    assert_eq!(example("### Example: a batch"), serde_json::to_value(&batch).unwrap());
    let watermark: Watermark = serde_json::from_value(example("### Example: its answer")).unwrap();
    let (_, after) = batch.check().unwrap();
    assert_eq!((watermark.stored, watermark.chain), (after.seq, after.hash));
}

#[test]
fn the_other_examples_read_as_what_they_are() {
    let refusal: Refusal = serde_json::from_value(example("### Example: a refusal")).unwrap();
    assert!(refusal.watermark.is_some());
    let last: Last = serde_json::from_value(example("### Example: the last record")).unwrap();
    assert_eq!(last.record.unwrap().index, Index(37));
    let signed: SignedRole = serde_json::from_value(example("### Example: a signed")).unwrap();
    let document: RoleDocument = serde_json::from_str(&signed.document).unwrap();
    assert_eq!(document.groups["main"].active, "a");
}

#[test]
fn the_limits_are_the_documented_ones() {
    for limit in [MAX_BATCH, MAX_BODY, MAX_ENTRY, postern_protocol::role::MAX_DOCUMENT] {
        let text = limit.to_string();
        let grouped = text
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|digits| std::str::from_utf8(digits).unwrap())
            .collect::<Vec<_>>()
            .join(",");
        assert!(PAGE.contains(&grouped), "{grouped}");
    }
}

const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// Whoever changes the interface sees in the change what it means to others.
#[test]
fn the_openapi_document_is_what_the_code_says() {
    let made = postern_server::api::document();
    let differs = made.lines().zip(DOCUMENT.lines()).position(|(made, kept)| made != kept);
    assert!(
        made == DOCUMENT,
        "docs/openapi.json is not what the code says, from line {} on.\n\
         hint: cargo run -p postern-server -- openapi > docs/openapi.json",
        differs.unwrap_or_else(|| made.lines().count().min(DOCUMENT.lines().count())) + 1
    );
}

#[test]
fn the_openapi_documents_example_and_limits_are_those_of_the_page() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let store = "/paths/~1v1~1groups~1{group}~1journals~1{journal}~1transactions/post";
    let body = format!("{store}/requestBody/content/application~1json/example");
    assert_eq!(document.pointer(&body), Some(&example("### Example: a batch")));
    let batch = &document["components"]["schemas"]["Batch"]["properties"];
    assert_eq!(batch["entries"]["maxItems"], MAX_BATCH);
    let limits = document["paths"]["/v1/groups/{group}/transactions"]["get"]["parameters"].clone();
    let limit = limits.as_array().unwrap().iter().find(|each| each["name"] == "limit").unwrap();
    assert_eq!(limit["schema"]["maximum"], postern_server::store::query::MAX_ROWS);
}

const QUESTIONS: &str = include_str!("../../docs/query.md");

#[test]
fn every_kind_and_every_parameter_is_documented() {
    let (_, kinds) = QUESTIONS.split_once("**Kinds**").unwrap();
    let (kinds, _) = kinds.split_once("\n\n").unwrap();
    let named: Vec<&str> = kinds.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, postern_server::store::query::KINDS);

    // A question that asks for everything is spelt with every filter there is.
    let time = Some(Timestamp(0));
    let query = Query {
        filter: Filter {
            occurred: Span { from: time, to: time },
            stored: Span { from: time, to: time },
            controller: Some(ControllerId::uhppote(1)),
            door: Some(1),
            card: Some(1),
            kind: Some("gap".parse().unwrap()),
            gateway: Some("hall".into()),
            live: Some(true),
        },
        ..Query::default()
    };
    let (table, _) = QUESTIONS.split_once("\n## Pages").unwrap();
    for parameter in spell(&query).split('&') {
        let (name, _) = parameter.split_once('=').unwrap();
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}
