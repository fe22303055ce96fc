//! The checks of the database: connection, schema, rights of the role, notifications.

use super::result::CheckResult;
use crate::cli::connections::session_mode;
use crate::cli::output::describe_error;
use crate::config::Config;
use crate::outbox::ops::rights;
use crate::outbox::{Database, OutboxError, connect};

/// Makes all checks. A check that depends on a failed one is not made.
pub(super) async fn check_database(config: &Config) -> anyhow::Result<Vec<CheckResult>> {
    let url = config.database_url()?;
    let (place, database) = match connect::test_connection(&url).await {
        Ok(place) => (place, connect::open_pool(&url, 2, session_mode(config))?),
        Err(error) => return Ok(report_unreachable(error)),
    };
    let reached = CheckResult::ok("database", format!("connected to {place}"));
    let results = match connect::verify_schema(&database).await {
        Ok(()) => {
            let current = CheckResult::ok("schema", "up to date");
            vec![
                reached,
                current,
                check_grants(&database).await,
                check_notifications(config, &database).await,
            ]
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
        _ => "run `course-sync migrate`; `run` does so too if database.migrate is true and its role may",
    };
    CheckResult::failed("schema", error_line(error), fix)
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

async fn check_notifications(config: &Config, database: &Database) -> CheckResult {
    let poll = humantime::format_duration(config.outbox.poll_interval);
    if !config.outbox.listen {
        let text =
            format!("notifications are off (outbox.listen = false): new courses are found within {poll}");
        return CheckResult::ok("wakeup", text);
    }
    let fix = "if a connection pooler in transaction mode is in use, set outbox.listen = false, or let database.url bypass \
                the pooler";
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
