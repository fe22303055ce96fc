//! A wall clock that jumps: libfaketime between a program and its system. The steady clock goes on as it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// Those who are started with [`Clock::environment`] read this clock.
pub struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    /// `None` where libfaketime is not installed.
    pub fn find() -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let library = fs::read_dir("/usr/lib")
            .ok()?
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a folder");
        // A server that runs as another user reads it, too.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder of one's own");
        let clock = Self { library, folder };
        clock.is_ahead_by(0);
        Some(clock)
    }

    /// It jumps.
    pub fn is_ahead_by(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        fs::rename(new, self.file()).expect("a swap");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    pub fn environment(&self) -> BTreeMap<String, String> {
        let text = |path: PathBuf| path.to_str().expect("a path of text").to_owned();
        [
            ("LD_PRELOAD", text(self.library.clone())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
