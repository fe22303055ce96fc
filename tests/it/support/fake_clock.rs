//! A wall clock that tests can shift, by preloading libfaketime into a program. The monotonic clock is not changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// A clock for programs that are started with [`FakeClock::environment`].
pub struct FakeClock {
    library: PathBuf,
    folder: TempDir,
}

impl FakeClock {
    /// Creates a clock without offset. Returns `None` if libfaketime is not installed.
    pub fn new() -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let library = fs::read_dir("/usr/lib")
            .ok()?
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a folder");
        // A server that runs as another user must be able to read the file.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        let clock = Self { library, folder };
        clock.set_offset(0);
        Some(clock)
    }

    /// Shifts the clock to this many seconds ahead of the real time (negative: behind).
    pub fn set_offset(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        fs::rename(new, self.offset_file()).expect("the file can be replaced");
    }

    fn offset_file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// The environment variables that make a program read this clock.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        [
            ("LD_PRELOAD", text(self.library.clone())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.offset_file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
