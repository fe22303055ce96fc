//! The control API accepts the examples of docs/simulator.md.

use serde_json::Value;
use simulator::{Behaviour, Fault};

const PAGE: &str = include_str!("../../../docs/simulator.md");

#[test]
fn every_example_is_accepted() {
    let mut faults = 0;
    let mut switches = 0;
    for block in PAGE.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let example: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if example.get("answer").is_some() {
            serde_json::from_value::<Fault>(example).unwrap_or_else(|error| panic!("{error}: {text}"));
            faults += 1;
        } else {
            serde_json::from_value::<Behaviour>(example).unwrap_or_else(|error| panic!("{error}: {text}"));
            switches += 1;
        }
    }
    assert_eq!((faults, switches), (5, 1));
    let curl = PAGE.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    serde_json::from_str::<Fault>(curl).unwrap();
}

/// The names in the first column of the table with this heading.
fn named_in_table(heading: &str) -> Vec<&'static str> {
    let table = PAGE.split(heading).nth(1).unwrap();
    let rows =
        table.lines().take_while(|line| line.starts_with('|') || line.is_empty() || line.starts_with(' '));
    let first_cells = rows.skip(2).filter_map(|row| row.split('|').nth(1));
    first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_switch_in_the_tables_exists() {
    let all = serde_json::to_value(Behaviour::default()).unwrap();
    let (switches, lifecycle) = (named_in_table("| Switch |"), named_in_table("| Member of `lifecycle` |"));
    assert!(switches.len() > 10 && lifecycle.len() > 10, "{switches:?} {lifecycle:?}");
    for name in switches {
        assert!(all.get(name).is_some(), "{name}");
    }
    for name in lifecycle {
        assert!(all["lifecycle"].get(name).is_some(), "{name}");
    }
}
