//! A listener whose connections a handler can close or reset, to simulate network failures. All connections are
//! closed when the simulator stops.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

const INTACT: u8 = 0;
const CLOSED: u8 = 1;
const RESET: u8 = 2;

/// Lets a handler break the connection of its request.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionControl(Arc<AtomicU8>);

impl ConnectionControl {
    /// Closes the connection instead of sending the next byte.
    pub(super) fn close(&self) {
        self.0.store(CLOSED, Ordering::Release);
    }

    /// Resets the connection instead of sending the next byte.
    pub(super) fn reset(&self) {
        self.0.store(RESET, Ordering::Release);
    }

    fn broken(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Acquire)).filter(|state| *state != INTACT)
    }
}

/// The listening socket.
pub(super) struct ControlledListener {
    pub(super) listener: TcpListener,
    pub(super) stop: CancellationToken,
}

impl Listener for ControlledListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) if stream.set_nodelay(true).is_ok() => {
                    let stop = Box::pin(self.stop.clone().cancelled_owned());
                    return (Connection { stream, control: ConnectionControl::default(), stop }, from);
                }
                Ok(_) => {}
                // Most likely out of file descriptors: retry after a short wait.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, ControlledListener>> for ConnectionControl {
    fn connect_info(stream: IncomingStream<'_, ControlledListener>) -> Self {
        stream.io().control.clone()
    }
}

/// A TCP connection that its [`ConnectionControl`] can break.
pub(super) struct Connection {
    stream: TcpStream,
    control: ConnectionControl,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        match self.control.broken() {
            None => Ok(()),
            Some(RESET) => {
                self.stream.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
