//! What is wrong with a configuration, all of it at once, as a person reads it.

use std::fmt;
use std::path::PathBuf;

use super::redact::is_unprintable;

/// Where a setting was found.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    BuiltIn,
    File { path: PathBuf, line: Option<usize> },
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, variable or file it concerns.
    pub subject: String,
    /// Where it was set, such as `course-sync.toml:12` or a variable's name; `None` where nowhere.
    pub source: Option<String>,
    /// What is wrong and what would be right. Never holds a secret.
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

/// Every finding of one load; never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        subject: impl fmt::Display,
        source: Option<&Origin>,
        text: impl Into<String>,
    ) {
        let source = source.map(|origin| visible(&origin.to_string()));
        self.0.push(Problem { subject: visible(&subject.to_string()), source, text: visible(&text.into()) });
    }
}

/// Paths and names come from outside: what a terminal would obey is escaped.
fn visible(text: &str) -> String {
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
