//! The shutdown of the daemon: first soft (start nothing, finish open work), then hard (abandon open work).

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry::events;

/// The two stages of a shutdown.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Begins the shutdown: nothing new starts, open work is finished.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Forces the shutdown: open work is abandoned.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Whether the shutdown was forced.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Waits until the shutdown begins.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until the shutdown is forced.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// Begins the shutdown at the first SIGTERM or SIGINT, and forces it at the second or after the grace period. SIGHUP
    /// begins the shutdown but never forces it, because a terminal that closes may send it several times. Under `nohup`,
    /// SIGHUP is ignored.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn on_signals(&self, grace: Duration) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let shutdown = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = receive_hangup(hangup.as_mut()) => {}
                () = shutdown.begun() => {}
            }
            tracing::info!(event = events::SHUTDOWN_STARTED, ?grace, "shutdown started");
            shutdown.begin();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(grace) => {}
            }
            shutdown.force();
        });
        Ok(())
    }
}

/// Waits for SIGHUP; forever, if the process ignores it.
async fn receive_hangup(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does.
fn ignores_hangup() -> bool {
    /// The lowest bit of the mask is signal 1.
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}
