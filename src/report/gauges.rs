//! The outbox gauges of the metrics, from the database.

use std::time::Duration;

use crate::outbox::{DatabaseRef, OutboxError, overview};
use crate::report::status::age_seconds;
use crate::telemetry::metrics::Metrics;

/// Sets the gauges of the outbox to the current counts and ages.
///
/// # Errors
/// The database cannot be read; the gauges keep their last values.
pub async fn refresh_gauges(
    database: impl Into<DatabaseRef<'_>>,
    metrics: &Metrics,
) -> Result<(), OutboxError> {
    let database = database.into();
    let counts = overview::count_courses(database).await?;
    let findings = overview::read_findings(database).await?;
    for count in counts {
        let age = findings
            .oldest
            .of(count.status)
            .map_or(Duration::ZERO, |since| Duration::from_secs_f64(age_seconds(since)));
        metrics.set_outbox(count.status, count.courses, age);
    }
    metrics.set_refused_courses(findings.refused_courses);
    metrics.set_audit(findings.audit.as_ref());
    Ok(())
}
