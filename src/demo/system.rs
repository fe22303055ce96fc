//! Starts and stops the parts of the demo: simulator, daemon, console.
//!
//! May touch: sockets on 127.0.0.1, the throwaway database. The user's configuration and environment are not
//! read: all settings are in this file.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use simulator::{Behaviour, Handle, Latency, PropertyType, Simulator};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::catalogue::{Catalogue, UNIQUE_PROPERTY};
use super::{DemoOptions, incident};
use crate::admin::{self, QuotaSettings};
use crate::config::{Config, Needs, Sources};
use crate::daemon;
use crate::hubspot::Client;
use crate::outbox::{SessionMode, connect};
use crate::pipeline::context::{Context, Edges};
use crate::pipeline::settings::Settings;
use crate::runtime::lifecycle::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// The custom properties of the simulated account.
const PROPERTIES: [(&str, PropertyType); 3] =
    [("credits", PropertyType::Number), ("starts_on", PropertyType::Date), ("online", PropertyType::Bool)];
/// Response time of the simulator.
const LATENCY: Latency = Latency { min_ms: 50, max_ms: 150 };
/// Differences from the defaults: short timeouts, so that the incident is over in seconds.
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
/// How long shutting down waits for each part; what is still open after that ends with the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that runs, except Postgres.
pub(super) struct DemoSystem {
    /// The daemon's configuration.
    pub config: Config,
    /// What the daemon's tasks share.
    pub context: Arc<Context>,
    /// Controls the simulator.
    pub simulator: Handle,
    /// The URL of the console.
    pub console: String,
    /// IDs of the records that existed before the demo.
    pub preexisting: BTreeSet<String>,
    daemon: Option<JoinHandle<bool>>,
    servers: JoinSet<()>,
    stop: CancellationToken,
}

impl DemoSystem {
    /// Starts simulator and console, and migrates the database. The daemon does not run yet.
    pub(super) async fn start(
        database_url: &str,
        catalogue: &Catalogue,
        options: &DemoOptions,
    ) -> anyhow::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let simulator = Simulator::bind(anywhere, simulator_settings(options.seed))
            .await
            .context("cannot listen on 127.0.0.1 for the simulator")?;
        let handle = simulator.handle();
        let preexisting = prepare_account(&handle, catalogue);
        let config = build_config(database_url, &handle, options)?;
        let url = config.database_url()?;
        connect::migrate(&url).await?;
        let context = build_context(&config)?;
        let console = admin::bind(config.admin.listen).await?;
        let console_url = format!("http://{}", console.local_addr()?);

        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let until = stop.clone();
        servers.spawn(async move { simulator.serve(until.cancelled_owned()).await.unwrap_or_default() });
        let quota = QuotaSettings::new(&config);
        let (until, for_console) = (stop.clone(), Arc::clone(&context));
        servers.spawn(async move {
            admin::serve(console, &[], for_console, quota, until.cancelled_owned()).await.unwrap_or_default();
        });
        Ok(Self {
            config,
            context,
            simulator: handle,
            console: console_url,
            preexisting,
            daemon: None,
            servers,
            stop,
        })
    }

    /// Starts the daemon.
    pub(super) fn start_daemon(&mut self) {
        self.daemon = Some(tokio::spawn(daemon::run(Arc::clone(&self.context))));
    }

    /// Whether the daemon was started and has stopped.
    pub(super) fn daemon_has_stopped(&self) -> bool {
        self.daemon.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Stops everything, without waiting for open requests.
    pub(super) async fn shut_down(mut self) {
        self.context.runtime.shutdown.force();
        if let Some(daemon) = self.daemon.take() {
            tokio::time::timeout(SHUTDOWN_TIMEOUT, daemon).await.ok();
        }
        self.stop.cancel();
        // A browser may keep its connection open: do not wait for it for long.
        tokio::time::timeout(SHUTDOWN_TIMEOUT / 4, async {
            while self.servers.join_next().await.is_some() {}
        })
        .await
        .ok();
        tokio::time::timeout(SHUTDOWN_TIMEOUT, self.context.edges.database.close()).await.ok();
    }
}

fn simulator_settings(seed: u64) -> simulator::Settings {
    simulator::Settings {
        unique_property: Some(UNIQUE_PROPERTY.to_owned()),
        seed,
        behaviour: Behaviour { latency: LATENCY, ..Behaviour::default() },
        ..simulator::Settings::default()
    }
}

/// Creates custom properties, preexisting records and the faults of the incident. Returns the records' IDs.
fn prepare_account(simulator: &Handle, catalogue: &Catalogue) -> BTreeSet<String> {
    for (name, kind) in PROPERTIES {
        simulator.create_property(name, kind, false);
    }
    for fault in incident::faults(catalogue.courses.len()) {
        simulator.add_fault(fault);
    }
    let ids = catalogue.preexisting.iter().map(|record| simulator.create_record(record.clone()));
    ids.map(|id| id.to_string()).collect()
}

fn build_config(database_url: &str, simulator: &Handle, options: &DemoOptions) -> anyhow::Result<Config> {
    let limits = simulator.behaviour().limits;
    let (url, per) = (simulator.url(), format!("{}ms", limits.per_ms));
    let requests = limits.requests.to_string();
    let found = [
        ("DATABASE_URL", database_url),
        ("HUBSPOT_ACCESS_TOKEN", &simulator_settings(options.seed).token),
        ("COURSE_SYNC__HUBSPOT__BASE_URL", &url),
        ("COURSE_SYNC__RATE_LIMIT__REQUESTS", &requests),
        ("COURSE_SYNC__RATE_LIMIT__PER", &per),
        ("COURSE_SYNC__LOG__FILTER", if options.verbose { "info" } else { "error" }),
    ];
    let env = found.into_iter().chain(SETTINGS).map(|(name, value)| (name.into(), value.into())).collect();
    Ok(Config::load(&Sources { file: None, env }, Needs { database: true, hubspot: true })?)
}

fn build_context(config: &Config) -> anyhow::Result<Arc<Context>> {
    let metrics = Arc::new(Metrics::new());
    let database =
        connect::open_pool(&config.database_url()?, config.database.max_connections, SessionMode::Dedicated)?;
    let client = Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics))?;
    let settings = Settings::new(config, false);
    Ok(Context::new(
        settings,
        config.batch.max_in_flight,
        Edges { database, client },
        metrics,
        Traces::default(),
        Shutdown::default(),
    ))
}
