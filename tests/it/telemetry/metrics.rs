//! docs/metrics.md lists every metric with its kind, its labels and their values.

use std::collections::{BTreeMap, BTreeSet};

use course_sync::telemetry::metrics::Metrics;

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Kind, labels and their values.
type Shape = (String, BTreeSet<String>);

/// By name, as they are exposed. What `build_info` is labelled with changes from build to build.
fn exposed() -> BTreeMap<String, Shape> {
    let text = Metrics::new().encode(false);
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect(line);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = base.filter(|base| kinds.get(base) == Some(&"histogram")).unwrap_or(name);
        let shape = shapes.entry(name.to_owned()).or_insert((kinds[name].to_owned(), BTreeSet::new()));
        for (label, value) in
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='))
        {
            if label != "le" {
                shape.1.insert(label.to_owned());
                shape
                    .1
                    .extend((name != "course_sync_build_info").then(|| value.trim_matches('"').to_owned()));
            }
        }
    }
    shapes
}

fn documented() -> BTreeMap<String, Shape> {
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let rows = PAGE.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|row| {
        let labels = row[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (row[1].trim_matches('`').to_owned(), (row[2].to_owned(), labels))
    })
    .collect()
}

#[test]
fn the_page_lists_every_metric_with_its_labels() {
    let (exposed, documented) = (exposed(), documented());
    let differing = |one: &BTreeMap<String, Shape>, other: &BTreeMap<String, Shape>| {
        one.iter()
            .filter(|(name, shape)| other.get(*name) != Some(shape))
            .map(|one| format!("{one:?}"))
            .collect()
    };
    let missing: Vec<String> = differing(&exposed, &documented);
    let surplus: Vec<String> = differing(&documented, &exposed);
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "docs/metrics.md differs from what is exposed.\nExposed:\n{}\nDocumented:\n{}\n",
        missing.join("\n"),
        surplus.join("\n")
    );
}
