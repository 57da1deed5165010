use proptest::prelude::*;

use super::*;

fn item() -> Item {
    serde_json::from_value(serde_json::json!({
        "rowid": 7, "controller": "uhppote-405419896", "gateway": "hall",
        "epoch": "11111111111111111111111111111111", "index": 37, "after": null,
        "journal": "07070707-0707-0707-0707-070707070707", "seq": 41,
        "kind": {"denied": "no_privilege"}, "occurred": "2026-10-25T00:30:00.000Z",
        "time_source": "controller", "time_trust": "ambiguous",
        "received": "2026-10-25T01:30:00.500Z", "stored_at": null, "live": true, "door": 4,
        "direction": "in", "credential": 8_165_536, "raw": "00", "digest": "00".repeat(32),
        "role_term": 3, "flags": ["conflict"],
    }))
    .unwrap()
}

fn written(items: &[Item], mask: Option<&str>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Zone::named("Europe/Berlin").unwrap()).unwrap();
    for item in items {
        writer.item(item, mask.map(str::to_owned)).unwrap();
    }
    writer.out.into_inner().unwrap()
}

/// Read back: each line as its fields.
fn read(bytes: &[u8]) -> Vec<Vec<String>> {
    let lines = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes).into_records();
    lines.map(|line| line.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_line_is_exactly_this() {
    let text = String::from_utf8(written(&[item()], None)).unwrap();
    let (header, line) = text.split_once("\r\n").unwrap();
    assert_eq!(header, COLUMNS.join(","));
    assert_eq!(
        line,
        "7,2026-10-25T02:30:00.000+02:00,2026-10-25T02:30:00.500+01:00,,controller,ambiguous,hall,\
         uhppote-405419896,11111111111111111111111111111111,37,,denied,no_privilege,4,in,8165536,\
         true,conflict,07070707-0707-0707-0707-070707070707,41,3,00\r\n"
    );
    let masked = String::from_utf8(written(&[item()], Some("*36"))).unwrap();
    assert!(masked.contains(",*36,") && !masked.contains("8165536"));
}

#[test]
fn an_export_of_nothing_is_a_header() {
    assert_eq!(read(&written(&[], None)), [COLUMNS]);
}

#[test]
fn particulars_are_quoted_and_read_back_as_json() {
    let kind = serde_json::json!({"gap": {"first": 3, "last": 9, "reason": "overwritten"}});
    let bytes = written(&[Item { kind: kind.clone(), ..item() }], None);
    assert!(String::from_utf8_lossy(&bytes).contains(r#""{""first"":3"#));
    let line = &read(&bytes)[1];
    assert_eq!(line[11], "gap");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line[12]).unwrap(), kind["gap"]);
    // A kind that this version has no word for.
    let line = &read(&written(&[Item { kind: "=1+1".into(), ..item() }], None))[1];
    assert_eq!(line[11], "");
}

#[test]
fn what_begins_like_a_formula_is_defused_and_numbers_are_left_alone() {
    for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=\"a\",b"] {
        let hostile = Item {
            controller: Some(text.into()),
            gateway: Some(text.into()),
            direction: Some(text.into()),
            time_trust: Some(text.into()),
            flags: vec![text.into()],
            kind: serde_json::json!({"denied": text}),
            ..item()
        };
        let line = read(&written(&[hostile], None))[1].clone();
        for at in [5, 6, 7, 12, 14, 17] {
            assert_eq!(line[at], format!("'{text}"), "{}", COLUMNS[at]);
        }
    }
    assert_eq!(word(Some("8165536")), "8165536");
}

proptest! {
    #[test]
    fn whatever_a_field_holds_it_reads_back_in_its_column(text in "\\PC{0,12}[,\"\r\n]?\\PC{0,4}", card: u64) {
        let odd = Item { controller: Some(text.clone()), credential: Some(card), ..item() };
        let lines = read(&written(&[odd, item()], None));
        prop_assert_eq!(lines.len(), 3);
        let field = &lines[1][7];
        prop_assert_eq!(field.strip_prefix('\'').filter(|_| !text.starts_with('\'')).unwrap_or(field), &text);
        prop_assert!(!field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
        prop_assert_eq!(&lines[1][15], &card.to_string());
        prop_assert_eq!(&lines[2][8], "11111111111111111111111111111111");
    }
}
