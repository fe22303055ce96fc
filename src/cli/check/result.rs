//! The result of one check, as text and as JSON. Pure.

use serde::Serialize;

use crate::cli::format::sanitize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckStatus {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    pub(super) code: &'static str,
    pub(super) status: CheckStatus,
    pub(super) message: String,
    pub(super) fix: Option<String>,
}

impl CheckResult {
    pub(super) fn ok(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: CheckStatus::Ok, message: message.into(), fix: None }
    }

    /// `run` works now, but may stop working.
    pub(super) fn warning(code: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, status: CheckStatus::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    /// `run` cannot work reliably.
    pub(super) fn failed(code: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, status: CheckStatus::Failed, message: message.into(), fix: Some(fix.into()) }
    }

    /// The check could not be made, or does not apply.
    pub(super) fn skipped(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: CheckStatus::Skipped, message: message.into(), fix: None }
    }

    /// The check depends on another one that failed.
    pub(super) fn not_checked(code: &'static str, because: &str) -> Self {
        Self::skipped(code, format!("not checked: {because}"))
    }

    /// Whether `run` cannot work reliably.
    pub(super) fn has_failed(&self) -> bool {
        self.status == CheckStatus::Failed
    }

    /// The result on one line.
    pub(super) fn to_line(&self) -> String {
        let mark = match self.status {
            CheckStatus::Ok => '✓',
            CheckStatus::Failed => '✗',
            CheckStatus::Warning => '!',
            CheckStatus::Skipped => '–',
        };
        let fix = self.fix.as_ref().map(|fix| format!(". {}", capitalize(fix))).unwrap_or_default();
        let message = self.message.trim_end_matches('.');
        sanitize(&format!("{mark} {:<16}{message}{fix}", self.code))
    }
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
