//! The account's day: a used-up one holds after a restart, and its end is asked for once it matters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Shared;
use super::engine::in_task;
use super::leader::Held;
use super::trouble::Work;
use crate::outbox::pause::{self, DurablePause};
use crate::outbox::recover;
use crate::policy::answer::{Exchange, Meta};
use crate::policy::day::Agree;
use crate::policy::interpret::{RequestOutcome, Signal};
use crate::policy::pause::Reason;
use crate::telemetry::metrics::Operation;

/// How long a row holds where nobody knows the day's end; no day of the account is much longer.
const A_DAY: Duration = Duration::from_hours(24);

/// Brings what is known of a used-up day and its row into line. A row that cannot be written is written later.
pub(super) async fn agree(shared: &Arc<Shared>, rows: &[DurablePause]) {
    let row = rows.iter().find(|row| row.reason == Reason::DailyQuota.as_str());
    let left = row.and_then(|row| Duration::try_from_secs_f64(row.seconds_left?).ok());
    let message = row.map(|row| row.message.as_str()).unwrap_or_default();
    let work = shared.account.agree(message, left.or(row.map(|_| A_DAY)));
    let database = shared.database.clone();
    let done = match work {
        Agree::Write => {
            let Some((message, used_up)) = shared.account.used_up_day() else { return };
            let left = used_up.ends.map_or(A_DAY, |ends| ends.saturating_duration_since(Instant::now()));
            let write = async move { pause::day_is_used_up(&database, &message, left).await };
            in_task(write).await.map(|done| done.map(|()| shared.account.noted(Some(used_up))))
        }
        Agree::Erase => {
            let erase = async move { pause::day_is_over(&database).await };
            in_task(erase).await.map(|done| done.map(|()| shared.account.noted(None)))
        }
        Agree::Already | Agree::Adopt | Agree::Lift => return,
    };
    match done {
        Some(Ok(())) => shared.trouble.is_well(Work::NoteDay),
        Some(Err(error)) => shared.trouble.failed(Work::NoteDay, &error),
        None => {}
    }
}

/// Asks HubSpot when the account's day ends.
pub(super) async fn learn(shared: Arc<Shared>, held: Held) {
    tokio::select! {
        () = shared.shutdown.begun() => {}
        () = ask(&shared, held) => {}
    }
}

async fn ask(shared: &Arc<Shared>, held: Held) {
    let Some(asked) = request(shared, held, async |shared| shared.client.quota_resets_at().await).await
    else {
        return;
    };
    let is_told = asked.is_some_and(|resets_at| shared.account.learn_reset(resets_at));
    if is_told {
        return;
    }
    if let Some(Some(zone)) = request(shared, held, async |shared| shared.client.time_zone().await).await {
        shared.account.learn_zone(zone);
    }
}

/// One request about the account: within the quota, and remembered as such. `None`: there was no asking.
async fn request<T>(
    shared: &Arc<Shared>,
    held: Held,
    send: impl AsyncFnOnce(&Shared) -> (Exchange, Option<T>),
) -> Option<Option<T>> {
    let permit = shared.pace.permit().await;
    let note = {
        let (shared, window) = (Arc::clone(shared), shared.settings.send_window());
        async move { recover::note_read(&shared.database, held.lease, Uuid::now_v7(), &[], window).await }
    };
    if !matches!(in_task(note).await, Some(Ok(()))) || !held.is_valid() {
        permit.unused();
        return None;
    }
    let began = Instant::now();
    let (exchange, told) = send(shared).await;
    let outcome = outcome(&exchange);
    shared.metrics.request(Operation::Schema, outcome, began.elapsed());
    shared.account.quota_heard(&exchange);
    shared.pace.ended(permit, &exchange, &Signal::Reachable);
    // Who is over the quota is told nothing else either.
    (outcome != RequestOutcome::RateLimited).then_some(told)
}

fn outcome(exchange: &Exchange) -> RequestOutcome {
    match exchange {
        Exchange::NotSent(_) | Exchange::NoAnswer(_) => RequestOutcome::Unreachable,
        Exchange::Answered { meta: Meta { status, .. }, .. } => match status {
            200..=299 => RequestOutcome::Ok,
            401 | 403 => RequestOutcome::Unauthorized,
            429 => RequestOutcome::RateLimited,
            400..=499 => RequestOutcome::Rejected,
            500..=599 => RequestOutcome::Unavailable,
            _ => RequestOutcome::Invalid,
        },
    }
}
