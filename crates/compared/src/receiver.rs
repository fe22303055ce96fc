//! The receiver: the part of HubSpot's API that creating courses needs, over plain HTTP/1.1. It records every course it
//! creates, so that duplicates and losses are counted where they matter. A course is known by its `hs_course_name`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The property that is unique when `Behaviour::is_unique` is set.
pub const UNIQUE: &str = "course_key";

/// How the receiver behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Whether a second course with the same key is refused.
    pub is_unique: bool,
    /// The time from a request to its response, in milliseconds. The courses are created halfway.
    pub delay: std::ops::Range<u64>,
    /// Whether the connection of each tenth create is cut after the courses were created.
    pub loses_answers: bool,
}

/// What the receiver has counted.
#[derive(Default)]
pub struct Counts {
    /// The id of the first record of each course.
    ids: HashMap<String, u64>,
    /// The number of records.
    pub records: u64,
    /// Creates refused because the key was taken.
    pub refused: u64,
    /// All requests: creates, look-ups and others.
    pub requests: u64,
    /// Creates.
    creates: u64,
    /// Creates that were received and not answered yet.
    pub open: usize,
    /// When a request with a single course arrived.
    pub arrivals: HashMap<String, Instant>,
}

impl Counts {
    /// The number of different courses.
    pub fn distinct(&self) -> usize {
        self.ids.len()
    }

    /// The courses of this list that do not exist.
    pub fn missing(&self, all: impl Iterator<Item = String>) -> HashSet<String> {
        all.filter(|key| !self.ids.contains_key(key)).collect()
    }
}

/// A running receiver. Stops when dropped.
pub struct Receiver {
    address: String,
    counts: Arc<Mutex<Counts>>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Starts one on a free port.
    pub async fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shared = Arc::clone(&counts);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, behaviour) = (Arc::clone(&shared), behaviour.clone());
                tokio::spawn(async move {
                    // A worker may be killed.
                    serve(stream, &counts, &behaviour).await.ok();
                });
            }
        });
        Ok(Self { address, counts, server })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// The counts so far.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, counts: &Mutex<Counts>, behaviour: &Behaviour) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let lock = || counts.lock().unwrap_or_else(PoisonError::into_inner);
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::with_capacity(64 * 1024, from);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        if from.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let arrived = Instant::now();
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
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        lock().requests += 1;
        let (status, answer) = if path.ends_with("/batch/create") {
            let number = {
                let mut counts = lock();
                counts.open += 1;
                counts.creates += 1;
                counts.creates
            };
            let half =
                Duration::from_micros(fastrand::u64(behaviour.delay.start * 500..=behaviour.delay.end * 500));
            pause(half).await;
            let answer = create(&body, arrived, behaviour.is_unique, &mut lock());
            pause(half).await;
            lock().open -= 1;
            if behaviour.loses_answers && number % 10 == 5 {
                return Ok(());
            }
            answer
        } else if path.ends_with("/batch/read") {
            read(&body, &lock())
        } else if path.contains("/properties/") {
            (200, properties(behaviour.is_unique))
        } else {
            (
                404,
                json!({ "status": "error", "message": "resource not found", "category": "OBJECT_NOT_FOUND" }),
            )
        };
        let answer = answer.to_string();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        to.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await?;
    }
}

async fn pause(time: Duration) {
    // Sleeping takes at least a millisecond.
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// `POST …/batch/create`. Each input has a trace id, so that one refused input does not refuse the others.
fn create(body: &[u8], arrived: Instant, is_unique: bool, counts: &mut Counts) -> (u16, Value) {
    let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(inputs) = request["inputs"].as_array_mut() else { return (400, json!({ "status": "error" })) };
    let (now, is_single) = (now(), inputs.len() == 1);
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        let key = input["properties"]["hs_course_name"].as_str().unwrap_or_default().to_owned();
        if let Some(holder) = counts.ids.get(&key).filter(|_| is_unique) {
            counts.refused += 1;
            errors.push(json!({
                "status": "error", "category": "CONFLICT",
                "message": format!("Course already exists. Existing ID: {holder}"),
                "context": {
                    "existingId": [holder.to_string()],
                    "objectWriteTraceId": [input["objectWriteTraceId"]],
                },
            }));
            continue;
        }
        counts.records += 1;
        let id = counts.records;
        if is_single {
            counts.arrivals.insert(key.clone(), arrived);
        }
        counts.ids.entry(key).or_insert(id);
        let mut properties = input["properties"].take();
        properties["hs_object_id"] = json!(id.to_string());
        results.push(json!({
            "id": id.to_string(), "properties": properties,
            "createdAt": now, "updatedAt": now, "archived": false,
        }));
    }
    let mut answer =
        json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if errors.is_empty() {
        return (201, answer);
    }
    answer["numErrors"] = json!(errors.len());
    answer["errors"] = json!(errors);
    (207, answer)
}

/// `POST …/batch/read` by the unique property.
fn read(body: &[u8], counts: &Counts) -> (u16, Value) {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let now = now();
    let (mut results, mut missing) = (Vec::new(), Vec::new());
    for input in request["inputs"].as_array().into_iter().flatten() {
        let key = input["id"].as_str().unwrap_or_default();
        match counts.ids.get(key) {
            Some(id) => results.push(json!({
                "id": id.to_string(), "properties": { UNIQUE: key, "hs_object_id": id.to_string() },
                "createdAt": now, "updatedAt": now, "archived": false,
            })),
            None => missing.push(key),
        }
    }
    let mut answer =
        json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if missing.is_empty() {
        return (200, answer);
    }
    answer["numErrors"] = json!(1);
    answer["errors"] = json!([{
        "status": "error", "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some COURSE objects, they may be deleted or not exist. Check that ids are valid.",
        "context": { "ids": missing },
    }]);
    (207, answer)
}

fn properties(is_unique: bool) -> Value {
    json!({ "results": [
        { "name": "hs_course_name", "type": "string", "fieldType": "text" },
        { "name": "hs_course_description", "type": "string", "fieldType": "text" },
        { "name": "credits", "type": "number", "fieldType": "number" },
        { "name": UNIQUE, "type": "string", "fieldType": "text", "hasUniqueValue": is_unique },
    ] })
}
