//! What all sessions of one pool share: their mode, their schema, and how each is set up. Touches nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;

use crate::outbox::schema::OutboxSchema;
use crate::outbox::server::Server;
use crate::outbox::session::SessionMode;

/// The longest that one statement may take at the server. The daemon's statements take far less; these limits end
/// the wait for a lock that an operator holds, or for a dead disk.
///
/// `synchronous_commit` is set because a database or role may have it off: a crash of the server could then lose the
/// acknowledged intent to send a course, and the course would be sent twice.
///
/// The isolation level is set because a database or role may have a stricter one: each statement is a transaction of its
/// own, so a stricter level protects nothing, but it fails statements that run at the same time.
///
/// A database without an encoding (`SQL_ASCII`) holds any bytes. If they had to be UTF-8, one wrong byte would fail
/// every statement that reads its row.
const SESSION_SETUP: &str = "set statement_timeout = '30s'; set lock_timeout = '5s'; \
     set idle_in_transaction_session_timeout = '30s'; set synchronous_commit = on; \
     set default_transaction_isolation = 'read committed'; \
     select set_config('client_encoding', 'SQL_ASCII', false) where getdatabaseencoding() = 'SQL_ASCII'";

/// The same for one transaction, because a pooler gives each transaction another session.
const BEGIN: &str = "begin isolation level read committed; set local statement_timeout = '30s'; set local lock_timeout = '5s'; \
     set local idle_in_transaction_session_timeout = '30s'; set local synchronous_commit = on; \
     select set_config('client_encoding', 'SQL_ASCII', true) where getdatabaseencoding() = 'SQL_ASCII'";

/// The state that all sessions of a pool share.
#[derive(Debug)]
pub(super) struct SessionState {
    is_pooled: AtomicBool,
    schema: Mutex<Option<OutboxSchema>>,
    server: Server,
    replaced_at: Mutex<Option<Instant>>,
}

impl SessionState {
    pub(super) fn new(mode: SessionMode) -> Self {
        Self {
            is_pooled: AtomicBool::new(matches!(mode, SessionMode::Pooled)),
            schema: Mutex::new(None),
            server: Server::default(),
            replaced_at: Mutex::new(None),
        }
    }

    /// The server, as far as this process knows it.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn mode(&self) -> SessionMode {
        if self.is_pooled.load(Ordering::Relaxed) { SessionMode::Pooled } else { SessionMode::Dedicated }
    }

    /// Assumes a pooler from now on. False if it did so before.
    pub(super) fn assume_pooler(&self) -> bool {
        let was_pooled = self.is_pooled.swap(true, Ordering::Relaxed);
        if !was_pooled {
            // They have prepared statements.
            self.replace_connections();
        }
        !was_pooled
    }

    /// Closes the connections that are open now instead of using them again.
    pub(super) fn replace_connections(&self) {
        *self.replaced_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection of this age is to be replaced.
    pub(super) fn is_replaced(&self, age: Duration) -> bool {
        let replaced_at = *self.replaced_at.lock().unwrap_or_else(PoisonError::into_inner);
        replaced_at.is_some_and(|replaced_at| replaced_at.elapsed() <= age) || self.server.is_outdated(age)
    }

    /// Works in this schema from now on, whichever the search path leads to later.
    pub(super) fn set_schema(&self, schema: OutboxSchema) {
        let mut current = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref() != Some(&schema) {
            *current = Some(schema);
            drop(current);
            self.replace_connections();
        }
    }

    /// The name of the schema that holds the outbox, as it is written in SQL.
    pub(super) fn schema_name(&self) -> Option<String> {
        let schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        schema.as_ref().map(|schema| schema.name().to_owned())
    }

    /// The statements that set up a new session.
    pub(super) fn setup(&self) -> AssertSqlSafe<String> {
        self.with_search_path(SESSION_SETUP, false)
    }

    /// The statements that begin a transaction in a session of unknown state.
    pub(super) fn begin(&self) -> AssertSqlSafe<String> {
        match self.server.set_known_run() {
            Some(known) => self.with_search_path(&format!("{BEGIN}; set local {known}"), true),
            None => self.with_search_path(BEGIN, true),
        }
    }

    /// Safe: these are constants, and a name that the server itself has quoted.
    fn with_search_path(&self, statements: &str, is_local: bool) -> AssertSqlSafe<String> {
        let schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        AssertSqlSafe(match schema.as_ref() {
            Some(schema) => format!("{statements}; {}", schema.select_first(is_local)),
            None => statements.to_owned(),
        })
    }
}
