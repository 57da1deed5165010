//! The schemas of values that are a text or a number in JSON, for the servers' OpenAPI document: the others
//! derive theirs where they stand.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{Number, PartialSchema, ToSchema};

use crate::digest::Digest;
use crate::id::{ControllerId, EpochId, Index, JournalId, RoleTerm, Seq};
use crate::transaction::{Credential, Door, RawRecord, TimeTrust, Timestamp};
use crate::uplink::{Bytes, MAX_SEQ};

fn text(pattern: &str, example: &str, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .description(Some(description))
}

fn number(format: &str, most: u64, description: &str) -> ObjectBuilder {
    // On a machine of fewer bits nobody makes the document.
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .minimum(Some(Number::UInt(0)))
        .maximum(Some(Number::UInt(most)))
        .description(Some(description))
}

macro_rules! schema {
    ($type:ident, $object:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let object: Object = $object.build();
                RefOr::T(Schema::Object(object))
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }

            fn schemas(_: &mut Vec<(String, RefOr<Schema>)>) {}
        }
    };
}

schema!(
    ControllerId,
    text(
        "^((uhppote|link)-[0-9]{1,19}|modbus-[0-9]{1,9}([.][0-9]{1,9})?)$",
        "uhppote-405419896",
        "A controller: its protocol and its serial number; behind that the number of a reader that has a log of its own."
    )
);
schema!(
    EpochId,
    text(
        "^[0-9a-fA-F]{32}$",
        "11111111111111111111111111111111",
        "One life of a controller's log: 32 hexadecimal digits."
    )
);
schema!(
    JournalId,
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".into())))
        .examples(["07070707-0707-0707-0707-070707070707"])
        .description(Some("A gateway's durable queue: the UUID that was made with its file."))
);
schema!(
    Digest,
    text(
        "^[0-9a-fA-F]{64}$",
        "756c114bb13ee1ea10d291a3bb9d05b14d83f0286e7a9780c847489f42c97de8",
        "SHA-256: 64 hexadecimal digits."
    )
);
schema!(
    RawRecord,
    text(
        "^([0-9a-fA-F]{2}){0,64}$",
        "abababab",
        "The controller's own bytes, in hexadecimal. They hold the card number: personal data."
    )
);
// In its last place before the padding not every character can stand: the bits that are left over are 0.
schema!(
    Bytes,
    text(
        "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
        "MIIB",
        "Bytes as base64 with padding."
    )
    .content_encoding("base64")
);
schema!(Index, number("uint64", u64::MAX, "The controller's own number of a record, from 1."));
schema!(
    Seq,
    number(
        "uint64",
        MAX_SEQ.0,
        "A position in a journal: from 1, consecutive; 0 stands for \"before the first\"."
    )
);
schema!(
    RoleTerm,
    number(
        "uint64",
        u64::MAX,
        "The number of a reign: it rises with every change of the active server."
    )
);
schema!(
    TimeTrust,
    text(
        "^(exact|ambiguous|skipped|absent|before|within_[0-9]{1,9}_ms)$",
        "exact",
        "How far a time is to be trusted: `within_250_ms` was seen at that moment and had not happened yet 250 ms before; \
         `before` was seen at that moment, and nobody had looked before."
    )
);
schema!(Door, number("uint8", 255, "A door of a controller, from 1."));
schema!(Credential, number("uint64", u64::MAX, "A card number. It is a person's: personal data."));
schema!(
    Timestamp,
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(Number::Int(isize::MIN)))
        .maximum(Some(Number::Int(isize::MAX)))
        .examples([1_660_000_000_000_i64])
        .description(Some("Milliseconds since 1970-01-01T00:00:00Z, without leap seconds."))
);
