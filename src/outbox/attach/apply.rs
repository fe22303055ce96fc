//! Executes the statements that attach or detach a table. Touches the database.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The wait after the first attempt that did not get its locks. It doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Executes the statements in one transaction. Writes of the catalogue queue behind a statement that waits for a lock, so
/// each attempt waits a few seconds only. `on_waiting` is called after each failed attempt.
///
/// # Errors
/// [`OutboxError::Statement`] with the server's reason; then nothing is changed.
pub async fn apply_sql(
    database: impl Into<DatabaseRef<'_>>,
    sql: &str,
    action: &'static str,
    on_waiting: impl Fn(&OutboxError),
) -> Result<(), OutboxError> {
    let database = database.into();
    let mut wait = FIRST_WAIT;
    loop {
        // Safe: names and values are quoted in `quote.rs`; the condition is the operator's own SQL. Several statements in
        // one text are one transaction.
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let applied = run_statement(database, async |session| statements.execute(session).await.map(drop))
            .await
            .map_err(OutboxError::failed_to(action));
        match applied {
            Err(error) if error.is_lock_timeout() => on_waiting(&error),
            ended => return ended,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
