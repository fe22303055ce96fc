//! How a command ends, and the exit code that follows. Pure.

use std::process::ExitCode;

use crate::config::Problems;
use crate::outbox::OutboxError;

/// The outcome of a command that ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The command succeeded.
    Success,
    /// The command ran, and its result is negative: a failed check, a refused line, a course that was not changed.
    Failure,
    /// A signal with this number ended the command early.
    Interrupted(u8),
}

impl CommandOutcome {
    /// The exit code. Like a shell, it reports a signal as 128 plus its number.
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Failure => ExitCode::FAILURE,
            Self::Interrupted(signal) => ExitCode::from(signal.saturating_add(128)),
        }
    }
}

/// The options do not fit each other, the configuration or the file. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// An option names a property that HubSpot cannot have.
pub(super) fn unknown_property(option: &str, property: &str) -> UsageError {
    UsageError(format!(
        "{option}: HubSpot has no property {property:?}; the internal name of a property has lower-case letters, digits and \
         underscores, and begins with a letter"
    ))
}

/// The exit code of an error: 2 if usage or configuration is wrong, else 1.
pub(super) fn error_exit_code(error: &anyhow::Error) -> ExitCode {
    let is_configuration = error.is::<Problems>()
        || error.is::<UsageError>()
        || error.downcast_ref::<OutboxError>().is_some_and(OutboxError::is_configuration_error);
    if is_configuration { ExitCode::from(2) } else { ExitCode::FAILURE }
}
