//! Opens the database and the HubSpot client for the commands that use them only briefly.

use std::sync::Arc;

use crate::config::Config;
use crate::hubspot::{Client, ClientError};
use crate::outbox::{Database, SessionMode, connect};
use crate::telemetry::metrics::Metrics;

/// Opens the database, and checks that it responds and has the schema of this version.
pub(super) async fn open_database(config: &Config) -> anyhow::Result<Database> {
    let url = config.database_url()?;
    let database = connect::open_pool(&url, 2, session_mode(config))?;
    connect::inspect(&database).await?;
    connect::verify_schema(&database).await?;
    Ok(database)
}

/// Opens a client for single requests; `None` if no access to HubSpot is configured.
pub(super) fn open_client(config: &Config) -> Option<Result<Client, ClientError>> {
    config.hubspot.credentials.as_ref()?;
    Some(Client::new(&config.hubspot, 1, Arc::new(Metrics::new())))
}

/// `outbox.listen = false` means that a connection pooler in transaction mode may be in use. Otherwise it is found by
/// `connect::inspect`.
pub(super) fn session_mode(config: &Config) -> SessionMode {
    if config.outbox.listen { SessionMode::Dedicated } else { SessionMode::Pooled }
}
