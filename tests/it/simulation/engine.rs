//! One incarnation of the engine: the real one, on a runtime of its own, so that it can crash, stand still and
//! stop without the others or the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use course_sync::config::{Config, Needs, Sources};
use course_sync::daemon::lifecycle::Shutdown;
use course_sync::daemon::{self, Settings, Shared};
use course_sync::hubspot::Client;
use course_sync::outbox::{Sessions, connect};
use course_sync::telemetry::metrics::Metrics;
use course_sync::telemetry::traces::Traces;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::support::eventually::PATIENCE;

/// A running engine. Crashes when dropped.
pub struct Engine {
    runtime: Option<Runtime>,
    shutdown: Shutdown,
    run: JoinHandle<bool>,
}

impl Engine {
    /// Starts it as `run` does, but for signals, log and admin port.
    pub fn start(variables: &BTreeMap<String, String>) -> Self {
        let env = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let needs = Needs { database: true, hubspot: true };
        let config = Config::load(&Sources { file: None, env }, needs).expect("the settings are sound");
        // One thread, so that nothing of it runs while it stands still.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let shutdown = Shutdown::default();
        let run = runtime.spawn(run(config, shutdown.clone()));
        Self { runtime: Some(runtime), shutdown, run }
    }

    /// Drops it in the middle of whatever it waits for, as the end of a process would.
    pub fn crash(self) {
        drop(self);
    }

    /// Nothing of it runs for this long; what others do goes on.
    #[expect(clippy::disallowed_methods, reason = "to block its only worker is what is wanted")]
    pub fn freeze(&self, time: Duration) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(async move { std::thread::sleep(time) }));
        }
    }

    /// Stops it cleanly. True where everything that was sent is recorded.
    pub async fn stop(mut self) -> bool {
        self.shutdown.begin();
        let ended = tokio::time::timeout(PATIENCE, &mut self.run).await;
        ended.expect("the engine stops when told to").expect("the engine does not panic")
    }

    /// Whether it has ended, though nobody told it to.
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
    let sessions = if config.outbox.listen { Sessions::Kept } else { Sessions::Pooled };
    let url = config.database_url().expect("a database");
    let database =
        connect::database(&url, config.database.max_connections, sessions).expect("an address of a database");
    let client =
        Client::new(&config.hubspot, config.batch.max_in_flight, Arc::clone(&metrics)).expect("a client");
    let settings = Settings::new(&config, false);
    let shared = Shared::new(
        settings,
        config.batch.max_in_flight,
        database,
        client,
        metrics,
        Traces::default(),
        shutdown,
    );
    let finished = daemon::run(Arc::clone(&shared)).await;
    shared.database.close().await;
    finished
}
