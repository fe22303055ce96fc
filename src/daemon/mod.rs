//! The daemon: one task keeps the lease (`leader`), one loop claims courses (`engine`), and each batch passes through the
//! `pipeline` in a task of its own. Other tasks: check of the unique property, durable pauses, retention, progress.
//!
//! Starts and stops tasks, and makes no decisions.

mod credentials;
mod durable_pauses;
mod engine;
mod leader;
mod lease_memory;
mod lease_request;
mod orphans;
mod progress_log;
mod property_check;
mod retention;
mod verify;

use std::sync::Arc;

use crate::pipeline::context::Context;
use crate::runtime::wake;
use crate::telemetry::events;

/// Runs until a shutdown is requested, then waits for open requests. True if the outcome of every request was recorded.
pub async fn run(context: Arc<Context>) -> bool {
    tracing::info!(
        event = events::DAEMON_STARTED,
        holder = %context.leadership.instance,
        requests = context.settings.rate_limit.requests,
        per = ?context.settings.rate_limit.per,
        promise = context.settings.delivery_guarantee(),
        "daemon started"
    );
    let leader = leader::spawn(Arc::clone(&context));
    let listener = context.settings.listen.then(|| tokio::spawn(listen(Arc::clone(&context))));
    let retention = tokio::spawn(retention::run(Arc::clone(&context), leader.lease()));
    let progress = progress_log::spawn(Arc::clone(&context));
    let credentials = tokio::spawn(credentials::watch(Arc::clone(&context)));
    let finished = engine::run(&context, leader.lease()).await;
    leader.release().await;
    // These tasks stop by themselves, within one statement.
    drop((retention, credentials));
    if let Some(listener) = listener {
        listener.abort();
    }
    progress.finish().await;
    tracing::info!(event = events::DAEMON_STOPPED, finished, "daemon stopped");
    finished
}

/// Listens for notifications about new courses, until the task is aborted.
async fn listen(context: Arc<Context>) {
    let (database, health) = (&context.edges.database, &context.reporting.database_health);
    wake::listen(database, health, &context.runtime.wake).await;
}
