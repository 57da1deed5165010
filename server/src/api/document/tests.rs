//! That the document is whole: what no compiler sees.

use std::collections::BTreeSet;

use postern_protocol::uplink::RefusalCode;

use super::*;
use crate::api::parameter::Parameters;
use crate::api::refusal::status;

/// What the holder of a certificate may be.
const ROLES: [&str; 5] = ["gateway", "monitor", "operator", "server", "witness"];

fn made() -> Value {
    serde_json::from_str(&document()).unwrap()
}

/// Each operation with its path and method.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.clone(), method.clone(), operation))
    });
    each.collect()
}

#[test]
fn every_operation_says_its_name_who_may_call_it_and_what_it_does() {
    let document = made();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(name.clone()), "{name} stands twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let who = operation["security"].as_array().unwrap();
        assert!(!who.is_empty(), "{name}");
        for requirement in who {
            let roles = requirement["certificate"].as_array().unwrap();
            assert!(ROLES.map(Value::from).contains(&roles[0]), "{name}");
        }
        // What not everybody may do is refused to others; what has a body may have one that is too long or wrong.
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("200"), "{name}");
        assert_eq!(responses.contains_key("403"), who.len() < ROLES.len(), "{name}");
        assert_eq!(responses.contains_key("413"), operation["requestBody"].is_object(), "{name}");
        assert_eq!(method == "post", operation["requestBody"].is_object(), "{name}");
        assert!(responses.contains_key("404") || !path.contains('{'), "{name}");
    }
    assert_eq!(names.len(), 32);
}

#[test]
fn every_code_stands_under_its_own_status_alone() {
    let mut named = BTreeSet::new();
    for codes in refused::ALL {
        let statuses: BTreeSet<_> = codes.iter().map(|code| status(*code)).collect();
        assert_eq!(statuses.len(), 1, "{codes:?}");
        named.extend(codes.iter().map(|code| serde_json::to_value(code).unwrap().to_string()));
    }
    let document = made();
    let closed = document["components"]["schemas"]["RefusalCode"]["enum"].as_array().unwrap();
    let closed: BTreeSet<_> = closed.iter().map(ToString::to_string).collect();
    assert_eq!(named, closed);
    assert!(closed.contains(&serde_json::to_value(RefusalCode::Fork).unwrap().to_string()));
}

/// The questions are read as texts, so their parameters stand in the document by hand.
#[test]
fn every_parameter_of_a_question_is_documented_and_no_other() {
    let refused = serde_json::from_value::<Parameters>(serde_json::json!({"nonsense": "1"}));
    let refused = refused.unwrap_err().to_string();
    let read: BTreeSet<&str> = refused.split('`').skip(3).step_by(2).collect();
    assert!(read.contains("cursor") && read.contains("worst"), "{refused}");
    let document = made();
    let mut documented = BTreeSet::new();
    for path in ["/v1/groups/{group}/transactions", "/v1/groups/{group}/late"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        documented.extend(query.map(|parameter| parameter["name"].as_str().unwrap()));
    }
    assert_eq!(documented, read);
}

#[test]
fn nothing_of_the_codes_own_links_is_left() {
    let text = document();
    for mark in ["[`", "`]", "crate::", "`None`"] {
        assert!(!text.contains(mark), "{mark}");
    }
}
