//! A question about the account: one request within the quota, noted in the journal with its end.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Shared;
use super::leader::Held;
use super::tasks::in_task;
use crate::outbox::record::Ending;
use crate::outbox::recover::{self, Question};
use crate::policy::interpret::Signal;
use crate::policy::schema::{self, Asked};
use crate::telemetry::metrics::Operation;

/// Asks it. `None`: it was not asked, since the lease ended or the request could not be noted.
pub(super) async fn ask<T>(
    shared: &Arc<Shared>,
    held: Held,
    send: impl AsyncFnOnce(&Shared) -> Asked<T>,
) -> Option<schema::Ending<T>> {
    let permit = shared.pace.permit().await;
    let request = Uuid::now_v7();
    let note = {
        let (shared, window) = (Arc::clone(shared), shared.settings.send_window());
        async move {
            recover::note_question(&shared.database, held.lease, request, Question::Account, &[], window)
                .await
        }
    };
    if !matches!(in_task(note).await, Some(Ok(()))) || !held.is_valid() {
        permit.unused();
        return None;
    }
    let began = Instant::now();
    let Asked { told, exchange } = send(shared).await;
    let (answer, outcome) = schema::interpret(told, &exchange);
    shared.metrics.request(Operation::Schema, outcome, began.elapsed());
    shared.account.quota_heard(&exchange);
    shared.pace.ended(permit, &exchange, &Signal::Passed);
    note_answer(shared, request, Ending::of(outcome, &exchange, None)).await;
    Some(answer)
}

/// Notes how a request ended that creates nothing. If that fails, the request counts for longer after a takeover.
pub(super) async fn note_answer(shared: &Arc<Shared>, request: Uuid, ending: Ending) {
    let database = shared.database.clone();
    let note = in_task(async move { recover::note_answer(&database, request, &ending).await });
    if let Some(Err(error)) = note.await {
        tracing::debug!(%error, %request, "the end of a request was not noted");
    }
}
