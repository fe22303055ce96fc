//! A server that reads requests whole and then does what a test asks for, down to single bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line.
    pub line: String,
    /// Names in small letters, with values, in the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which of the server's connections it came by, from 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What follows a request.
#[derive(Clone)]
pub enum Reaction {
    /// These bytes; the connection stays open.
    Answer(Vec<u8>),
    /// These bytes once the word is given.
    AnswerAfter(Arc<Notify>, Vec<u8>),
    /// These bytes, then the end.
    AnswerAndClose(Vec<u8>),
    /// These bytes, then these again and again for as long as the client takes them.
    AnswerForEver(Vec<u8>, Vec<u8>),
    /// These bytes, ten a second.
    AnswerSlowly(Vec<u8>),
    /// The end, in order.
    Close,
    /// The end, by RST.
    Reset,
    /// Nothing, for as long as the client waits.
    Silence,
}

/// Its task ends with it.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    bytes_written: usize,
}

impl Server {
    /// `react` is given the number of requests before, and the request.
    pub async fn start(react: impl Fn(usize, &Request) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Seen>>::default();
        let (react, shared) = (Arc::new(react), seen.clone());
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, react.clone(), shared.clone()));
            }
        });
        Self { url, seen, task }
    }

    /// The same reaction to everything.
    pub async fn always(reaction: Reaction) -> Self {
        Self::start(move |_, _| reaction.clone()).await
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub fn bytes_written(&self) -> usize {
        self.seen.lock().unwrap().bytes_written
    }

    /// Waits until so many requests have come.
    pub async fn has_seen(&self, count: usize) {
        let all_came = async {
            while self.requests().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_came).await.expect("the requests did not come");
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
    seen: Arc<Mutex<Seen>>,
) {
    while let Some(request) = next_request(&mut stream, connection).await {
        let reaction = {
            let mut seen = seen.lock().unwrap();
            let reaction = react(seen.requests.len(), &request);
            seen.requests.push(request);
            reaction
        };
        let carries_on = perform(&mut stream, reaction, &seen).await;
        if !carries_on {
            return;
        }
    }
}

/// True where the connection stays open.
async fn perform(stream: &mut TcpStream, reaction: Reaction, seen: &Mutex<Seen>) -> bool {
    match reaction {
        Reaction::Answer(bytes) => stream.write_all(&bytes).await.is_ok(),
        Reaction::AnswerAfter(word, bytes) => {
            word.notified().await;
            stream.write_all(&bytes).await.is_ok()
        }
        Reaction::AnswerAndClose(bytes) => {
            stream.write_all(&bytes).await.ok();
            false
        }
        Reaction::AnswerForEver(start, more) => {
            stream.write_all(&start).await.ok();
            while stream.write_all(&more).await.is_ok() {
                seen.lock().unwrap().bytes_written += more.len();
            }
            false
        }
        Reaction::AnswerSlowly(bytes) => {
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
        Reaction::Silence => {
            stream.read_u8().await.ok();
            false
        }
    }
}

/// The next request, whole; `None` where the client ends the connection.
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

/// An answer with its length.
pub fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// An answer of HubSpot's kind.
pub fn json(status: &str, body: &str) -> Vec<u8> {
    http(status, "Content-Type: application/json;charset=utf-8\r\n", body)
}
