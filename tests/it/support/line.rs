//! A line to the database that can die silently: what is sent on it is delivered, and no answer comes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use super::eventually::eventually;

/// A relay on a port of its own. Connections made after it died are sound.
pub struct Line {
    pub port: u16,
    fate: Arc<Fate>,
}

/// What all its connections share.
#[derive(Default)]
struct Fate {
    deaths: AtomicU32,
    /// Those that listen for notifications are dead.
    is_deaf: AtomicBool,
    listeners: AtomicUsize,
}

/// One connection.
struct Connection {
    fate: Arc<Fate>,
    born: u32,
    listens: AtomicBool,
}

impl Connection {
    fn is_dead(&self) -> bool {
        let is_deaf = self.fate.is_deaf.load(Ordering::SeqCst) && self.listens.load(Ordering::SeqCst);
        is_deaf || self.fate.deaths.load(Ordering::SeqCst) != self.born
    }

    /// Sees what the client says.
    fn overhears(&self, said: &[u8]) {
        let listens = said.windows(7).any(|word| word.eq_ignore_ascii_case(b"listen "));
        if listens && !self.listens.swap(true, Ordering::SeqCst) {
            self.fate.listeners.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Line {
    /// A line to the server that listens on this socket.
    pub async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let fate = Arc::<Fate>::default();
        let shared = Arc::clone(&fate);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&socket).await.expect("the server is there");
                let ((near_reads, near_writes), (far_reads, far_writes)) =
                    (near.into_split(), far.into_split());
                let born = shared.deaths.load(Ordering::SeqCst);
                let fate = Arc::clone(&shared);
                let connection = Arc::new(Connection { fate, born, listens: AtomicBool::new(false) });
                tokio::spawn(relay(near_reads, far_writes, Arc::clone(&connection), true));
                tokio::spawn(relay(far_reads, near_writes, connection, false));
            }
        });
        Self { port, fate }
    }

    /// From now on nobody hears anything on the connections there are.
    pub fn dies(&self) {
        self.fate.deaths.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until somebody listens for notifications. Who does so hears nothing any more.
    pub async fn listener_dies(&self) {
        eventually("somebody listens", async || match self.fate.listeners.load(Ordering::SeqCst) {
            0 => Err(()),
            _ => Ok(()),
        })
        .await;
        self.fate.is_deaf.store(true, Ordering::SeqCst);
    }
}

/// Copies until the end; what comes back after a death is read and not delivered, not even the end.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: Arc<Connection>,
    is_there: bool,
) {
    let is_dead = || !is_there && connection.is_dead();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) if is_dead() => return std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(_) if is_dead() => {}
            Ok(count) => {
                if is_there {
                    connection.overhears(&buffer[..count]);
                }
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
