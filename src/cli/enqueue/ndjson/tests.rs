//! What is recognised at the beginning of a JSON file, as tables.

use clap::Parser;

use super::*;
use crate::cli::enqueue::args::EnqueueArgs;
use crate::cli::enqueue::lines::LineEnds;

#[derive(Parser)]
struct NdjsonCommandLine {
    #[command(flatten)]
    args: EnqueueArgs,
}

/// Opens a text with these options: the lines' keys or reasons, and the members that no line has; or the error.
fn open(text: impl AsRef<[u8]>, options: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
    open_part(text.as_ref(), usize::MAX, options)
}

/// As `open`, with a head of so many bytes.
fn open_part(text: &[u8], head: usize, options: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
    let words = ["enqueue", "-"].iter().chain(options);
    let args = NdjsonCommandLine::try_parse_from(words).unwrap().args;
    let plan = EnqueuePlan::new(&args).unwrap();
    let start = text[..head.min(text.len())].to_vec();
    let lines = LineCounter::new(LineEnds::detect(text, true));
    let head = FileHead { is_whole: start.len() == text.len(), text: start, lines };
    let reader = Box::new(io::BufReader::with_capacity(5, io::Cursor::new(text.to_vec())));
    let mut records = NdjsonRecords::open(reader, &head, SourceEncoding::UTF_8, &plan)
        .map_err(|error| error.to_string())?;
    let describe = |record: io::Result<ParsedLine>| {
        let record = record.unwrap();
        match record.course {
            Ok(keyed) => format!("{}: {}", record.span.first, keyed.course.key),
            Err(refused) => format!("{}: {}", record.span.first, refused.reason),
        }
    };
    let found = records.by_ref().map(describe).collect();
    Ok((found, records.missing_members()))
}

#[test]
fn lines_are_counted_with_every_line_end() {
    for end in ["\n", "\r\n", "\r", "\r\r\n"] {
        let text = [r#"{"course_key":1}"#, "", " ", r#"{"course_key":2}"#, "x"].join(end);
        let (found, _) = open(text, &[]).unwrap();
        assert_eq!(found, ["1: 1", "4: 2", "5: not JSON: expected value at column 1"], "{end:?}");
    }
}

#[test]
fn json_that_is_not_one_object_per_line_is_one_error() {
    let table: [(&str, &[&str], &str); 12] = [
        ("[{\"course_key\":1}]", &[], "`jq -c '.[]' FILE`"),
        ("[\n  {\n    \"course_key\": 1\n  }\n]\n", &[], "`jq -c '.[]' FILE`"),
        ("{\n  \"course_key\": 1\n}\n{\n  \"course_key\": 2\n}\n", &[], "`jq -c . FILE`"),
        ("{\"course_key\": 1,\n \"n\": 2}\n", &[], "`jq -c . FILE`"),
        ("{\n  \"courses\": [\n{\"course_key\": 1}\n]\n}\n", &[], "`jq -c '.[\"courses\"][]' FILE`"),
        ("{\"courses\":[{\"course_key\":1}]}\n", &[], "`jq -c '.[\"courses\"][]' FILE`"),
        ("course_key,n\nA,x\n", &[], "if it is CSV, use --format csv"),
        ("{\"id\":1}\n{\"id\":2}\n", &["--key", "ID"], "no member \"ID\" for --key; did you mean \"id\"?"),
        ("{\"id\":1,\"title\":2}\n", &["--key", "id", "--map", "titel=x"], "did you mean \"title\"?"),
        ("{\"zzz\":1}\n", &[], "no member \"course_key\" for the key (see --key); the members are \"zzz\""),
        ("{\"course_key\":1,\"a\":2}\n", &["--map", "zzz=x"], "no member \"zzz\" for --map; the members are"),
        (
            "{\"course_key\":1,\"properties\":{}}\n",
            &["--map", "a=x"],
            "--key and --map apply only to lines without",
        ),
    ];
    for (text, options, part) in table {
        let error = open(text, options).unwrap_err();
        assert!(error.contains(part), "expected {part:?}, got {error:?}");
    }
}

#[test]
fn a_rare_member_is_accepted_and_one_that_never_occurs_is_reported() {
    let lines = |member: &str| {
        let common = "{\"id\":1,\"title\":\"a\"}\n".repeat(50);
        format!("{common}{{\"id\":2,\"{member}\":\"b\"}}\n")
    };
    let options = ["--key", "id", "--map", "title=hs_course_name", "--map", "promo=promo"];
    let (found, missing) = open_part(lines("promo").as_bytes(), 200, &options).unwrap();
    assert_eq!((found.len(), missing.len()), (51, 0));
    let (_, missing) = open_part(lines("other").as_bytes(), 200, &options).unwrap();
    assert_eq!(missing, ["promo"]);
    let options = ["--key", "id", "--map", "titel=hs_course_name"];
    let error = open_part(lines("promo").as_bytes(), 200, &options).unwrap_err();
    assert!(error.contains("did you mean \"title\"?"), "{error}");
}

#[test]
fn a_line_that_is_cut_off_is_refused_and_the_others_are_read() {
    let text = "{\"course_key\":1,\"n\":\n{\"course_key\":2}\n{\"course_key\":3}\n";
    let (found, _) = open(text, &[]).unwrap();
    assert_eq!(found[0], "1: not JSON: EOF while parsing a value at column 20");
    assert_eq!(found[1..], ["2: 2", "3: 3"]);
}

#[test]
fn bytes_that_are_not_utf8_matter_only_in_what_is_sent() {
    let text = b"{\"id\":1,\"t\":\"x\",\"note\":\"\xE9\"}\n{\"id\":2,\"t\":\"\xE9\"}\n{\"id\":3,\"t\":\"\xEF\xBF\xBD\"}\n";
    let (found, _) = open(text, &["--key", "id", "--map", "t=x"]).unwrap();
    assert_eq!((found[0].as_str(), found[2].as_str()), ("1: 1", "3: 3"));
    assert!(found[1].contains("0xE9, which is not UTF-8"), "{}", found[1]);
    let many = b"{\"course_key\":1,\"n\":\"\xE9\"}\n".repeat(3);
    let error = open(many, &[]).unwrap_err();
    assert!(
        error.contains("the file is not in UTF-8: line 1: byte 22 of") && error.contains("--encoding"),
        "{error}"
    );
}
