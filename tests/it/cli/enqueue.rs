//! `course-sync enqueue`: the rows that each kind of file adds, and the report on the other lines.

mod files;
mod program;

use std::io::Write;

use clap::Parser;
use course_sync::cli::UsageError;
use course_sync::cli::enqueue::{EnqueueArgs, EnqueueReport, enqueue_file};
use sqlx::PgPool;
use tempfile::NamedTempFile;

use crate::support::postgres::{TestDatabase, database};

#[derive(Parser)]
struct EnqueueCommandLine {
    #[command(flatten)]
    args: EnqueueArgs,
}

fn file(suffix: &str, content: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    file.write_all(content.as_ref()).unwrap();
    file
}

fn args(file: &NamedTempFile, options: &[&str]) -> EnqueueArgs {
    let path = file.path().to_str().unwrap();
    EnqueueCommandLine::try_parse_from(["enqueue", path].iter().chain(options)).unwrap().args
}

async fn enqueue(pool: &PgPool, file: &NamedTempFile, options: &[&str]) -> EnqueueReport {
    let (report, failure) = enqueue_file(args(file, options), Some(pool.into())).await.unwrap();
    assert!(failure.is_none(), "{failure:?}");
    report
}

/// The message of a usage error; nothing may be in the outbox then.
async fn usage_error(database: &TestDatabase, file: &NamedTempFile, options: &[&str]) -> String {
    let error = enqueue_file(args(file, options), Some(database.pool().into())).await.unwrap_err();
    assert!(error.is::<UsageError>(), "{error:?}");
    assert!(rows(database.pool()).await.is_empty());
    error.to_string()
}

/// `key properties` of each row, in order of arrival.
async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select course_key || ' ' || properties from course_outbox order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn counts(report: &EnqueueReport) -> (u64, Option<u64>, u64, u64) {
    (report.added, report.already_there, report.repeated, report.refused)
}

#[tokio::test]
async fn csv_columns_become_a_key_and_properties() {
    let database = database().await;
    let file = file(
        ".csv",
        "\u{feff}Subject,Number,Name,Hours\r\nAAS,201,\"US Racial &amp; Ethnic, Politics\",3\r\n\
         AAS,201,\"US Racial &amp; Ethnic, Politics\",3\r\nABE,199,\"two\nlines\",  \r\nAAS,201,a second section,\r\n",
    );
    let options = [
        "--key",
        "Subject,Number",
        "--map",
        "Name=name",
        "--map",
        "Hours=hours",
        "--set",
        "term=su",
        "--decode-entities",
    ];

    let report = enqueue(database.pool(), &file, &options).await;
    assert_eq!(counts(&report), (2, Some(0), 1, 1));
    let refused = &report.refusals[0];
    assert_eq!((refused.line, refused.key.as_deref()), (6, Some("AAS-201")));
    assert!(refused.reason.starts_with("the key is already on line 2, with other values"), "{refused:?}");
    let expected = [
        r#"AAS-201 {"name": "US Racial & Ethnic, Politics", "term": "su", "hours": "3"}"#,
        r#"ABE-199 {"name": "two\nlines", "term": "su"}"#,
    ];
    assert_eq!(rows(database.pool()).await, expected);

    let again = enqueue(database.pool(), &file, &options).await;
    assert_eq!(counts(&again), (0, Some(2), 1, 1));
    assert_eq!(rows(database.pool()).await, expected);
}

#[tokio::test]
async fn other_delimiters_are_read() {
    let database = database().await;
    enqueue(database.pool(), &file(".tsv", "course_key\tname\nA\tx, y\n"), &[]).await;
    enqueue(database.pool(), &file("", "course_key;name\nB;z\n"), &["--delimiter", ";"]).await;
    assert_eq!(rows(database.pool()).await, [r#"A {"name": "x, y"}"#, r#"B {"name": "z"}"#]);
}

#[tokio::test]
async fn both_forms_of_ndjson_are_accepted() {
    let database = database().await;
    let link = r#"[{"to":{"id":"9"},"types":[{"associationCategory":"WORK","associationTypeId":1}]}]"#;
    let file = file(
        "",
        format!(
            "{{\"course_key\":\"A\",\"properties\":{{\"n\":19.90,\"z\":null}},\"associations\":{link}}}\n\n\
             {{\"course_key\":7,\"name\":\"x\",\"open\":true}}"
        ),
    );
    let report = enqueue(database.pool(), &file, &[]).await;
    assert_eq!(counts(&report), (2, Some(0), 0, 0));
    assert_eq!(
        rows(database.pool()).await,
        [r#"A {"n": 19.90, "z": null}"#, r#"7 {"name": "x", "open": true}"#]
    );
    let linked: i64 = sqlx::query_scalar("select count(*) from course_outbox where associations <> '[]'")
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!(linked, 1);
}

/// `key revision archived associations properties` of each row.
async fn revisions(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', course_key, revision, archived, jsonb_array_length(associations), properties)
           from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn update_changes_what_differs_and_keeps_what_is_not_given() {
    let database = database().await;
    let link = r#"[{"to":{"id":"9"},"types":[{"associationCategory":"WORK","associationTypeId":1}]}]"#;
    let first = file(
        ".ndjson",
        format!(
            "{{\"course_key\":\"A\",\"properties\":{{\"n\":1}},\"associations\":{link}}}\n\
             {{\"course_key\":\"B\",\"properties\":{{\"n\":1}},\"archived\":true}}\n\
             {{\"course_key\":\"C\",\"properties\":{{\"n\":1.0}}}}\n\
             {{\"course_key\":\"E\",\"properties\":{{}},\"archived\":\"yes\"}}"
        ),
    );
    let report = enqueue(database.pool(), &first, &["--update"]).await;
    assert_eq!((counts(&report), report.updated), ((3, Some(0), 0, 1), 0));
    assert!(report.refusals[0].reason.contains("neither true nor false"), "{:?}", report.refusals);
    let before = ["A 1 f 1 {\"n\": 1}", "B 1 t 0 {\"n\": 1}", "C 1 f 0 {\"n\": 1.0}"];
    assert_eq!(revisions(database.pool()).await, before);

    let second = file(
        ".ndjson",
        "{\"course_key\":\"A\",\"n\":2}\n{\"course_key\":\"B\",\"properties\":{\"n\":1},\"archived\":false}\n\
         {\"course_key\":\"C\",\"n\":1}\n{\"course_key\":\"D\",\"n\":1}\n{\"course_key\":\"D\",\"n\":2}",
    );
    let kept = enqueue(database.pool(), &second, &[]).await;
    assert_eq!((counts(&kept), kept.updated), ((1, Some(3), 0, 1), 0));
    assert_eq!(revisions(database.pool()).await[..3], before);
    let report = enqueue(database.pool(), &second, &["--update"]).await;
    // C: the same number, in other words.
    assert_eq!((counts(&report), report.updated), ((0, Some(2), 0, 1), 2));
    let after = ["A 2 f 1 {\"n\": 2}", "B 2 f 0 {\"n\": 1}", "C 1 f 0 {\"n\": 1.0}", "D 1 f 0 {\"n\": 1}"];
    assert_eq!(revisions(database.pool()).await, after);
    let again = enqueue(database.pool(), &second, &["--update"]).await;
    assert_eq!((counts(&again), again.updated), ((0, Some(4), 0, 1), 0));
    assert_eq!(revisions(database.pool()).await, after);
}

#[tokio::test]
async fn a_late_change_of_associations_is_refused_and_the_others_are_changed() {
    let database = database().await;
    let content = |value: u32, associations: &str| {
        let line = |at: u32| {
            let link = if at == 7 { associations } else { "[]" };
            format!(r#"{{"course_key":"K{at}","properties":{{"n":{value}}},"associations":{link}}}"#)
        };
        (0..20).map(line).collect::<Vec<_>>().join("\n")
    };
    enqueue(database.pool(), &file(".ndjson", content(1, "[]")), &[]).await;
    sqlx::query(
        "update course_outbox set status = 'synced', hubspot_id = id, synced_at = now(), synced_revision = 1",
    )
    .execute(database.pool())
    .await
    .unwrap();
    let link = r#"[{"to":{"id":"9"},"types":[{"associationCategory":"WORK","associationTypeId":1}]}]"#;
    let report = enqueue(database.pool(), &file(".ndjson", content(2, link)), &["--update"]).await;
    assert_eq!((counts(&report), report.updated), ((0, Some(0), 0, 1), 19));
    assert_eq!((report.refusals[0].line, report.refusals[0].key.as_deref()), (8, Some("K7")));
    assert!(report.refusals[0].reason.contains("associations cannot be changed"), "{:?}", report.refusals);
    let pending: i64 = sqlx::query_scalar("select count(*) from course_outbox where status = 'pending'")
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!(pending, 19);
}

#[tokio::test]
async fn ndjson_members_are_mapped_like_columns() {
    let database = database().await;
    let file = file(".ndjson", r#"{"subject":"AAS","number":201,"title":"T","other":[1]}"#);
    enqueue(
        database.pool(),
        &file,
        &["--key", "subject,number", "--key-separator", "/", "--map", "title=name"],
    )
    .await;
    assert_eq!(rows(database.pool()).await, [r#"AAS/201 {"name": "T"}"#]);
}

#[tokio::test]
async fn invalid_lines_are_reported_and_valid_ones_are_added() {
    let database = database().await;
    let long_key = "k".repeat(256);
    let long_line = format!(r#"{{"course_key":"L","n":"{}"}}"#, "x".repeat(1024 * 1024));
    let deep = format!(r#"{{"course_key":"D","n":{}}}"#, "[".repeat(500));
    let bad: [(&[u8], &str); 14] = [
        (b"{not json", "not JSON: key must be a string at column 2"),
        (b"[1]", "not a JSON object"),
        (br#"{"name":"x"}"#, "the key member \"course_key\" is missing (see --key)"),
        (br#"{"course_key":null}"#, "neither a string nor a number"),
        (br#"{"course_key":" "}"#, "is empty"),
        (long_line.as_bytes(), "longer than 1048576 bytes"),
        (deep.as_bytes(), "not JSON: recursion limit exceeded"),
        (
            b"{\"course_key\":\"U\",\"n\":\"\xE9\"}",
            "0xE9, which is not UTF-8; state the encoding of the file with --encoding",
        ),
        (br#"{"course_key":"N","n":"a\u0000b"}"#, "NUL character"),
        (br#"{"course_key":"O","n":{"a":1}}"#, "\"n\" holds a nested value"),
        (br#"{"course_key":"S","properties":{},"associations":[{}]}"#, "not in HubSpot's shape"),
        (br#"{"course_key":"B","properties":{},"association":[]}"#, "unknown member \"association\""),
        (br#"{"course_key":"E","":"x"}"#, "a property has an empty name"),
        // What only the database finds: no numeric of Postgres is that large.
        (br#"{"course_key":"X","n":1e999999}"#, "value overflows numeric format"),
    ];
    let mut content = br#"{"course_key":"first","n":"1"}"#.to_vec();
    for (line, _) in bad {
        content.extend([b"\n", line].concat());
    }
    content.extend(format!("\n{{\"course_key\":\"{long_key}\"}}\n{{\"course_key\":\"last\"}}").bytes());

    let report = enqueue(database.pool(), &file(".jsonl", content), &[]).await;
    assert_eq!(counts(&report), (2, Some(0), 0, 15));
    assert_eq!(rows(database.pool()).await, [r#"first {"n": "1"}"#, "last {}"]);
    for (at, (refusal, (_, reason))) in report.refusals.iter().zip(bad).enumerate() {
        assert_eq!(refusal.line, at as u64 + 2, "{reason}");
        assert!(refusal.reason.contains(reason), "expected {reason:?}, got {refusal:?}");
    }
    assert_eq!(report.refusals[13].key.as_deref(), Some("X"));
    assert!(report.refusals[14].reason.contains("256 characters"), "{:?}", report.refusals[14]);
}

#[tokio::test]
async fn invalid_csv_records_are_reported_with_their_first_line() {
    let database = database().await;
    let content = b"course_key,name\nA,\"two\nlines\"\nB,a,b\n,x\nC,\xE9t\xE9\nD,n\0l\nE,fine\n";
    let report = enqueue(database.pool(), &file(".csv", content), &[]).await;
    assert_eq!(counts(&report), (2, Some(0), 0, 4));
    let refused: Vec<_> =
        report.refusals.iter().map(|refusal| (refusal.line, refusal.reason.as_str())).collect();
    let expected = [
        (4, "the row has 3 cells and the header has 2"),
        (5, "the key column \"course_key\" is empty"),
        (6, "column \"name\": byte 1 of \"\\xE9t\\xE9\" is 0xE9, which is not UTF-8"),
        (7, "NUL character"),
    ];
    for ((line, reason), (expected_line, part)) in refused.into_iter().zip(expected) {
        assert_eq!(line, expected_line, "{reason}");
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn an_open_quote_is_refused_with_all_lines_that_it_spans() {
    let database = database().await;
    let text = "course_key,hs_course_name\na,Algebra\nb,\"Biology\nc,Chemistry\n";
    // In a column that is not sent, too.
    let unsent = "course_key,Note,hs_course_name\na,,Algebra\nb,\"x,Biology\nc,,Chemistry\n";
    let rest = "B,more\n".repeat(300_000);
    let large = format!("course_key,hs_course_name\na,Algebra\nq,\"open\n{rest}");
    for (text, last) in [(text, 4), (unsent, 4), (large.as_str(), 300_003)] {
        for (suffix, text) in [(".csv", text.to_owned()), (".tsv", text.replace(',', "\t"))] {
            let report = enqueue(database.pool(), &file(suffix, text), &["--update"]).await;
            assert_eq!(report.added + report.already_there.unwrap() + report.updated, 1, "{report:?}");
            assert_eq!((report.refused, report.refusals[0].line), (1, 3));
            let reason = &report.refusals[0].reason;
            assert!(reason.starts_with("the quote opened here in column"), "{reason}");
            assert!(reason.contains("is never closed"), "{reason}");
            assert!(reason.ends_with(&format!("(the record spans lines 3 to {last})")), "{reason}");
        }
    }
    let report = enqueue(database.pool(), &file(".csv", text), &["--no-quotes"]).await;
    assert_eq!(counts(&report), (2, Some(1), 0, 0));
    let rows = rows(database.pool()).await;
    assert_eq!(rows[1..], [r#"b {"hs_course_name": "\"Biology"}"#, r#"c {"hs_course_name": "Chemistry"}"#]);
}

#[tokio::test]
async fn lines_are_numbered_as_an_editor_does() {
    let database = database().await;
    for end in ["\n", "\r\n", "\r", "\r\r\n"] {
        let lines = ["course_key,name", "", "A,\"two", "lines\"", "", "", ",nameless", "B,x,y", "C,\"z"];
        let report = enqueue(database.pool(), &file(".csv", lines.join(end)), &[]).await;
        let places: Vec<_> = report.refusals.iter().map(|refusal| refusal.line).collect();
        assert_eq!(places, [7, 8, 9], "{end:?}");
        let lines = [r#"{"course_key":"N","n":1}"#, "", "x", r#"{"course_key":"O","n":1e999999}"#];
        let report = enqueue(database.pool(), &file(".ndjson", lines.join(end)), &[]).await;
        let places: Vec<_> = report.refusals.iter().map(|refusal| refusal.line).collect();
        assert_eq!(places, [3, 4], "{end:?}");
    }
    // What the database refuses is named with all lines, too.
    sqlx::raw_sql("alter table course_outbox add check (properties ->> 'name' not like 'bad%') not valid")
        .execute(database.pool())
        .await
        .unwrap();
    let report =
        enqueue(database.pool(), &file(".csv", "course_key,name\r\nX,\"bad\r\nname\"\r\n"), &[]).await;
    assert_eq!((report.refused, report.refusals[0].line), (1, 2));
    assert!(report.refusals[0].reason.ends_with("(the record spans lines 2 to 3)"), "{:?}", report.refusals);
}

#[tokio::test]
async fn keys_that_repeat_with_other_values_are_named() {
    let database = database().await;
    let text = "Subject,Number,hs_course_name,Note\nMATH,1,Algebra,x\nMATH,1,Algebra,another note\n\
                MATH,1,Geometry,\nA-1,2,One,\nA,1-2,One,\n";
    let options = ["--key", "Subject,Number", "--map", "hs_course_name=hs_course_name"];
    let report = enqueue(database.pool(), &file(".csv", text), &options).await;
    // The second row sends the same as the first.
    assert_eq!(counts(&report), (2, Some(0), 1, 2));
    let [other, collision] = report.refusals.as_slice() else { panic!("{report:?}") };
    assert_eq!((other.line, other.key.as_deref()), (4, Some("MATH-1")));
    assert!(other.reason.starts_with("the key is already on line 2, with other values"), "{other:?}");
    assert_eq!((collision.line, collision.key.as_deref()), (6, Some("A-1-2")));
    assert!(collision.reason.contains("already on line 5") && collision.reason.contains("--key-separator"));
    let report =
        enqueue(database.pool(), &file(".csv", text), &[&options[..], &["--key-separator", "/"]].concat())
            .await;
    assert_eq!(counts(&report), (3, Some(0), 1, 1));
}

#[tokio::test]
async fn one_course_that_the_database_refuses_does_not_affect_the_others() {
    let database = database().await;
    let line = |at: u32| {
        let value = if at == 700 { "1e999999" } else { "1" };
        format!("{{\"course_key\":\"K{at}\",\"n\":{value}}}\n")
    };
    let content: String = (0..2500).map(line).collect();
    let report = enqueue(database.pool(), &file(".ndjson", content), &[]).await;
    assert_eq!(counts(&report), (2499, Some(0), 0, 1));
    assert_eq!((report.refusals[0].line, report.refusals[0].key.as_deref()), (701, Some("K700")));
    let in_order: bool = sqlx::query_scalar(
        "select bool_and(ok) from (select id > lag(id) over (order by substr(course_key, 2)::int) as ok from course_outbox) x",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert!(in_order);
}

#[tokio::test]
async fn options_that_do_not_fit_the_file_are_a_usage_error() {
    let database = database().await;
    let csv = file(".csv", "Subject,Name\nAAS,x\n");
    let ndjson = file(".ndjson", "{\"id\":1,\"title\":\"x\"}\n".repeat(2904));
    let table: [(&NamedTempFile, &[&str], &str); 10] = [
        (&csv, &["--key", "Subjects"], "did you mean \"Subject\"?"),
        (&csv, &["--key", "Subject"], "no column name is a valid HubSpot property name"),
        (&csv, &["--key", "Subject", "--delimiter", ";"], "no column \"Subject\""),
        (&file(".csv", ""), &[], "the file is empty"),
        (&file("", "[{}]"), &[], "the file is one JSON array"),
        (&file(".csv", b"\xFF\xFEa\0"), &[], "looks like UTF-16"),
        (&csv, &["--key", "Subject", "--map", "Name=Course Name"], "HubSpot has no property \"Course Name\""),
        (&csv, &["--skip-lines", "9"], "--skip-lines 9 leaves nothing of the file, which has 3 lines"),
        (&file(".ndjson", "{\n\"course_key\":1\n}\n"), &[], "`jq -c . FILE`"),
        (&ndjson, &["--key", "id", "--map", "titel=hs_course_name"], "did you mean \"title\"?"),
    ];
    for (file, options, part) in table {
        let message = usage_error(&database, file, options).await;
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_dry_run_needs_no_database() {
    let file = file(".csv", "course_key,name\nA,x\nA,y\n,z\n");
    let (report, failure) = enqueue_file(args(&file, &["--dry-run"]), None).await.unwrap();
    assert!(failure.is_none());
    assert_eq!(counts(&report), (1, None, 0, 2));
    assert!(report.dry_run);
    let first = report.first_course.unwrap();
    assert_eq!((&first["line"], &first["properties"]["name"]), (&2.into(), &"x".into()));
}

#[tokio::test]
async fn a_database_error_midway_is_reported_with_the_count_so_far() {
    let database = database().await;
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql as $$ begin
           if new.course_key = 'K1500' then raise exception 'out of order' using errcode = '57P01'; end if; return new; end $$;
         create trigger refuse before insert on course_outbox for each row execute function refuse()",
    )
    .execute(database.pool())
    .await
    .unwrap();
    let content = (0..9000).map(|at| format!("K{at},x")).collect::<Vec<_>>().join("\n");
    let file = file(".csv", format!("course_key,name\n{content}"));
    let (report, failure) = enqueue_file(args(&file, &[]), Some(database.pool().into())).await.unwrap();
    assert_eq!(report.added, 1000);
    let failure = format!("{:#}", failure.unwrap());
    assert!(failure.contains("could not enqueue courses"), "{failure}");
}
