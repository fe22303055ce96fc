//! One instance of the real engine, on a runtime of its own, so that it can crash, freeze and stop independently of the
//! other instances and the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use course_sync::config::{Config, Needs, Sources};
use course_sync::daemon;
use course_sync::hubspot::Client;
use course_sync::outbox::{SessionMode, connect};
use course_sync::pipeline::context::{Context, Edges};
use course_sync::pipeline::settings::Settings;
use course_sync::runtime::lifecycle::Shutdown;
use course_sync::telemetry::metrics::Metrics;
use course_sync::telemetry::traces::Traces;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::support::eventually::TIMEOUT;

/// A running engine. Crashes when dropped.
pub struct Engine {
    runtime: Option<Runtime>,
    shutdown: Shutdown,
    run: JoinHandle<bool>,
}

impl Engine {
    /// Starts it as `run` does, without signals, log and admin port.
    pub fn start(variables: &BTreeMap<String, String>) -> Self {
        let env = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let needs = Needs { database: true, hubspot: true };
        let config = Config::load(&Sources { file: None, env }, needs).expect("the settings are valid");
        // One thread, so that nothing of it runs while it is frozen.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let shutdown = Shutdown::default();
        let run = runtime.spawn(run(config, shutdown.clone()));
        Self { runtime: Some(runtime), shutdown, run }
    }

    /// Drops it in the middle of its work, as the end of a process would.
    pub fn crash(self) {
        drop(self);
    }

    /// Freezes it for this long; the other instances continue.
    #[expect(clippy::disallowed_methods, reason = "blocking its only worker freezes it")]
    pub fn freeze(&self, time: Duration) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(async move { std::thread::sleep(time) }));
        }
    }

    /// Stops it cleanly. True if every result was recorded.
    pub async fn stop(mut self) -> bool {
        self.shutdown.begin();
        let ended = tokio::time::timeout(TIMEOUT, &mut self.run).await;
        ended.expect("the engine stops on request").expect("the engine does not panic")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.run.is_finished()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn run(config: Config, shutdown: Shutdown) -> bool {
    let metrics = Arc::new(Metrics::new());
    let sessions = if config.outbox.listen { SessionMode::Dedicated } else { SessionMode::Pooled };
    let url = config.database_url().expect("a database URL");
    let database =
        connect::open_pool(&url, config.database.max_connections, sessions).expect("a valid database URL");
    let client =
        Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics)).expect("a client");
    let settings = Settings::new(&config, false);
    let context = Context::new(
        settings,
        config.batch.max_in_flight,
        Edges { database, client },
        metrics,
        Traces::default(),
        shutdown,
    );
    let finished = daemon::run(Arc::clone(&context)).await;
    context.edges.database.close().await;
    finished
}
