//! An error for some inputs of a request whose other inputs are executed normally.

use serde_json::Value;

use super::faults::Match;
use super::received::ReceivedInput;

/// What [`Answer::InputError`](super::Answer::InputError) does to one request.
#[derive(Clone, Debug)]
pub(super) struct InputFault {
    hits: Vec<bool>,
    error: Value,
    /// Whether the inputs are executed nevertheless.
    pub(super) commit: bool,
    named: bool,
}

impl InputFault {
    /// The fault for a request with these inputs; it applies to those that `on` selects.
    pub(super) fn new(on: &Match, inputs: &[ReceivedInput], unique: &[&str], error: Value) -> Self {
        let hits = inputs.iter().map(|input| on.selects(input, unique)).collect();
        Self { hits, error, commit: false, named: true }
    }

    /// Sets whether the inputs are executed, and whether the error names them.
    pub(super) fn with(mut self, commit: bool, named: bool) -> Self {
        self.commit = commit;
        self.named = named;
        self
    }

    /// Whether it applies to the input at this index.
    pub(super) fn hits(&self, index: usize) -> bool {
        self.hits.get(index).copied().unwrap_or_default()
    }

    /// The error as given.
    pub(super) fn unnamed(&self) -> Value {
        self.error.clone()
    }

    /// The error as given, with `names` as `member` of its context.
    pub(super) fn error(&self, member: &str, names: Vec<String>) -> Value {
        let mut error = self.error.clone();
        if self.named
            && let Some(error) = error.as_object_mut()
            && let Some(context) = error
                .entry("context")
                .or_insert_with(|| Value::Object(serde_json::Map::new()))
                .as_object_mut()
        {
            context.insert(member.to_owned(), Value::from(names));
        }
        error
    }
}
