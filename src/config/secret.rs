//! Where a secret comes from, and reading it. Touches secret files.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::redact::redact;

/// A longer file is not a secret file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Where a secret comes from. Its `Debug` never shows the value.
#[derive(Clone)]
pub struct SecretSource {
    setting: &'static str,
    location: Location,
}

#[derive(Clone)]
enum Location {
    Value(SecretString),
    File(PathBuf),
}

impl SecretSource {
    /// A secret given as the value of the setting.
    #[must_use]
    pub fn value(setting: &'static str, value: impl Into<String>) -> Self {
        Self { setting, location: Location::Value(SecretString::from(value.into())) }
    }

    /// A secret in a file, which may change at any time.
    #[must_use]
    pub fn file(setting: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { setting, location: Location::File(path.into()) }
    }

    /// The file that the secret is read from, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::Value(_) => None,
            Location::File(path) => Some(path),
        }
    }

    /// The current secret. A file is read at every call, so that a rotated secret takes effect.
    ///
    /// One newline at the end is dropped. Fails if the file cannot be read, or if the secret is empty or
    /// contains anything but visible ASCII; the error names the setting and the file, never the value.
    /// Blocks while a small file is read.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match &self.location {
            Location::Value(value) => value.clone(),
            Location::File(path) => read_file(path).map_err(|reason| self.error(reason))?,
        };
        let secret = without_newline(text.expose_secret());
        match flaw(secret) {
            None => Ok(SecretString::from(secret)),
            Some(reason) => Err(self.error(reason)),
        }
    }

    fn error(&self, reason: impl Into<String>) -> SecretError {
        SecretError { setting: self.setting, file: self.path().map(Path::to_owned), reason: reason.into() }
    }

    /// A warning if every user of the machine may read or change the file.
    pub(super) fn permission_warning(&self) -> Option<String> {
        let path = self.path()?;
        let what = match fs::metadata(path).ok()?.permissions().mode() {
            bits if bits & 0o2 != 0 => "can be changed",
            bits if bits & 0o4 != 0 => "can be read",
            _ => return None,
        };
        Some(format!(
            "{}_file: {} {what} by every user of this machine; chmod 600 it (Kubernetes: fsGroup, and defaultMode 0440)",
            self.setting,
            show_path(path)
        ))
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Value(_) => f.write_str("[secret]"),
            Location::File(path) => write!(f, "[secret in {}]", show_path(path)),
        }
    }
}

/// Why a secret cannot be read. Names the setting and the file, never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretError {
    /// Such as `hubspot.access_token`.
    pub setting: &'static str,
    /// The file, if the secret comes from one.
    pub file: Option<PathBuf>,
    /// What is wrong and how to fix it.
    pub reason: String,
}

impl SecretError {
    pub(super) fn not_set(setting: &'static str) -> Self {
        Self { setting, file: None, reason: "is not set".to_owned() }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => write!(f, "{}: the file {} {}", self.setting, show_path(path), self.reason),
            None => write!(f, "{} {}", self.setting, self.reason),
        }
    }
}

impl std::error::Error for SecretError {}

/// A secret may have been given in place of a path by mistake: a path of one component is not shown.
pub(super) fn show_path(path: &Path) -> String {
    if path.components().count() > 1 {
        redact(&path.to_string_lossy()).into_owned()
    } else {
        "(the name is not shown because it may be the secret itself)".to_owned()
    }
}

fn read_file(path: &Path) -> Result<SecretString, String> {
    // Checked before opening: reading a pipe would block, reading a device would not end.
    if !fs::metadata(path).map_err(|error| describe(&error))?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| describe(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is longer than {} KiB: check that it is the right file", MAX_FILE_BYTES / 1024));
    }
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| "is not UTF-8 text".to_owned())
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read by this user: permission denied".to_owned(),
        _ => format!("cannot be read ({error})"),
    }
}

fn without_newline(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Header values and URLs contain visible ASCII only; anything else is a copying mistake.
fn flaw(secret: &str) -> Option<&'static str> {
    if secret.is_empty() {
        Some("is empty")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        Some("contains spaces, line breaks or non-ASCII characters: check how it was copied")
    } else {
        None
    }
}
