//! The account's properties, read when they are needed: courses that HubSpot would certainly refuse are failed
//! before they cost a request, and go again by themselves when the properties change.
//!
//! Nothing fails by an old list: one that speaks against a course is read afresh first, by the permit of the
//! course's own batch, which then goes back and is claimed again. One permit, one request: nobody waits for a
//! permit while others wait for him.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use super::leader::{Deadline, Held};
use super::pace::{Permit, Reserved};
use super::trouble::Work;
use super::{Shared, deliver};
use crate::outbox::lease::Lease;
use crate::outbox::record::Ending as Spent;
use crate::outbox::{OutboxError, schema as stored};
use crate::policy::answer::Exchange;
use crate::policy::batch::{Batch, Unfit};
use crate::policy::interpret::Signal;
use crate::policy::pause::{Gate, Reason, Trouble};
use crate::policy::schema::{self, Ending, Sensitivity};
use crate::telemetry::metrics::Operation;
use crate::telemetry::traces::Span;

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
    begin_by: Deadline,
    batch: Batch,
    mut unfit: Vec<Unfit>,
    permit: Reserved,
    span: Span,
) {
    let claimed = Instant::now();
    let judge = || {
        let unique = shared.settings.unique_property.as_deref();
        shared.preflight.cache().judge(&batch, unique, claimed, Instant::now(), Timestamp::now())
    };
    let mut permit = Ok(permit);
    let mut judgement = judge();
    if let Judgement::Read(_) = judgement {
        let _reading = shared.preflight.reading.lock().await;
        // Somebody else may have read it meanwhile.
        judgement = judge();
        if let Judgement::Read(which) = judgement
            && !begin_by.has_passed()
            && shared.account.gate().lets(batch.courses().len())
        {
            permit = match permit {
                Ok(permit) => read_instead(&shared, batch.id(), which, permit).await,
                spent => spent,
            };
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
    deliver::deliver(Arc::clone(&shared), begin_by, batch, unfit, permit, span).await;
    if let Some(version) = refused_by {
        shared.preflight.cache().refused(version);
    }
}

/// Spends the permit of a batch on reading a list, unless that cannot be written down.
async fn read_instead(
    shared: &Shared,
    batch: Uuid,
    which: Sensitivity,
    permit: Reserved,
) -> Result<Reserved, Spent> {
    match stored::note_instead(&shared.database, batch).await {
        Ok(true) => {
            shared.trouble.is_well(Work::Properties);
            Err(read(shared, which, permit.permit().await, Purpose::List).await)
        }
        Ok(false) => Ok(permit),
        Err(error) => {
            shared.trouble.failed(Work::Properties, &error);
            permit.unused();
            Err(Spent::NOT_SENT)
        }
    }
}

/// What a list is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What it says.
    List,
    /// Whether HubSpot answers again, where there is nothing else to try after an outage.
    Try,
}

/// Reads one list. Courses go on without it where it cannot be read.
async fn read(shared: &Shared, which: Sensitivity, permit: Permit, purpose: Purpose) -> Spent {
    let began = Instant::now();
    let asked = shared.client.properties(which).await;
    let took = began.elapsed();
    let (ending, outcome) = schema::interpret(asked.told, &asked.exchange);
    shared.metrics.request(Operation::Schema, outcome, took);
    let signal = match (&ending, purpose) {
        (Ending::Stop(trouble), _) => Signal::Pause(trouble.clone()),
        // That properties can be read says nothing of creating, and that they cannot neither.
        (_, Purpose::List) => Signal::Silence,
        (Ending::Told(_) | Ending::Denied(..) | Ending::Refused(_), Purpose::Try) => Signal::Answering,
        (Ending::Away(why), Purpose::Try) => {
            Signal::Pause(Trouble { reason: Reason::Unavailable, retry_after: None, message: why.clone() })
        }
    };
    tracing::debug!(?which, outcome = outcome.as_str(), ?took, "the account's properties were asked for");
    let news = shared.preflight.cache().heard(which, ending.map(schema::Definitions::listing), began);
    if let Some(news) = news {
        news.tell();
    }
    shared.account.heard(&signal, asked.exchange.quota(), began);
    // Only now: whoever gets the permit next must see a gate that this answer closed.
    shared.pace.ended(permit, &asked.exchange, &signal);
    let meta = match asked.exchange {
        Exchange::Answered { meta, .. } => Some(meta),
        Exchange::NotSent(_) | Exchange::NoAnswer(_) => None,
    };
    Spent {
        outcome: Some(outcome),
        http_status: meta.as_ref().map(|meta| meta.status),
        correlation_id: meta.and_then(|meta| meta.correlation_id),
    }
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
            shared.preflight.cache().lead();
        }
        refresh(&shared, held).await;
        if shared.preflight.cache().take_sweep() {
            match sweep(&shared, held.lease).await {
                Ok(()) => shared.trouble.is_well(Work::Properties),
                Err(error) => {
                    shared.preflight.cache().sweep_again();
                    shared.trouble.failed(Work::Properties, &error);
                }
            }
        }
    }
}

async fn refresh(shared: &Shared, held: Held) {
    // So many requests are open, this one included once it has its permit.
    let due = |open: usize| {
        let is_tried = shared.account.is_overdue() && shared.pace.open() == open;
        let list = shared.preflight.cache().due(Instant::now(), shared.settings.poll_interval);
        if is_tried { Some((Sensitivity::None, Purpose::Try)) } else { Some((list?, Purpose::List)) }
    };
    if due(0).is_none() || matches!(shared.account.gate(), Gate::Closed(_)) {
        return;
    }
    let permit = tokio::select! {
        permit = shared.pace.permit() => permit,
        () = shared.shutdown.begun() => return,
    };
    let _reading = shared.preflight.reading.lock().await;
    // While both were waited for, it may have been read, the gate may have closed and the lease ended.
    match due(1) {
        Some((which, purpose)) if held.is_valid() && !matches!(shared.account.gate(), Gate::Closed(_)) => {
            let window = shared.settings.send_window();
            match stored::note(&shared.database, held.lease, Uuid::now_v7(), window).await {
                Ok(()) => {
                    shared.trouble.is_well(Work::Properties);
                    read(shared, which, permit, purpose).await;
                }
                Err(error) => {
                    permit.unused();
                    shared.trouble.failed(Work::Properties, &error);
                }
            }
        }
        _ => permit.unused(),
    }
}

/// Lets the courses go again that failed over properties as they no longer are.
async fn sweep(shared: &Shared, lease: Lease) -> Result<(), OutboxError> {
    let schema = shared.preflight.cache().schema();
    let unique = shared.settings.unique_property.as_deref();
    let is_mended = |course: &stored::Refused| {
        let may_go = |schema| schema::may_go_again(schema, &course.properties, unique, &course.error);
        schema.as_deref().is_some_and(may_go)
    };
    let (mut after, mut again, mut is_any_left) = (Some(i64::MIN), 0, false);
    while let Some(row) = after {
        let (courses, last) = stored::refused(&shared.database, row).await?;
        let (mended, left): (Vec<_>, Vec<_>) = courses.into_iter().partition(is_mended);
        is_any_left |= !left.is_empty();
        if !mended.is_empty() {
            again += stored::go_again(&shared.database, lease, &mended).await?;
        }
        // Without the properties it is enough to know whether anybody waits for them.
        after = last.filter(|_| schema.is_some() || !is_any_left);
    }
    shared.preflight.cache().swept(is_any_left);
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
            Self::Known => {
                tracing::info!("courses are checked against the account's properties before they are sent");
            }
            Self::Unknown(detail) => tracing::warn!(
                detail,
                "courses are not checked against the account's properties before they are sent; HubSpot alone judges them"
            ),
        }
    }
}
