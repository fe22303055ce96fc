//! Courses that are hard to tell apart by their values, where nothing else names a record.

use course_sync::policy::interpret::{Verdict, interpret};
use serde_json::{Value, json};

use super::{NOW, answer, batch, claimed};

/// What is made of these records for courses with these properties: identifiers, `?` for a doubt.
fn told(courses: &[Value], records: &[(&str, Value)]) -> Vec<String> {
    let claims =
        (0_i64..).zip(courses).map(|(row, properties)| claimed(row, &format!("K-{row}"), properties.clone()));
    let batch = batch(claims.collect(), None);
    let results: Vec<_> =
        records.iter().map(|(id, properties)| json!({"id": id, "properties": properties})).collect();
    let body = json!({"status": "COMPLETE", "results": results}).to_string();
    let meaning = interpret(&batch, &answer(201, "", body.as_bytes()), NOW);
    let said = |verdict: &Verdict| match verdict {
        Verdict::Created(id) => id.as_str().to_owned(),
        Verdict::Unknown { .. } => "?".to_owned(),
        other => panic!("{other:?}"),
    };
    meaning.verdicts.iter().map(said).collect()
}

fn named(name: &str) -> Value {
    json!({"name": name})
}

#[test]
fn alike_up_to_case() {
    let twins = [named("Java"), named("java")];
    // Shown as sent, both of them.
    assert_eq!(told(&twins, &[("2", named("java")), ("1", named("Java"))]), ["1", "2"]);
    // Normalised: each record may be either's.
    assert_eq!(told(&twins, &[("2", named("java")), ("1", named("java"))]), ["?", "?"]);
    // Only one is there: it may be either's, normalised.
    assert_eq!(told(&twins, &[("1", named("java"))]), ["?", "?"]);
}

#[test]
fn equal_as_numbers_only() {
    let twins = [named("50"), named("50.0")];
    assert_eq!(told(&twins, &[("2", named("50.0")), ("1", named("50"))]), ["1", "2"]);
    assert_eq!(told(&twins, &[("2", named("50")), ("1", named("50"))]), ["?", "?"]);
    // Beyond the precision of a number.
    let large = [named("9007199254740992"), named("9007199254740993")];
    assert_eq!(told(&large, &[("2", named("9007199254740993"))]), ["?", "?"]);
    // No numbers at all, whatever they look like.
    assert_eq!(told(&[named("NaN")], &[("1", named("inf"))]), ["?"]);
    assert_eq!(told(&[named("1e999")], &[("1", named("2e999"))]), ["?"]);
}

#[test]
fn one_says_what_the_other_says_and_more() {
    let more = json!({"name": "Java", "level": "2"});
    let pair = [named("Java"), more.clone()];
    // The record without the further value can be only one course's, which leaves the other.
    assert_eq!(told(&pair, &[("2", more.clone()), ("1", named("Java"))]), ["1", "2"]);
    // HubSpot may have filled in a value of its own.
    assert_eq!(told(&pair, &[("2", more)]), ["?", "?"]);
    assert_eq!(told(&pair, &[("1", named("Java"))]), ["1", "?"]);
}

#[test]
fn courses_that_say_nothing() {
    assert_eq!(told(&[json!({})], &[("1", named("Java"))]), ["?"]);
    assert_eq!(told(&[json!({"name": ""})], &[("1", json!({}))]), ["?"]);
}

#[test]
fn a_stranger_beside_the_true_record() {
    assert_eq!(told(&[named("Java")], &[("9", named("Java")), ("1", named("Java"))]), ["?"]);
}
