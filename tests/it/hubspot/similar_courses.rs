//! Courses with similar values, in responses where only the values identify a record.

use course_sync::course::Verdict;
use course_sync::pipeline::interpret::interpret;
use serde_json::{Value, json};

use super::{NOW, batch, claimed, response};

/// The verdicts for courses with these properties and a response with these records: the id, `!` for a created course
/// without known id, `?` for an unknown outcome.
fn verdicts(courses: &[Value], records: &[(&str, Value)]) -> Vec<String> {
    let claims =
        (0_i64..).zip(courses).map(|(row, properties)| claimed(row, &format!("K-{row}"), properties.clone()));
    let batch = batch(claims.collect(), None);
    let results: Vec<_> =
        records.iter().map(|(id, properties)| json!({"id": id, "properties": properties})).collect();
    let body = json!({"status": "COMPLETE", "results": results}).to_string();
    let meaning = interpret(&batch, &response(201, "", body.as_bytes()), NOW);
    let describe = |verdict: &Verdict| match verdict {
        Verdict::Applied { hubspot_id, warning: None } => hubspot_id.as_str().to_owned(),
        Verdict::CreatedUnidentified(_) => "!".to_owned(),
        Verdict::Unknown(_) => "?".to_owned(),
        other => panic!("{other:?}"),
    };
    meaning.verdicts.iter().map(describe).collect()
}

fn course_named(name: &str) -> Value {
    json!({"name": name})
}

#[test]
fn names_that_differ_only_in_case() {
    let similar = [course_named("Java"), course_named("java")];
    // Both records show the values as sent.
    assert_eq!(verdicts(&similar, &[("2", course_named("java")), ("1", course_named("Java"))]), ["1", "2"]);
    // Normalised values: each record may belong to either course, and both courses exist.
    assert_eq!(verdicts(&similar, &[("2", course_named("java")), ("1", course_named("java"))]), ["!", "!"]);
    // A single normalised record may belong to either course.
    assert_eq!(verdicts(&similar, &[("1", course_named("java"))]), ["?", "?"]);
}

#[test]
fn values_that_are_equal_only_as_numbers() {
    let similar = [course_named("50"), course_named("50.0")];
    assert_eq!(verdicts(&similar, &[("2", course_named("50.0")), ("1", course_named("50"))]), ["1", "2"]);
    assert_eq!(verdicts(&similar, &[("2", course_named("50")), ("1", course_named("50"))]), ["!", "!"]);
    // Numbers are compared as decimals, so these differ although they are equal as double-precision numbers.
    let large = [course_named("9007199254740992"), course_named("9007199254740993")];
    assert_eq!(verdicts(&large, &[("2", course_named("9007199254740993"))]), ["?", "2"]);
    // Texts that look like numbers but are not.
    for (sent, shown) in [("NaN", "inf"), ("1e999", "2e999")] {
        let records = [("1", course_named(shown)), ("2", course_named("7"))];
        assert_eq!(
            verdicts(&[course_named(sent), course_named("7")], &records),
            ["!", "2"],
            "{sent} {shown}"
        );
    }
}

#[test]
fn one_course_has_the_values_of_another_and_more() {
    let more = json!({"name": "Java", "level": "2"});
    let pair = [course_named("Java"), more.clone()];
    // The record without the further value can belong to one course only, so the other record belongs to the other.
    assert_eq!(verdicts(&pair, &[("2", more.clone()), ("1", course_named("Java"))]), ["1", "2"]);
    // HubSpot may have added the further value itself.
    assert_eq!(verdicts(&pair, &[("2", more)]), ["?", "?"]);
    assert_eq!(verdicts(&pair, &[("1", course_named("Java"))]), ["1", "?"]);
}

#[test]
fn equal_courses_are_interchangeable() {
    let course = |seats: Value| json!({"name": "Java", "begins": "2026-09-01T09:00:00Z", "seats": seats});
    let shown = json!({"name": "Java", "begins": "2026-09-01T09:00:00.000Z", "seats": "50"});
    let equal = [course(json!(50)), course(json!("50"))];
    assert_eq!(verdicts(&equal, &[("1", shown.clone()), ("2", shown.clone())]), ["1", "2"]);
    assert_eq!(verdicts(&equal, &[("1", shown.clone())]), ["1", "?"]);
    let three = [("1", shown.clone()), ("2", shown.clone()), ("3", shown)];
    assert_eq!(verdicts(&equal, &three), ["?", "?"]);
}

#[test]
fn a_rewritten_text_does_not_prevent_a_match() {
    let course = |name: &str, text: &str| json!({"name": name, "text": text});
    let courses = [course("Java", "<script>1</script>"), course("Python", "<script>2</script>")];
    assert_eq!(verdicts(&courses, &[("2", course("Python", "")), ("1", course("Java", ""))]), ["1", "2"]);
}

#[test]
fn courses_without_a_value() {
    for (sent, shown) in [(json!({}), course_named("Java")), (json!({"name": ""}), json!({}))] {
        let courses = [sent.clone(), course_named("Botany")];
        let botany = ("2", course_named("Botany"));
        assert_eq!(verdicts(&courses, &[("1", shown.clone()), botany.clone()]), ["!", "2"]);
        assert_eq!(verdicts(&courses, std::slice::from_ref(&botany)), ["?", "2"]);
        // A single result belongs to the single course, whatever values it shows.
        assert_eq!(verdicts(&[sent], &[("1", shown)]), ["1"]);
    }
}

#[test]
fn a_foreign_record_beside_the_true_one_is_ambiguous() {
    assert_eq!(
        verdicts(&[course_named("Java")], &[("9", course_named("Java")), ("1", course_named("Java"))]),
        ["?"]
    );
}

#[test]
fn courses_with_equal_sent_values_are_interchangeable() {
    let three = [course_named("Java"), course_named("Botany"), course_named("Java")];
    let (first, second, botany) =
        (("1", course_named("Java")), ("2", course_named("java ")), ("3", course_named("Botany")));
    assert_eq!(verdicts(&three, &[first.clone(), botany.clone(), second.clone()]), ["1", "3", "2"]);
    assert_eq!(verdicts(&three, &[second.clone(), first.clone(), botany.clone()]), ["2", "3", "1"]);
    // One of the two is missing. It does not matter which.
    assert_eq!(verdicts(&three, &[botany.clone(), second.clone()]), ["2", "3", "?"]);
    // More records than courses: one of them is foreign.
    assert_eq!(verdicts(&three, &[first, second, ("9", course_named("Java")), botany]), ["?", "3", "?"]);
}
