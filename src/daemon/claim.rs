//! One claim, and what becomes of it: a batch that is delivered, or a claim that is taken back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::engine::in_task;
use super::leader::{Deadline, Held};
use super::pace::Reserved;
use super::trouble::Work;
use super::{Shared, schema};
use crate::course::{Category, CourseError};
use crate::outbox::OutboxError;
use crate::outbox::claim::{self, Limits, Taken};
use crate::policy::backlog::{Cursor, Ended};
use crate::policy::batch::{Batch, RowId, Unfit};

/// How long to wait before it is tried again to take a claim back.
const WITHDRAW_AGAIN: Duration = Duration::from_secs(1);
/// How long the statement of a claim that is not there may run on at the server, which ends every one earlier.
const WITHDRAW_FOR: Duration = Duration::from_secs(40);

/// A claim to be made.
#[derive(Debug)]
pub(super) struct Claim {
    /// The lease under which it is made.
    pub held: Held,
    /// Courses that it may take.
    pub courses: u16,
    /// Where to read from.
    pub from: Cursor,
    /// Told how it ended, as soon as it has.
    pub ended: oneshot::Sender<Ended>,
}

/// Claims a batch, and delivers it once its permit can be used.
pub(super) async fn claim_and_deliver(shared: Arc<Shared>, claim: Claim, permit: Reserved) {
    let Claim { held, courses, from, ended } = claim;
    let batch = Uuid::now_v7();
    let begin_by = held.valid_until.min(Deadline::after(shared.settings.request_timeout));
    let (since, began) = (SystemTime::now(), Instant::now());
    let taken = tokio::select! {
        taken = in_task(take(Arc::clone(&shared), held, batch, courses, from)) => taken,
        // The process ends; the statement may still do its work.
        () = shared.shutdown.forced() => None,
    };
    // Nobody hears it only where the loop has ended.
    let tell = |how| {
        ended.send(how).ok();
    };
    let taken = match taken {
        Some(Ok(taken)) => taken,
        Some(Err(error)) => {
            permit.unused();
            shared.trouble.failed(Work::Claim, &error);
            tell(Ended::Failed);
            if error.may_have_happened() {
                withdraw(&shared, batch).await;
            }
            return;
        }
        None => return permit.unused(),
    };
    shared.trouble.is_well(Work::Claim);
    tell(Ended::Made { rest: taken.rest, took: began.elapsed() });
    if taken.courses.is_empty() && taken.unreadable.is_empty() {
        return permit.unused();
    }
    let now = Timestamp::now();
    let unique = shared.settings.unique_property.as_deref();
    let (batch, mut unfit) = Batch::assemble(batch, taken.courses, unique, now);
    let unreadable = |(id, error): (RowId, OutboxError)| Unfit {
        id,
        key: None,
        error: CourseError::new(Category::InvalidRow, &error.to_string(), now),
    };
    unfit.extend(taken.unreadable.into_iter().map(unreadable));
    let span = shared.traces.batch(batch.id(), held.lease.term, batch.courses().len(), since);
    shared.metrics.rate_limit_wait(permit.waited());
    schema::sift_and_deliver(shared, begin_by, batch, unfit, permit, span).await;
}

async fn take(
    shared: Arc<Shared>,
    held: Held,
    batch: Uuid,
    courses: u16,
    from: Cursor,
) -> Result<Taken, OutboxError> {
    let settings = &shared.settings;
    let limits = Limits {
        courses: courses.min(settings.max_size),
        bytes: settings.max_bytes,
        unique_property: settings.unique_property.as_deref(),
    };
    let (margin, window) = (settings.margin(), settings.send_window());
    claim::claim(&shared.database, held.lease, margin, batch, limits, from, window).await
}

/// Takes back a claim whose answer was lost, unless it proves never to have been committed: its courses
/// were not sent, and would count as in doubt. However long the database is away, it is asked until it says.
async fn withdraw(shared: &Shared, batch: Uuid) {
    let began = Instant::now();
    loop {
        match claim::withdraw(&shared.database, batch).await {
            Ok(courses) => {
                shared.trouble.is_well(Work::TakeBack);
                if courses > 0 {
                    tracing::info!(%batch, courses, "a claim whose answer was lost was taken back");
                    return shared.wake.complete();
                }
                if began.elapsed() > WITHDRAW_FOR || shared.shutdown.has_begun() {
                    return;
                }
            }
            Err(error) => shared.trouble.failed(Work::TakeBack, &error),
        }
        tokio::select! {
            () = tokio::time::sleep(WITHDRAW_AGAIN) => {}
            () = shared.shutdown.forced() => return,
        }
    }
}
