//! Reads the keys of an environment. Knows the variables' names, not their meaning.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use config::{Environment, Source as _, ValueKind};

use super::keys::{self, FILE_VARIABLE, PREFIX, SEPARATOR, SHORT_VARIABLES};
use super::layers::{Layer, Setting};
use super::problems::{Origin, Problems};

/// What the variables of this program say; a long name wins over its short one. Empty ones count as unset.
pub(super) fn read(env: &[(OsString, OsString)], problems: &mut Problems) -> Layer {
    let (mut long, mut short) = (HashMap::new(), Layer::new());
    for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
        let Some(variable) = recognise(name, value, problems) else { continue };
        let Some(value) = value.to_str() else {
            problems.add(name.to_string_lossy(), None, "the value is not valid UTF-8 (not shown)");
            continue;
        };
        match variable {
            Variable::Long(name) => {
                long.insert(name.to_owned(), value.to_owned());
            }
            Variable::Short(name, key) => {
                let origin = Origin::Variable(name.to_owned());
                short.insert(key, Setting { value: ValueKind::String(value.to_owned()), origin });
            }
        }
    }
    let mut layer = by_long_names(long);
    for (key, short) in short {
        match layer.get(key) {
            Some(long) if long.value != short.value => problems.add(
                key,
                Some(&long.origin),
                format!("contradicts {}, which says something else: unset one of them", short.origin),
            ),
            Some(_) => {}
            None => {
                layer.insert(key, short);
            }
        }
    }
    layer
}

fn by_long_names(variables: HashMap<String, String>) -> Layer {
    // No `try_parsing`: it would turn a token 00123 into the number 123.
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(variables));
    // Collecting fails on nothing but values that are not UTF-8, of which there are none left.
    let known = environment.collect().unwrap_or_default().into_iter();
    known
        .filter_map(|(path, value)| {
            let key = keys::known(&path)?;
            Some((key, Setting { value: value.kind, origin: Origin::Variable(keys::variable(key)) }))
        })
        .collect()
}

enum Variable<'a> {
    /// `COURSE_SYNC__SECTION__KEY`
    Long(&'a str),
    /// One of the names everybody expects, and the key it stands for.
    Short(&'static str, &'static str),
}

/// What a variable means to this program, if anything; one of ours that means nothing is a problem.
fn recognise<'a>(name: &'a OsStr, value: &OsStr, problems: &mut Problems) -> Option<Variable<'a>> {
    let Some(text) = name.to_str() else {
        if name.to_string_lossy().starts_with(PREFIX) {
            problems.add(name.to_string_lossy(), None, "the variable's name is not valid UTF-8");
        }
        return None;
    };
    if let Some((short, key)) = SHORT_VARIABLES.iter().find(|(short, _)| *short == text) {
        return Some(Variable::Short(short, key));
    }
    if !text.to_ascii_uppercase().starts_with(PREFIX) || text == FILE_VARIABLE || is_service_link(text, value)
    {
        return None;
    }
    if keys::KEYS.iter().any(|key| keys::variable(key) == text) {
        return Some(Variable::Long(text));
    }
    let hint = match keys::nearest_variable(text) {
        Some(name) => format!("did you mean {name}?"),
        None => "the names are COURSE_SYNC__SECTION__KEY, with two underscores each".to_owned(),
    };
    problems.add(text, None, format!("unknown variable; {hint}"));
    None
}

/// Kubernetes sets such variables in every pod for a Service named `course-sync` or `course-sync-…`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
    let of_port = |rest: &str| ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol));
    !name.starts_with("COURSE_SYNC__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || (name.ends_with("_PORT") && is_url())
            || name.split_once("_PORT_").is_some_and(|(_, rest)| of_port(rest)))
}
