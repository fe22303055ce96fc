//! The plan, as tables.

use clap::Parser;

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
    let table: [(&[&str], &str, &str); 9] = [
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
    ];
    for (options, header, message) in table {
        let error = find_columns(options, header).unwrap_err();
        assert!(error.contains(message), "{options:?} {header}: {error}");
    }
    let wide = vec!["a"; MAX_COLUMNS + 1].join(",");
    assert!(find_columns(&[], &wide).unwrap_err().contains("the limit is 1000"));
}

#[test]
fn entities_are_decoded_in_values_only_and_constants_added() {
    let plan = plan(&["--decode-entities", "--set", "term=a&amp;b"]).unwrap();
    let properties = Map::from_iter([("n".to_owned(), Value::from("Racial &amp; Ethnic &#233;"))]);
    let course = plan.make_course("a&amp;b".to_owned(), properties, None).unwrap();
    assert_eq!(course.key.as_str(), "a&amp;b");
    assert_eq!(course.properties.to_json().to_string(), r#"{"n":"Racial & Ethnic é","term":"a&amp;b"}"#);
}
