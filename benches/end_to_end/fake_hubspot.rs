//! A minimal fake HubSpot in its own process: responds to every create and update by repeating what was sent, after a
//! fixed time, remembers which records were archived, and records when each request arrived. It validates nothing, so that it
//! does not become the bottleneck.

use std::collections::HashSet;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use course_sync::account::rate_limiter::sleep_until_precisely;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// The argument that selects this role.
pub const ROLE: &str = "stand-in";
/// Only the keys of bodies up to this size are recorded.
const SMALL: usize = 8 * 1024;
const NOW: &str = "2026-11-24T12:00:00.000Z";

/// A request.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When its head was read, in seconds since 1970.
    pub at: f64,
    /// The number of its courses; 0 for a read.
    pub courses: usize,
    /// The keys of its courses, if the body is small.
    pub keys: Vec<String>,
}

/// A running fake HubSpot. Killed when dropped.
pub struct FakeHubSpot {
    _child: Child,
    address: String,
}

impl FakeHubSpot {
    /// Starts one with this response time.
    pub async fn start(response_time: Duration) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, &response_time.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let address = BufReader::new(stdout).lines().next_line().await?.context("no address was printed")?;
        Ok(Self { _child: child, address })
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, in order.
    pub async fn arrivals(&self) -> anyhow::Result<Vec<Arrival>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(b"GET /arrivals HTTP/1.1\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, lines) = answer.split_once("\r\n\r\n").context("no answer")?;
        let arrival = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let at = words.next().unwrap_or_default().parse()?;
            let courses = words.next().unwrap_or_default().parse()?;
            Ok(Arrival { at, courses, keys: words.collect() })
        };
        lines.lines().map(arrival).collect()
    }
}

#[derive(Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    records: u64,
    /// The ids of the records in the recycle bin.
    archived: HashSet<String>,
}

impl Seen {
    fn record(&mut self, at: f64, courses: usize, keys: Vec<String>) {
        self.arrivals.push(Arrival { at, courses, keys });
    }
}

/// Runs the process.
pub fn main() -> ExitCode {
    let response_time = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or_default();
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(Duration::from_millis(response_time))));
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve(response_time: Duration) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let seen = Arc::new(Mutex::new(Seen::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            // A client may disconnect.
            serve_connection(stream, &seen, response_time).await.ok();
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    seen: &Mutex<Seen>,
    response_time: Duration,
) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::with_capacity(64 * 1024, from);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        if from.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        let respond_at = Instant::now() + response_time;
        loop {
            line.clear();
            from.read_line(&mut line).await?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap_or_default();
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        let (status, answer) = match first.split(' ').nth(1) {
            Some("/arrivals") => ("200 OK", arrivals(seen)),
            Some(path) if path.ends_with("/batch/create") => {
                let answer = created(&String::from_utf8_lossy(&body), at, seen);
                drop(body);
                sleep_until_precisely(respond_at).await;
                ("201 Created", answer)
            }
            Some(path) if path.ends_with("/batch/update") => {
                let answer = updated(&String::from_utf8_lossy(&body), at, seen);
                drop(body);
                sleep_until_precisely(respond_at).await;
                ("200 OK", answer)
            }
            Some(path) if path.ends_with("/batch/archive") => {
                archive(&String::from_utf8_lossy(&body), at, seen);
                sleep_until_precisely(respond_at).await;
                ("204 No Content", String::new())
            }
            Some(path) if path.contains("/batch/read?archived=") => {
                let answer = read(&String::from_utf8_lossy(&body), path.ends_with("=true"), at, seen);
                sleep_until_precisely(respond_at).await;
                ("200 OK", answer)
            }
            _ => ("404 Not Found", r#"{"status":"error","message":"not here"}"#.to_owned()),
        };
        let length = answer.len();
        // A 204 has neither a body nor its length.
        let content = match length {
            0 => String::new(),
            _ => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let head = format!("HTTP/1.1 {status}\r\n{content}\r\n");
        to.write_all(head.as_bytes()).await?;
        to.write_all(answer.as_bytes()).await?;
        if first.starts_with("GET /arrivals") {
            return Ok(());
        }
    }
}

fn arrivals(seen: &Mutex<Seen>) -> String {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let line = |arrival: &Arrival| {
        let keys: String = arrival.keys.iter().flat_map(|key| [" ", key]).collect();
        format!("{:.6} {}{keys}\n", arrival.at, arrival.courses)
    };
    seen.arrivals.iter().map(line).collect()
}

/// The response to a create. Its records are copied from the text of the request, without parsing it.
fn created(body: &str, at: f64, seen: &Mutex<Seen>) -> String {
    let is_small = body.len() <= SMALL;
    let mut answer = String::with_capacity(body.len() + 256 + body.len() / 3);
    answer.push_str(r#"{"status":"COMPLETE","results":["#);
    let (mut rest, mut keys, mut courses) = (body, Vec::new(), 0);
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((_, input)) = rest.split_once(r#"{"properties":"#) {
        let Some((properties, after)) = input.split_once(r#"},"associations":"#) else { break };
        rest = after;
        seen.records += 1;
        let id = seen.records;
        let comma = if courses == 0 { "" } else { "," };
        courses += 1;
        answer.push_str(&format!(
            r#"{comma}{{"id":"{id}","properties":{properties},"hs_object_id":"{id}","hs_createdate":"{NOW}","hs_lastmodifieddate":"{NOW}"}},"createdAt":"{NOW}","updatedAt":"{NOW}","archived":false}}"#
        ));
        let key = properties.split_once(r#""course_sync_key":""#).and_then(|(_, key)| key.split('"').next());
        keys.extend(key.filter(|_| is_small).map(str::to_owned));
    }
    seen.record(at, courses, keys);
    answer.push_str(&format!(r#"],"requestedAt":"{NOW}","startedAt":"{NOW}","completedAt":"{NOW}"}}"#));
    answer
}

/// The response to an update. Its records are copied from the text of the request, without parsing it.
fn updated(body: &str, at: f64, seen: &Mutex<Seen>) -> String {
    let records = records(body, r#","objectWriteTraceId""#);
    seen.lock().unwrap_or_else(PoisonError::into_inner).record(at, records.len(), Vec::new());
    results(records.iter().map(|record| {
        format!(r#"{{"id":"{record},"createdAt":"{NOW}","updatedAt":"{NOW}","archived":false}}"#)
    }))
}

/// Moves the records of the request to the recycle bin.
fn archive(body: &str, at: f64, seen: &Mutex<Seen>) {
    let ids = records(body, "\"");
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.record(at, ids.len(), Vec::new());
    seen.archived.extend(ids.into_iter().map(str::to_owned));
}

/// The response to a read: those of the requested records that are in the recycle bin, or those that are not.
fn read(body: &str, from_recycle_bin: bool, at: f64, seen: &Mutex<Seen>) -> String {
    let ids = records(body, "\"");
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.record(at, 0, Vec::new());
    let found = ids.iter().filter(|id| seen.archived.contains(**id) == from_recycle_bin);
    results(found.map(|id| {
        format!(
            r#"{{"id":"{id}","properties":{{"hs_object_id":"{id}"}},"createdAt":"{NOW}","updatedAt":"{NOW}","archived":{from_recycle_bin}}}"#
        )
    }))
}

/// The text of each input of a request, from its id to this end.
fn records<'a>(body: &'a str, end: &str) -> Vec<&'a str> {
    body.split(r#"{"id":""#).skip(1).map(|input| input.split(end).next().unwrap_or_default()).collect()
}

/// A response with these records.
fn results(records: impl Iterator<Item = String>) -> String {
    let records: Vec<_> = records.collect();
    let records = records.join(",");
    format!(
        r#"{{"status":"COMPLETE","results":[{records}],"requestedAt":"{NOW}","startedAt":"{NOW}","completedAt":"{NOW}"}}"#
    )
}
