//! Secrets: where one comes from, and reading it. Touches secret files.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::redact::redact;

/// A secret file longer than this is some other file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Where a secret comes from. Its `Debug` never shows the value.
#[derive(Clone)]
pub struct SecretSource {
    setting: &'static str,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    Value(SecretString),
    File(PathBuf),
}

impl SecretSource {
    /// The secret that was given as the setting's value.
    #[must_use]
    pub fn value(setting: &'static str, value: impl Into<String>) -> Self {
        Self { setting, origin: Origin::Value(SecretString::from(value.into())) }
    }

    /// The secret that stands in a file, which may change at any time.
    #[must_use]
    pub fn file(setting: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { setting, origin: Origin::File(path.into()) }
    }

    /// The setting this secret belongs to, such as `hubspot.access_token`.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The file the secret is read from, if it is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Value(_) => None,
            Origin::File(path) => Some(path),
        }
    }

    /// The secret as it stands now: a file is read at every call, so a rotated one is noticed.
    ///
    /// One newline at the end is dropped. Fails if the file cannot be read, or if the secret is empty or
    /// holds anything but visible ASCII; the error names the setting and the file, never the value.
    /// Blocks for the length of a small file's read.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match &self.origin {
            Origin::Value(value) => value.clone(),
            Origin::File(path) => read_file(path).map_err(|reason| self.error(reason))?,
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

    /// What the file permits to everybody on the machine, if that is more than nothing.
    pub(super) fn exposure(&self) -> Option<String> {
        let path = self.path()?;
        let what = match world_bits(path)? {
            bits if bits & 0o2 != 0 => "may be changed",
            bits if bits & 0o4 != 0 => "may be read",
            _ => return None,
        };
        Some(format!(
            "{}_file: {} {what} by every user of this machine; chmod 600 it (Kubernetes: fsGroup, and defaultMode 0440)",
            self.setting,
            shown(path)
        ))
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Value(_) => f.write_str("[secret]"),
            Origin::File(path) => write!(f, "[secret in {}]", shown(path)),
        }
    }
}

/// Why a secret cannot be had. Names the setting and the file, never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretError {
    /// Such as `hubspot.access_token`.
    pub setting: &'static str,
    /// The file, if the secret comes from one.
    pub file: Option<PathBuf>,
    /// What is wrong, and what would be right.
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
            Some(path) => write!(f, "{}: the file {} {}", self.setting, shown(path), self.reason),
            None => write!(f, "{} {}", self.setting, self.reason),
        }
    }
}

impl std::error::Error for SecretError {}

/// A secret given where its file's name belongs is a likely slip, and must not be shown as a name.
pub(super) fn shown(path: &Path) -> String {
    if path.components().count() > 1 {
        redact(&path.to_string_lossy()).into_owned()
    } else {
        "(its name is not shown, as it may be the secret itself)".to_owned()
    }
}

fn read_file(path: &Path) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read ({error})"),
    };
    // Asked before opening: a pipe would block for ever, a device never end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is longer than {} KiB: is it the right one?", MAX_FILE_BYTES / 1024));
    }
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| "is not UTF-8 text".to_owned())
}

fn without_newline(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Header values and URLs hold nothing but visible ASCII, so anything else is an accident of copying.
fn flaw(secret: &str) -> Option<&'static str> {
    if secret.is_empty() {
        Some("is empty")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        Some("holds spaces, line breaks or characters beyond ASCII: check how it was copied")
    } else {
        None
    }
}

#[cfg(unix)]
fn world_bits(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o7)
}

#[cfg(not(unix))]
fn world_bits(_: &Path) -> Option<u32> {
    None
}
