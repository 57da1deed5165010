use super::*;

const TSV: &str = "Card Number\tFrom\tTo\tWorkshop\tSide Door\tFront Door\tGarage
8165501\t2020-01-02\t2020-10-31\tN\tN\tY\t29
8165502\t2020-02-03\t2020-11-30\tY\tN\tY\tN
";

fn doors(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

#[test]
fn a_table_with_four_doors_is_read_in_their_order() {
    let cards = parse(TSV, None).unwrap();
    let card = &cards[&8_165_501];
    assert_eq!(card.doors, [Some(0), Some(0), Some(1), Some(29)]);
    assert_eq!((card.from.to_string(), card.pin), ("2020-01-02".to_owned(), None));
    assert_eq!(cards.len(), 2);
}

#[test]
fn the_doors_of_one_board_are_picked_by_name_from_a_list_of_many() {
    let cards = parse(TSV, Some(&doors("garage,-,frontdoor,-"))).unwrap();
    assert_eq!(cards[&8_165_501].doors, [Some(29), None, Some(1), None]);
    let many = TSV.replace("\tGarage", "\tGarage\tTower");
    assert!(parse(&many, None).unwrap_err().what.contains("5 columns of doors"));
    assert!(parse(TSV, Some(&doors("Lair,-,-,-"))).unwrap_err().what.contains("\"Lair\""));
}

#[test]
fn commas_quotes_and_pins_are_read() {
    let csv = "From,To,\"Card Number\",PIN,A,\"B, left\",C,D\n2020-01-01,,\"7\",1234,y,n,,2\n";
    let cards = parse(csv, None).unwrap();
    let card = &cards[&7];
    assert_eq!(card.doors, [Some(1), Some(0), Some(0), Some(2)]);
    assert_eq!((card.pin, card.to), (Some(1_234), Date::UNSET));
}

#[test]
fn what_makes_no_sense_is_named_by_its_line_and_without_the_card() {
    for (from, to, why) in [
        ("8165501", "x", "line 2: its card number"),
        ("2020-02-03", "2020-02-33", "line 3: a date"),
        ("\tY\tN\tY", "\t1\tN\tY", "line 3: a door"),
        ("8165502", "8165501", "line 3: this card stands"),
        ("Card Number", "Card", "no column \"Card Number\""),
    ] {
        let error = parse(&TSV.replace(from, to), None).unwrap_err().what;
        assert!(error.contains(why) && !error.contains("81655"), "{error}");
    }
    let why = |text: &str| parse(text, None).unwrap_err().what;
    assert!(why("").contains("empty"));
    assert!(why("Card Number,From,\"To\n").contains("not closed"));
}

/// A line that was cut off took its doors from a board without a word.
#[test]
fn a_line_with_other_cells_than_the_header_is_refused() {
    for (from, to, cells) in [("\tY\tN\n", "\n", "5 cells"), ("\tY\tN\n", "\tY\tN\t\n", "8 cells")]
    {
        let error = parse(&TSV.replace(from, to), None).unwrap_err();
        assert_eq!(error.what, format!("line 3: {cells}, the header has 7"));
    }
    let error = parse(&format!("{TSV}8165503\n"), None).unwrap_err();
    assert_eq!(error.what, "line 4: 1 cell, the header has 7");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_list() {
    assert_eq!(parse(&format!("\u{feff}{TSV}"), None), parse(TSV, None));
}

#[test]
fn a_hint_is_about_what_is_wrong() {
    let hint = |text: &str| parse(text, None).unwrap_err().hint;
    assert_eq!(hint("Name\tFrom\n"), NO_HEADER);
    assert_eq!(hint(&TSV.replace("\t29", "\tmaybe")), WRONG_LINE);
    assert_eq!(hint("{}"), NO_LIST);
}

#[test]
fn what_cards_list_printed_is_read_unless_it_is_masked() {
    let json = |card: &str| {
        format!(
            r#"{{"schema":"postern.controller.cards.v1","serial":7,"cards":[{{"index":1,"card":{card},"from":"2020-01-01","to":"","doors":[1,0,0,2],"has_pin":false}}]}}"#
        )
    };
    let cards = parse(&json("8165501"), None).unwrap();
    assert_eq!(cards[&8_165_501].doors, [Some(1), Some(0), Some(0), Some(2)]);
    assert!(parse(&json("\"*01\""), None).unwrap_err().what.contains("--show-cards"));
    assert!(parse("{}", None).unwrap_err().what.contains("cards list --json"));
}
