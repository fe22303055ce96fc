//! Courses that are hard to distinguish by their values, where nothing else names a record.

use course_sync::policy::interpret::{Verdict, interpret};
use serde_json::{Value, json};

use super::{NOW, answer, batch, claimed};

/// What is made of these records for courses with these properties: identifiers, `!` for a record of
/// which only the existence is known, `?` for an unknown outcome.
fn verdicts(courses: &[Value], records: &[(&str, Value)]) -> Vec<String> {
    let claims =
        (0_i64..).zip(courses).map(|(row, properties)| claimed(row, &format!("K-{row}"), properties.clone()));
    let batch = batch(claims.collect(), None);
    let results: Vec<_> =
        records.iter().map(|(id, properties)| json!({"id": id, "properties": properties})).collect();
    let body = json!({"status": "COMPLETE", "results": results}).to_string();
    let meaning = interpret(&batch, &answer(201, "", body.as_bytes()), NOW);
    let said = |verdict: &Verdict| match verdict {
        Verdict::Created { hubspot_id, warning: None } => hubspot_id.as_str().to_owned(),
        Verdict::CreatedUnidentified(_) => "!".to_owned(),
        Verdict::Unknown(_) => "?".to_owned(),
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
    assert_eq!(verdicts(&twins, &[("2", named("java")), ("1", named("Java"))]), ["1", "2"]);
    // Normalised: each record may be either's, and both courses exist.
    assert_eq!(verdicts(&twins, &[("2", named("java")), ("1", named("java"))]), ["!", "!"]);
    // Only one is there: it may be either's, normalised.
    assert_eq!(verdicts(&twins, &[("1", named("java"))]), ["?", "?"]);
}

#[test]
fn equal_as_numbers_only() {
    let twins = [named("50"), named("50.0")];
    assert_eq!(verdicts(&twins, &[("2", named("50.0")), ("1", named("50"))]), ["1", "2"]);
    assert_eq!(verdicts(&twins, &[("2", named("50")), ("1", named("50"))]), ["!", "!"]);
    // Numbers are compared as decimals, so these are two, beyond the precision of a double as well.
    let large = [named("9007199254740992"), named("9007199254740993")];
    assert_eq!(verdicts(&large, &[("2", named("9007199254740993"))]), ["?", "2"]);
    // No numbers at all, whatever they look like.
    for (sent, shown) in [("NaN", "inf"), ("1e999", "2e999")] {
        let records = [("1", named(shown)), ("2", named("7"))];
        assert_eq!(verdicts(&[named(sent), named("7")], &records), ["!", "2"], "{sent} {shown}");
    }
}

#[test]
fn one_sent_what_the_other_sent_and_more() {
    let more = json!({"name": "Java", "level": "2"});
    let pair = [named("Java"), more.clone()];
    // The record without the further value can be only one course's, which leaves the other.
    assert_eq!(verdicts(&pair, &[("2", more.clone()), ("1", named("Java"))]), ["1", "2"]);
    // HubSpot may have filled in a value of its own.
    assert_eq!(verdicts(&pair, &[("2", more)]), ["?", "?"]);
    assert_eq!(verdicts(&pair, &[("1", named("Java"))]), ["1", "?"]);
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
fn a_changed_text_is_no_obstacle() {
    let course = |name: &str, text: &str| json!({"name": name, "text": text});
    let courses = [course("Java", "<script>1</script>"), course("Python", "<script>2</script>")];
    assert_eq!(verdicts(&courses, &[("2", course("Python", "")), ("1", course("Java", ""))]), ["1", "2"]);
}

#[test]
fn courses_without_a_value() {
    for (sent, shown) in [(json!({}), named("Java")), (json!({"name": ""}), json!({}))] {
        let courses = [sent.clone(), named("Botany")];
        let botany = ("2", named("Botany"));
        assert_eq!(verdicts(&courses, &[("1", shown.clone()), botany.clone()]), ["!", "2"]);
        assert_eq!(verdicts(&courses, std::slice::from_ref(&botany)), ["?", "2"]);
        // A lone result is the lone course's, whatever it shows.
        assert_eq!(verdicts(&[sent], &[("1", shown)]), ["1"]);
    }
}

#[test]
fn a_stranger_beside_the_true_record() {
    assert_eq!(verdicts(&[named("Java")], &[("9", named("Java")), ("1", named("Java"))]), ["?"]);
}

#[test]
fn courses_equal_in_all_that_was_sent_are_interchangeable() {
    let three = [named("Java"), named("Botany"), named("Java")];
    let (first, second, botany) = (("1", named("Java")), ("2", named("java ")), ("3", named("Botany")));
    assert_eq!(verdicts(&three, &[first.clone(), botany.clone(), second.clone()]), ["1", "3", "2"]);
    assert_eq!(verdicts(&three, &[second.clone(), first.clone(), botany.clone()]), ["2", "3", "1"]);
    // One of the two is missing. Which, makes no difference.
    assert_eq!(verdicts(&three, &[botany.clone(), second.clone()]), ["2", "3", "?"]);
    // More records than courses: one of them is a stranger's.
    assert_eq!(verdicts(&three, &[first, second, ("9", named("Java")), botany]), ["?", "3", "?"]);
}
