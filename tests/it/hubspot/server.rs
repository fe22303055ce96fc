//! A server that reads complete requests and then reacts as a test defines, down to single bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line.
    pub line: String,
    /// Lower-case names with values, in the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The number of the connection, from 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The reaction to a request.
#[derive(Clone)]
pub enum Reaction {
    /// Sends these bytes and keeps the connection open.
    Respond(Vec<u8>),
    /// Sends these bytes after the notification.
    RespondAfter(Arc<Notify>, Vec<u8>),
    /// Sends these bytes and closes the connection.
    RespondAndClose(Vec<u8>),
    /// Sends the first bytes once and the second repeatedly, until the client closes the connection.
    RespondForever(Vec<u8>, Vec<u8>),
    /// Sends these bytes at ten per second.
    RespondSlowly(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Sends nothing and keeps the connection open.
    Hang,
}

/// A running server. It stops when this value is dropped.
pub struct Server {
    pub url: String,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    requests: Vec<Request>,
    bytes_written: usize,
}

impl Server {
    /// Starts a server. `react` gets the number of earlier requests and the request.
    pub async fn start(react: impl Fn(usize, &Request) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let (react, shared) = (Arc::new(react), received.clone());
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, react.clone(), shared.clone()));
            }
        });
        Self { url, received, task }
    }

    /// Starts a server with the same reaction to every request.
    pub async fn always(reaction: Reaction) -> Self {
        Self::start(move |_, _| reaction.clone()).await
    }

    pub fn requests(&self) -> Vec<Request> {
        self.received.lock().unwrap().requests.clone()
    }

    pub fn bytes_written(&self) -> usize {
        self.received.lock().unwrap().bytes_written
    }

    /// Waits until this many requests have been received.
    pub async fn wait_for_requests(&self, count: usize) {
        let all_received = async {
            while self.requests().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_received)
            .await
            .expect("the requests were not received in time");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    react: Arc<impl Fn(usize, &Request) -> Reaction>,
    received: Arc<Mutex<Received>>,
) {
    while let Some(request) = next_request(&mut stream, connection).await {
        let reaction = {
            let mut received = received.lock().unwrap();
            let reaction = react(received.requests.len(), &request);
            received.requests.push(request);
            reaction
        };
        let stays_open = apply(&mut stream, reaction, &received).await;
        if !stays_open {
            return;
        }
    }
}

/// Applies a reaction. Returns whether the connection stays open.
async fn apply(stream: &mut TcpStream, reaction: Reaction, received: &Mutex<Received>) -> bool {
    match reaction {
        Reaction::Respond(bytes) => stream.write_all(&bytes).await.is_ok(),
        Reaction::RespondAfter(notification, bytes) => {
            notification.notified().await;
            stream.write_all(&bytes).await.is_ok()
        }
        Reaction::RespondAndClose(bytes) => {
            stream.write_all(&bytes).await.ok();
            false
        }
        Reaction::RespondForever(start, more) => {
            stream.write_all(&start).await.ok();
            while stream.write_all(&more).await.is_ok() {
                received.lock().unwrap().bytes_written += more.len();
            }
            false
        }
        Reaction::RespondSlowly(bytes) => {
            for byte in bytes {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            false
        }
        Reaction::Close => false,
        Reaction::Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
        Reaction::Hang => {
            stream.read_u8().await.ok();
            false
        }
    }
}

/// Reads the next complete request. Returns `None` if the client closes the connection.
async fn next_request(stream: &mut TcpStream, connection: usize) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
    let line = lines.next()?;
    let header = |line: String| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut request = Request { line, headers, body: Vec::new(), connection };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}

/// The bytes of an HTTP response with a content length.
pub fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes of an HTTP response with a JSON body.
pub fn json(status: &str, body: &str) -> Vec<u8> {
    http(status, "Content-Type: application/json;charset=utf-8\r\n", body)
}
