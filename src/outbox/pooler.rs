//! Recognises a connection pooler in transaction mode, which gives each transaction another session of the server.
//! Touches the database.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::outbox::session::CONNECT_TIMEOUT;

/// How often to compare the sessions of two transactions. A busy pooler may give the same session again by chance.
const ROUNDS: usize = 3;

/// How long to wait for a session while another connection has a transaction. A pooler with a single session
/// gives none.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether two transactions of `connection` reach different sessions. A second connection takes the session of the
/// first transaction meanwhile, if it belongs to a pooler. Nothing is prepared, so nothing can go wrong behind one.
pub(super) async fn has_changing_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    // Without a second connection nothing is shown. A pooler is also recognised by its errors.
    let Ok(Ok(mut other)) = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await else {
        return Ok(false);
    };
    let mut is_changing = false;
    for _ in 0..ROUNDS {
        is_changing = is_other_session(connection, &mut other).await?;
        if is_changing {
            break;
        }
    }
    // An error on closing changes nothing: the connection is not used again.
    other.close().await.ok();
    Ok(is_changing)
}

async fn is_other_session(
    connection: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let first = session_id(connection).await?;
    let transaction = other.begin().await?;
    let mut second = Box::pin(session_id(connection));
    let is_other = match timeout(SESSION_TIMEOUT, &mut second).await {
        Ok(second) => second? != first,
        Err(_) => {
            // It comes when the other transaction ends, or the server is slow.
            transaction.rollback().await?;
            second.await?;
            let started = Instant::now();
            session_id(connection).await?;
            return Ok(started.elapsed() < SESSION_TIMEOUT);
        }
    };
    transaction.rollback().await?;
    Ok(is_other)
}

/// The server's process of the session that this connection has now.
async fn session_id(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Whether this error shows that the session is not the one in which the statement was prepared. The server refused to
/// begin the statement, so it changed nothing.
pub(super) fn is_foreign_session(error: &sqlx::Error) -> bool {
    /// The names of a statement that does not exist, and of one that exists already.
    const NAMES: [&str; 2] = ["26000", "42P05"];
    /// The parameters do not fit the statement that another client prepared under the same name. A pooler's own errors
    /// have the first code, too, but do not name the server's routine.
    const PARAMETERS: [&str; 2] = ["08P01", "22P03"];
    let Some(error) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return false;
    };
    NAMES.contains(&error.code())
        || (PARAMETERS.contains(&error.code()) && error.routine() == Some("exec_bind_message"))
}
