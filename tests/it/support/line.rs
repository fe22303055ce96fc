//! A line to the database that can die silently: what is sent on it is delivered, and no answer comes.

use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

/// A relay on a port of its own. Connections made after it died are sound.
pub struct Line {
    pub port: u16,
    deaths: watch::Sender<u32>,
}

impl Line {
    /// A line to the server that listens on this socket.
    pub async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (deaths, watched) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&socket).await.expect("the server is there");
                let ((near_reads, near_writes), (far_reads, far_writes)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(relay(near_reads, far_writes, None));
                tokio::spawn(relay(far_reads, near_writes, Some(watched.clone())));
            }
        });
        Self { port, deaths }
    }

    /// From now on nobody hears anything on the connections there are.
    pub fn dies(&self) {
        self.deaths.send_modify(|deaths| *deaths += 1);
    }
}

/// Copies until the end; after a death it reads on and delivers nothing, not even the end.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    deaths: Option<watch::Receiver<u32>>,
) {
    let born = deaths.as_ref().map(|deaths| *deaths.borrow());
    let is_dead = || deaths.as_ref().map(|deaths| *deaths.borrow()) != born;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) if is_dead() => return std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(_) if is_dead() => {}
            Ok(count) => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
