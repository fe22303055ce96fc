//! Pauses of the daemon's own that outlive a restart: a used-up day, and an account that refuses every course. And when
//! the account's day ends, which HubSpot is asked for once it matters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::account::DURABLE;
use super::leader::Held;
use super::question;
use super::tasks::in_task;
use super::trouble::Work;
use crate::outbox::pause::{self, DurablePause};
use crate::policy::day::Agree;
use crate::policy::pause::Reason;
use crate::policy::schema::Ending;

/// How long the row of a used-up day holds where the day's end is not known; no day is much longer.
const A_DAY: Duration = Duration::from_hours(24);

/// Brings the pauses in memory and their rows into line. A row that cannot be written is written later.
pub(super) async fn agree(shared: &Arc<Shared>, rows: &[DurablePause]) {
    for reason in DURABLE {
        let row = rows.iter().find(|row| row.reason == reason.as_str());
        let left = |row: &DurablePause| Duration::try_from_secs_f64(row.seconds_left?).ok();
        let work = shared.account.agree(reason, row.map(|row| (row.message.as_str(), left(row))));
        match carry_out(shared, reason, work).await {
            Some(Ok(())) => shared.trouble.is_well(Work::NoteDay),
            Some(Err(error)) => shared.trouble.failed(Work::NoteDay, &error),
            None => {}
        }
    }
}

async fn carry_out(
    shared: &Arc<Shared>,
    reason: Reason,
    work: Agree,
) -> Option<Result<(), crate::outbox::OutboxError>> {
    let database = shared.database.clone();
    match work {
        Agree::Write => {
            let (message, known) = shared.account.durable(reason)?;
            let left = known.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
            // A used-up day ends by itself, a refusal of every course does not.
            let left = left.or((reason == Reason::DailyQuota).then_some(A_DAY));
            let write = async move { pause::note(&database, reason.as_str(), &message, left).await };
            let done = in_task(write).await?;
            Some(done.map(|()| shared.account.noted(reason, Some(known))))
        }
        Agree::Erase => {
            let done = in_task(async move { pause::forget(&database, reason.as_str()).await }).await?;
            Some(done.map(|()| shared.account.noted(reason, None)))
        }
        Agree::Already | Agree::Adopt | Agree::Lift => None,
    }
}

/// Asks HubSpot when the account's day ends.
pub(super) async fn learn_reset(shared: Arc<Shared>, held: Held) {
    let asked = question::ask(&shared, held, async |shared| shared.client.quota_resets_at().await);
    let resets_at = tokio::select! {
        () = shared.shutdown.begun() => return,
        asked = asked => asked,
    };
    if let Some(Ending::Told(Some(resets_at))) = resets_at {
        shared.account.learn_reset(resets_at);
    }
}
