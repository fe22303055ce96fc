//! The scanner, as tables: what is a record, where it is, and what is not valid.

use super::*;

const COMMAS: Dialect = Dialect { delimiter: b',', has_quotes: true };

fn scan(text: &[u8], dialect: Dialect) -> Vec<CsvRecord> {
    // A small buffer: every state must survive the end of a buffer.
    let capacity = if text.len() < MAX_LINE_BYTES { 3 } else { 4096 };
    let reader = io::BufReader::with_capacity(capacity, text);
    let mut scanner = RecordScanner::new(reader, dialect, LineCounter::new(LineEnds::detect(text, true)));
    std::iter::from_fn(|| scanner.next_record().unwrap()).collect()
}

/// `first-last: cell|cell` or `first-last: fault` of each record.
fn describe(text: &str, dialect: Dialect) -> Vec<String> {
    let cells = |record: &CsvRecord| {
        let cells: Vec<_> = record.cells().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        cells.join("|")
    };
    let fault = |fault: RecordFault| match fault {
        RecordFault::OpenQuote(place) => format!("open {}/{}", place.line, place.cell),
        RecordFault::TextAfterQuote { place, is_escaped } => {
            format!("after {}/{}{}", place.line, place.cell, if is_escaped { " escaped" } else { "" })
        }
        RecordFault::SpaceBeforeQuote(place) => format!("space {}/{}", place.line, place.cell),
        RecordFault::EscapedQuote(place) => format!("escaped {}/{}", place.line, place.cell),
        RecordFault::TooLong => "long".to_owned(),
    };
    scan(text.as_bytes(), dialect)
        .iter()
        .map(|it| format!("{}-{}: {}", it.line, it.last_line, it.fault.map_or_else(|| cells(it), fault)))
        .collect()
}

#[test]
fn records_and_their_lines_are_found_with_every_line_end() {
    for end in ["\n", "\r\n", "\r", "\r\r\n"] {
        let text = ["a,b", "", "c,\"d", "e\"", ",,", "  , ", "f,g"].join(end);
        let expected = ["1-1: a|b".to_owned(), format!("3-4: c|d{end}e"), "7-7: f|g".to_owned()];
        assert_eq!(describe(&text, COMMAS), expected, "{end:?}");
        assert_eq!(describe(&format!("{text}{end}{end}"), COMMAS), expected, "{end:?}");
    }
}

#[test]
fn quotes_are_read_as_a_standard_writer_writes_them() {
    for (text, expected) in [
        (r#""a ""b"" c",d"#, r#"1-1: a "b" c|d"#),
        (r#"a,"""""#, r#"1-1: a|""#),
        (r#"a,""""#, "1-1: open 1/1"),
        (r#"a,"","#, "1-1: a||"),
        // Not the first character of its cell: text.
        (r#"5" pipe,d"e""#, r#"1-1: 5" pipe|d"e""#),
        (r#"a,"C:\""#, r"1-1: a|C:\"),
        (r#"a,"b" c,d"#, "1-1: after 1/1"),
        (r#"a,"b\"c\" d""#, "1-1: after 1/1 escaped"),
        (r#"a, "b""#, "1-1: space 1/1"),
        (r#"a,"b" ,c"#, "1-1: after 1/1"),
        (r#"a,\"b\" c,d"#, "1-1: escaped 1/1"),
        (r"a\,b\", r"1-1: a\|b\"),
    ] {
        assert_eq!(describe(text, COMMAS), [expected], "{text}");
    }
    let as_text = Dialect { has_quotes: false, ..COMMAS };
    assert_eq!(describe("a,\"b\nc\", \"d\"", as_text), ["1-1: a|\"b", "2-2: c\"| \"d\""]);
    let semicolons = Dialect { delimiter: b';', ..COMMAS };
    assert_eq!(describe("a;b,c;\"d;e\"\r\n", semicolons), ["1-1: a|b,c|d;e"]);
}

/// Not all programs quote the character that ends no line in their files.
#[test]
fn the_other_line_end_is_text() {
    for (text, expected) in [
        ("a,b\nc\rd,e\r\n\rf,g\n", &["1-1: a|b", "2-2: c\rd|e", "3-3: \rf|g"][..]),
        ("a,b\rc\nd,e\r\nf,g\n\r", &["1-1: a|b", "2-2: c\nd|e", "3-3: f|g\n"]),
        ("a,\"b\"\r\nc,\"d\"\r\r\ne,\"f\"\rg\n", &["1-1: a|b", "2-2: c|d", "3-3: after 3/1"]),
        ("a,b\r\r\nc,\r\r\nd,e\r", &["1-1: a|b", "2-2: c|", "3-3: d|e"]),
    ] {
        assert_eq!(describe(text, COMMAS), expected, "{text:?}");
    }
}

#[test]
fn a_fault_is_limited_to_its_record() {
    for (text, expected) in [
        ("a,\"b\" x, \"c\nd,e\n", &["1-1: after 1/1", "2-2: d|e"][..]),
        ("a,\"b\nc,d\ne,\"f\" g\nh,i\n", &["1-3: after 1/1", "4-4: h|i"]),
        // The line of the quote is not the first one of its record.
        ("a,\"b\nc\",\"d\ne,f\r\n\r\n", &["1-3: open 2/2"]),
        ("x,y\n\"", &["1-1: x|y", "2-2: open 2/0"]),
    ] {
        assert_eq!(describe(text, COMMAS), expected, "{text:?}");
    }
}

#[test]
fn memory_is_bounded_and_reading_continues_after_a_large_record() {
    let large = "x".repeat(MAX_LINE_BYTES);
    let commas = ",".repeat(3 * MAX_LINE_BYTES);
    let text = format!("a,\"{large}\nmore\"\nb,c\n{commas}x\nd,\"{large}\ne,f\n");
    let records = scan(text.as_bytes(), COMMAS);
    let found: Vec<_> = records.iter().map(|it| (it.line, it.last_line, it.width(), it.fault)).collect();
    let open = RecordFault::OpenQuote(QuotePlace { line: 5, cell: 1 });
    let expected = [
        (1, 2, 0, Some(RecordFault::TooLong)),
        (3, 3, 2, None),
        (4, 4, 0, Some(RecordFault::TooLong)),
        (5, 6, 0, Some(open)),
    ];
    assert_eq!(found, expected);
    assert!(records.iter().all(|record| record.text.capacity() <= 2 * MAX_LINE_BYTES));
}

#[test]
fn a_skipped_line_is_counted() {
    let text = "sep=\"\r\na,b\r\n";
    let mut scanner = RecordScanner::new(text.as_bytes(), COMMAS, LineCounter::new(LineEnds::Lf));
    scanner.skip_line().unwrap();
    let record = scanner.next_record().unwrap().unwrap();
    assert_eq!((record.line, record.width()), (2, 2));
}
