//! A TCP proxy that injects network faults: it drops, delays, cuts, resets or refuses connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::eventually::eventually;

/// Where the proxy forwards to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// A direction of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client: requests, statements.
    Request,
    /// From the server: responses.
    Response,
}

/// A fault that applies to all existing and future connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    Pass,
    /// Each chunk is delayed by this time.
    Delay(Duration),
    /// The first connection that carries this many more bytes in this direction is closed there. The others continue.
    Cut(Direction, usize),
    /// Every connection is reset.
    Reset,
    /// All data is dropped. When the fault ends, the connections are reset, because the lost data cannot be delivered.
    BlackHole,
    /// New connections are refused and existing ones are reset.
    Refuse,
}

/// A running proxy on its own port. Ends with the runtime of the test.
pub struct Proxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    target: watch::Sender<Target>,
    injected_faults: Arc<AtomicUsize>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whether a connection continues, and how it ends.
#[derive(PartialEq, Eq)]
enum ConnectionState {
    Open,
    Closed,
    Reset,
}

impl Proxy {
    /// Starts a proxy that forwards to `target` without faults.
    pub async fn start(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (fault, faults) = watch::channel(Fault::Pass);
        let (target, targets) = watch::channel(target);
        let injected_faults = Arc::new(AtomicUsize::new(0));
        let proxy =
            Self { port, fault: fault.clone(), target, injected_faults: Arc::clone(&injected_faults) };
        tokio::spawn(listen(listener, faults, targets, ConnectionHandler { fault, injected_faults }));
        proxy
    }

    /// Injects this fault from now on.
    pub fn inject(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Ends the fault.
    pub fn clear_fault(&self) {
        self.inject(Fault::Pass);
    }

    /// Forwards new connections to another target.
    pub fn set_target(&self, target: Target) {
        self.target.send_replace(target);
    }

    /// How often a fault was applied to a connection or a chunk.
    pub fn injected_faults(&self) -> usize {
        self.injected_faults.load(Ordering::Relaxed)
    }

    /// Waits until a connection was cut or `is_done` returns true, then ends the fault.
    pub async fn wait_until_cut(&self, mut is_done: impl AsyncFnMut() -> bool) {
        eventually("a connection is cut", async || {
            let fault = *self.fault.borrow();
            if fault == Fault::Pass || is_done().await { Ok(()) } else { Err(fault) }
        })
        .await;
        self.clear_fault();
    }
}

async fn listen(
    listener: TcpListener,
    mut faults: watch::Receiver<Fault>,
    targets: watch::Receiver<Target>,
    handler: ConnectionHandler,
) {
    let address = listener.local_addr().expect("its address");
    let mut listener = Some(listener);
    loop {
        let refuses = *faults.borrow_and_update() == Fault::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        if !refuses && listener.is_none() {
            // Another connection uses the port as its local port at the moment.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            accepted = accepted => if let Ok((client, _)) = accepted {
                let (target, faults) = (targets.borrow().clone(), faults.clone());
                tokio::spawn(handler.clone().run(client, target, faults));
            }
        }
    }
}

/// Relays connections and applies the current fault.
#[derive(Clone)]
struct ConnectionHandler {
    fault: watch::Sender<Fault>,
    injected_faults: Arc<AtomicUsize>,
}

impl ConnectionHandler {
    async fn run(self, mut client: TcpStream, target: Target, mut faults: watch::Receiver<Fault>) {
        let server: std::io::Result<Box<dyn Stream>> = match target {
            Target::Port(port) => TcpStream::connect(("127.0.0.1", port)).await.map(|it| Box::new(it) as _),
            Target::Socket(path) => UnixStream::connect(path).await.map(|it| Box::new(it) as _),
        };
        let state = match server {
            Ok(server) => self.relay(&mut client, server, &mut faults).await,
            Err(_) => ConnectionState::Reset,
        };
        if state == ConnectionState::Reset {
            // The client may have closed the connection already.
            client.set_zero_linger().ok();
        }
    }

    async fn relay(
        &self,
        client: &mut TcpStream,
        mut server: Box<dyn Stream>,
        faults: &mut watch::Receiver<Fault>,
    ) -> ConnectionState {
        let (mut request, mut response) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
        loop {
            let fault = *faults.borrow_and_update();
            if matches!(fault, Fault::Reset | Fault::Refuse) {
                self.count_injected_fault();
                return ConnectionState::Reset;
            }
            let mut left = match fault {
                Fault::Cut(_, after) => after,
                _ => usize::MAX,
            };
            let state = loop {
                let (direction, read) = tokio::select! {
                    biased;
                    changed = faults.changed() => match (changed, fault) {
                        (Err(_), _) => break ConnectionState::Closed,
                        (Ok(()), Fault::BlackHole) => break ConnectionState::Reset,
                        (Ok(()), _) => break ConnectionState::Open,
                    },
                    read = client.read(&mut request) => (Direction::Request, read),
                    read = server.read(&mut response) => (Direction::Response, read),
                };
                let Ok(count @ 1..) = read else {
                    // A black hole also hides that the other side closed the connection.
                    if fault != Fault::BlackHole {
                        return ConnectionState::Closed;
                    }
                    // An error means that the proxy has ended; then the connection ends as well.
                    faults.changed().await.ok();
                    break ConnectionState::Reset;
                };
                let delivered = match direction {
                    Direction::Request => {
                        self.deliver(fault, direction, &request[..count], &mut left, &mut server).await
                    }
                    Direction::Response => {
                        self.deliver(fault, direction, &response[..count], &mut left, client).await
                    }
                };
                if delivered != ConnectionState::Open {
                    break delivered;
                }
            };
            if state != ConnectionState::Open {
                return state;
            }
        }
    }

    /// Delivers a chunk, or the part that the fault lets through.
    async fn deliver(
        &self,
        fault: Fault,
        direction: Direction,
        chunk: &[u8],
        left: &mut usize,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> ConnectionState {
        let mut state = ConnectionState::Open;
        let mut chunk = chunk;
        match fault {
            Fault::BlackHole => {
                self.count_injected_fault();
                return ConnectionState::Open;
            }
            Fault::Delay(time) => {
                self.count_injected_fault();
                tokio::time::sleep(time).await;
            }
            Fault::Cut(cut, _) if cut == direction => {
                if chunk.len() >= *left && self.is_first_to_reach(fault) {
                    chunk = &chunk[..*left];
                    state = ConnectionState::Closed;
                }
                *left = left.saturating_sub(chunk.len());
            }
            Fault::Pass | Fault::Cut(..) | Fault::Reset | Fault::Refuse => {}
        }
        if to.write_all(chunk).await.is_err() {
            return ConnectionState::Closed;
        }
        state
    }

    /// Whether this connection is the one to cut, if several reach the cut position.
    fn is_first_to_reach(&self, cut: Fault) -> bool {
        let is_first = self.fault.send_if_modified(|now| {
            let is_first = *now == cut;
            if is_first {
                *now = Fault::Pass;
            }
            is_first
        });
        if is_first {
            self.count_injected_fault();
        }
        is_first
    }

    fn count_injected_fault(&self) {
        self.injected_faults.fetch_add(1, Ordering::Relaxed);
    }
}
