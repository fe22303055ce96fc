//! `enqueue` with the real program: its output, its exit code, and the check against the account.

use std::process::Output;

use serde_json::{Value, json};

use super::file;
use crate::support::daemon::{output, program};
use crate::support::world::{UNIQUE_PROPERTY, World};

async fn run_enqueue(world: &World, content: &str, options: &[&str]) -> (Option<i32>, String, String) {
    let file = file(".csv", content);
    let mut command = program(&world.settings);
    command.arg("enqueue").arg(file.path()).args(options);
    let Output { status, stdout, stderr } = output(command).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_dry_run_shows_the_first_course_and_what_hubspot_would_refuse() {
    let world = World::new().await;
    let requests = world.hubspot.journal().len();
    let text = format!(
        "course_key;hs_course_name;hs_enrollment_capacity;hs_nonsense;{UNIQUE_PROPERTY}\n\
         A;Algebra;20;;\nB;Biology;many;;\nC;;3;;\nD;Drama;;x;\nE;English;lots;;other\n"
    );
    let (code, out, err) = run_enqueue(&world, &text, &["--dry-run"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("CSV in UTF-8, columns separated by semicolons (detected"), "{err}");
    assert!(err.contains("line 4, course \"C\": no hs_course_name"), "{err}");
    let first = "first course, as it would be stored (line 2):\n  course_key: \"A\"\n  hs_course_name: \"Algebra\"\n  \
                 hs_enrollment_capacity: \"20\"\n";
    assert!(out.starts_with(first), "{out}");
    assert!(out.contains("HubSpot would refuse 4:\n"), "{out}");
    assert!(out.contains("2 courses, first on line 3, \"B\": "), "{out}");
    assert!(out.ends_with("would add 5, repeated 0, refused 0\n"), "{out}");

    let (code, out, _) = run_enqueue(&world, &text, &["--dry-run", "--json"]).await;
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["added"], &report["without_name"], &report["delimiter"]),
        (&json!(5), &json!(1), &json!(";"))
    );
    assert_eq!(report["hubspot"]["courses"], 4);
    let problems: Vec<_> = report["hubspot"]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!("{} {} {} {}", it["property"], it["code"], it["count"], it["line"]).replace('"', "")
        })
        .collect();
    let expected = [
        format!("{UNIQUE_PROPERTY} INVALID_ROW 1 6"),
        "hs_course_name MISSING_REQUIRED_PROPERTY 1 4".to_owned(),
        "hs_enrollment_capacity INVALID_INTEGER 2 3".to_owned(),
        "hs_nonsense PROPERTY_DOESNT_EXIST 1 5".to_owned(),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, expected) in problems.iter().zip(&expected) {
        let start = expected.split(' ').next().unwrap();
        assert!(problem.starts_with(start), "{problem}, not {expected}");
    }
    assert!(problems[2].ends_with(" 2 3"), "{problems:?}");
    // Only lists of properties were read.
    let written = world.hubspot.journal().len() - requests;
    assert!(written <= 6, "{written} requests");
    let rows: i64 =
        sqlx::query_scalar("select count(*) from course_outbox").fetch_one(world.pool()).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_dry_run_works_without_hubspot_and_reports_why_it_was_not_checked() {
    let mut world = World::new().await;
    world.set("HUBSPOT__BASE_URL", "http://127.0.0.1:9");
    let (code, out, err) = run_enqueue(&world, "course_key,hs_course_name\nA,x\n", &["--dry-run"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("not checked against HubSpot: "), "{err}");
    assert!(out.ends_with("would add 1, repeated 0, refused 0\n"), "{out}");
}

#[tokio::test]
async fn courses_without_a_name_are_named_before_they_are_added() {
    let world = World::new().await;
    let text = "course_key,hs_course_name\nA,x\nB,\nC, \n";
    let (code, out, err) = run_enqueue(&world, text, &[]).await;
    assert_eq!((code, out.as_str()), (Some(0), "added 3, already there 0, repeated 0, refused 0\n"), "{err}");
    assert!(err.contains("line 3, course \"B\": no hs_course_name"), "{err}");
    assert!(err.ends_with("courses without hs_course_name, which HubSpot refuses to create: 2\n"), "{err}");

    let (_, _, err) = run_enqueue(&world, "course_key,title\nD,x\nE,y\n", &[]).await;
    assert!(err.contains("nothing is sent as hs_course_name"), "{err}");
    assert!(!err.contains("line 2"), "one note instead of one for each line: {err}");

    let (code, out, err) = run_enqueue(&world, "course_key,hs_course_name\nA,y\n", &[]).await;
    assert_eq!((code, out.as_str()), (Some(0), "added 0, already there 1, repeated 0, refused 0\n"));
    assert!(err.ends_with("to change them, use --update\n"), "{err}");
}

#[tokio::test]
async fn json_has_the_documented_keys() {
    let world = World::new().await;
    let (code, out, _) = run_enqueue(&world, "course_key,n\nA,x\nA,x\nB,\"y\n", &["--json"]).await;
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&out).unwrap();
    let counts =
        ["dry_run", "added", "updated", "already_there", "repeated", "refused"].map(|key| &report[key]);
    assert_eq!(counts, [&json!(false), &json!(1), &json!(0), &json!(0), &json!(1), &json!(1)]);
    let refusal = &report["refusals"][0];
    assert_eq!((&refusal["line"], &refusal["key"]), (&json!(4), &json!(null)));
    assert!(refusal["reason"].as_str().unwrap().contains("is never closed"), "{refusal}");
}
