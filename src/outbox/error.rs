//! Errors of the database: what failed, and what the operator can do.

use std::borrow::Cow;

use sqlx::migrate::MigrateError;

use crate::course::{Category, RowId};

/// An error of the database or of its contents.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A statement failed.
    #[error("could not {action}: {}", describe(source))]
    Statement {
        /// The purpose of the statement, as an infinitive.
        action: &'static str,
        /// The database's own error.
        #[source]
        source: sqlx::Error,
    },
    /// No connection could be made.
    #[error(
        "could not connect to the database at {place}: {}. Check database.url and that the server is running",
        describe(source)
    )]
    Connect {
        /// Host and database, without the password.
        place: String,
        /// The database's own error.
        #[source]
        source: sqlx::Error,
    },
    /// The URL is invalid.
    #[error("database.url {0} (the value is not shown)")]
    Url(String),
    /// A migration failed.
    #[error("could not migrate the database schema: {}", describe_migration(.0))]
    Migrate(#[source] MigrateError),
    /// The schema is older than this program, and database.migrate is false.
    #[error(
        "the database schema is not up to date (missing migration {0}); run `course-sync migrate`, or set database.migrate = true"
    )]
    Outdated(String),
    /// The schema is newer than this program.
    #[error(
        "the database schema is newer than this program (migration {0}); run the version of course-sync that applied it"
    )]
    Newer(i64),
    /// Several schemas of the search path hold an outbox.
    #[error(
        "the search path of this role leads to several outboxes, in the schemas {0}; set it to the one to use (`alter role … \
         set search_path = …`), or drop the tables of the other if it is empty"
    )]
    SeveralSchemas(String),
    /// The tables exist, but nothing is recorded about them.
    #[error(
        "the table course_outbox exists, but course_sync_migrations does not show which migrations created it, as after \
         restoring a dump without its data; copy the rows of course_sync_migrations from the original database \
         (`pg_dump --data-only --table=course_sync_migrations`), or drop the tables of course-sync if they are empty"
    )]
    Unrecorded,
    /// A row violates the checks of its table.
    #[error("row {row} of course_outbox has an invalid {column}: {why}")]
    Row {
        /// Which row.
        row: RowId,
        /// Which column.
        column: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A row is too large to be read.
    #[error(
        "row {row} of course_outbox is too large: its properties and associations have more than 4 MiB as text, in which a \
         number has all its digits. It was not sent; shorten them"
    )]
    TooLarge {
        /// Which row.
        row: RowId,
    },
}

impl OutboxError {
    /// Whether a retry may succeed: the server is unavailable or busy, rather than refusing permanently.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Statement { source, .. }
            | Self::Connect { source, .. }
            | Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
                is_transient_error(source)
            }
            Self::Url(_)
            | Self::Migrate(_)
            | Self::Outdated(_)
            | Self::Newer(_)
            | Self::SeveralSchemas(_)
            | Self::Unrecorded
            | Self::Row { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// The server's code for the error of a statement.
    fn sqlstate(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Statement { source, .. }
            | Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
                source.as_database_error().and_then(sqlx::error::DatabaseError::code)
            }
            _ => None,
        }
    }

    /// Whether the server gave up waiting for a lock that another session holds.
    pub(super) fn is_lock_timeout(&self) -> bool {
        /// The SQLSTATE of `lock_timeout`.
        const LOCK_NOT_AVAILABLE: &str = "55P03";
        self.sqlstate().as_deref() == Some(LOCK_NOT_AVAILABLE)
    }

    /// Whether the server ended the statement because of a deadlock with another session.
    pub(super) fn is_deadlock(&self) -> bool {
        /// The SQLSTATE of a deadlock.
        const DEADLOCK_DETECTED: &str = "40P01";
        self.sqlstate().as_deref() == Some(DEADLOCK_DETECTED)
    }

    /// Whether the program or its configuration does not fit the database, rather than the database failing.
    #[must_use]
    pub fn is_configuration_error(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::Outdated(_)
            | Self::Newer(_)
            | Self::SeveralSchemas(_)
            | Self::Unrecorded => true,
            Self::Statement { .. }
            | Self::Connect { .. }
            | Self::Migrate(_)
            | Self::Row { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the statement may have been committed although it failed: its acknowledgement was lost.
    #[must_use]
    pub fn may_have_committed(&self) -> bool {
        match self {
            // The server refused the statement, unless it reports the end of the connection: a pooler does so when it
            // lost the server, and a server does so while it waits for its standby after the commit.
            Self::Statement { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(|code| ["08", "57P"].iter().any(|class| code.starts_with(class)))
            }
            // It was never sent.
            Self::Statement { source: sqlx::Error::PoolTimedOut, .. } => false,
            // Also a response that cannot be decoded: by then the statement has been committed. A value that cannot be
            // read is no such error; see `outbox::lenient`.
            Self::Statement { .. } => true,
            Self::Connect { .. }
            | Self::Url(_)
            | Self::Migrate(_)
            | Self::Outdated(_)
            | Self::Newer(_)
            | Self::SeveralSchemas(_)
            | Self::Unrecorded
            | Self::Row { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the database refused the statement because of a row: a foreign key, another constraint, or a trigger.
    #[must_use]
    pub fn is_refusal_of_a_row(&self) -> bool {
        /// The SQLSTATE of `raise` in a function.
        const RAISED: &str = "P0001";
        self.sqlstate().is_some_and(|code| code.starts_with("23") || code == RAISED)
    }

    /// Whether a statement over several rows may succeed without some of them: the database refused one, or another session
    /// holds it.
    #[must_use]
    pub fn concerns_single_rows(&self) -> bool {
        /// The SQLSTATE of a deadlock, which another session's locks caused.
        const DEADLOCK: &str = "40P01";
        let code = self.sqlstate();
        let Some(code) = code.as_deref() else { return false };
        // 22 data, 23 constraints, P0 raised by a function, 42 a function that is wrong. A missing right (42501) concerns
        // every row.
        let is_refusal =
            ["22", "23", "P0", "42"].iter().any(|class| code.starts_with(class)) && code != "42501";
        is_refusal || self.is_lock_timeout() || code == DEADLOCK
    }

    /// The category of the course whose row has this error.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::TooLarge { .. } => Category::TooLarge,
            _ => Category::InvalidRow,
        }
    }

    /// An error of the statement that was to do this, an infinitive such as "claim pending courses".
    pub(super) fn failed_to(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { action, source }
    }
}

/// The error's text, without the position in Postgres's own source that sqlx adds.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => format!("the server reports: {}", error.message()),
        other => other.to_string(),
    }
}

fn describe_migration(error: &MigrateError) -> String {
    /// The SQLSTATE of a missing privilege.
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = error else {
        return error.to_string();
    };
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let fix = match code.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {
            "; run `course-sync migrate` as the owner of the schema, and set database.migrate = false for this role"
        }
        _ => "",
    };
    format!("{}{fix}", describe(source))
}

fn is_transient_error(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        // SQLSTATE classes: 57 shutting down or starting, 53 out of resources, 08 connection, 40 rolled back and to be
        // retried; 25006 is a read-only server, such as a standby.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["57", "53", "08", "40"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}
