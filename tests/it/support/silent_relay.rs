//! A relay to the database whose connections can die silently: statements still arrive, but no response comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use super::eventually::eventually;

/// A running relay on its own port. Connections that are opened after a failure work.
pub struct SilentRelay {
    pub port: u16,
    state: Arc<RelayState>,
}

/// State shared by all connections of a relay.
#[derive(Default)]
struct RelayState {
    /// How often all connections were made silent; connections of an earlier count are silent.
    failures: AtomicU32,
    /// Whether connections that listen for notifications are silent.
    listeners_are_silent: AtomicBool,
    /// How many connections have sent LISTEN.
    listeners: AtomicUsize,
}

/// One connection.
struct Connection {
    state: Arc<RelayState>,
    /// The value of `failures` when the connection was opened.
    opened_after: u32,
    listens: AtomicBool,
}

impl Connection {
    fn is_silent(&self) -> bool {
        let listener_is_silent =
            self.state.listeners_are_silent.load(Ordering::SeqCst) && self.listens.load(Ordering::SeqCst);
        listener_is_silent || self.state.failures.load(Ordering::SeqCst) != self.opened_after
    }

    /// Notes whether the client sends LISTEN.
    fn inspect_statement(&self, bytes: &[u8]) {
        let listens = bytes.windows(7).any(|word| word.eq_ignore_ascii_case(b"listen "));
        if listens && !self.listens.swap(true, Ordering::SeqCst) {
            self.state.listeners.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl SilentRelay {
    /// Starts a relay to the server that listens on this socket.
    pub async fn start(socket: PathBuf) -> Self {
        Self::start_at("127.0.0.1:0", socket).await
    }

    /// The same, listening at another address.
    pub async fn start_at(address: &str, socket: PathBuf) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::<RelayState>::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.expect("the server accepts connections");
                let ((client_reads, client_writes), (server_reads, server_writes)) =
                    (client.into_split(), server.into_split());
                let opened_after = shared.failures.load(Ordering::SeqCst);
                let state = Arc::clone(&shared);
                let connection =
                    Arc::new(Connection { state, opened_after, listens: AtomicBool::new(false) });
                tokio::spawn(relay(client_reads, server_writes, Arc::clone(&connection), true));
                tokio::spawn(relay(server_reads, client_writes, connection, false));
            }
        });
        Self { port, state }
    }

    /// Drops all responses on the existing connections from now on.
    pub fn drop_responses(&self) {
        self.state.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until a client listens for notifications, then drops all responses to listening clients.
    pub async fn drop_responses_to_listener(&self) {
        eventually("a client listens", async || match self.state.listeners.load(Ordering::SeqCst) {
            0 => Err(()),
            _ => Ok(()),
        })
        .await;
        self.state.listeners_are_silent.store(true, Ordering::SeqCst);
    }
}

/// Copies until the connection ends. If the connection is silent, responses are read and dropped, and so is the end of
/// the connection.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: Arc<Connection>,
    is_request: bool,
) {
    let is_silent = || !is_request && connection.is_silent();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) if is_silent() => return std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(_) if is_silent() => {}
            Ok(count) => {
                if is_request {
                    connection.inspect_statement(&buffer[..count]);
                }
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
