//! How the daemon ends: first softly (begin nothing, finish what is under way), then hard.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of the end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Begin nothing more; finish what is under way.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Let go of what is still under way.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether nothing more may begin.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Whether what is under way is to be let go.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Waits until nothing more may begin.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until what is under way is to be let go.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// Begins the end at the first SIGTERM or SIGINT, and forces it at the second, or when what is under way was
    /// `patience` long waited for. SIGHUP begins it too, but forces nothing, since a terminal that is closed sends it
    /// several times; under `nohup` it means nothing.
    ///
    /// # Errors
    /// The system refuses to tell about signals.
    pub fn on_signals(&self, patience: Duration) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let shutdown = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = hung_up(hangup.as_mut()) => {}
                () = shutdown.begun() => {}
            }
            tracing::info!(?patience, "stopping: nothing new begins, what is under way is finished");
            shutdown.begin();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(patience) => {}
            }
            shutdown.force();
        });
        Ok(())
    }
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether whoever started the process had it ignore SIGHUP, as `nohup` does.
fn ignores_hangup() -> bool {
    /// The lowest bit of the mask is signal 1.
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}
