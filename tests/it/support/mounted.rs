//! A secret as Kubernetes mounts it: a link to a link to a file, swapped as a whole.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

pub struct Mounted {
    folder: TempDir,
    versions: usize,
}

impl Mounted {
    pub fn new(secret: &str) -> Self {
        let mut mounted = Self { folder: tempfile::tempdir().expect("a folder"), versions: 0 };
        mounted.becomes(secret);
        symlink("..data/secret", mounted.path()).expect("a link");
        mounted
    }

    /// What a setting names.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Swaps it, at one instant.
    pub fn becomes(&mut self, secret: &str) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        let folder = self.folder.path();
        fs::create_dir(folder.join(&version)).expect("a folder");
        fs::write(folder.join(&version).join("secret"), format!("{secret}\n")).expect("a file");
        symlink(&version, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a swap");
    }
}
