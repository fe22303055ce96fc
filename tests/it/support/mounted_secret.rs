//! A secret file as Kubernetes mounts it: a link to a link to a file, replaced atomically.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

/// A secret in a temporary folder, readable at [`MountedSecret::path`].
pub struct MountedSecret {
    folder: TempDir,
    versions: usize,
}

impl MountedSecret {
    /// Creates the file with this content.
    pub fn new(secret: &str) -> Self {
        let mut mounted = Self { folder: tempfile::tempdir().expect("a folder"), versions: 0 };
        mounted.replace_with(secret);
        symlink("..data/secret", mounted.path()).expect("a link");
        mounted
    }

    /// The path for a `_FILE` setting.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Replaces the content atomically.
    pub fn replace_with(&mut self, secret: &str) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        let folder = self.folder.path();
        fs::create_dir(folder.join(&version)).expect("a folder");
        fs::write(folder.join(&version).join("secret"), format!("{secret}\n")).expect("a file");
        symlink(&version, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("the link can be replaced");
    }
}
