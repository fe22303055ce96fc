//! The checks of the database: reachable, the schema ours, the role's rights, the wake-up.

use super::Finding;
use crate::config::Config;
use crate::outbox::{Database, OutboxError, connect, rights};

/// All of them; what depends on one that failed is not checked.
pub(super) async fn check(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let url = config.database_url()?;
    let (place, database) = match connect::reach(&url).await {
        Ok(place) => (place, connect::database(&url, 2, super::super::sessions(config))?),
        Err(error) => {
            let mut findings = vec![Finding::wrong(
                "database",
                text_of(error),
                "start the server, or fix database.url (DATABASE_URL)",
            )];
            findings.extend(
                ["schema", "grants", "wakeup"]
                    .map(|code| Finding::skipped(code, "the database cannot be reached")),
            );
            return Ok(findings);
        }
    };
    let reached = Finding::fine("database", format!("{place} answers"));
    let findings = match connect::verify(&database).await {
        Ok(()) => {
            let current = Finding::fine("schema", "it is this program's");
            vec![reached, current, grants(&database).await, wakeup(config, &database).await]
        }
        Err(error) => {
            let fix = match error {
                OutboxError::Newer(_) => "replace this program, or restore the database of its version",
                _ => "`run` brings it up to date by itself if database.migrate is true and its role may",
            };
            let why = "the schema is not this program's";
            let wrong = Finding::wrong("schema", text_of(error), fix);
            vec![reached, wrong, Finding::skipped("grants", why), Finding::skipped("wakeup", why)]
        }
    };
    database.close().await;
    Ok(findings)
}

async fn grants(database: &Database) -> Finding {
    match rights::lacking(database).await {
        Ok(lacking) if lacking.is_empty() => Finding::fine("grants", "this role may do all that run needs"),
        Ok(lacking) => {
            let fix = format!("as the tables' owner: grant {}, to this role", lacking.join(", grant "));
            Finding::wrong("grants", format!("this role lacks {}", lacking.join(", ")), fix)
        }
        Err(error) => Finding::wrong("grants", text_of(error), "then check again"),
    }
}

async fn wakeup(config: &Config, database: &Database) -> Finding {
    let poll = humantime::format_duration(config.outbox.poll_interval);
    if !config.outbox.listen {
        let text =
            format!("not by notification (outbox.listen = false): new courses are found within {poll}");
        return Finding::fine("wakeup", text);
    }
    let fix = "set outbox.listen = false if there is a pooler in transaction mode before the database, or give \
                database.url a way around it";
    match rights::hears(database).await {
        Ok(true) => Finding::fine("wakeup", "a notification arrives: new courses are sent at once"),
        Ok(false) => {
            Finding::wrong("wakeup", format!("notifications do not arrive: new courses wait {poll}"), fix)
        }
        Err(error) => Finding::wrong("wakeup", text_of(error), fix),
    }
}

/// The error, on one line and without anything secret.
fn text_of(error: OutboxError) -> String {
    super::super::told(&anyhow::Error::from(error)).lines().collect::<Vec<_>>().join(" ")
}
