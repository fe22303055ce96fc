//! The signals that stop the demo early. Touches the process's signals.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether a stop signal was received.
pub(super) struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// Starts listening. From now on SIGINT, SIGTERM and SIGHUP no longer end the process by themselves.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hangup.recv() => SignalKind::hangup(),
            };
            sender.send_replace(u8::try_from(kind.as_raw_value()).ok());
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// The number of the first signal received.
    pub(super) fn signal(&self) -> Option<u8> {
        *self.0.borrow()
    }

    /// Waits for a signal. May be cancelled.
    pub(super) async fn received(&self) {
        let received = self.0.clone().wait_for(Option::is_some).await.is_ok();
        if !received {
            // The listening task ended with its runtime: no signal can arrive.
            std::future::pending::<()>().await;
        }
    }
}
