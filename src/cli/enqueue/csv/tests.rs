//! What is recognised at the beginning of a CSV file, as tables.

use clap::Parser;

use super::*;
use crate::cli::enqueue::args::EnqueueArgs;
use crate::cli::enqueue::lines::{LineCounter, LineEnds};

#[derive(Parser)]
struct CsvCommandLine {
    #[command(flatten)]
    args: EnqueueArgs,
}

/// Opens a text with these options: the records' keys or reasons, or the error.
fn open(text: impl AsRef<[u8]>, options: &[&str]) -> Result<(String, Vec<String>), String> {
    let words = ["enqueue", "-"].iter().chain(options);
    let args = CsvCommandLine::try_parse_from(words).unwrap().args;
    let plan = EnqueuePlan::new(&args).unwrap();
    let text = text.as_ref().to_vec();
    let lines = LineCounter::new(LineEnds::detect(&text, true));
    let source = CsvSource {
        reader: Box::new(io::Cursor::new(text.clone())),
        head: FileHead { text, is_whole: true, lines },
        encoding: SourceEncoding::UTF_8,
        options: CsvOptions { delimiter: args.delimiter, usual_delimiter: b',', has_quotes: !args.no_quotes },
    };
    let records = CsvRecords::open(source, &plan).map_err(|error| error.to_string())?;
    let description = records.description();
    let describe = |record: io::Result<ParsedLine>| {
        let record = record.unwrap();
        match record.course {
            Ok(keyed) => format!("{} {}", keyed.course.key, keyed.course.properties.to_json()),
            Err(refused) => format!("line {}: {}", record.span.first, refused.reason),
        }
    };
    Ok((description, records.map(describe).collect()))
}

#[test]
fn the_delimiter_is_detected() {
    let delimiters = [(',', "commas"), (';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")];
    for (delimiter, name) in delimiters {
        let text =
            "course_key|name|note\nA|x, y; z|\"1|2\"\nB|x|3,4,5\n".replace('|', &delimiter.to_string());
        // Cells that contain the delimiter are quoted.
        let text = text.replace("x, y; z", "\"x, y; z\"").replace("3,4,5", "\"3,4,5\"");
        let (description, courses) = open(&text, &[]).unwrap();
        assert!(description.contains(&format!("separated by {name} (detected")), "{description}");
        assert_eq!(courses.len(), 2);
        assert!(courses.iter().all(|course| !course.starts_with("line")), "{courses:?}");
    }
    for (text, options, name) in [
        // The named columns decide, although commas divide the rows more evenly.
        ("Nr;Titel, lang;Ort\n1;a, b;c\n2;d, e;f\n", &["--key", "Nr", "--map", "Ort=ort"][..], "semicolons"),
        ("a;course_key;b,c\n1;2;3\n", &["--set", "x=1"], "semicolons"),
        // One column only: the usual delimiter.
        ("course_key\nA\nB\n", &["--set", "x=1"], "commas"),
        ("sep=;\r\ncourse_key;n\r\n1;2\r\n", &[], "semicolons (as the line \"sep=\" states)"),
        (
            "course_key;n,m\n1;2,3\n",
            &["--delimiter", ";", "--map", "n,m=x"],
            "semicolons (as --delimiter states)",
        ),
    ] {
        let (description, courses) = open(text, options).unwrap();
        assert!(description.contains(&format!("separated by {name}")), "{text}: {description}");
        assert!(courses.iter().all(|course| !course.starts_with("line")), "{courses:?}");
    }
    assert!(open("sep=;\r\ncourse_key;n\r\n", &[]).unwrap().0.ends_with("header on line 2"));
}

#[test]
fn a_file_that_is_not_what_the_options_say_is_refused_with_one_message() {
    let preamble = "Kursliste 2026\n\nStand: 1.12.2026;;\ncourse_key;hs_course_name\nA;x\n";
    let aligned = " course_key | name\n------------+------\n A          | x\n(1 row)\n";
    let markdown = "| course_key | name |\n|------------|------|\n| A | x |\n";
    let boxed =
        "+------------+------+\n| course_key | name |\n+------------+------+\n| A          | x    |\n";
    let escaped = "course_key,n\nA,\"a \\\"b\\\" c\"\nB,\"a \\\"b\\\" c\"\nC,\"d \\\"e\\\"\"\n";
    let misfits = format!("course_key,n\n{}", "A;x\n".repeat(6));
    let latin: &[u8] = b"course_key,n\nA,Gr\xF6\xDFe\nB,\xC4rzte\nC,x\nD,f\xFCr\n";
    let table: [(&[u8], &[&str], &str); 17] = [
        (preamble.as_bytes(), &[], "the header is on line 4, after other lines; use --skip-lines 3"),
        (preamble.as_bytes(), &["--delimiter", ","], "use --skip-lines 3 and --delimiter ';'"),
        (
            b"course_key\tn\nA\tx\n",
            &["--delimiter", ";"],
            "with tabs, all columns are found: use --delimiter tab",
        ),
        (b"{\"course_key\":\"A\"}\n", &[], "looks like JSON"),
        (aligned.as_bytes(), &[], "line 2 is a drawn line"),
        (markdown.as_bytes(), &[], "line 2 is a drawn line"),
        (boxed.as_bytes(), &[], "a table drawn for reading"),
        ("┌───┬───┐\n│ a │ b │\n".as_bytes(), &[], "a table drawn for reading"),
        (b"course_key  name\n----------  ----\nA           x\n", &[], "a table drawn for reading"),
        (b"+---+---+\n| a | b |\n", &[], "a table drawn for reading"),
        (
            escaped.as_bytes(),
            &[],
            "most rows are not valid CSV; line 2: the quoted cell that begins here in column \"n\"",
        ),
        (misfits.as_bytes(), &[], "most rows do not (line 2 has 1)"),
        (latin, &[], "the file is not in UTF-8: line 2, column \"n\": byte 3 of \"Gr\\xF6\\xDFe\" is 0xF6"),
        (
            b"course_key,Gr\xF6\xDFe\nA,1\n",
            &["--map", "Größe=x"],
            "the header is not in UTF-8, so the columns are not found: byte 3 of",
        ),
        (
            b"course_key\tn\tunsent Name\nA\tx\\ty\t\nB\ty\t\\N\n",
            &[],
            "line 3 has \\N in a cell: this is the text format",
        ),
        (b"\"course_key,name\"\n\"A,x\"\n", &[], "the file was quoted twice"),
        (b"course_key,\"name\nA,x\n", &[], "the header row (line 1): the quote opened here in column"),
    ];
    for (text, options, part) in table {
        let error = open(text, options).unwrap_err();
        assert!(error.contains(part), "expected {part:?}, got {error:?}");
    }
}

#[test]
fn single_rows_are_refused_with_the_reason() {
    let text = b"course_key,hs_course_name,unsent Name\nA,\"x\nB,y,z\nC,\"y\",z\nD,x\nE,a,b,c\nF,Gr\xF6\xDFe,\nG,h,\xFF\n\
                 I,i,\n,j,\nK,k,,,\n,,,\nL,\"l\" m,\nM, \"m\",\nN,\"n\n";
    let (_, rows) = open(text, &[]).unwrap();
    let expected = [
        "line 2: the quoted cell that begins here in column \"hs_course_name\" has text after its closing quote",
        "line 5: the row has 2 cells and the header has 3; the row is incomplete",
        "line 6: the row has 4 cells and the header has 3; quote cells that contain the delimiter",
        "line 7: column \"hs_course_name\": byte 3 of \"Gr\\xF6\\xDFe\" is 0xF6, which is not UTF-8",
        "G {\"hs_course_name\":\"h\"}",
        "I {\"hs_course_name\":\"i\"}",
        "line 10: the key column \"course_key\" is empty",
        "K {\"hs_course_name\":\"k\"}",
        "line 13: the quoted cell that begins here in column \"hs_course_name\" has text after its closing quote",
        "line 14: column \"hs_course_name\" has a space before its opening quote",
        "line 15: the quote opened here in column \"hs_course_name\" is never closed",
    ];
    for (row, start) in rows.iter().zip(expected) {
        assert!(row.starts_with(start), "expected {start:?}, got {row:?}");
    }
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn nulls_and_escapes_of_other_formats_cause_a_warning() {
    for (cell, delimiter, part) in [
        ("NULL", b',', Some("the word NULL")),
        (r"a\tb", b'\t', Some("a backslash sequence")),
        (r"a\\b", b'\t', Some("a backslash sequence")),
        (r"a\tb", b',', None),
        (r"a\b", b'\t', None),
        ("NULLs", b',', None),
    ] {
        let warning = sample::suspicious_text(cell.as_bytes(), delimiter, "n");
        assert_eq!(warning.is_some(), part.is_some(), "{cell}");
        assert!(warning.is_none_or(|warning| warning.contains(part.unwrap())), "{cell}");
    }
}

#[test]
fn rows_inside_of_a_cell_cause_a_warning() {
    for (text, is_suspicious) in [
        ("course_key,a,b\n1,\"x,y\n2,x,y\n3,x,y\n4,z\",z\n", true),
        ("course_key,a\n1,\"x\n2,y\n3,z\"\n", true),
        ("course_key,a,b\n1,\"x\ny\",z\n", false),
        ("course_key,a,b\n1,z,\"first, second\nthird\"\n", false),
    ] {
        let dialect = scanner::Dialect { delimiter: b',', has_quotes: true };
        let mut scanner = RecordScanner::new(text.as_bytes(), dialect, LineCounter::new(LineEnds::Lf));
        let names = head::header_names(&scanner.next_record().unwrap().unwrap());
        let record = scanner.next_record().unwrap().unwrap();
        assert_eq!(
            sample::suspicious_cell(&record, b',', LineEnds::Lf, &names).is_some(),
            is_suspicious,
            "{text}"
        );
    }
}
