//! What the console reads of the database: once a second at most, however many look, and one statement at a time.
//! Beside it, one search at a time for a course.
//!
//! While the database does not answer, the one reading that waits for it is waited for by all; no further one
//! is begun, and what was read last is shown with its age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use super::course::Found;
use crate::daemon::explain;
use crate::daemon::status::Readings;
use crate::outbox::failures::{self, Group};
use crate::outbox::requests::{self, Request};
use crate::outbox::{Database, OutboxError, history};
use crate::policy::explain::Doubts;

/// How long a reading, or its failure, serves everybody.
const FRESH: Duration = Duration::from_secs(1);
/// The longest that a page waits for one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The newest requests that are shown.
const REQUESTS: i64 = 12;
/// Grouping failures may take this share of the time at most: one part in so many. Where they are hundreds of
/// thousands it costs more than all else together.
const GROUPING_SHARE: u32 = 50;

/// The outbox at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub taken: Timestamp,
    pub readings: Readings,
    pub requests: Vec<Request>,
    pub failures: Arc<Failures>,
}

/// The failed courses, grouped; of a while ago where grouping them takes long.
#[derive(Debug)]
pub(super) struct Failures {
    pub groups: Vec<Group>,
    read_at: Instant,
    took: Duration,
}

/// What is known of the outbox.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// What was read last.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Why it could not be read again.
    pub trouble: Option<String>,
}

/// Reads for all pages together.
#[derive(Debug)]
pub(in crate::admin) struct Reader {
    database: Database,
    /// The account's rolling window.
    per: Duration,
    state: Mutex<State>,
    searches: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    tried: Option<Instant>,
    under_way: Option<JoinHandle<Result<Snapshot, OutboxError>>>,
}

impl Reader {
    pub(in crate::admin) fn new(database: Database, per: Duration) -> Self {
        Self { database, per, state: Mutex::default(), searches: Arc::new(Semaphore::new(1)) }
    }

    /// The outbox as of a second ago at most, or why not.
    pub(super) async fn look(&self) -> Known {
        // Held while it is read: who comes meanwhile takes the same reading.
        let mut state = self.state.lock().await;
        if state.tried.is_some_and(|tried| tried.elapsed() < FRESH) {
            return state.known.clone();
        }
        // It stays there while it is waited for: should this page be given up, the next one waits on.
        let State { known, under_way, .. } = &mut *state;
        let reading = under_way.get_or_insert_with(|| {
            let failures = known.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.failures));
            tokio::spawn(read(self.database.clone(), self.per, failures))
        });
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        if ended.is_ok() {
            *under_way = None;
        }
        known.trouble = match ended {
            Ok(Ok(Ok(snapshot))) => {
                known.snapshot = Some(Arc::new(snapshot));
                None
            }
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_)) => Some(INTERRUPTED.to_owned()),
            Err(_) => Some(silent()),
        };
        state.tried = Some(Instant::now());
        state.known.clone()
    }

    /// The course with this key.
    pub(super) async fn find(&self, key: &str, doubts: Doubts) -> Found {
        let (searches, database, key) = (Arc::clone(&self.searches), self.database.clone(), key.to_owned());
        let search = async move {
            // The task keeps it: a search that hangs in the database is the only one that does.
            let permit = searches.acquire_owned().await;
            let searching = tokio::spawn(async move {
                let found = find(&database, &key, doubts).await;
                drop(permit);
                found
            });
            searching.await
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(error))) => Found::Unread(error.to_string()),
            Ok(Err(_)) => Found::Unread(INTERRUPTED.to_owned()),
            Err(_) => Found::Unread(silent()),
        }
    }
}

const INTERRUPTED: &str = "reading the database was interrupted";

fn silent() -> String {
    format!("the database did not answer within {} s", PATIENCE.as_secs())
}

async fn find(database: &Database, key: &str, doubts: Doubts) -> Result<Found, OutboxError> {
    match explain::read(database, key, doubts).await? {
        Some(explanation) => Ok(Found::Course(Box::new(explanation))),
        None => history::neighbours(database, key).await.map(Found::Nobody),
    }
}

async fn read(
    database: Database,
    per: Duration,
    failures: Option<Arc<Failures>>,
) -> Result<Snapshot, OutboxError> {
    Ok(Snapshot {
        readings: Readings::take(&database, per).await?,
        requests: requests::newest(&database, REQUESTS).await?,
        failures: match failures {
            Some(known) if known.read_at.elapsed() < known.took * GROUPING_SHARE => known,
            _ => Arc::new(group(&database).await?),
        },
        taken: Timestamp::now(),
    })
}

async fn group(database: &Database) -> Result<Failures, OutboxError> {
    let began = Instant::now();
    let groups = failures::groups(database, None).await?;
    Ok(Failures { groups, took: began.elapsed(), read_at: Instant::now() })
}
