//! The schemas of what the store and the replication show: those know nothing of a document, so their types
//! stand here once more. Each is taken apart and made again, field by field: one that is added there stops this
//! from compiling until it stands here.

use std::borrow::Cow;

use postern_protocol::transaction::{Credential, Direction, TimeSource, TimeTrust};
use postern_protocol::{Digest, EpochId, Index, JournalId, Kind, RoleTerm, Seq};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::replication::{Phase, Progress};
use crate::store::backup::Rows;
use crate::store::change::Head;
use crate::store::query::{AuditItem, Counts, Hole, Item, JournalItem, KINDS};

macro_rules! shape {
    ($(#[$doc:meta])* $type:ident as $shape:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(ToSchema)]
        $(#[$doc])*
        #[expect(dead_code, reason = "it stands for another type, and is never made")]
        struct $shape { $($(#[$field_doc])* $field: $kind,)* }

        const _: fn($type) -> $shape = |$type { $($field),* }| $shape { $($field),* };

        same!($type, $shape);
    };
}

/// A type has the schema of another one, under its own name.
macro_rules! same {
    ($type:ident, $shape:ident) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $shape::schema()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $shape::schemas(schemas);
            }
        }
    };
}

shape! {
    /// One stored transaction.
    Item as ItemShape {
        /// Its position in this server's store, from 1; the key for paging.
        #[schema(minimum = 1)]
        rowid: u64,
        /// The controller; `null` where the entry could not be read.
        controller: Option<String>,
        /// The gateway whose journal brought it first.
        gateway: Option<String>,
        /// The life of the controller's log that it is stored under.
        epoch: Option<EpochId>,
        /// The controller's own number, of what it recorded.
        index: Option<Index>,
        /// The number after which it stands, of what the gateway noted.
        after: Option<Index>,
        /// The journal that brought it first.
        journal: JournalId,
        /// Its position there.
        seq: Seq,
        /// What it was.
        #[schema(value_type = ShownKind)]
        kind: serde_json::Value,
        /// When it happened, RFC 3339 UTC.
        #[schema(format = DateTime)]
        occurred: Option<String>,
        /// Whose clock.
        #[schema(value_type = Option<TimeSource>)]
        time_source: Option<String>,
        /// How far it is to be trusted.
        #[schema(value_type = Option<TimeTrust>)]
        time_trust: Option<String>,
        /// When the gateway read it.
        #[schema(format = DateTime)]
        received: Option<String>,
        /// When this server stored it.
        #[schema(format = DateTime)]
        stored_at: Option<String>,
        /// Whether it was news then. Open nothing for what is not live.
        live: bool,
        /// The door.
        door: Option<u8>,
        /// Which way.
        #[schema(value_type = Option<Direction>)]
        direction: Option<String>,
        /// The card. Personal data.
        #[schema(value_type = Option<Credential>)]
        credential: Option<u64>,
        /// The controller's own bytes, hexadecimal; of an unreadable entry, all of it. Personal data.
        #[schema(pattern = "^([0-9a-f]{2})*$")]
        raw: String,
        /// The digest by which the record is compared.
        digest: Digest,
        /// Under which role term it was stored.
        role_term: RoleTerm,
        /// What is remarkable about it.
        #[schema(value_type = Vec<Flag>)]
        flags: Vec<String>,
    }
}

shape! {
    /// One journal as it stands.
    JournalItem as JournalShape {
        /// Which.
        journal: JournalId,
        /// Whose.
        gateway: String,
        /// The highest `seq` held.
        stored: Seq,
        /// The chain hash there.
        chain: Digest,
        /// The highest `seq` that the gateway may forget.
        safe: Seq,
        /// Entries whose transaction was held already.
        doubles: u64,
        /// Entries that contradicted what was held.
        conflicts: u64,
        /// Entries that could not be read.
        unreadable: u64,
        /// What is missing.
        holes: Vec<Hole>,
    }
}

shape! {
    /// Entries of a journal that this server never had and the gateway has no more.
    Hole as HoleShape {
        /// The first.
        first: Seq,
        /// The last.
        last: Seq,
    }
}

shape! {
    /// One line of the audit log.
    AuditItem as AuditShape {
        /// Its position, for paging.
        id: u64,
        /// When, RFC 3339 UTC.
        #[schema(format = DateTime)]
        at: Option<String>,
        /// Who.
        actor: String,
        /// What happened, as a stable word.
        event: String,
        /// To whom or what.
        subject: String,
        /// Why, and the particulars.
        detail: String,
    }
}

shape! {
    /// Totals of a store.
    Counts as CountsShape {
        /// Stored transactions.
        transactions: u64,
        /// Journals ever seen.
        journals: u64,
        /// Doubles turned away.
        doubles: u64,
        /// Contradictions kept.
        conflicts: u64,
        /// Entries kept unread.
        unreadable: u64,
        /// Recorded holes.
        holes: u64,
    }
}

shape! {
    /// Where a change log ends.
    Head as HeadShape {
        /// The last entry.
        position: u64,
        /// Under which role term it was written; 0 before the first.
        role_term: RoleTerm,
        /// The chain there.
        chain: Digest,
    }
}

shape! {
    /// How the active server's log is followed.
    Progress as ProgressShape {
        /// What is being done.
        phase: Phase,
        /// Where the log ends here.
        position: u64,
        /// Where it ended at the active server when that last answered.
        of: u64,
        /// What went wrong last, until it goes well again.
        failure: Option<String>,
    }
}

shape! {
    /// How many rows a backup has.
    Rows as RowsShape {
        /// Transactions.
        transactions: u64,
        /// Journals.
        journals: u64,
        /// Holes.
        holes: u64,
        /// Lines of the audit log.
        audit: u64,
    }
}

/// What a standby is doing.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PhaseShape {
    Idle,
    Following,
    Merging,
    Undoing,
    Copying,
}

const _: fn(Phase) -> PhaseShape = |phase| match phase {
    Phase::Idle => PhaseShape::Idle,
    Phase::Following => PhaseShape::Following,
    Phase::Merging => PhaseShape::Merging,
    Phase::Undoing => PhaseShape::Undoing,
    Phase::Copying => PhaseShape::Copying,
};

same!(Phase, PhaseShape);

/// What a stored transaction was.
struct ShownKind;

impl PartialSchema for ShownKind {
    fn schema() -> RefOr<Schema> {
        let unreadable = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["unreadable"]))
            .description(Some("An entry that this version cannot read."));
        let known = Ref::from_schema_name(Kind::name());
        OneOfBuilder::new().item(known).item(unreadable).into()
    }
}

impl ToSchema for ShownKind {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Kind::name().into_owned(), Kind::schema()));
        Kind::schemas(schemas);
    }
}

/// What is remarkable about a stored transaction.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands for a text, and is never made")]
enum Flag {
    Conflict,
    Unreadable,
}

/// The word of a kind, as questions name it.
pub(super) struct KindName;

impl PartialSchema for KindName {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(KINDS));
        RefOr::T(Schema::Object(words.build()))
    }
}

impl ToSchema for KindName {}
