//! Files as programs write them: spreadsheets, databases, course systems. Each is read exactly, or refused with one
//! message that states what to do.

use std::fmt::Write as _;

use super::*;

/// A file, the options it needs, and what comes of it.
struct ExportedFile {
    /// The program that writes such files.
    program: &'static str,
    suffix: &'static str,
    content: Vec<u8>,
    options: &'static [&'static str],
    outcome: Outcome,
}

/// What comes of a file.
enum Outcome {
    /// These rows, and refusals at these lines.
    Rows(&'static [&'static str], &'static [u64]),
    /// A usage error that contains this text.
    Refused(&'static str),
}

use Outcome::{Refused, Rows};

fn export(
    program: &'static str,
    suffix: &'static str,
    content: impl AsRef<[u8]>,
    options: &'static [&'static str],
    outcome: Outcome,
) -> ExportedFile {
    ExportedFile { program, suffix, content: content.as_ref().to_vec(), options, outcome }
}

fn utf16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

const GERMAN: &[&str] = &["--key", "Nr", "--map", "Kurs=hs_course_name"];
const GERMAN_ROWS: &[&str] = &[
    r#"M-1 {"hs_course_name": "Größenlehre für Ärzte; Teil 1"}"#,
    r#"M-2 {"hs_course_name": "Zahlen \"und\" Zeichen"}"#,
];

fn spreadsheets() -> Vec<ExportedFile> {
    let german = "Nr;Kurs;Ort\r\nM-1;\"Größenlehre für Ärzte; Teil 1\";Köln\r\nM-2;\"Zahlen \"\"und\"\" Zeichen\";\r\n";
    let windows = encode(german, "ö\u{F6} ß\u{DF} ü\u{FC} Ä\u{C4}");
    let mac = encode(&german.replace("\r\n", "\r"), "ö\u{9A} ß\u{A7} ü\u{9F} Ä\u{80}");
    let with_encoding: &[&str] =
        &["--key", "Nr", "--map", "Kurs=hs_course_name", "--encoding", "windows-1252"];
    let with_mac: &[&str] = &["--key", "Nr", "--map", "Kurs=hs_course_name", "--encoding", "macintosh"];
    let with_utf16: &[&str] = &["--key", "Nr", "--map", "Kurs=hs_course_name", "--encoding", "utf-16"];
    let mut enough = windows.clone();
    enough.extend(encode("M-3;Küche;\r\nM-4;Öl;\r\nM-5;Ätzen;\r\n", "ü\u{FC} Ö\u{D6} Ä\u{C4}"));
    let english =
        "Course ID,Course Name,Notes\r\nA-1,\"Baking, basics\",\"two\r\nlines\"\r\nA-2,Café,\r\n,,\r\n,,\r\n";
    let preamble = format!("Kursliste;;\r\nStand: 1.12.2026;;\r\n;;\r\n{german}");
    vec![
        export("Excel (de), CSV UTF-8", ".csv", format!("\u{feff}{german}"), GERMAN, Rows(GERMAN_ROWS, &[])),
        export("Excel (de), CSV, with the encoding", ".csv", windows, with_encoding, Rows(GERMAN_ROWS, &[])),
        export(
            "Excel (de), CSV",
            ".csv",
            enough,
            GERMAN,
            Refused("the file is not in UTF-8: line 2, column \"Kurs\""),
        ),
        export("Excel for Mac, CSV (Macintosh)", ".csv", mac, with_mac, Rows(GERMAN_ROWS, &[])),
        export("Excel (de), with sep=", ".csv", format!("sep=;\r\n{german}"), GERMAN, Rows(GERMAN_ROWS, &[])),
        export(
            "Excel (de), lines above the header",
            ".csv",
            &preamble,
            GERMAN,
            Refused("use --skip-lines 3"),
        ),
        export(
            "Excel (de), lines above the header skipped",
            ".csv",
            &preamble,
            &["--key", "Nr", "--map", "Kurs=hs_course_name", "--skip-lines", "3"],
            Rows(GERMAN_ROWS, &[]),
        ),
        export(
            "Excel, Unicode text",
            ".txt",
            utf16(&german.replace("; Teil", "&").replace(';', "\t").replace('&', "; Teil")),
            with_utf16,
            Rows(GERMAN_ROWS, &[]),
        ),
        export(
            "Excel, Unicode text, without the option",
            ".txt",
            utf16(german),
            GERMAN,
            Refused("add --encoding utf-16"),
        ),
        export(
            "Excel (en), empty rows at the end",
            ".csv",
            format!("\u{feff}{english}"),
            &["--key", "Course ID", "--map", "Course Name=hs_course_name", "--map", "Notes=notes"],
            Rows(
                &[
                    r#"A-1 {"notes": "two\r\nlines", "hs_course_name": "Baking, basics"}"#,
                    r#"A-2 {"hs_course_name": "Café"}"#,
                ],
                &[],
            ),
        ),
        export(
            "LibreOffice, all text cells quoted",
            ".csv",
            "\"Nr\",\"Kurs, lang\",\"Plätze\"\n\"0012\",\"Öl, Essig\",20\n\"0013\",\"\"\"Mehl\"\"\",1.5\n",
            &["--key", "Nr", "--map", "Kurs, lang=hs_course_name", "--map", "Plätze=seats"],
            Rows(
                &[
                    r#"0012 {"seats": "20", "hs_course_name": "Öl, Essig"}"#,
                    r#"0013 {"seats": "1.5", "hs_course_name": "\"Mehl\""}"#,
                ],
                &[],
            ),
        ),
        export(
            "Google Sheets, a key of columns with commas",
            ".csv",
            "\"Subject, area\",Number,Title\r\nMATH,101,\"Line one\nline two\"\r\n",
            &["--key", "Subject, area,Number", "--map", "Title=hs_course_name"],
            Rows(&[r#"MATH-101 {"hs_course_name": "Line one\nline two"}"#], &[]),
        ),
    ]
}

fn workbooks() -> Vec<ExportedFile> {
    vec![
        export(
            "Excel workbook",
            ".csv",
            b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml",
            GERMAN,
            Refused("an Excel workbook (.xlsx)"),
        ),
        export(
            "Excel workbook of 2003",
            ".xls",
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0",
            GERMAN,
            Refused("an Excel workbook (.xls)"),
        ),
        export(
            "LibreOffice spreadsheet",
            ".ods",
            b"PK\x03\x04\x14\0\0\x08\0\0mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK",
            GERMAN,
            Refused("a LibreOffice spreadsheet"),
        ),
        export(
            "Excel export in HTML",
            ".xls",
            "<html xmlns:x=\"urn:schemas-microsoft-com:office:excel\"><table>",
            GERMAN,
            Refused("HTML or XML"),
        ),
    ]
}

/// Encodes single characters as a table states, such as `ö` and its byte as a character; the others are ASCII.
fn encode(text: &str, table: &str) -> Vec<u8> {
    let pairs: Vec<(char, u8)> = table
        .split(' ')
        .map(|pair| {
            let mut chars = pair.chars();
            (chars.next().unwrap(), u8::try_from(u32::from(chars.next().unwrap())).unwrap())
        })
        .collect();
    text.chars()
        .map(|c| match pairs.iter().find(|(it, _)| *it == c) {
            Some((_, byte)) => *byte,
            None => u8::try_from(u32::from(c)).unwrap(),
        })
        .collect()
}

fn databases() -> Vec<ExportedFile> {
    let by_id: &[&str] = &["--key", "id", "--map", "name=hs_course_name"];
    let mut outfile = String::from("\"id\",\"name\"\n");
    for at in 1..=4 {
        writeln!(outfile, "\"{at}\",\"Art \\\"Deco\\\" basics\"").unwrap();
    }
    vec![
        export(
            "psql, \\copy with csv, header",
            ".csv",
            "id,name,note\n1,\"Art \"\"Deco\"\"\",\n2,\"\",\"\"\n3,x,\"a\nb\"\n",
            by_id,
            Rows(&[r#"1 {"hs_course_name": "Art \"Deco\""}"#, "2 {}", r#"3 {"hs_course_name": "x"}"#], &[]),
        ),
        export(
            "psql, \\copy in text format",
            ".txt",
            "id\tname\tnote\n1\tAlgebra\t\\N\n2\t\\N\tx\n",
            by_id,
            Refused("line 2 has \\N in a cell: this is the text format of PostgreSQL and MySQL"),
        ),
        export(
            "psql, aligned",
            ".txt",
            " id |  name   \n----+---------\n  1 | Algebra\n(1 row)\n",
            by_id,
            Refused("a table drawn for reading"),
        ),
        export(
            "MySQL, into outfile, escaped quotes",
            ".csv",
            outfile,
            by_id,
            Refused("has a quote after a backslash"),
        ),
        export(
            "MySQL, into outfile, one escaped quote",
            ".csv",
            "\"id\",\"name\"\n\"1\",\"Algebra\"\n\"2\",\"Art \\\"Deco\\\" basics\"\n\"3\",\"Biology\"\n",
            by_id,
            Rows(&[r#"1 {"hs_course_name": "Algebra"}"#, r#"3 {"hs_course_name": "Biology"}"#], &[3]),
        ),
        export(
            "mysql --batch, quotes are text",
            ".tsv",
            "id\tname\n1\t\"Deco\" and more\n2\tdisk 3.5\"\n3\t\"open\n",
            &["--key", "id", "--map", "name=hs_course_name", "--no-quotes"],
            Rows(
                &[
                    r#"1 {"hs_course_name": "\"Deco\" and more"}"#,
                    r#"2 {"hs_course_name": "disk 3.5\""}"#,
                    r#"3 {"hs_course_name": "\"open"}"#,
                ],
                &[],
            ),
        ),
        export(
            "sqlcmd",
            ".csv",
            "\u{feff}id;name\r\n--;----\r\n1;Algebra\r\n",
            by_id,
            Refused("line 2 is a drawn line"),
        ),
        export(
            "Oracle SQL Developer",
            ".csv",
            "\"ID\",\"NAME\",\"STARTS\"\r\n\"1\",\"Algebra\",01-DEC-26\r\n",
            &["--key", "ID", "--map", "NAME=hs_course_name"],
            Rows(&[r#"1 {"hs_course_name": "Algebra"}"#], &[]),
        ),
        export(
            "pandas, with its index",
            ".csv",
            ",id,name,seats\n0,A,\"x, y\",20.0\n1,B,z,\n",
            &["--key", "id", "--map", "name=hs_course_name", "--map", "seats=seats"],
            Rows(&[r#"A {"seats": "20.0", "hs_course_name": "x, y"}"#, r#"B {"hs_course_name": "z"}"#], &[]),
        ),
        export("MongoDB, an array", ".json", "[{\"id\":1,\n\"name\":\"x\"}]", by_id, Refused("jq -c '.[]'")),
        export(
            "a REST API, pretty-printed",
            ".json",
            "{\n  \"results\": [\n    {\"id\": 1}\n  ]\n}\n",
            by_id,
            Refused("jq -c '.[\"results\"][]'"),
        ),
        export("pg_dump", ".dump", b"PGDMP\x01\x0e\0", by_id, Refused("a dump of pg_dump")),
        export("gzip", ".csv.gz", b"\x1F\x8B\x08\0\0\0\0\0", by_id, Refused("gunzip")),
    ]
}

fn course_systems() -> Vec<ExportedFile> {
    let sap = utf16(
        "01.12.2026\tListe\t\r\n\r\n\tObjekt-ID\tBezeichnung\r\n\t50001\tSicherheit\r\n\r\n\t50002\tÖl\r\n",
    );
    let japanese: &[u8] =
        b"\x89\xC8\x96\xDA,\x96\xBC\x8F\xCC\r\nJ1,\x93\xFA\x96\x7B\x8C\xEA\x95\x5C\x8C\xBB\r\n";
    vec![
        export(
            "Moodle",
            ".csv",
            "shortname;fullname;summary\nBIO1;Biology I;\"<p>Cells; \"\"life\"\"</p>\n\"\nBIO2;Biology II;\n",
            &["--key", "shortname", "--map", "fullname=hs_course_name", "--map", "summary=summary"],
            Rows(
                &[
                    r#"BIO1 {"summary": "<p>Cells; \"life\"</p>\n", "hs_course_name": "Biology I"}"#,
                    r#"BIO2 {"hs_course_name": "Biology II"}"#,
                ],
                &[],
            ),
        ),
        export(
            "SAP list in a spreadsheet format",
            ".xls",
            &sap,
            &["--key", "Objekt-ID", "--map", "Bezeichnung=hs_course_name", "--encoding", "utf-16"],
            Refused("use --skip-lines 2"),
        ),
        export(
            "SAP list in a spreadsheet format, lines skipped",
            ".xls",
            &sap,
            &[
                "--key",
                "Objekt-ID",
                "--map",
                "Bezeichnung=hs_course_name",
                "--encoding",
                "utf-16",
                "--skip-lines",
                "2",
            ],
            Rows(&[r#"50001 {"hs_course_name": "Sicherheit"}"#, r#"50002 {"hs_course_name": "Öl"}"#], &[]),
        ),
        export(
            "Excel (ja), CSV in Shift-JIS",
            ".csv",
            japanese,
            &["--key", "科目", "--map", "名称=hs_course_name", "--encoding", "shift_jis"],
            Rows(&[r#"J1 {"hs_course_name": "日本語表現"}"#], &[]),
        ),
        export(
            "Excel (ja), without the option",
            ".csv",
            japanese,
            &["--key", "科目", "--map", "名称=hs_course_name"],
            Refused("0x89, which is not UTF-8; state the encoding of the file with --encoding"),
        ),
        export(
            "a mainframe, vertical bars, separators at the end",
            ".dat",
            "ID|TITLE|\r\n1|Algebra|\r\n2|a \"quoted\" word|\r\n",
            &["--key", "ID", "--map", "TITLE=hs_course_name"],
            Rows(
                &[r#"1 {"hs_course_name": "Algebra"}"#, r#"2 {"hs_course_name": "a \"quoted\" word"}"#],
                &[],
            ),
        ),
        export(
            "a download that failed",
            ".csv",
            "<!DOCTYPE html><title>Sign in</title>",
            &[],
            Refused("such as a login page"),
        ),
    ]
}

#[tokio::test]
async fn files_of_spreadsheets_databases_and_course_systems_are_read_exactly_or_refused_at_once() {
    let exported: Vec<_> =
        [spreadsheets(), workbooks(), databases(), course_systems()].into_iter().flatten().collect();
    assert!(exported.len() >= 20);
    let database = database().await;
    for ExportedFile { program, suffix, content, options, outcome } in exported {
        sqlx::query("delete from course_outbox").execute(database.pool()).await.unwrap();
        let file = file(suffix, content);
        let result = enqueue_file(args(&file, options), Some(database.pool().into())).await;
        match (outcome, result) {
            (Rows(expected, lines), Ok((report, None))) => {
                assert_eq!(rows(database.pool()).await, expected, "{program}: {report:?}");
                let refused: Vec<_> = report.refusals.iter().map(|refusal| refusal.line).collect();
                assert_eq!(refused, lines, "{program}: {report:?}");
            }
            (Refused(part), Err(error)) => {
                assert!(error.is::<UsageError>(), "{program}: {error:?}");
                assert!(error.to_string().contains(part), "{program}: {error}");
                assert!(rows(database.pool()).await.is_empty(), "{program}");
            }
            (_, result) => panic!("{program}: {result:?}"),
        }
    }
}
