//! The demo's parts, put together: simulator, configuration, daemon, console.
//!
//! May touch: sockets on 127.0.0.1, the throwaway database. Nothing of the user's configuration or
//! environment is read: the configuration comes from what stands here.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::catalogue::{Catalogue, UNIQUE_PROPERTY};
use super::{Options, trouble};
use crate::admin::{self, QuotaSettings};
use crate::config::{Config, Needs, Sources};
use crate::daemon::lifecycle::Shutdown;
use crate::daemon::{self, Shared};
use crate::hubspot::Client;
use crate::outbox::{Sessions, connect};
use crate::simulator::{self, Behaviour, Handle, Latency, PropertyType, Simulator};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What the simulated account has beside HubSpot's own properties.
const PROPERTIES: [(&str, PropertyType); 3] =
    [("credits", PropertyType::Number), ("starts_on", PropertyType::Date), ("online", PropertyType::Bool)];
/// How long an answer takes.
const LATENCY: Latency = Latency { min_ms: 50, max_ms: 150 };
/// Differences from the defaults, so that trouble is over while somebody watches.
const SETTINGS: [(&str, &str); 9] = [
    ("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY", UNIQUE_PROPERTY),
    ("COURSE_SYNC__HUBSPOT__CONNECT_TIMEOUT", "1s"),
    ("COURSE_SYNC__HUBSPOT__REQUEST_TIMEOUT", "3s"),
    ("COURSE_SYNC__RETRY__INITIAL_INTERVAL", "500ms"),
    ("COURSE_SYNC__RETRY__MAX_INTERVAL", "2s"),
    ("COURSE_SYNC__OUTBOX__POLL_INTERVAL", "250ms"),
    ("COURSE_SYNC__OUTBOX__SETTLE", "1s"),
    ("COURSE_SYNC__ADMIN__LISTEN", "127.0.0.1:0"),
    ("COURSE_SYNC__LOG__FORMAT", "pretty"),
];
/// How long the end waits for the daemon's parts; what is still open then ends with the process.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that runs, but for Postgres.
pub(super) struct Stage {
    /// The daemon's configuration.
    pub config: Config,
    /// The daemon's inside.
    pub shared: Arc<Shared>,
    /// The grip on the simulator.
    pub simulator: Handle,
    /// The address of the console.
    pub console: String,
    /// Ids of the records that another system made.
    pub made_elsewhere: BTreeSet<String>,
    daemon: Option<JoinHandle<bool>>,
    servers: JoinSet<()>,
    stop: CancellationToken,
}

impl Stage {
    /// Simulator and console answer, the database has its schema; the daemon does not run yet.
    pub(super) async fn open(
        database_url: &str,
        catalogue: &Catalogue,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let simulator = Simulator::bind(anywhere, account(options.seed))
            .await
            .context("cannot listen on 127.0.0.1 for the simulator")?;
        let handle = simulator.handle();
        let made_elsewhere = furnish(&handle, catalogue);
        let config = configuration(database_url, &handle, options)?;
        let url = config.database_url()?;
        connect::migrate(&url).await?;
        let shared = assemble(&config)?;
        let console = admin::bind(config.admin.listen).await?;
        let console_url = format!("http://{}", console.local_addr()?);

        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let until = stop.clone();
        servers.spawn(async move { simulator.serve(until.cancelled_owned()).await.unwrap_or_default() });
        let quota = QuotaSettings {
            requests: config.rate_limit.requests,
            per: config.rate_limit.per,
            batch_size: config.batch.max_size,
        };
        let (until, for_console) = (stop.clone(), Arc::clone(&shared));
        servers.spawn(async move {
            admin::serve(console, &[], for_console, quota, until.cancelled_owned()).await.unwrap_or_default();
        });
        Ok(Self {
            config,
            shared,
            simulator: handle,
            console: console_url,
            made_elsewhere,
            daemon: None,
            servers,
            stop,
        })
    }

    /// The daemon begins to send.
    pub(super) fn begin(&mut self) {
        self.daemon = Some(tokio::spawn(daemon::run(Arc::clone(&self.shared))));
    }

    /// Whether the daemon, once begun, ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.daemon.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends everything, without waiting for open requests.
    pub(super) async fn close(mut self) {
        self.shared.shutdown.force();
        if let Some(daemon) = self.daemon.take() {
            tokio::time::timeout(PATIENCE, daemon).await.ok();
        }
        self.stop.cancel();
        // A browser that keeps its connection open must not keep us.
        tokio::time::timeout(PATIENCE / 4, async { while self.servers.join_next().await.is_some() {} })
            .await
            .ok();
        tokio::time::timeout(PATIENCE, self.shared.database.close()).await.ok();
    }
}

/// The simulated account.
fn account(seed: u64) -> simulator::Settings {
    simulator::Settings {
        unique_property: Some(UNIQUE_PROPERTY.to_owned()),
        seed,
        behaviour: Behaviour { latency: LATENCY, ..Behaviour::default() },
        ..simulator::Settings::default()
    }
}

/// Gives the account its properties, the records of the other system and its bad moment.
fn furnish(simulator: &Handle, catalogue: &Catalogue) -> BTreeSet<String> {
    for (name, kind) in PROPERTIES {
        simulator.create_property(name, kind, false);
    }
    for fault in trouble::faults(catalogue.courses.len()) {
        simulator.add_fault(fault);
    }
    let make = |record: &_| simulator.create_record(Clone::clone(record)).to_string();
    catalogue.made_elsewhere.iter().map(make).collect()
}

fn configuration(database_url: &str, simulator: &Handle, options: &Options) -> anyhow::Result<Config> {
    let limits = simulator.behaviour().limits;
    let (url, per) = (simulator.url(), format!("{}ms", limits.per_ms));
    let requests = limits.requests.to_string();
    let found = [
        ("DATABASE_URL", database_url),
        ("HUBSPOT_ACCESS_TOKEN", &account(options.seed).token),
        ("COURSE_SYNC__HUBSPOT__BASE_URL", &url),
        ("COURSE_SYNC__RATE_LIMIT__REQUESTS", &requests),
        ("COURSE_SYNC__RATE_LIMIT__PER", &per),
        ("COURSE_SYNC__LOG__FILTER", if options.verbose { "info" } else { "error" }),
    ];
    let env = found.into_iter().chain(SETTINGS).map(|(name, value)| (name.into(), value.into())).collect();
    Ok(Config::load(&Sources { file: None, env }, Needs { database: true, hubspot: true })?)
}

fn assemble(config: &Config) -> anyhow::Result<Arc<Shared>> {
    let metrics = Arc::new(Metrics::new());
    let database =
        connect::database(&config.database_url()?, config.database.max_connections, Sessions::Kept)?;
    let client = Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics))?;
    let settings = daemon::Settings::new(config, false);
    Ok(Shared::new(
        settings,
        config.batch.max_in_flight,
        database,
        client,
        metrics,
        Traces::default(),
        Shutdown::default(),
    ))
}
