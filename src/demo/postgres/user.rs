//! The user that Postgres runs as: the user of this process or, if that is root, an unprivileged one.
//!
//! May touch: ownership of the throwaway directory. The effective user is the owner of a directory that this
//! process has just created, so no libc call is needed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::PostgresError;

/// The user and group of the cluster's processes; `None`: those of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity(Option<(u32, u32)>);

impl Identity {
    /// Detects which user to run as, from a file or directory that this process has just created.
    pub(super) fn detect(path: &Path) -> Result<Self, PostgresError> {
        let owner =
            fs::metadata(path).map_err(PostgresError::io("read the owner of the new directory"))?.uid();
        if owner != 0 {
            return Ok(Self(None));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some((lookup_id("-u", name)?, lookup_id("-g", name)?)))
            .map(|ids| Self(Some(ids)))
            .ok_or(PostgresError::NoUnprivilegedUser)
    }

    /// Makes the unprivileged user the owner of the path.
    pub(super) fn own(&self, path: &Path) -> Result<(), PostgresError> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        chown(path, Some(user), Some(group)).map_err(PostgresError::io(format!(
            "change the owner of {} to the user of Postgres",
            path.display()
        )))
    }

    /// Writes a file owned by that user. Its directory (mode 0700) keeps other users out.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), PostgresError> {
        fs::write(path, text).map_err(PostgresError::io(format!("write {}", path.display())))?;
        self.own(path)
    }

    /// A command that runs as that user, without the Postgres settings of this process.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

fn lookup_id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
