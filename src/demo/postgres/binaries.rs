//! Finds the programs of an installed PostgreSQL server.
//!
//! May touch: the environment, `pg_config`, and the folders where packages install them; reads only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the server programs are, and what they need to run.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    /// The folder of `initdb`, `postgres` and `pg_ctl`.
    pub(super) bin_dir: PathBuf,
    /// `LD_LIBRARY_PATH`, if the libraries are outside the system's folders.
    pub(super) library_path: Option<String>,
}

/// Parent folder, prefix before the version, subfolder. Searched in this order, the highest version first.
const USUAL_FOLDERS: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"),
];

/// The first complete set of server programs: `PG_BIN`, `pg_config`, `PATH`, the usual folders.
pub(super) fn find() -> Option<Installation> {
    let named = std::env::var_os("PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = USUAL_FOLDERS.into_iter().flat_map(|(parent, prefix, bin)| versions(parent, prefix, bin));
    named
        .into_iter()
        .chain(pg_config())
        .chain(std::env::split_paths(&path))
        .chain(usual)
        .find(|folder| is_complete(folder))
        .map(|bin_dir| Installation { bin_dir, library_path: None })
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Whether all programs of a server are there: client packages have only `pg_config` and `psql`.
pub(super) fn is_complete(folder: &Path) -> bool {
    folder.is_absolute() && ["initdb", "postgres", "pg_ctl"].iter().all(|name| folder.join(name).is_file())
}

/// The folders `parent/prefix*/bin`, the highest version number first.
pub(super) fn versions(parent: &str, prefix: &str, bin: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = version_in(name.strip_prefix(prefix)?);
            Some((version, entry.path().join(bin)))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// The major version in `15`, `@17`, `16.4`; 0 if there is none.
fn version_in(name: &str) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|major| major.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (name, version) in [("9.6", 9), ("15", 15), ("@17", 17), ("", 0), ("latest", 0)] {
            assert_eq!(version_in(name), version, "{name}");
        }
    }
}
