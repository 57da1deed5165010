//! The refusals that operations name: one response of the document for each status, with the codes that come with it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use postern_protocol::uplink::{Refusal, RefusalCode};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Ref, RefOr, Response as Documented, ResponseBuilder,
};
use utoipa::{IntoResponses, ToSchema};

use super::super::refusal::status;

macro_rules! refusals {
    ($($name:ident: $codes:expr, $description:literal;)*) => {
        $(
            /// Names the response of this name for an operation.
            pub(in crate::api) struct $name;

            impl $name {
                const CODES: &[RefusalCode] = $codes;
            }

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Documented>> {
                    let response = RefOr::Ref(Ref::from_response_name(stringify!($name)));
                    BTreeMap::from([(of(Self::CODES).as_str().to_owned(), response)])
                }
            }
        )*

        /// Each by its name.
        pub(in crate::api) fn components() -> Vec<(String, RefOr<Documented>)> {
            vec![$((stringify!($name).to_owned(), response($name::CODES, $description).into())),*]
        }

        /// The codes of each.
        #[cfg(test)]
        pub(super) const ALL: &[&[RefusalCode]] = &[$($name::CODES),*];
    };
}

refusals! {
    BadRequest: &[RefusalCode::BadRequest],
        "The request is not what it should be: `message` says where. Do not repeat it as it is.";
    Forbidden: &[RefusalCode::Forbidden],
        "The certificate is not for this.";
    Foreign: &[RefusalCode::Forbidden, RefusalCode::Foreign],
        "`forbidden`: the certificate is not for this. `foreign`: the journal or the controller belongs to \
         another gateway; it is alarmed.";
    NotFound: &[RefusalCode::NotFound],
        "There is no such group, or no such controller.";
    Conflict: &[RefusalCode::Fork, RefusalCode::OutOfSequence],
        "`fork`: the journal's past differs from what is held under its name. `out_of_sequence`: the batch begins above \
         what is stored although the gateway still holds what is missing. `watermark` says where the journal stands.";
    Denied: &[RefusalCode::Denied],
        "The command does not fit the role document, or what the server is doing: `message` says why, `hint` what to do.";
    TooLarge: &[RefusalCode::TooLarge],
        "The body is longer than is allowed, as sent or as unpacked. The connection ends.";
    NotActive: &[RefusalCode::NotActive],
        "This server is not the active one: `role` is the document that says who is.";
    Unavailable: &[RefusalCode::Unavailable],
        "Not now: nothing of the request was kept. Repeat it after `Retry-After` seconds.";
}

/// What a server may be refused by the other one, whatever it asks.
pub(in crate::api) struct BetweenServers;

impl IntoResponses for BetweenServers {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let each = [
            BadRequest::responses(),
            Forbidden::responses(),
            NotFound::responses(),
            TooLarge::responses(),
            NotActive::responses(),
            Unavailable::responses(),
        ];
        each.into_iter().flatten().collect()
    }
}

/// What a voter may be refused by another one.
pub(in crate::api) struct BetweenVoters;

impl IntoResponses for BetweenVoters {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let each = [
            BadRequest::responses(),
            Forbidden::responses(),
            NotFound::responses(),
            TooLarge::responses(),
            Unavailable::responses(),
        ];
        each.into_iter().flatten().collect()
    }
}

fn of(codes: &[RefusalCode]) -> StatusCode {
    codes.first().map_or(StatusCode::INTERNAL_SERVER_ERROR, |code| status(*code))
}

fn response(codes: &[RefusalCode], description: &str) -> Documented {
    let words = codes.iter().filter_map(|code| serde_json::to_value(code).ok());
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    let narrowed = ObjectBuilder::new().property("code", code);
    let shape = Ref::from_schema_name(Refusal::name());
    let shape = AllOfBuilder::new().item(shape).item(narrowed);
    let content = ContentBuilder::new().schema(Some(shape)).build();
    let response =
        ResponseBuilder::new().description(description).content("application/json", content);
    if of(codes) != StatusCode::SERVICE_UNAVAILABLE {
        return response.build();
    }
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    let header =
        HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait.")).build();
    response.header("Retry-After", header).build()
}
