//! Where settings come from.

use std::ffi::OsString;
use std::path::PathBuf;

/// What one load reads: a file, if any, and an environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Variables by name, as the process has them.
    pub env: Vec<(OsString, OsString)>,
}

impl Sources {
    /// The process's own environment, and `file` or else the one named by `COURSE_SYNC_CONFIG`.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let named =
            || std::env::var_os("COURSE_SYNC_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        Self { file: file.or_else(named), env: std::env::vars_os().collect() }
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
