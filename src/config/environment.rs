//! Reads the environment into a layer. Knows the names of variables, not what they mean. Pure.

use std::ffi::{OsStr, OsString};

use config::ValueKind;

use super::layer::{Layer, Setting};
use super::problems::Problems;
use super::reference::{self, FILE_VARIABLE, PREFIX};

/// The settings of the environment. An empty variable counts as unset.
pub(super) fn read(env: &[(OsString, OsString)], problems: &mut Problems) -> Layer {
    let mut env: Vec<_> = env.iter().filter(|(_, value)| !value.is_empty()).collect();
    // A fixed order of problems. Long names (COURSE_SYNC__…) sort before their short names.
    env.sort();
    let mut layer = Layer::new();
    for (name, value) in env {
        let Some((name, key)) = recognize(name, value, problems) else { continue };
        let Some(value) = value.to_str() else {
            problems.add(name, None, "the value is not valid UTF-8 (not shown)");
            continue;
        };
        let value = ValueKind::String(value.to_owned());
        match layer.get(key) {
            Some(other) if other.value == value => {}
            Some(other) => {
                let text = format!("contradicts {name}, which has another value: unset one of them");
                problems.add(key, Some(&other.source), text);
            }
            None => {
                layer.insert(key.to_owned(), Setting { value, source: name.to_owned() });
            }
        }
    }
    layer
}

/// The variable's name and the key that it sets. A variable of this program that sets no key is a problem.
fn recognize<'a>(name: &'a OsStr, value: &OsStr, problems: &mut Problems) -> Option<(&'a str, &'static str)> {
    let Some(text) = name.to_str() else {
        if name.to_string_lossy().starts_with(PREFIX) {
            problems.add(name.to_string_lossy(), None, "the variable's name is not valid UTF-8");
        }
        return None;
    };
    if let Some(key) = reference::key_of_variable(text) {
        return Some((text, key));
    }
    let is_ours = text.to_ascii_uppercase().starts_with(PREFIX) && text != FILE_VARIABLE;
    if is_ours && !is_service_link(text, value) {
        let hint = match reference::nearest_variable(text) {
            Some(name) => format!("did you mean {name}?"),
            None => "the names are COURSE_SYNC__SECTION__KEY, with two underscores each".to_owned(),
        };
        problems.add(text, None, format!("unknown variable; {hint}"));
    }
    None
}

/// Kubernetes sets such variables in every pod for a Service named `course-sync` or `course-sync-…`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
    let has_protocol = |rest: &str| ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol));
    !name.starts_with("COURSE_SYNC__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || (name.ends_with("_PORT") && is_url())
            || name.split_once("_PORT_").is_some_and(|(_, rest)| has_protocol(rest)))
}
