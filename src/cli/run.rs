//! `run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;

use super::{Outcome, UsageError};
use crate::admin::{self, QuotaSettings};
use crate::config::Config;
use crate::daemon::lifecycle::Shutdown;
use crate::daemon::trouble::Work;
use crate::daemon::{self, Settings, Shared};
use crate::hubspot::Client;
use crate::outbox::connect;
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// How long to wait before a database that is away is tried again at start.
const TRY_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look every pending course up in HubSpot before it is sent; after a backup was restored
    ///
    /// A restored backup, or a standby that lagged, may call courses pending that were sent. This is noticed by
    /// itself where the database tells; the option is for where it cannot. Needs `hubspot.unique_property`
    #[arg(long)]
    verify_first: bool,
}

pub(super) async fn run(args: &Args, config: Config) -> anyhow::Result<Outcome> {
    if args.verify_first && config.hubspot.unique_property.is_none() {
        let message = "--verify-first needs hubspot.unique_property: without it nothing can tell whether HubSpot \
                       holds a course";
        return Err(UsageError(message.into()).into());
    }
    let _flush_at_end = logging::init(&config.log)?;
    for warning in config.warnings() {
        tracing::warn!(%warning, "configuration warning");
    }
    let shutdown = Shutdown::default();
    shutdown.on_signals(config.shutdown.for_requests())?;
    let metrics = Arc::new(Metrics::new());
    let url = config.database_url()?;
    let database = connect::database(&url, config.database.max_connections, super::sessions(&config))?;
    let database = match &config.database.url {
        Some(source) => database.following(source.clone(), url.clone()),
        None => database,
    };
    let client = Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics))?;
    let traces = Traces::start(&config.hubspot.base_url);
    let shared = Shared::new(
        Settings::new(&config, args.verify_first),
        config.batch.max_in_flight,
        database,
        client,
        metrics,
        traces.clone(),
        shutdown.clone(),
    );

    let listener = admin::bind(config.admin.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "admin listening");
    let stopped = tokio_util::sync::CancellationToken::new();
    let quota = QuotaSettings {
        requests: config.rate_limit.requests,
        per: config.rate_limit.per,
        batch_size: config.batch.max_size,
    };
    let (hosts, admin_shared, until) = (config.admin.hosts.clone(), Arc::clone(&shared), stopped.clone());
    let serving = tokio::spawn(async move {
        if let Err(error) = admin::serve(listener, &hosts, admin_shared, quota, until.cancelled_owned()).await
        {
            tracing::error!(%error, "the admin server ended");
        }
    });

    let outcome = match prepare(&config, &url, &shared, &shutdown).await? {
        true if daemon::run(Arc::clone(&shared)).await => Outcome::Fine,
        true => Outcome::Failed,
        // Told to stop before there was anything to stop.
        false => Outcome::Fine,
    };
    stopped.cancel();
    // A reader that keeps its connection open must not keep us, nor a database that does not answer.
    let closing = async { tokio::join!(serving, shared.database.close()) };
    let closing = tokio::time::timeout(Duration::from_millis(500), closing);
    // Bounded by itself.
    tokio::join!(closing, traces.close()).0.ok();
    Ok(outcome)
}

/// Waits for the database and sees to its schema. False: told to stop meanwhile.
async fn prepare(
    config: &Config,
    url: &SecretString,
    shared: &Shared,
    shutdown: &Shutdown,
) -> anyhow::Result<bool> {
    loop {
        // A task of its own: it may wait for another instance that migrates, and is cut off by the
        // end of the process only.
        let (migrate, url, database) = (config.database.migrate, url.clone(), shared.database.clone());
        let preparing = tokio::spawn(async move {
            if migrate {
                connect::migrate(&url).await.map(Some)
            } else {
                connect::verify(&database).await.map(|()| None)
            }
        });
        let prepared = tokio::select! {
            prepared = preparing => prepared,
            () = shutdown.begun() => return Ok(false),
        };
        match prepared.context("preparing the database was interrupted")? {
            Ok(applied) => {
                shared.trouble.is_well(Work::Prepare);
                tracing::info!(applied, "the schema is up to date");
                return Ok(true);
            }
            Err(error) if error.may_pass() => {
                shared.trouble.failed(Work::Prepare, &error);
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(TRY_AGAIN) => {}
            () = shutdown.begun() => return Ok(false),
        }
    }
}
