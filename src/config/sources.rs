//! Where settings come from.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What one load reads: a file, if any, and an environment.
#[derive(Clone, Default)]
pub struct Sources {
    /// The TOML file; where it is `None`, the variable `COURSE_SYNC_CONFIG` may name one.
    pub file: Option<PathBuf>,
    /// Variables by name, as the process has them.
    pub env: Vec<(OsString, OsString)>,
}

impl Sources {
    /// The process's own environment, and the file named on the command line, if one was.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        Self { file, env: std::env::vars_os().collect() }
    }
}

impl fmt::Debug for Sources {
    /// An environment is full of other people's secrets: its size is all that is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources {{ file: {:?}, env: {} variables }}", self.file, self.env.len())
    }
}

/// What a command cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// `database.url` must be set and readable.
    pub database: bool,
    /// HubSpot credentials must be set and readable.
    pub hubspot: bool,
}
