use axum::extract::Query as Url;
use axum::response::IntoResponse as _;
use postern_protocol::ControllerId;
use proptest::prelude::*;

use super::*;
use crate::store::query::KINDS;

fn read(text: &str) -> Result<Parameters, String> {
    let uri: axum::http::Uri = format!("/?{text}").parse().unwrap();
    Url::try_from_uri(&uri).map(|Url(parameters)| parameters).map_err(|error| error.body_text())
}

fn span() -> impl Strategy<Value = Span> {
    let times =
        (prop::option::of(-1_000_000_000_i64..1_795_867_200_000), prop::option::of(1..9_i64));
    times.prop_map(|(from, length)| Span {
        from: from.map(Timestamp),
        to: length.map(|length| Timestamp(from.unwrap_or(0) + length)),
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let who = (any::<Option<u32>>(), any::<Option<u8>>(), any::<Option<u64>>());
    let what = (
        prop::option::of(0..KINDS.len()),
        prop::option::of("[a-z0-9]{1,32}"),
        any::<Option<bool>>(),
    );
    (span(), span(), who, what).prop_map(|(occurred, stored, who, what)| Filter {
        occurred,
        stored,
        controller: who.0.map(ControllerId::uhppote),
        door: who.1,
        card: who.2,
        kind: what.0.map(|at| KINDS[at].parse().unwrap()),
        gateway: what.1,
        live: what.2,
    })
}

proptest! {
    #[test]
    fn what_the_command_line_writes_the_server_reads(
        filter in filter(),
        sort in prop::sample::select(vec![Sort::Row, Sort::Occurred, Sort::Stored]),
        direction in prop::sample::select(vec![Direction::Oldest, Direction::Newest]),
        limit in 1..=5_000_usize,
        (over_ms, worst) in (any::<u64>(), 0..=1_000_usize),
    ) {
        let query = Query { filter, sort, direction, after: None, limit };
        let text = format!("{}&limit={limit}&cursor=00", spell(&query));
        let (got, cursor) = read(&text).unwrap().query().unwrap();
        prop_assert_eq!(&got, &query);
        prop_assert_eq!(cursor.as_deref(), Some("00"));
        let late = LateQuery { filter: query.filter, over_ms, worst };
        prop_assert_eq!(read(&spell_late(&late)).unwrap().late().unwrap(), late);
    }

    #[test]
    fn nothing_that_a_url_can_say_panics(text in "[a-z_=&0-9:+%-]{0,80}") {
        if let Ok(uri) = format!("/?{text}").parse::<axum::http::Uri>()
            && let Ok(Url(parameters)) = Url::<Parameters>::try_from_uri(&uri)
        {
            let _ = parameters.query();
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (text, says) in [
        ("limit=0", "limit is 0, not 1 to 5000"),
        ("limit=5001", "limit is 5001"),
        ("limit=x", "limit is not a number"),
        ("limit=%2B5", "limit is not a number"),
        ("by=time", "by is \"time\", not row, occurred or stored"),
        ("order=up", "order is \"up\", not oldest or newest"),
        ("from=yesterday", "from is \"yesterday\", not a time with its offset"),
        ("from=2026-11-28", "from is \"2026-11-28\", not a time with its offset"),
        ("from=2026-11-28T00:00Z&to=2026-11-27T00:00Z", "from is not before to"),
        ("stored_from=2026-11-28T00:00Z&stored_to=2026-11-28T00:00Z", "stored_from is not before"),
        ("controller=front", "controller: "),
        ("door=256", "door is not a number of at most 8 bits"),
        ("card=12a", "card is not a number of at most 64 bits"),
        ("kind=Granted", "there is no kind \"Granted\""),
        ("gateway=Hall", "gateway is \"Hall\", not a name"),
        ("live=yes", "live is \"yes\", not true or false"),
        ("after=3&order=newest", "after is a row"),
        ("after=3&by=occurred", "after is a row"),
        ("after=3&cursor=00", "exclude each other"),
        ("over_ms=3", "over_ms is not for this path"),
    ] {
        let error = read(text).unwrap().query().unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.replace("\\\"", "\"").contains(says), "{text}: {shown}");
        assert!(!shown.contains("12a"), "a card number is not said back");
        assert_eq!(error.into_response().status(), 400);
    }
    for text in ["by=row", "order=newest", "limit=3", "cursor=00", "after=1", "worst=1001"] {
        assert!(read(text).unwrap().late().is_err(), "{text}");
    }
    assert!(read("colour=red").unwrap_err().contains("unknown field `colour`"));
    let plus = read("from=2026-11-28T10:00+01:00").unwrap().query().unwrap_err();
    assert!(format!("{plus:?}").contains("%2B"));
}
