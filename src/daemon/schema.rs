//! The account's properties, read when they are needed: courses that HubSpot would certainly refuse are failed
//! before they cost a request, and go again by themselves when the properties change.
//!
//! Nothing fails by an old list: one that speaks against a course is read afresh first, by the permit of the
//! course's own batch, which then goes back and is claimed again. One permit, one request: nobody waits for a
//! permit while others wait for him.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use super::leader::{Deadline, Held};
use super::pace::Permit;
use super::{Shared, deliver};
use crate::course::CourseError;
use crate::outbox::lease::Lease;
use crate::outbox::{OutboxError, schema as stored};
use crate::policy::answer::Exchange;
use crate::policy::batch::{Batch, RowId};
use crate::policy::interpret::Signal;
use crate::policy::pause::Gate;
use crate::policy::schema::{self, Ending, Sensitivity};
use crate::telemetry::metrics::Operation;

mod cache;

use cache::{Cache, Judgement};

/// What the daemon knows of the account's properties.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    cache: Mutex<Cache>,
    /// Held while a list is read, by whoever has the permit for it.
    reading: tokio::sync::Mutex<()>,
}

impl Preflight {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers a batch without the courses that HubSpot would refuse; these are recorded as failed with it.
pub(super) async fn sift_and_deliver(
    shared: Arc<Shared>,
    held: Held,
    begin_by: Deadline,
    batch: Batch,
    mut unfit: Vec<(RowId, CourseError)>,
    permit: Permit,
) {
    let claimed = Instant::now();
    let judge = || {
        let unique = shared.settings.unique_property.as_deref();
        shared.preflight.cache().judge(&batch, unique, claimed, Instant::now(), Timestamp::now())
    };
    let mut permit = Some(permit);
    let mut judgement = judge();
    if let Judgement::Read(_) = judgement {
        let _reading = shared.preflight.reading.lock().await;
        // Somebody else may have read it meanwhile.
        judgement = judge();
        if let Judgement::Read(which) = judgement {
            if let Some(permit) = permit.take_if(|_| !begin_by.has_passed()) {
                read(&shared, held.lease, which, permit).await;
            }
            judgement = judge();
        }
    }
    let (batch, refused_by) = match judgement {
        Judgement::Fine | Judgement::Read(_) => (batch, None),
        Judgement::Refused { courses, version } => {
            let rest = batch.without(&courses);
            unfit.extend(courses);
            (rest, Some(version))
        }
    };
    deliver::deliver(Arc::clone(&shared), begin_by, batch, unfit, permit).await;
    if let Some(version) = refused_by {
        shared.preflight.cache().refused(version);
    }
}

/// Reads one list. Courses go on without it where it cannot be read.
async fn read(shared: &Shared, lease: Lease, which: Sensitivity, permit: Permit) {
    let request = Uuid::now_v7();
    if let Err(error) = stored::note(&shared.database, lease, request, shared.settings.send_window()).await {
        permit.unused();
        return tracing::warn!(%error, "the account's properties are not read for now");
    }
    let began = Instant::now();
    let asked = shared.client.properties(which).await;
    let took = began.elapsed();
    let quota = asked.exchange.quota().copied();
    let was_sent = !matches!(asked.exchange, Exchange::NotSent(_));
    let (ending, outcome) = schema::interpret(asked);
    shared.metrics.request(Operation::Schema, outcome, took);
    match &ending {
        Ending::Stop(trouble) => {
            shared.account.heard(&Signal::Pause(trouble.clone()), quota.as_ref(), began);
        }
        Ending::Told(_) | Ending::Denied(..) | Ending::Away(_) => {
            shared.account.quota_heard(quota.as_ref(), began);
        }
    }
    let outcome = outcome.as_str();
    tracing::debug!(%request, ?which, outcome, ?took, "the account's properties were asked for");
    let news = shared.preflight.cache().heard(which, ending.map(schema::Definitions::listing), began);
    if let Some(news) = news {
        news.tell();
    }
    if was_sent { drop(permit) } else { permit.unused() }
}

/// Keeps the lists fresh while there is reason to, and lets failed courses go again when they change, as long
/// as the daemon runs.
pub(super) async fn keep(shared: Arc<Shared>, lease: watch::Receiver<Option<Held>>) {
    let mut term = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(shared.settings.poll_interval) => {}
            () = shared.shutdown.begun() => return,
        }
        let held = *lease.borrow();
        let Some(held) = held.filter(Held::is_valid) else { continue };
        if term.replace(held.lease.term) != Some(held.lease.term) {
            // Others may have failed courses by properties that have changed since.
            shared.preflight.cache().forget_sweep();
        }
        refresh(&shared, held).await;
        if let Err(error) = sweep(&shared, held.lease).await {
            tracing::warn!(%error, "failed courses are not looked through for now");
        }
    }
}

async fn refresh(shared: &Shared, held: Held) {
    let due = || shared.preflight.cache().due(Instant::now(), shared.settings.poll_interval);
    if due().is_none() || matches!(shared.account.gate(), Gate::Closed(_)) {
        return;
    }
    let permit = tokio::select! {
        permit = shared.pace.permit() => permit,
        () = shared.shutdown.begun() => return,
    };
    let _reading = shared.preflight.reading.lock().await;
    // While both were waited for, it may have been read, the gate may have closed and the lease ended.
    match due() {
        Some(which) if held.is_valid() && !matches!(shared.account.gate(), Gate::Closed(_)) => {
            read(shared, held.lease, which, permit).await;
        }
        _ => permit.unused(),
    }
}

/// Lets the courses go again that failed over properties as they no longer are.
async fn sweep(shared: &Shared, lease: Lease) -> Result<(), OutboxError> {
    let Some((schema, version)) = shared.preflight.cache().unswept() else { return Ok(()) };
    let unique = shared.settings.unique_property.as_deref();
    let (mut after, mut again, mut left) = (Some(i64::MIN), 0, 0);
    while let Some(row) = after {
        let (courses, last) = stored::refused(&shared.database, row).await?;
        let (mended, rest): (Vec<_>, Vec<_>) = courses
            .into_iter()
            .partition(|it| schema::may_go_again(&schema, &it.properties, unique, &it.error));
        left += rest.len();
        if !mended.is_empty() {
            again += stored::go_again(&shared.database, lease, &mended).await?;
        }
        after = last;
    }
    shared.preflight.cache().swept(version, left > 0);
    if again > 0 {
        tracing::info!(courses = again, "the account's properties have changed: failed courses go again");
        shared.wake.complete();
    }
    Ok(())
}

/// What is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    /// Properties are read for the first time, or again.
    Known,
    /// They cannot be.
    Unknown(String),
}

impl News {
    fn tell(&self) {
        match self {
            Self::Known => tracing::info!("courses are checked against the account's properties before they are sent"),
            Self::Unknown(why) => tracing::warn!(
                why,
                "courses are not checked against the account's properties before they are sent; HubSpot alone judges them"
            ),
        }
    }
}
