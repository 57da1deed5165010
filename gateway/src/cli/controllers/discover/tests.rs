use super::judge::tests::found;
use super::*;

fn berlin() -> Zone {
    zone("Europe/Berlin").unwrap()
}

#[test]
fn the_ports_that_cannot_work_are_refused_with_the_reason() {
    assert!(from("192.0.2.1:60000").unwrap_err().contains("own broadcasts"));
    assert_eq!(from("192.0.2.1").unwrap().port(), 0);
    assert!(from("eth0").unwrap_err().contains("IPv4 address"));
    assert_eq!(to("192.0.2.255").unwrap().port(), PORT);
    assert!(to("192.0.2.255:0").is_err() && to("::1").is_err());
}

#[test]
fn what_is_written_names_where_it_answered_from_and_its_zone() {
    let judged = judge(&[found(7, "192.0.2.1:60000", "10.0.0.1", 1)].into(), &BTreeMap::new());
    let text = sections(&judged, &berlin())[0].toml();
    assert!(text.contains("serial = 7\naddress = \"192.0.2.1:60000\"\n"), "{text}");
    assert!(text.contains("zone = \"Europe/Berlin\"") && text.contains("v8.92"), "{text}");
}

#[test]
fn what_cannot_be_told_apart_is_not_written() {
    let found = [
        found(1, "192.0.2.1:60000", "192.0.2.1", 1),
        found(2, "192.0.2.2:60000", "192.0.2.2", 2),
        found(2, "192.0.2.3:60000", "192.0.2.3", 3),
    ];
    let judged = judge(&found.into(), &BTreeMap::new());
    let serials: Vec<u32> = sections(&judged, &berlin()).iter().map(|each| each.serial).collect();
    assert_eq!(serials, [1]);
    let controllers: Vec<Value> = judged.iter().map(Judged::json).collect();
    let text = text(&json!({ "controllers": controllers, "interfaces": ["192.0.2.9"] }));
    let why = "2 at 192.0.2.2:60000 is not for --write: several boards have this serial number";
    assert!(text.contains(why) && text.contains("  hint: nothing tells them apart"), "{text}");
    assert!(text.contains("3 found, asked from 192.0.2.9\n"), "{text}");
}

/// It was listed under "asked from" all the same.
#[tokio::test]
async fn an_interface_that_failed_is_told_apart() {
    // The second is an address for documentation, which no machine has.
    let interfaces = ["127.0.0.1", "192.0.2.77"].map(|text| from(text).unwrap());
    let targets = [to("127.0.0.1:9").unwrap()];
    let (_, failed) = gather(&interfaces, &targets, Duration::from_millis(100)).await.ok().unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, interfaces[1]);
}
