//! Whether the account holds courses that may be those that the outbox is about to create: a warning of the check of the
//! unique property.

use super::result::{CheckResult, CheckStatus};
use crate::cli::format::pluralize;
use crate::config::Config;
use crate::hubspot::Client;
use crate::outbox::Database;
use crate::outbox::ops::adopt;
use crate::policy::read_result::ReadResult;

/// Turns a passed check of the unique property into a warning, if HubSpot holds courses without a key and new courses are
/// pending. What cannot be read changes nothing: other checks show why.
pub(super) async fn warn_of_existing_courses(
    config: &Config,
    client: &Client,
    database: &Database,
    results: &mut [CheckResult],
) {
    let Some(unique) = config.hubspot.unique_property.as_deref() else { return };
    let is_passed = |it: &&mut CheckResult| it.code == "unique_property" && it.status == CheckStatus::Ok;
    let Some(result) = results.iter_mut().find(is_passed) else { return };
    if !matches!(adopt::has_courses_to_create(database).await, Ok(true)) {
        return;
    }
    if let ReadResult::Found(found) = client.count_without(unique).await.result()
        && found.total > 0
    {
        let message = format!(
            "{}, but HubSpot holds {} without a value in it, and the outbox is about to create courses: some of them may \
             exist already",
            result.message,
            pluralize(i64::try_from(found.total).unwrap_or(i64::MAX), "course")
        );
        let fix = "run `course-sync adopt --match PROPERTY` before `course-sync run`, or go on if they are other courses";
        *result = CheckResult::warning("unique_property", message, fix);
    }
}
