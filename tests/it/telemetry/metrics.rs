//! docs/metrics.md is generated from the metrics that the program exposes.

use std::collections::{BTreeMap, BTreeSet};

use course_sync::telemetry::metrics::Metrics;

use crate::support::generated::assert_section;

/// One metric, as exposed.
struct Family {
    name: String,
    kind: String,
    help: String,
    /// The labels with their values.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    /// A row of the table. The values of `build_info` change with each build, so only its labels are shown.
    fn row(&self) -> String {
        let labels = self.labels.iter().map(|(label, values)| match self.name.as_str() {
            "course_sync_build_info" => format!("`{label}`"),
            _ => {
                let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                format!("`{label}`: {}", values.join(", "))
            }
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        format!("| `{}` | {} | {labels} | {} |\n", self.name, self.kind, self.help)
    }
}

fn exposed() -> Vec<Family> {
    let text = Metrics::new().encode(false);
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let (name, help) = (name.to_owned(), help.to_owned());
            families.push(Family { name, kind: String::new(), help, labels: BTreeMap::new() });
            continue;
        }
        let family = families.last_mut().expect("help comes first");
        if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut family.kind);
            continue;
        }
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',').filter_map(|it| it.split_once('='));
        for (label, value) in labels.filter(|(label, _)| *label != "le") {
            let values = family.labels.entry(label.to_owned()).or_default();
            values.insert(value.trim_matches('"').to_owned());
        }
    }
    families
}

fn table(is_included: impl Fn(&Family) -> bool) -> String {
    let head = "| Name | Kind | Labels and their values | Meaning |\n|---|---|---|---|\n".to_owned();
    exposed()
        .iter()
        .filter(|family| is_included(family))
        .fold(head, |table, family| table + family.row().as_str())
}

#[test]
fn docs_are_generated_metrics() {
    let is_own = |family: &Family| family.name.starts_with("course_sync_");
    assert_section("docs/metrics.md", "metrics", &table(is_own));
    // Read from /proc, which other systems do not have.
    if cfg!(target_os = "linux") {
        assert_section("docs/metrics.md", "process metrics", &table(|family| !is_own(family)));
    }
}
