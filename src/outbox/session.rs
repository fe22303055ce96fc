//! The connection that a statement runs on. Touches the database.
//!
//! The driver gives each statement that it prepares a name of its own (`sqlx_s_1`, `sqlx_s_2` and so on). Behind a
//! pooler in transaction mode, other clients may have prepared other statements under the same names in the same
//! session of the server. So there a statement has no name. It is replaced by the next one, and nothing has to be freed:
//! `deallocate all` would also free what a pooler prepared for other clients.

use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, PgConnection, Postgres, SqlStr};

/// How long to wait for a connection before the database counts as unreachable.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a connection is one session of the server, or a pooler may give each transaction another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionMode {
    /// A connection is a session: statements are prepared once and run without an explicit transaction.
    Dedicated,
    /// A pooler in transaction mode: each statement runs in a transaction of its own, because preparing and executing
    /// it are two steps that must reach the same session. Nothing is kept between transactions.
    Pooled,
}

/// A connection, and whether it is one session of the server.
#[derive(Debug)]
pub(super) struct Session<'c> {
    pub(super) connection: &'c mut PgConnection,
    pub(super) mode: SessionMode,
}

impl<'c> Session<'c> {
    pub(super) const fn new(connection: &'c mut PgConnection, mode: SessionMode) -> Self {
        Self { connection, mode }
    }
}

/// A statement that the server keeps only if the session is the connection's own.
struct InSession<E> {
    statement: E,
    mode: SessionMode,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for InSession<E> {
    fn sql(self) -> SqlStr {
        self.statement.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.statement.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.statement.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.mode == SessionMode::Dedicated && self.statement.persistent()
    }
}

impl<'s> Executor<'s> for &'s mut Session<'_> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.connection.fetch_many(InSession { statement: query, mode: self.mode })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.connection.fetch_optional(InSession { statement: query, mode: self.mode })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        's: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }
}
