//! Limits on the log lines about single courses and single requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::course::{BatchId, CourseError, CourseKey, RowId};
use crate::telemetry::events;
use crate::telemetry::progress::LineBudget;

/// Lines per minute about failed courses.
const FAILURES_PER_MINUTE: u64 = 20;
/// Lines per minute about failed requests.
const REQUESTS_PER_MINUTE: u64 = 30;

/// The number of lines that may still be logged in this minute.
#[derive(Debug)]
pub(crate) struct LogLimits {
    failures: Mutex<LineBudget>,
    requests: Mutex<LineBudget>,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            failures: Mutex::new(LineBudget::new(FAILURES_PER_MINUTE)),
            requests: Mutex::new(LineBudget::new(REQUESTS_PER_MINUTE)),
        }
    }
}

impl LogLimits {
    /// Logs that a course failed. `key`: `None` if the row cannot be read.
    pub(crate) fn log_failed_course(
        &self,
        batch: Option<BatchId>,
        row: RowId,
        key: Option<&CourseKey>,
        error: &CourseError,
    ) {
        if !lock(&self.failures).take() {
            return;
        }
        tracing::warn!(
            event = events::COURSE_FAILED,
            batch = batch.map(tracing::field::display),
            course_key = key.map(CourseKey::as_str),
            row = row.0,
            category = error.category.as_str(),
            code = error.code.as_deref(),
            property = error.property.as_deref(),
            correlation_id = error.correlation_id.as_deref(),
            "course failed"
        );
    }

    /// Starts a new minute. Returns how many failed courses were not logged in the last one.
    pub(crate) fn renew(&self) -> u64 {
        lock(&self.requests).renew();
        lock(&self.failures).renew()
    }

    /// Whether one more failed request may be logged.
    pub(crate) fn may_log_request(&self) -> bool {
        lock(&self.requests).take()
    }
}

fn lock(budget: &Mutex<LineBudget>) -> MutexGuard<'_, LineBudget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}
