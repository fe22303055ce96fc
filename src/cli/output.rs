//! Prints results to stdout, and progress and errors to stderr.

use std::io::{ErrorKind, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::config::redact;
use crate::outbox::OutboxError;

/// Prints a result as JSON, or as the text that `as_text` makes of it.
pub(super) fn print_as<T: Serialize>(
    json: bool,
    result: &T,
    as_text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    print_result(&if json { serde_json::to_string_pretty(result)? } else { as_text(result) })?;
    Ok(())
}

/// Prints a result. A closed pipe is not an error: then it returns false.
pub(super) fn print_result(result: &str) -> std::io::Result<bool> {
    match writeln!(std::io::stdout().lock(), "{result}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// Prints progress to stderr. A closed stderr is not an error.
pub(super) fn print_progress(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// Shows progress whose end is not known; on stderr, if it is a terminal.
pub(super) fn spinner(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Prints the error of a command to stderr.
pub(super) fn print_error(error: &anyhow::Error) {
    print_progress(&format!("course-sync: {}", redact(&describe_error(error))));
}

/// The error with its causes. A cause that is already part of the text is not repeated.
pub(super) fn describe_error(error: &anyhow::Error) -> String {
    let mut description = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if description.is_empty() {
            description = text;
        } else if !description.contains(&text) {
            description = format!("{description}: {text}");
        }
        // An `OutboxError` contains the database's message. Its source would add the line of Postgres's source code.
        if cause.is::<OutboxError>() {
            break;
        }
    }
    description
}
