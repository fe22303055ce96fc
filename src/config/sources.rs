//! Where settings come from: a file and an environment. Touches the environment of the process.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The file, if any, and the environment that a configuration is loaded from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The TOML file; if `None`, the variable `COURSE_SYNC_CONFIG` may name one.
    pub file: Option<PathBuf>,
    /// Names and values of the variables.
    pub env: Vec<(OsString, OsString)>,
}

impl Sources {
    /// The environment of the process, and the file named on the command line, if any.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        Self { file, env: std::env::vars_os().collect() }
    }
}

impl fmt::Debug for Sources {
    /// Shows only the number of variables: an environment contains secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources {{ file: {:?}, env: {} variables }}", self.file, self.env.len())
    }
}

/// The settings without defaults that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// `database.url` must be set and readable.
    pub database: bool,
    /// HubSpot credentials must be set and readable.
    pub hubspot: bool,
}
