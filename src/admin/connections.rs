//! The connections of the admin port, limited in number and duration, so that idle or slow clients cannot use up the
//! daemon's file descriptors or memory.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::telemetry::events;

/// The largest number of connections. When it is exceeded, the oldest is closed: it is the most likely to be idle, and
/// a new health check still gets a response.
const MAX_OPEN: usize = 128;
/// How long a connection may last. It serves one request.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The largest request head in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The delay after a connection could not be accepted, most likely because no file descriptor is free.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop` completes, then finishes the open connections.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut connections = Connections::default();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => connections.add(stream, router.clone()),
            Err(error) => {
                tracing::debug!(
                    event = events::ADMIN_CONNECTION_NOT_ACCEPTED,
                    %error,
                    "admin connection not accepted"
                );
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    by_age: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, router: Router) {
        while self.tasks.try_join_next().is_some() {}
        self.by_age.retain(|connection| !connection.is_finished());
        if self.by_age.len() >= MAX_OPEN
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        self.by_age.push_back(self.tasks.spawn(serve_connection(stream, router)));
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that disconnects or is too slow is not an error of the daemon.
    drop(tokio::time::timeout(MAX_AGE, connection).await);
}
