//! The connections of the admin port: short, and few. Whoever connects and says nothing, or speaks a byte
//! a second, takes neither descriptors nor memory from the daemon's own work for long.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Connections at once. At one more the oldest is closed: it is the likeliest to be idle, and a probe that
/// comes last is answered.
const MAX_OPEN: usize = 128;
/// The longest that a connection lasts, slow readers and writers included. It serves one request.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The longest head of a request. Nothing is read beyond it.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long to wait when no connection can be accepted, for want of descriptors most likely.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop` is over, and then those who are connected.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut connections = Connections::default();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => connections.admit(stream, router.clone()),
            Err(error) => {
                tracing::debug!(%error, "no connection to the admin port can be accepted");
                tokio::time::sleep(BREATH).await;
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
    fn admit(&mut self, stream: TcpStream, router: Router) {
        while self.tasks.try_join_next().is_some() {}
        self.by_age.retain(|connection| !connection.is_finished());
        if self.by_age.len() >= MAX_OPEN
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        self.by_age.push_back(self.tasks.spawn(converse(stream, router)));
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
    let conversation = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How the other side ended it, or that it took too long, concerns nobody.
    drop(tokio::time::timeout(MAX_AGE, conversation).await);
}
