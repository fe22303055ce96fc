//! A network between two programs that does what it is told: loses, delays, cuts, resets, refuses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::eventually::eventually;

/// Where what is said here is heard.
#[derive(Debug, Clone)]
pub enum Target {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client: requests, statements.
    There,
    /// From the server: answers.
    Back,
}

/// What the network does to every connection, those that exist and those to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Each chunk arrives later by this.
    Delay(Duration),
    /// The first connection that carries so many more bytes this way ends right there; the others pass.
    Cut(Way, usize),
    /// Every connection is reset.
    Reset,
    /// Everything is swallowed. What was lost is never made up for: the connections are reset afterwards.
    BlackHole,
    /// Nobody listens, and what was connected is reset.
    Refuse,
}

/// A proxy on a port of its own. Ends with the runtime of its test.
pub struct Proxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    target: watch::Sender<Target>,
    strikes: Arc<AtomicUsize>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Fate {
    Lives,
    Ends,
    IsReset,
}

impl Proxy {
    pub async fn to(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (fault, faults) = watch::channel(Fault::Pass);
        let (target, targets) = watch::channel(target);
        let strikes = Arc::new(AtomicUsize::new(0));
        let proxy = Self { port, fault: fault.clone(), target, strikes: Arc::clone(&strikes) };
        tokio::spawn(listen(listener, faults, targets, Carrier { fault, strikes }));
        proxy
    }

    /// From now on this happens.
    pub fn does(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// From now on nothing happens any more.
    pub fn heals(&self) {
        self.does(Fault::Pass);
    }

    /// New connections go elsewhere.
    pub fn leads_to(&self, target: Target) {
        self.target.send_replace(target);
    }

    /// How often a fault met a connection or a chunk.
    pub fn strikes(&self) -> usize {
        self.strikes.load(Ordering::Relaxed)
    }

    /// Waits until a cut was made or `is_over`, and heals.
    pub async fn has_cut(&self, mut is_over: impl AsyncFnMut() -> bool) {
        eventually("a connection is cut", async || {
            let fault = *self.fault.borrow();
            if fault == Fault::Pass || is_over().await { Ok(()) } else { Err(fault) }
        })
        .await;
        self.heals();
    }
}

async fn listen(
    listener: TcpListener,
    mut faults: watch::Receiver<Fault>,
    targets: watch::Receiver<Target>,
    carrier: Carrier,
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
            // Somebody's connection has the port for its own end.
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
            accepted = accepted => if let Ok((near, _)) = accepted {
                let (target, faults) = (targets.borrow().clone(), faults.clone());
                tokio::spawn(carrier.clone().carry(near, target, faults));
            }
        }
    }
}

/// What carries one connection.
#[derive(Clone)]
struct Carrier {
    fault: watch::Sender<Fault>,
    strikes: Arc<AtomicUsize>,
}

impl Carrier {
    async fn carry(self, mut near: TcpStream, target: Target, mut faults: watch::Receiver<Fault>) {
        let far: std::io::Result<Box<dyn Stream>> = match target {
            Target::Port(port) => TcpStream::connect(("127.0.0.1", port)).await.map(|it| Box::new(it) as _),
            Target::Socket(path) => UnixStream::connect(path).await.map(|it| Box::new(it) as _),
        };
        let fate = match far {
            Ok(far) => self.relay(&mut near, far, &mut faults).await,
            Err(_) => Fate::IsReset,
        };
        if fate == Fate::IsReset {
            // Its client may be gone already.
            near.set_zero_linger().ok();
        }
    }

    async fn relay(
        &self,
        near: &mut TcpStream,
        mut far: Box<dyn Stream>,
        faults: &mut watch::Receiver<Fault>,
    ) -> Fate {
        let (mut said, mut answered) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
        loop {
            let fault = *faults.borrow_and_update();
            if matches!(fault, Fault::Reset | Fault::Refuse) {
                self.strike();
                return Fate::IsReset;
            }
            let mut left = match fault {
                Fault::Cut(_, after) => after,
                _ => usize::MAX,
            };
            let fate = loop {
                let (way, read) = tokio::select! {
                    biased;
                    changed = faults.changed() => match (changed, fault) {
                        (Err(_), _) => break Fate::Ends,
                        (Ok(()), Fault::BlackHole) => break Fate::IsReset,
                        (Ok(()), _) => break Fate::Lives,
                    },
                    read = near.read(&mut said) => (Way::There, read),
                    read = far.read(&mut answered) => (Way::Back, read),
                };
                let Ok(count @ 1..) = read else {
                    // A black hole swallows the end, too.
                    if fault != Fault::BlackHole {
                        return Fate::Ends;
                    }
                    // The channel's end is the proxy's.
                    faults.changed().await.ok();
                    break Fate::IsReset;
                };
                let delivered = match way {
                    Way::There => self.deliver(fault, way, &said[..count], &mut left, &mut far).await,
                    Way::Back => self.deliver(fault, way, &answered[..count], &mut left, near).await,
                };
                if delivered != Fate::Lives {
                    break delivered;
                }
            };
            if fate != Fate::Lives {
                return fate;
            }
        }
    }

    /// Delivers a chunk, or what the fault leaves of it.
    async fn deliver(
        &self,
        fault: Fault,
        way: Way,
        chunk: &[u8],
        left: &mut usize,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Fate {
        let mut fate = Fate::Lives;
        let mut chunk = chunk;
        match fault {
            Fault::BlackHole => {
                self.strike();
                return Fate::Lives;
            }
            Fault::Delay(time) => {
                self.strike();
                tokio::time::sleep(time).await;
            }
            Fault::Cut(cut, _) if cut == way => {
                if chunk.len() >= *left && self.is_first_to(fault) {
                    chunk = &chunk[..*left];
                    fate = Fate::Ends;
                }
                *left = left.saturating_sub(chunk.len());
            }
            Fault::Pass | Fault::Cut(..) | Fault::Reset | Fault::Refuse => {}
        }
        if to.write_all(chunk).await.is_err() {
            return Fate::Ends;
        }
        fate
    }

    /// Of several connections that come so far, one is cut.
    fn is_first_to(&self, cut: Fault) -> bool {
        let is_first = self.fault.send_if_modified(|now| {
            let is_first = *now == cut;
            if is_first {
                *now = Fault::Pass;
            }
            is_first
        });
        if is_first {
            self.strike();
        }
        is_first
    }

    fn strike(&self) {
        self.strikes.fetch_add(1, Ordering::Relaxed);
    }
}
