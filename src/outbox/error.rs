//! What can go wrong with the database, told for a person.

use sqlx::migrate::MigrateError;

use crate::policy::batch::RowId;

/// A failure of the database or of what it holds.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A statement failed.
    #[error("the database failed to {doing}: {}", told(source))]
    Statement {
        /// What the statement was to do, as an infinitive.
        doing: &'static str,
        /// The database's own error.
        #[source]
        source: sqlx::Error,
    },
    /// No connection could be made.
    #[error(
        "the database at {place} cannot be used: {}. Check database.url and that the server is up",
        told(source)
    )]
    Connect {
        /// Host and database, without the password.
        place: String,
        /// The database's own error.
        #[source]
        source: sqlx::Error,
    },
    /// The URL is not one.
    #[error(
        "database.url is not one that Postgres takes: its host, port or a parameter behind the ? is wrong"
    )]
    Url,
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date: {}", told_of_migration(.0))]
    Migrate(#[source] MigrateError),
    /// The schema is older than this program, and it was told not to migrate.
    #[error(
        "the schema is not up to date (not applied: migration {0}); run `course-sync migrate`, or set database.migrate = true"
    )]
    Outdated(String),
    /// The schema is newer than this program.
    #[error(
        "the schema is newer than this program (migration {0}); run the version of course-sync that made it"
    )]
    Newer(i64),
    /// A row holds what its table's checks forbid.
    #[error("row {} of course_outbox holds an unusable {column}: {why}", row.0)]
    Row {
        /// Which row.
        row: RowId,
        /// Which column.
        column: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl OutboxError {
    /// Whether waiting may help: the server is away or busy, rather than refusing us for good.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Statement { source, .. }
            | Self::Connect { source, .. }
            | Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
                is_passing(source)
            }
            Self::Url | Self::Migrate(_) | Self::Outdated(_) | Self::Newer(_) | Self::Row { .. } => false,
        }
    }

    /// Whether it is the program or its configuration that does not fit the database, rather than the
    /// database that failed.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        match self {
            Self::Url | Self::Outdated(_) | Self::Newer(_) => true,
            Self::Statement { .. } | Self::Connect { .. } | Self::Migrate(_) | Self::Row { .. } => false,
        }
    }

    /// Whether the statement may have been committed although it failed: its answer was lost.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            // The server said no, unless it said that the connection is at its end: a pooler says so of the server's,
            // and a server that waits for its standby after the commit.
            Self::Statement { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(|code| ["08", "57P"].iter().any(|class| code.starts_with(class)))
            }
            // It was never asked.
            Self::Statement { source: sqlx::Error::PoolTimedOut, .. } => false,
            Self::Statement { .. } => true,
            Self::Connect { .. }
            | Self::Url
            | Self::Migrate(_)
            | Self::Outdated(_)
            | Self::Newer(_)
            | Self::Row { .. } => false,
        }
    }

    /// Names what a statement was to do.
    pub(super) fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { doing, source }
    }
}

/// In sqlx's words, without the line of Postgres's own source.
fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => format!("the server says: {}", error.message()),
        other => other.to_string(),
    }
}

fn told_of_migration(error: &MigrateError) -> String {
    /// SQLSTATE of a role that may not.
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = error else {
        return error.to_string();
    };
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let mend = match code.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {
            "; run `course-sync migrate` as the owner of the schema, and set database.migrate = false here"
        }
        _ => "",
    };
    format!("{}{mend}", told(source))
}

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        // Class 57: shutting down or starting; 53: no resources; 08: connection; 25006: read-only; 40: retry.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["57", "53", "08", "40"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}
