//! Alerts, dashboard and runbook: every metric, label and value that they use exists, every metric is used, and every
//! alert has a section in the runbook.

use std::collections::{BTreeMap, BTreeSet};

use course_sync::policy::gate::Reason;
use course_sync::telemetry::metrics::Metrics;
use serde_json::Value;

use super::{at, string, text, yaml};

/// Labels that Prometheus adds.
const ADDED: [&str; 4] = ["instance", "job", "le", "namespace"];

/// The values of each label.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// Every series of the program by name, without those that every process has.
fn series() -> BTreeMap<String, Labels> {
    let mut found: BTreeMap<String, Labels> = BTreeMap::new();
    for line in Metrics::new().encode(false).lines().filter(|line| line.starts_with("course_sync_")) {
        let (name, matchers) = selectors(line).remove(0);
        let labels = found.entry(name).or_default();
        for (label, value) in matchers {
            labels.entry(label).or_default().insert(value);
        }
    }
    found
}

/// The series that an expression selects: each name with its label matchers.
fn selectors(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let starts = expression.match_indices("course_sync_").map(|(at, _)| &expression[at..]);
    let read = |from: &str| {
        let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(from.len());
        let (name, rest) = from.split_at(end);
        let inside =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let matchers = inside.split(',').filter_map(|matcher| {
            let (label, value) = matcher.split_once('"')?;
            let label = label.trim().trim_end_matches(['=', '~', '!']);
            Some((label.to_owned(), value.trim_end().trim_end_matches('"').to_owned()))
        });
        (name.to_owned(), matchers.collect())
    };
    starts.map(read).collect()
}

/// The labels by which an expression groups or joins.
fn groupings(expression: &str) -> Vec<&str> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| expression.split(word).skip(1));
    let lists = lists.filter_map(|rest| rest.split(')').next());
    lists.flat_map(|list| list.split(',').map(str::trim)).collect()
}

fn rules() -> Vec<Value> {
    let groups = yaml("deploy/prometheus/rules.yaml");
    let rules = at(&groups, "/groups").as_array().unwrap().iter().map(|group| at(group, "/rules"));
    rules.flat_map(|rules| rules.as_array().unwrap().clone()).collect()
}

/// Every string in a JSON value that names a metric.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("course_sync_") => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(members) => members.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

fn expressions() -> Vec<String> {
    let mut found = Vec::new();
    strings(&Value::from(rules()), &mut found);
    strings(&serde_json::from_str(&text("deploy/grafana/course-sync.json")).unwrap(), &mut found);
    found
}

#[test]
fn every_metric_label_and_value_in_use_exists() {
    let series = series();
    let labels: BTreeSet<_> = series.values().flat_map(Labels::keys).map(String::as_str).collect();
    for expression in expressions() {
        for (name, matchers) in selectors(&expression) {
            let known = series.get(&name).unwrap_or_else(|| panic!("no metric {name}: {expression}"));
            for (label, value) in matchers.iter().filter(|(label, _)| !ADDED.contains(&label.as_str())) {
                let values =
                    known.get(label).unwrap_or_else(|| panic!("{name} has no {label}: {expression}"));
                for value in value.split('|') {
                    assert!(values.contains(value), "{name} has no {label} {value}: {expression}");
                }
            }
        }
        for label in groupings(&expression) {
            assert!(ADDED.contains(&label) || labels.contains(label), "no label {label}: {expression}");
        }
    }
}

#[test]
fn every_metric_is_used() {
    let expressions = expressions();
    let named: BTreeSet<_> =
        expressions.iter().flat_map(|it| selectors(it)).map(|(name, _)| family(&name).to_owned()).collect();
    let there: BTreeSet<_> = series().keys().map(|name| family(name).to_owned()).collect();
    assert_eq!(named, there);
}

/// The name of a metric without the suffixes of histogram series.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[test]
fn every_alert_has_a_runbook_section_and_a_test() {
    let (runbook, tested) = (text("docs/runbook.md"), text("tests/prometheus/rules.yaml"));
    let sections: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut alerts = Vec::new();
    for rule in rules() {
        let alert = string(&rule, "/alert").to_owned();
        let anchor = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(string(&rule, "/annotations/runbook_url"), anchor);
        for annotation in ["/annotations/summary", "/annotations/description"] {
            assert!(!string(&rule, annotation).is_empty(), "{alert}");
        }
        assert!(["critical", "warning", "info"].contains(&string(&rule, "/labels/severity")), "{alert}");
        assert!(tested.contains(&format!("{{alertname=\"{alert}\"}}")), "{alert} fires in no test");
        alerts.push(alert);
    }
    assert_eq!(alerts, sections);
    for section in runbook.split("\n## ").skip(1) {
        for part in ["**Symptom:**", "**Likely causes:**", "**Check:**", "**Do:**"] {
            assert!(section.contains(part), "{part} is not in: {section}");
        }
    }
}

#[test]
fn every_pause_that_needs_an_operator_has_an_alert_and_an_explanation() {
    let rules = rules();
    let stopped = rules.iter().find(|rule| rule["alert"] == "CourseSyncStopped").unwrap();
    let (_, matchers) = selectors(string(stopped, "/expr")).remove(0);
    let named: BTreeSet<_> = matchers[0].1.split('|').collect();
    // These have alerts of their own: HubSpot refuses nothing.
    let own_alert = [Reason::Operator, Reason::ArchiveLimit];
    for reason in own_alert.map(Reason::as_str) {
        let selector = format!("course_sync_paused{{reason=\"{reason}\"}}");
        assert!(rules.iter().any(|rule| string(rule, "/expr").contains(&selector)), "{reason}");
    }
    let needed = Reason::ALL.into_iter().filter(|it| it.needs_operator() && !own_alert.contains(it));
    let needed: BTreeSet<_> = needed.map(Reason::as_str).collect();
    assert_eq!(named, needed);
    let runbook = text("docs/runbook.md");
    for reason in needed {
        assert!(runbook.contains(&format!("\n| `{reason}` | ")), "{reason}");
    }
}
