//! The checks of the database: connection, schema, rights of the role, notifications.

use super::result::CheckResult;
use crate::cli::connections::session_mode;
use crate::cli::output::describe_error;
use crate::config::Config;
use crate::outbox::attach::refused;
use crate::outbox::integrity::{self, OutboxDefect};
use crate::outbox::ops::rights;
use crate::outbox::{Database, OutboxError, connect};

/// Makes all checks. A check that depends on a failed one is not made.
pub(super) async fn check_database(config: &Config) -> anyhow::Result<Vec<CheckResult>> {
    let url = config.database_url()?;
    let (place, database) = match connect::test_connection(&url).await {
        Ok(place) => (place, connect::open_pool(&url, 2, session_mode(config))?),
        Err(error) => return Ok(report_unreachable(error)),
    };
    let verified = match connect::inspect(&database).await {
        Ok(()) => connect::verify_schema(&database).await,
        refused => refused,
    };
    let reached = check_encoding(&database, &place).await;
    let results = match verified {
        Ok(()) => {
            let (schema, visible) = check_tables(&database).await;
            let grants = check_grants(&database).await;
            let grants = visible.filter(|_| !grants.has_failed()).unwrap_or(grants);
            let mut results = vec![reached, schema, grants, check_notifications(config, &database).await];
            results.extend(check_report_grants(&database).await);
            results.extend(check_attached_tables(&database).await);
            results
        }
        Err(error) => {
            let why = "the schema is not usable";
            vec![
                reached,
                report_unusable_schema(error),
                CheckResult::not_checked("grants", why),
                CheckResult::not_checked("wakeup", why),
            ]
        }
    };
    database.close().await;
    Ok(results)
}

/// Warns about an encoding that lacks characters.
async fn check_encoding(database: &Database, place: &str) -> CheckResult {
    match connect::read_encoding(database).await {
        Ok(encoding) if !matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") => CheckResult::warning(
            "database",
            format!(
                "connected to {place}, with the encoding {encoding}: a message of HubSpot with a character that it lacks is \
                 stored in ASCII"
            ),
            "use a database with the encoding UTF8",
        ),
        // Another check reports the error.
        _ => CheckResult::ok("database", format!("connected to {place}")),
    }
}

fn report_unreachable(error: OutboxError) -> Vec<CheckResult> {
    let fix = "start the server, or fix database.url (DATABASE_URL)";
    let why = "the database cannot be reached";
    vec![
        CheckResult::failed("database", error_line(error), fix),
        CheckResult::not_checked("schema", why),
        CheckResult::not_checked("grants", why),
        CheckResult::not_checked("wakeup", why),
    ]
}

fn report_unusable_schema(error: OutboxError) -> CheckResult {
    let fix = match error {
        OutboxError::Newer(_) => "update this program, or restore the database that belongs to this version",
        OutboxError::SeveralSchemas(_) => {
            "set the search path of this role to the schema that the catalogue uses"
        }
        _ => "run `course-sync migrate`; `run` does so too if database.migrate is true and its role may",
    };
    CheckResult::failed("schema", error_line(error), fix)
}

/// Checks that the tables are complete, for the line `schema`. If row-level security hides rows from this role, the second
/// result replaces the line `grants`.
async fn check_tables(database: &Database) -> (CheckResult, Option<CheckResult>) {
    let name = database.schema().map(|name| format!(" (in the schema {name})"));
    let current = CheckResult::ok("schema", format!("up to date{}", name.unwrap_or_default()));
    let Ok(integrity) = integrity::read_integrity(database).await else {
        // Without the right to read a table, the line `grants` names the right.
        return (current, None);
    };
    let visible = (!integrity.restricted.is_empty()).then(|| {
        let tables = integrity.restricted.join(", ");
        CheckResult::warning(
            "grants",
            format!("row-level security restricts which rows of {tables} this role sees"),
            "make sure that its policies permit every course that must be sent",
        )
    });
    match integrity.defect {
        None => (current, visible),
        Some(OutboxDefect::RowsHidden(tables)) => {
            let text = format!("row-level security hides every row of {tables} from this role");
            let fix = "as the tables' owner, disable row-level security on these tables, or create a policy that lets this \
                       role read and update the rows";
            (current, Some(CheckResult::failed("grants", text, fix)))
        }
        Some(OutboxDefect::KeysMissing(tables)) => {
            let fix = "wait until the restore is complete; if it failed, restore again";
            (CheckResult::failed("schema", format!("{tables} has no primary key"), fix), visible)
        }
        Some(OutboxDefect::LeaderRowMissing) => {
            let fix = "wait until the restore that is under way is complete; otherwise `run` inserts the row, and treats \
                       the database as one that may have lost commits";
            (CheckResult::failed("schema", "the row of course_sync_leader is missing", fix), visible)
        }
    }
}

async fn check_grants(database: &Database) -> CheckResult {
    match rights::missing_privileges(database).await {
        Ok(lacking) if lacking.is_empty() => {
            CheckResult::ok("grants", "this role has all rights that `run` needs")
        }
        Ok(lacking) => {
            let fix = format!("as the tables' owner: grant {}, to this role", lacking.join(", grant "));
            CheckResult::failed("grants", format!("this role lacks {}", lacking.join(", ")), fix)
        }
        Err(error) => CheckResult::failed("grants", error_line(error), "fix this error, then check again"),
    }
}

/// Warns about missing rights that only reports need. No result if there are none.
async fn check_report_grants(database: &Database) -> Option<CheckResult> {
    // Another check reports the error.
    let lacking = rights::missing_report_privileges(database).await.ok().filter(|it| !it.is_empty())?;
    Some(CheckResult::warning(
        "report_grants",
        format!(
            "this role lacks {}: metrics and `status` do not show audits and the refused courses of attached tables",
            lacking.join(", ")
        ),
        format!("as the tables' owner: grant {}, to this role", lacking.join(", grant ")),
    ))
}

/// Warns about courses of attached tables that the outbox cannot hold. No result if there are none.
async fn check_attached_tables(database: &Database) -> Option<CheckResult> {
    // Without the right to read the table, the line `report_grants` names the right.
    let refused = refused::read_refused(database).await.ok().filter(|refused| refused.count > 0)?;
    let count = refused.count;
    let count = if count >= u64::from(refused::MAX_COUNTED) {
        format!("at least {count}")
    } else {
        count.to_string()
    };
    Some(CheckResult::warning(
        "attached_tables",
        format!(
            "courses of attached tables that the outbox cannot hold: {count}. {}",
            refused.examples.join("; ")
        ),
        "correct the rows in the table; a corrected row is enqueued at once",
    ))
}

async fn check_notifications(config: &Config, database: &Database) -> CheckResult {
    let poll = humantime::format_duration(config.outbox.poll_interval);
    if !config.outbox.listen {
        let text =
            format!("notifications are off (outbox.listen = false): new courses are found within {poll}");
        return CheckResult::ok("wakeup", text);
    }
    let fix = "if a connection pooler in transaction mode is in use, set outbox.listen = false, or let database.url bypass \
                the pooler";
    if database.is_pooled() {
        let text = format!(
            "a connection pooler in transaction mode is in use, so notifications do not arrive: new courses are found \
             within {poll}"
        );
        return CheckResult::warning(
            "wakeup",
            text,
            "set outbox.listen = false, or let database.url bypass the pooler",
        );
    }
    match rights::receives_notifications(database).await {
        Ok(true) => CheckResult::ok("wakeup", "notifications arrive: new courses are sent at once"),
        Ok(false) => CheckResult::failed(
            "wakeup",
            format!("notifications do not arrive: new courses wait up to {poll}"),
            fix,
        ),
        Err(error) => CheckResult::failed("wakeup", error_line(error), fix),
    }
}

/// The error on one line.
fn error_line(error: OutboxError) -> String {
    describe_error(&anyhow::Error::from(error)).lines().collect::<Vec<_>>().join(" ")
}
