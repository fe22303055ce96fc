//! The plan, as tables.

use clap::Parser;

use super::super::columns::CsvColumns;
use super::*;

#[derive(Parser)]
struct EnqueueCommandLine {
    #[command(flatten)]
    args: EnqueueArgs,
}

fn plan(options: &[&str]) -> Result<EnqueuePlan, UsageError> {
    let words = ["enqueue", "-"].iter().chain(options);
    EnqueuePlan::new(&EnqueueCommandLine::try_parse_from(words).unwrap().args)
}

fn find_columns(options: &[&str], header: &str) -> Result<CsvColumns, String> {
    let header: Vec<_> = header.split(',').map(str::to_owned).collect();
    plan(options).and_then(|plan| CsvColumns::find_in(&plan, &header)).map_err(|error| error.to_string())
}

#[test]
fn options_select_columns() {
    let columns = find_columns(
        &["--key", "Subject,Number", "--map", "a=b=hs_name", "--set", "x="],
        "Number,a=b,Subject",
    )
    .unwrap();
    assert_eq!(columns.key, [2, 0]);
    assert_eq!(columns.properties, [(1, "hs_name".to_owned())]);
}

#[test]
fn without_a_map_columns_are_sent_under_their_own_names() {
    let columns = find_columns(&[], "course_key,hs_course_name,Credit Hours,2nd,term_1").unwrap();
    assert_eq!(columns.key, [0]);
    assert_eq!(columns.properties, [(1, "hs_course_name".to_owned()), (4, "term_1".to_owned())]);
    assert_eq!(columns.ignored, ["Credit Hours", "2nd"]);
}

#[test]
fn invalid_options_are_reported_with_a_fix() {
    let table: [(&[&str], &str, &str); 13] = [
        (&["--key", "Subjct"], "Subject,name", "no column \"Subjct\" for --key; did you mean \"Subject\"?"),
        (
            &["--key", "Subject", "--map", "NAME=a"],
            "Subject,Name",
            "\"NAME\" for --map; did you mean \"Name\"?",
        ),
        (
            &[],
            "zzz,name",
            "no column \"course_key\" for the key (see --key); the columns are \"zzz\", \"name\"",
        ),
        (&["--key", "a"], "a,a,b", "has column \"a\" twice"),
        (&["--key", "A"], "A,B", "no column name is a valid HubSpot property name"),
        (&["--map", "a"], "a", "\"a\" does not have the form COLUMN=PROPERTY"),
        (&["--map", "a="], "a", "does not have the form COLUMN=PROPERTY"),
        (&["--set", "=a"], "a", "does not have the form PROPERTY=VALUE"),
        (&["--map", "a=x", "--set", "x=1"], "course_key,a", "property \"x\" is set twice"),
        (&["--map", "a=Course Name"], "course_key,a", "--map: HubSpot has no property \"Course Name\""),
        (&["--map", "a=hs_course_name "], "course_key,a", "--map: HubSpot has no property"),
        (&["--set", "2nd=x"], "course_key,a", "--set: HubSpot has no property \"2nd\""),
        (&["--key", "a,,b"], "a,b,c", "--key names an empty column"),
    ];
    for (options, header, message) in table {
        let error = find_columns(options, header).unwrap_err();
        assert!(error.contains(message), "{options:?} {header}: {error}");
    }
    let wide = vec!["a"; 1001].join(",");
    assert!(find_columns(&[], &wide).unwrap_err().contains("the limit is 1000"));
}

#[test]
fn entities_are_decoded_in_values_only_and_constants_added() {
    let plan = plan(&["--decode-entities", "--set", "term=a&amp;b"]).unwrap();
    let properties = Map::from_iter([("n".to_owned(), Value::from("Racial &amp; Ethnic &#233;"))]);
    let key = JoinedKey::single("a&amp;b".to_owned());
    let course = plan.make_course(key, properties, None, None).unwrap().course;
    assert_eq!(course.key.as_str(), "a&amp;b");
    assert_eq!(course.properties.to_json().to_string(), r#"{"n":"Racial & Ethnic é","term":"a&amp;b"}"#);
}

#[test]
fn a_key_column_may_contain_commas() {
    let header = ["Kurs, Nr", "a", "b", "a,b", "c"].map(str::to_owned);
    let table: [(&[&str], &[usize]); 7] = [
        (&["--key", "Kurs, Nr"], &[0]),
        (&["--key", "Kurs, Nr,c"], &[0, 4]),
        (&["--key", "c, Kurs, Nr"], &[4, 0]),
        // The longest name, unless each column has an option of its own.
        (&["--key", "a,b"], &[3]),
        (&["--key", "a", "--key", "b"], &[1, 2]),
        (&["--key", "b,a"], &[2, 1]),
        (&["--key", "a,b,a,c"], &[3, 1, 4]),
    ];
    for (options, places) in table {
        let options: Vec<_> = options.iter().chain(&["--set", "x=1"]).copied().collect();
        let columns = CsvColumns::find_in(&plan(&options).unwrap(), &header).unwrap();
        assert_eq!(columns.key, places, "{options:?}");
    }
    let plan = plan(&["--key", "Kurs, Nummer"]).unwrap();
    let error = CsvColumns::find_in(&plan, &header).unwrap_err().to_string();
    assert!(error.contains("no column \"Kurs\" for --key; did you mean \"Kurs, Nr\"?"), "{error}");
}

#[test]
fn keys_that_other_columns_could_form_are_marked() {
    let plan = plan(&["--key", "a,b"]).unwrap();
    let names = ["a", "b"].map(str::to_owned);
    let join = |one: &str, other: &str| plan.join_key(&names, vec![one.to_owned(), other.to_owned()]);
    let key = join("MATH", "101").unwrap();
    assert_eq!((key.text.as_str(), key.is_ambiguous), ("MATH-101", false));
    assert!(join("A-1", "2").unwrap().is_ambiguous);
    assert_eq!(join("A", " ").unwrap_err().reason, "the key column \"b\" is empty");
}
