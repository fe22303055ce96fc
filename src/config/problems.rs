//! Everything that is wrong with a configuration, as the operator reads it. Pure.

use std::fmt;

use super::redact::is_unprintable;
use super::reference::KEYS;

/// One reason to reject a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, variable or file it concerns.
    pub subject: String,
    /// Where it was set, such as `course-sync.toml:12` or a variable's name.
    pub source: Option<String>,
    /// What is wrong and how to fix it. Never contains a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Every problem of one load; never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, subject: impl fmt::Display, source: Option<&str>, text: impl AsRef<str>) {
        self.0.push(Problem {
            subject: escape(&subject.to_string()),
            source: source.map(escape),
            text: escape(text.as_ref()),
        });
    }

    pub(super) fn concern(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.subject == key)
    }

    /// Files and unknown names first, then by key, in the order of `config/default.toml`.
    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_by_key(|problem| KEYS.iter().position(|key| *key == problem.subject));
        self
    }
}

/// Paths and names come from outside: control characters must not reach a terminal.
fn escape(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) { clean.extend(c.escape_debug()) } else { clean.push(c) }
    }
    clean
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "\n  {}. {problem}", index + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
