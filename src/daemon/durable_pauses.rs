//! Reads the operator's pause, saves the durable pauses (daily quota used up, every course rejected), and reads from HubSpot when the account's day
//! ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::account::DURABLE_REASONS;
use crate::outbox::OutboxError;
use crate::outbox::pause::{self as pause_rows, DurablePause};
use crate::pipeline::account_request;
use crate::pipeline::context::Context;
use crate::policy::day::PauseSync;
use crate::policy::gate::Reason;
use crate::policy::read_result::ReadResult;
use crate::runtime::database_health::DatabaseTask;
use crate::runtime::lease::HeldLease;
use crate::runtime::run_in_task;

/// How long a saved pause for the daily quota lasts if the end of the day is unknown.
const DAY: Duration = Duration::from_hours(24);

/// Makes the pauses in memory and their rows equal. A row that cannot be written is written later.
async fn sync_with_rows(context: &Arc<Context>, rows: &[DurablePause]) {
    for reason in DURABLE_REASONS {
        let row = rows.iter().find(|row| row.reason == reason.as_str());
        let row = row.map(|row| (row.message.as_str(), time_left(row)));
        let change = context.account.sync_durable_pause(reason, row);
        match apply_to_row(context, reason, change).await {
            Some(Ok(())) => context.reporting.database_health.record_success(DatabaseTask::SavePauses),
            Some(Err(error)) => {
                context.reporting.database_health.record_failure(DatabaseTask::SavePauses, &error);
            }
            None => {}
        }
    }
}

/// Reads the operator's pause and the durable pauses. False if that failed.
pub(super) async fn read(context: &Arc<Context>) -> bool {
    let database = context.edges.database.clone();
    match run_in_task(async move { pause_rows::read_active(&database).await }).await {
        Some(Ok(pauses)) => {
            let operator = pauses.iter().find(|pause| pause.reason == Reason::Operator.as_str());
            context.account.set_operator_pause(operator.map(|pause| pause.message.as_str()));
            context.reporting.database_health.record_success(DatabaseTask::ReadPauses);
            sync_with_rows(context, &pauses).await;
            true
        }
        Some(Err(error)) => {
            context.reporting.database_health.record_failure(DatabaseTask::ReadPauses, &error);
            false
        }
        None => false,
    }
}

fn time_left(row: &DurablePause) -> Option<Duration> {
    Duration::try_from_secs_f64(row.seconds_left?).ok()
}

/// Writes or deletes the row, if the change requires it.
async fn apply_to_row(
    context: &Arc<Context>,
    reason: Reason,
    change: PauseSync,
) -> Option<Result<(), OutboxError>> {
    let database = context.edges.database.clone();
    match change {
        PauseSync::Write => {
            let (message, pause) = context.account.durable_pause(reason)?;
            let left = pause.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
            // The daily quota is reset within a day. A rejection of every course does not end by time.
            let left = left.or((reason == Reason::DailyQuota).then_some(DAY));
            let write =
                async move { pause_rows::save_pause(&database, reason.as_str(), &message, left).await };
            let done = run_in_task(write).await?;
            Some(done.map(|()| context.account.set_stored_pause(reason, Some(pause))))
        }
        PauseSync::Delete => {
            let done = run_in_task(async move { pause_rows::delete_pause(&database, reason.as_str()).await })
                .await?;
            Some(done.map(|()| context.account.set_stored_pause(reason, None)))
        }
        PauseSync::InSync | PauseSync::Adopt | PauseSync::Lift => None,
    }
}

/// Requests the end of the account's day from HubSpot.
pub(super) async fn read_day_end(context: Arc<Context>, held: HeldLease) {
    let request = account_request::send_account_request(&context, held, async |context| {
        context.edges.client.quota_resets_at().await
    });
    let resets_at = tokio::select! {
        () = context.runtime.shutdown.begun() => return,
        resets_at = request => resets_at,
    };
    if let Some(ReadResult::Found(Some(resets_at))) = resets_at {
        context.account.set_day_end(resets_at);
    }
}
