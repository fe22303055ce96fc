//! What this process knows about the server behind its connections: whether it is still the one in which the lease was
//! last renewed. Touches no database.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The server, as far as this process knows it.
///
/// While a server is stopped, its files may be replaced by a copy. Only the leader's task can notice that, when it renews
/// the lease. So each session sets `course_sync.server` to the run of the server that the last renewal has seen, and
/// `course_sync_incarnation()` is null in a session of any other run: nothing is claimed there before a renewal.
#[derive(Debug, Default)]
pub struct Server {
    state: Mutex<ServerState>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct ServerState {
    /// The run of the server in which the lease was last renewed.
    known_run: Option<String>,
    /// Connections that were opened before are not used again.
    outdated_before: Option<Instant>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the lease was renewed in this run of the server. Sessions that know another run are replaced.
    pub fn confirm_run(&self, run: &str) {
        // It becomes part of a statement.
        let is_number = !run.is_empty() && run.chars().all(|c| c.is_ascii_digit() || c == '.');
        let run = is_number.then(|| run.to_owned());
        let mut state = self.state();
        if state.known_run != run {
            let is_first = state.known_run.is_none();
            state.known_run = run;
            if !is_first {
                state.outdated_before = Some(Instant::now());
            }
        }
    }

    /// The setting of a session, as in `set course_sync.server = '1'`. `None` before the first renewal.
    pub(super) fn set_known_run(&self) -> Option<String> {
        let state = self.state();
        state.known_run.as_ref().map(|run| format!("course_sync.server = '{run}'"))
    }

    /// Records that a connection was opened: its server may have been restarted.
    pub(super) fn note_connection(&self) {
        self.opened.notify_one();
    }

    /// Waits until a connection was opened since the last call.
    pub async fn connection_opened(&self) {
        self.opened.notified().await;
    }

    /// Whether a connection of this age is not to be used again.
    pub(super) fn is_outdated(&self, age: Duration) -> bool {
        self.state().outdated_before.is_some_and(|at| at.elapsed() <= age)
    }
}
