//! What belongs together, as tables.

use super::*;

/// A row: its id, its key, its value, its state.
type Row = (i64, &'static str, &'static str, RowState);
/// A record: its id, its key, its value.
type Record = (u64, &'static str, &'static str);
/// A name, rows, records, and the pairs of them.
type MatchCase<'a> = (&'a str, &'a [Row], &'a [Record], &'a [Pair]);
/// The same, and what is left to an operator.
type AmbiguousCase<'a> = (&'a str, &'a [Row], &'a [Record], &'a [Pair], Unmatched);

use RowState::{Failed, InFlight, Open, Unconfirmed, Withdrawn};

const fn linked(record: u64) -> RowState {
    RowState::Linked(NonZeroU64::new(record))
}

fn decided(rows: &[Row], records: &[Record]) -> MatchDecision {
    let prints = Fingerprints::new();
    let rows: Vec<RowEntry> = rows
        .iter()
        .map(|(id, key, value, state)| RowEntry {
            id: RowId(*id),
            key: prints.of_key(key),
            value: prints.of_values([Some(*value)]),
            state: *state,
        })
        .collect();
    let records = records
        .iter()
        .map(|(id, key, value)| RecordEntry {
            id: *id,
            key: prints.of_key(key),
            value: prints.of_values([Some(*value)]),
        })
        .collect();
    decide(&rows, records)
}

fn pair(row: i64, record: u64, is_keyed: bool) -> Pair {
    Pair { row: RowId(row), record, is_keyed }
}

/// The rows and records of an ambiguity.
fn left(why: Ambiguity, rows: &[i64], records: &[u64]) -> Unmatched {
    Unmatched { why, rows: rows.iter().copied().map(RowId).collect(), records: records.to_vec() }
}

#[test]
fn one_row_and_one_record_with_the_same_value_belong_together() {
    let cases: &[MatchCase] = &[
        ("equal", &[(1, "A", "x", Open)], &[(9, "", "x")], &[pair(1, 9, false)]),
        ("another notation", &[(1, "A", "Algebra  I", Open)], &[(9, "", " algebra i")], &[pair(1, 9, false)]),
        ("another number", &[(1, "A", "50", Open)], &[(9, "", "50.0")], &[pair(1, 9, false)]),
        ("the key decides", &[(1, "A", "x", Open)], &[(9, "A", "y")], &[pair(1, 9, true)]),
        ("the key as HubSpot spells it", &[(1, "A-1", "x", Open)], &[(9, "a-1", "x")], &[pair(1, 9, true)]),
        ("listed twice", &[(1, "A", "x", Open)], &[(9, "", "x"), (9, "", "x")], &[pair(1, 9, false)]),
        ("different", &[(1, "A", "x", Open)], &[(9, "", "y")], &[]),
        ("empty values", &[(1, "A", "", Open)], &[(9, "", "")], &[]),
        ("white space only", &[(1, "A", " ", Open)], &[(9, "", "  ")], &[]),
    ];
    for (name, rows, records, pairs) in cases {
        let decision = decided(rows, records);
        assert_eq!(decision.pairs, *pairs, "{name}");
        assert_eq!(decision.ambiguous, [], "{name}");
    }
}

#[test]
fn nothing_is_guessed() {
    use Ambiguity::{OtherKey, OtherRecord, SeveralOfBoth, SeveralRecords, SeveralRows};
    let cases: &[AmbiguousCase] = &[
        (
            "two records for one row",
            &[(1, "A", "x", Open)],
            &[(8, "", "x"), (9, "", "x")],
            &[],
            left(SeveralRecords, &[1], &[8, 9]),
        ),
        (
            "two rows for one record",
            &[(1, "A", "x", Open), (2, "B", "x", Open)],
            &[(9, "", "x")],
            &[],
            left(SeveralRows, &[1, 2], &[9]),
        ),
        (
            "two of both",
            &[(1, "A", "x", Open), (2, "B", "x", Open)],
            &[(8, "", "x"), (9, "", "x")],
            &[],
            left(SeveralOfBoth, &[1, 2], &[8, 9]),
        ),
        (
            "the record has the key of no row",
            &[(1, "A", "x", Open)],
            &[(9, "Z", "x")],
            &[],
            left(OtherKey, &[1], &[9]),
        ),
        (
            "the record has the key of another row",
            &[(1, "A", "x", Open), (2, "B", "y", Open)],
            &[(9, "B", "x")],
            &[pair(2, 9, true)],
            left(OtherKey, &[1], &[9]),
        ),
        (
            "a second record beside the one with the key",
            &[(1, "A", "x", Open)],
            &[(8, "A", "x"), (9, "", "x")],
            &[pair(1, 8, true)],
            left(SeveralRecords, &[1], &[8, 9]),
        ),
        (
            "the record with the key has other values, and another record has the row's",
            &[(1, "A", "x", Open)],
            &[(8, "A", "y"), (9, "", "x")],
            &[pair(1, 8, true)],
            left(OtherRecord, &[1], &[9]),
        ),
        (
            "two records with one key",
            &[(1, "A", "x", Open)],
            &[(8, "A", ""), (9, "A", "")],
            &[],
            left(SeveralRecords, &[1], &[8, 9]),
        ),
        (
            "two rows whose keys HubSpot does not distinguish",
            &[(1, "A", "x", Open), (2, "a", "y", Open)],
            &[(9, "A", "")],
            &[],
            left(SeveralRows, &[1, 2], &[9]),
        ),
        (
            "the row has another record",
            &[(1, "A", "x", linked(5))],
            &[(9, "", "x")],
            &[],
            left(OtherRecord, &[1], &[9]),
        ),
        (
            "its own record and another one",
            &[(1, "A", "x", linked(5))],
            &[(5, "A", "x"), (9, "", "x")],
            &[],
            left(SeveralRecords, &[1], &[5, 9]),
        ),
    ];
    for (name, rows, records, pairs, ambiguity) in cases {
        let decision = decided(rows, records);
        assert_eq!(decision.pairs, *pairs, "{name}");
        assert_eq!(decision.ambiguous, std::slice::from_ref(ambiguity), "{name}");
    }
}

#[test]
fn only_a_row_that_certainly_has_no_record_takes_one() {
    for state in [InFlight, Unconfirmed, Failed, Withdrawn] {
        for key in ["", "A"] {
            let decision = decided(&[(1, "A", "x", state)], &[(9, key, "x")]);
            assert_eq!(decision.pairs, []);
            assert_eq!(decision.not_adoptable, [(RowId(1), 9, state)]);
        }
        let without = decided(&[(1, "A", "x", state)], &[]);
        assert_eq!(without, MatchDecision::default(), "only open rows wait for a record");
    }
}

#[test]
fn what_matches_nothing_is_listed() {
    let decision = decided(
        &[(1, "A", "x", Open), (2, "B", "", Open), (3, "C", "z", linked(7))],
        &[(7, "C", "z"), (8, "Z", "y"), (9, "", "")],
    );
    assert_eq!((decision.pairs.len(), decision.ambiguous.len()), (0, 0));
    assert_eq!(decision.only_in_outbox, [RowId(1), RowId(2)]);
    assert_eq!(decision.only_in_hubspot, [8, 9]);
    assert_eq!(decision.linked, 1);
}

#[test]
fn several_values_must_agree_together() {
    let prints = Fingerprints::new();
    let both = prints.of_values([Some("Algebra"), Some("2024")]);
    assert_eq!(both, prints.of_values([Some("algebra "), Some("2024.0")]));
    for other in [[Some("Algebra"), Some("2025")], [Some("Algebra2024"), Some("")], [Some("Algebra"), None]] {
        assert_ne!(both, prints.of_values(other), "{other:?}");
    }
    assert!(is_match("1 000", "1 000") && !is_match("", "") && !is_match("a", "b"));
}

#[test]
fn a_rule_names_a_property_of_hubspot_and_a_value_of_the_row() {
    let rule = |hubspot: &str, row: RowValue| Ok(MatchRule { hubspot: hubspot.to_owned(), row });
    let property = |name: &str| RowValue::Property(name.to_owned());
    for (text, expected) in [
        ("hs_course_id", rule("hs_course_id", property("hs_course_id"))),
        ("hs_course_id=code", rule("hs_course_id", property("code"))),
        ("hs_course_id=course_key", rule("hs_course_id", RowValue::Key)),
        ("course_key", rule("course_key", RowValue::Key)),
    ] {
        assert_eq!(text.parse::<MatchRule>(), expected, "{text}");
    }
    for wrong in ["", "=", "a=", "=b"] {
        assert!(wrong.parse::<MatchRule>().is_err(), "{wrong}");
    }
}
