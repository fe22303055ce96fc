//! `run`: the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connections::session_mode;
use super::outcome::{CommandOutcome, UsageError};
use crate::admin::{self, QuotaSettings};
use crate::config::Config;
use crate::daemon;
use crate::hubspot::Client;
use crate::outbox::{Database, OutboxError, connect};
use crate::pipeline::context::{Context, Edges};
use crate::pipeline::settings::Settings;
use crate::runtime::database_health::{DatabaseHealth, DatabaseTask};
use crate::runtime::lifecycle::Shutdown;
use crate::telemetry::events;
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// The delay before the database is tried again at startup.
const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Look up every pending course in HubSpot before sending it (after restoring a backup)
    ///
    /// After a restore, or a failover to a lagging standby, the outbox may list courses as pending that were
    /// already sent. The daemon detects most such cases on its own; use this option for the others, such as a
    /// cold copy restored while every instance was stopped. Needs `hubspot.unique_property`
    #[arg(long)]
    verify_first: bool,
}

pub(super) async fn run(args: &RunArgs, config: Config) -> anyhow::Result<CommandOutcome> {
    if args.verify_first && config.hubspot.unique_property.is_none() {
        let message = "--verify-first needs hubspot.unique_property: without it courses cannot be looked up in \
                       HubSpot";
        return Err(UsageError(message.into()).into());
    }
    let _flush_at_end = logging::init(&config.log)?;
    for warning in config.warnings() {
        tracing::warn!(event = events::CONFIGURATION_WARNING_FOUND, %warning, "configuration warning found");
    }
    let shutdown = Shutdown::default();
    shutdown.on_signals(config.shutdown.for_requests())?;
    let metrics = Arc::new(Metrics::new());
    let url = config.database_url()?;
    let database = open_database(&config, &url)?;
    let client = Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics))?;
    let traces = Traces::start(&config.hubspot.base_url);
    let context = Context::new(
        Settings::new(&config, args.verify_first),
        config.batch.max_in_flight,
        Edges { database, client },
        metrics,
        traces.clone(),
        shutdown.clone(),
    );

    // Before the database is reached, so that health checks are answered during startup.
    let stopped = CancellationToken::new();
    let serving = start_admin_server(&config, Arc::clone(&context), stopped.clone()).await?;
    let outcome = match prepare_database(&config, &url, &context, &shutdown).await? {
        true if daemon::run(Arc::clone(&context)).await => CommandOutcome::Success,
        true => CommandOutcome::Failure,
        // Stopped before the daemon started.
        false => CommandOutcome::Success,
    };
    stopped.cancel();
    // Neither an open admin connection nor a database that does not respond may delay the exit.
    let closing = async { tokio::join!(serving, context.edges.database.close()) };
    let closing = tokio::time::timeout(Duration::from_millis(500), closing);
    // `close` has its own timeout.
    tokio::join!(closing, traces.close()).0.ok();
    Ok(outcome)
}

fn open_database(config: &Config, url: &SecretString) -> anyhow::Result<Database> {
    let database = connect::open_pool(url, config.database.max_connections, session_mode(config))?;
    // The password may change while the daemon runs, so the source is read again if no connection can be made.
    Ok(match &config.database.url {
        Some(source) => database.with_url_source(source.clone(), url.clone()),
        None => database,
    })
}

/// Serves health checks, metrics and the console until `stopped` is cancelled. An address in use is an error at once.
async fn start_admin_server(
    config: &Config,
    context: Arc<Context>,
    stopped: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = admin::bind(config.admin.listen).await?;
    tracing::info!(
        event = events::ADMIN_SERVER_STARTED,
        address = %listener.local_addr()?,
        "admin server started"
    );
    let (quota, hosts) = (QuotaSettings::new(config), config.admin.hosts.clone());
    Ok(tokio::spawn(async move {
        if let Err(error) = admin::serve(listener, &hosts, context, quota, stopped.cancelled_owned()).await {
            tracing::error!(event = events::ADMIN_SERVER_FAILED, %error, "admin server failed");
        }
    }))
}

/// Waits for the database and prepares its schema. False if the shutdown began meanwhile.
async fn prepare_database(
    config: &Config,
    url: &SecretString,
    context: &Arc<Context>,
    shutdown: &Shutdown,
) -> anyhow::Result<bool> {
    loop {
        // A separate task: it may wait for a lock, and a shutdown must not cancel its statement.
        let (migrate, url, database) = (config.database.migrate, url.clone(), context.edges.database.clone());
        let context_of_task = Arc::clone(context);
        let preparing = tokio::spawn(async move {
            if migrate {
                let applied = migrate_schema(&url, &context_of_task.reporting.database_health).await?;
                connect::inspect(&database).await?;
                Ok(Some(applied))
            } else {
                connect::inspect(&database).await?;
                connect::verify_schema(&database).await.map(|()| None)
            }
        });
        let prepared = tokio::select! {
            prepared = preparing => prepared,
            () = shutdown.begun() => return Ok(false),
        };
        context.reporting.database_health.set_waiting(None);
        match prepared.context("preparing the database was interrupted")? {
            Ok(applied) => {
                context.reporting.database_health.record_success(DatabaseTask::PrepareSchema);
                tracing::info!(event = events::SCHEMA_PREPARED, applied, "schema prepared");
                return Ok(true);
            }
            Err(error) if error.is_transient() => {
                context.reporting.database_health.record_failure(DatabaseTask::PrepareSchema, &error);
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY_DELAY) => {}
            () = shutdown.begun() => return Ok(false),
        }
    }
}

/// Migrates the schema. Logs once if it has to wait for a lock, and is not ready meanwhile.
async fn migrate_schema(url: &SecretString, health: &DatabaseHealth) -> Result<usize, OutboxError> {
    let is_logged = AtomicBool::new(false);
    connect::migrate_reporting(url, |error| {
        health.set_waiting(Some(error.to_string()));
        if !is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(event = events::MIGRATION_WAITING, %error, "migration waiting");
        }
    })
    .await
}
