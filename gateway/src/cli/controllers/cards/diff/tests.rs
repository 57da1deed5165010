use super::*;

const LIST: &str = "Card Number,From,To,A,B,C,D\n1,2020-01-01,2020-12-31,Y,N,N,N\n\
    2,2020-01-01,2020-12-31,Y,N,N,N\n3,2020-01-01,2020-12-31,Y,N,N,N\n";

fn cards(text: &str) -> Cards {
    parse(text, None).unwrap()
}

#[test]
fn cards_are_added_removed_or_changed() {
    let other = LIST
        .replace("3,2020", "4,2020")
        .replace("2,2020-01-01,2020-12-31,Y,N", "2,2021-01-01,2020-12-31,Y,2");
    assert_eq!(
        compare(&cards(LIST), &cards(&other)),
        [(2, Change::Changed(vec!["from", "door_2"])), (3, Change::Removed), (4, Change::Added),]
    );
    assert!(compare(&cards(LIST), &cards(LIST)).is_empty());
}

#[test]
fn what_one_side_does_not_say_is_not_compared() {
    let mut held = cards(LIST);
    for card in held.values_mut() {
        card.pin = Some(1_234);
    }
    assert!(compare(&held, &cards(LIST)).is_empty());
    let names = ["A", "-", "-", "-"].map(str::to_owned);
    let other = parse(&LIST.replace("Y,N,N,N", "Y,Y,Y,Y"), Some(&names)).unwrap();
    assert!(compare(&held, &other).is_empty());
}

/// It was cut at the limit, and the cards behind it were to be taken from the board.
#[test]
fn a_file_beyond_the_limit_is_refused_and_not_cut() {
    assert_eq!(limited(&b"12345"[..], 5).unwrap().unwrap(), b"12345");
    assert_eq!(limited(&b"123456"[..], 5).unwrap(), None);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.csv");
    // Not a byte of it is on the disk.
    File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
    let failure = read(&path, None).unwrap_err();
    assert_eq!(failure.code, exit::FAILURE);
    assert!(failure.message.contains("long.csv: it is longer than 64 MiB"), "{}", failure.message);
}

#[test]
fn a_file_that_is_not_there_gets_no_lesson_about_lists() {
    let said = read(Path::new("/nonexistent/list.csv"), None).unwrap_err().message;
    assert!(said.contains("hint: name a file") && !said.contains("Card Number"), "{said}");
}

#[test]
fn of_a_pin_only_the_side_is_shown() {
    let (mut held, mut wanted) = (cards(LIST), cards(LIST));
    held.get_mut(&1).unwrap().pin = Some(4_321);
    wanted.get_mut(&1).unwrap().pin = Some(0);
    held.get_mut(&2).unwrap().pin = Some(4_321);
    wanted.get_mut(&2).unwrap().pin = Some(8_765);
    let changed: Vec<Value> = [1, 2]
        .map(|card| {
            let mut entry = entry(card, true, &held, &wanted);
            entry["fields"] = json!(fields(&held[&card], &wanted[&card]));
            entry
        })
        .into();
    let text = text(&json!({ "changed": changed }));
    assert!(
        text.contains("! 1  pin\n    board  2020-01-01 to 2020-12-31, doors yes - - -, a PIN\n"),
        "{text}"
    );
    assert!(text.contains("doors yes - - -, no PIN\n! 2  pin: another one\n"), "{text}");
    assert!(!text.contains("4321") && !text.contains("8765"), "{text}");
}

#[test]
fn what_the_signs_mean_stands_above_them() {
    let removed =
        json!({ "card": 7, "board": { "from": "", "to": "2020-12-31", "doors": [1, 0, 2, null] } });
    let said = text(&json!({ "removed": [removed], "same": false }));
    assert!(said.starts_with("- on the board alone, + in the other alone"), "{said}");
    assert!(said.contains("\n- 7  none to 2020-12-31, doors yes - 2 ?\n"), "{said}");
    assert_eq!(text(&json!({ "same": true })), "0 added, 0 removed, 0 changed\n");
}

/// Each line was copied with all that stood before it: minutes for 20,000 cards.
#[test]
fn twenty_thousand_differences_are_written_at_once() {
    let entry =
        json!({ "card": 7, "board": { "from": "2020-01-01", "to": "", "doors": [1, 1, 1, 1] } });
    let begun = tokio::time::Instant::now();
    let said = text(&json!({ "removed": vec![entry; 20_000], "same": false }));
    assert_eq!(said.lines().filter(|line| line.starts_with("- 7 ")).count(), 20_000);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn doors_that_begin_with_a_dash_are_no_option() {
    use clap::Parser;
    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        arguments: Arguments,
    }
    for doors in [&["--doors", "-,Garage,-,-"][..], &["--doors=-,Garage,-,-"]] {
        let words = [&["diff", "7", "list.csv"], doors].concat();
        let doors = Whole::try_parse_from(words).ok().unwrap().arguments.doors.unwrap();
        assert_eq!(doors, ["-", "Garage", "-", "-"]);
    }
}
