//! The signals that end a long command early, so that it can report what it has done. Touches the process's signals.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM, and returns its number. Afterwards, neither ends the process by itself.
pub(super) async fn interrupted() -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    Ok(u8::try_from(kind.as_raw_value()).unwrap_or_default())
}
