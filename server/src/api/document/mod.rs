//! The interface as an OpenAPI 3.1 document. It is made from what the handlers say of themselves: the router
//! registers each with its path and method, and those are the document's; there is no second list.
//!
//! Called by `postern-server openapi` and by the test that holds `docs/openapi.json` to it.

use postern_protocol::uplink::Refusal;
use serde_json::Value;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::SecurityScheme;
use utoipa::openapi::{Components, OpenApi as Document, RefOr};
use utoipa::{OpenApi, PartialSchema, ToSchema};

pub(super) mod example;
pub(super) mod parameter;
pub(super) mod refused;
mod shape;

/// The one security scheme: the name that each operation's roles stand under.
const CERTIFICATE: &str = "certificate";

const CERTIFICATES: &str = "A client certificate of the site's own authority, in TLS 1.3; its one URI \
    name says the role: `postern://SITE/gateway/GROUP/NAME` a gateway, `postern://SITE/server/NAME` a server, \
    `postern://SITE/admin/NAME` an operator, `postern://SITE/monitor/NAME` whatever asks for health alone, \
    `postern://SITE/witness/NAME` the servers' witness. Each operation names the roles that may call it; every other \
    certificate gets 403 `forbidden`, and a gateway of another group as well. Without a certificate of \
    the site a connection ends in the handshake.";

/// What belongs to no operation in particular.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Postern server",
        description = "How gateways, servers and operators speak to a Postern server: HTTP/1.1 over TLS 1.3 \
            with certificates on both sides. The manual is docs/uplink.md and docs/query.md.\n\n\
            Integers may exceed 2^53: read them as 64-bit integers. Ignore fields that you do not know: \
            fields are only ever added. A request's body is at most 4,194,304 bytes, as sent and as unpacked; \
            one in JSON may be sent with `content-encoding: zstd` (window at most 8 MiB), no other encoding \
            is taken. One identity has at most 16 connections.\n\n\
            Every refusal is a `Refusal` with a code of a closed list; the 503 of what asks for health is no refusal but the answer no. A path that is not here answers 404 \
            `not_found`, a method that is not here 405 `bad_request` with `Allow`; what is no HTTP \
            request, or has a head that is too large, is refused without a body.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "gateway", description = "What gateways ask. 421 `not_active` names the server to turn to."),
        (name = "health", description = "What load balancers ask: the status is the answer."),
        (name = "operator", description = "What operators ask, and the command line for them."),
        (name = "role", description = "The role document, which its signature proves, whoever brings it."),
        (name = "voter", description = "What the servers and their witness ask each other as voters, likewise in a form of their own."),
        (name = "server", description = "What the servers of a site ask each other, in a binary form of their own that is no interface \
            for others: a version byte (1) and a postcard body, packed with zstd."),
    ),
    components(schemas(Refusal))
)]
struct Base;

/// Bytes that are no JSON.
pub(super) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let bytes = ObjectBuilder::new().schema_type(Type::String);
        bytes.format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
    }
}

impl ToSchema for Binary {}

/// One event of the stream of role documents.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for lines of text, and is never made")]
pub(super) struct RoleEvent {
    /// What it is.
    #[schema(pattern = "^role$")]
    event: String,
    /// The signed role document, in JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// The document before any operation.
pub(super) fn base() -> Document {
    let mut document = Base::openapi();
    let components = document.components.get_or_insert_with(Components::new);
    let description = Some(CERTIFICATES.to_owned());
    let scheme = SecurityScheme::MutualTls { description, extensions: None, deprecated: None };
    components.add_security_scheme(CERTIFICATE, scheme);
    components.responses.extend(refused::components());
    document
}

/// The whole document as JSON, indented, with a line's end: equal for equal code.
///
/// # Panics
///
/// Where a description is no JSON, which only a bug can cause.
pub fn document() -> String {
    let (_, document) = super::routes().split_for_parts();
    let mut value = serde_json::to_value(document).expect("invariant: it consists of JSON");
    plain(&mut value);
    let mut text = serde_json::to_string_pretty(&value).expect("invariant: it is JSON");
    text.push('\n');
    text
}

/// What is said of a Rust item links to others; outside of the code these are words.
fn plain(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let said = ["description", "summary"].contains(&name.as_str());
                if let Some(text) = member.as_str().filter(|_| said) {
                    let text = text.replace("[`", "`").replace("`]", "`");
                    *member = Value::String(text.replace("`None`", "`null`"));
                } else {
                    plain(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
