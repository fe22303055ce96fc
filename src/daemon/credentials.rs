//! Checks for new credentials while HubSpot rejects the current ones, so that the pause ends at once.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::context::Context;
use crate::policy::gate::Reason;
use crate::telemetry::events;

/// The interval between two checks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the shutdown begins.
pub(super) async fn watch(context: Arc<Context>) {
    while !context.runtime.shutdown.has_begun() {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = context.runtime.shutdown.begun() => return,
        }
        if !context.account.is_paused_for(Reason::Token) {
            continue;
        }
        let shared = Arc::clone(&context);
        // On a blocking thread, because reading a file on a network file system may take long.
        let check = tokio::task::spawn_blocking(move || shared.edges.client.has_new_credentials());
        if check.await.is_ok_and(|is_new| is_new) {
            tracing::info!(event = events::CREDENTIALS_CHANGED, "credentials changed");
            context.account.retry_pause_now(Reason::Token);
        }
    }
}
