//! Notices that a person mended the credentials, so that a pause for their sake ends at once.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::policy::pause::Reason;

/// How often it is looked, while HubSpot does not accept what there is.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the shutdown begins.
pub(super) async fn watch(shared: Arc<Shared>) {
    while !shared.shutdown.has_begun() {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.shutdown.begun() => return,
        }
        if !shared.account.holds(Reason::Token) {
            continue;
        }
        let asking = Arc::clone(&shared);
        // A folder of the network's may answer slowly.
        let look = tokio::task::spawn_blocking(move || asking.client.has_new_credentials());
        if look.await.is_ok_and(|is_new| is_new) {
            tracing::info!("the credentials have changed: trying them");
            shared.account.try_again(Reason::Token);
        }
    }
}
