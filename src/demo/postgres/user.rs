//! Who Postgres runs as: this process's own user, or as root an unprivileged one.
//!
//! May touch: ownership of the throwaway directory. The effective user is read off a file just
//! made, which needs no call into libc.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::PostgresError;

/// The user and group the cluster's processes get; `None`: those of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity(Option<(u32, u32)>);

impl Identity {
    /// Whom to run as, given a file or directory that this process has just created.
    pub(super) fn for_owner_of(path: &Path) -> Result<Self, PostgresError> {
        let owner = fs::metadata(path).map_err(PostgresError::io("look at the new directory"))?.uid();
        if owner != 0 {
            return Ok(Self(None));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some((id("-u", name)?, id("-g", name)?)))
            .map(|ids| Self(Some(ids)))
            .ok_or(PostgresError::NoUnprivilegedUser)
    }

    /// Makes the path the unprivileged user's own.
    pub(super) fn give(&self, path: &Path) -> Result<(), PostgresError> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        chown(path, Some(user), Some(group))
            .map_err(PostgresError::io(format!("give {} to the user of Postgres", path.display())))
    }

    /// Writes a file that is the user's own; its directory (mode 0700) keeps others out.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), PostgresError> {
        fs::write(path, text).map_err(PostgresError::io(format!("write {}", path.display())))?;
        self.give(path)
    }

    /// A command that runs as the user, without this process's own Postgres settings.
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

fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
