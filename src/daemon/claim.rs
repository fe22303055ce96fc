//! One claim, and what becomes of it: a batch that is delivered, or a claim that is taken back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::leader::{Deadline, Held};
use super::pace::Reserved;
use super::tasks::in_task;
use super::trouble::Work;
use super::{Shared, deliver};
use crate::config::Unconfirmed;
use crate::course::{Category, CourseError};
use crate::outbox::OutboxError;
use crate::outbox::claim::{self, Isolation, Limits, Taken};
use crate::outbox::recover;
use crate::policy::attribution::{Lane, Sample};
use crate::policy::backlog::{Cursor, Ended, Rest};
use crate::policy::batch::{Batch, Claimed, RowId, Unfit};

/// How long to wait before it is tried again to take a claim back.
const WITHDRAW_AGAIN: Duration = Duration::from_secs(1);
/// How long the statement of a claim that is not there may run on at the server, which ends every one earlier.
const WITHDRAW_FOR: Duration = Duration::from_secs(40);

/// A claim to be made.
#[derive(Debug)]
pub(super) struct Claim {
    /// The lease under which it is made.
    pub held: Held,
    /// Which courses it may take.
    pub lane: Lane,
    pub sample: Sample,
    /// How many.
    pub courses: u16,
    /// Where to read from.
    pub from: Cursor,
    /// Told how it ended, as soon as it has.
    pub ended: oneshot::Sender<Ended>,
}

/// Claims a batch, and delivers it once its permit can be used.
pub(super) async fn claim_and_deliver(shared: Arc<Shared>, claim: Claim, permit: Reserved) {
    let Claim { held, lane, ended, .. } = claim;
    let batch = Uuid::now_v7();
    let begin_by = held.valid_until.min(Deadline::after(shared.settings.request_timeout));
    let (since, began) = (SystemTime::now(), Instant::now());
    let wanted = Wanted { held, lane, sample: claim.sample, courses: claim.courses, from: claim.from };
    let taken = tokio::select! {
        taken = in_task(take(Arc::clone(&shared), batch, wanted)) => taken,
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
    let settings = &shared.settings;
    let unique = settings.unique_property.as_deref();
    // Where duplicates are accepted, nothing has to guard against them.
    let accepts_duplicates = unique.is_none() && settings.unconfirmed == Unconfirmed::Resend;
    let is_unguarded =
        |course: &Claimed| (!accepts_duplicates).then(|| Unfit::if_unguarded(course, unique, now)).flatten();
    let unguarded: Vec<Unfit> = taken.courses.iter().filter_map(is_unguarded).collect();
    let sendable = |course: &Claimed| unguarded.iter().all(|unfit| unfit.id != course.id);
    let courses = taken.courses.into_iter().filter(sendable).collect();
    let (batch, mut unfit) = Batch::assemble(batch, courses, unique, now);
    let unreadable = |(id, error): (RowId, OutboxError)| Unfit {
        id,
        key: None,
        error: CourseError::new(Category::InvalidRow, &error.to_string(), now),
    };
    unfit.extend(unguarded);
    unfit.extend(taken.unreadable.into_iter().map(unreadable));
    let span = shared.traces.batch(batch.id(), held.lease.term, batch.courses().len(), since);
    shared.metrics.rate_limit_wait(permit.waited());
    deliver::deliver(shared, begin_by, lane, batch, unfit, permit, span).await;
}

/// What a claim is to take.
struct Wanted {
    held: Held,
    lane: Lane,
    sample: Sample,
    courses: u16,
    from: Cursor,
}

async fn take(shared: Arc<Shared>, batch: Uuid, wanted: Wanted) -> Result<Taken, OutboxError> {
    let (settings, database) = (&shared.settings, &shared.database);
    let isolation = match wanted.lane {
        Lane::Fresh => Isolation::default(),
        Lane::Suspects => {
            let requests = recover::requests_of_suspects(database).await?;
            if requests.is_empty() {
                return Ok(Taken { courses: Vec::new(), unreadable: Vec::new(), rest: Rest::Nothing });
            }
            Isolation::by(recover::evidence(database, &requests).await?)
        }
    };
    let limits = Limits {
        lane: wanted.lane,
        sample: wanted.sample,
        courses: wanted.courses.min(settings.max_size),
        bytes: settings.max_bytes,
        unique_property: settings.unique_property.as_deref(),
        isolation: &isolation,
    };
    let (margin, window) = (settings.margin(), settings.send_window());
    claim::claim(database, wanted.held.lease, margin, batch, limits, wanted.from, window).await
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
