//! Reads the database for the console: at most once a second for all viewers together, and one statement at a time.
//! Also searches for courses, one search at a time.
//!
//! While the database does not respond, all viewers wait for the same read; no other read is started, and the last
//! snapshot is shown with its age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use super::course::SearchResult;
use crate::outbox::failures::{self, ErrorGroup};
use crate::outbox::ops::requests::{self, JournalRequest};
use crate::outbox::{Database, OutboxError, history};
use crate::policy::explain::UnconfirmedPolicy;
use crate::report::explain::read_explanation;
use crate::report::status::StatusReadings;

/// How long a snapshot, or the failure to read one, is reused.
const REUSE_TIME: Duration = Duration::from_secs(1);
/// How long a page waits for the database.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The number of requests that are shown.
const SHOWN_REQUESTS: i64 = 12;
/// Grouping failures may take at most one part in so many of the time: with hundreds of thousands of failures it
/// costs more than all other statements together.
const GROUPING_SHARE: u32 = 50;

/// The outbox at one moment.
#[derive(Debug)]
pub(super) struct OutboxSnapshot {
    pub taken: Timestamp,
    pub readings: StatusReadings,
    pub requests: Vec<JournalRequest>,
    pub failures: Arc<GroupedFailures>,
}

/// The grouped failures. They may be older than the rest of the snapshot if grouping takes long.
#[derive(Debug)]
pub(super) struct GroupedFailures {
    pub groups: Vec<ErrorGroup>,
    read_at: Instant,
    took: Duration,
}

/// The last snapshot, and why there is no newer one.
#[derive(Debug, Clone, Default)]
pub(super) struct LatestSnapshot {
    pub snapshot: Option<Arc<OutboxSnapshot>>,
    /// Why the database could not be read again.
    pub error: Option<String>,
}

/// Reads the database for all viewers.
#[derive(Debug)]
pub(in crate::admin) struct SnapshotReader {
    database: Database,
    /// The account's rolling window.
    per: Duration,
    state: Mutex<ReaderState>,
    searches: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct ReaderState {
    latest: LatestSnapshot,
    last_attempt: Option<Instant>,
    open_read: Option<JoinHandle<Result<OutboxSnapshot, OutboxError>>>,
}

impl SnapshotReader {
    pub(in crate::admin) fn new(database: Database, per: Duration) -> Self {
        Self { database, per, state: Mutex::default(), searches: Arc::new(Semaphore::new(1)) }
    }

    /// A snapshot that is at most a second old; otherwise the last one and the error.
    pub(super) async fn latest(&self) -> LatestSnapshot {
        // The lock is held during the read, so that concurrent viewers share it.
        let mut state = self.state.lock().await;
        if state.last_attempt.is_some_and(|at| at.elapsed() < REUSE_TIME) {
            return state.latest.clone();
        }
        // The task is stored before it is awaited: if this viewer disconnects, the next one waits for the same read.
        let ReaderState { latest, open_read, .. } = &mut *state;
        let reading = open_read.get_or_insert_with(|| {
            let failures = latest.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.failures));
            tokio::spawn(read_snapshot(self.database.clone(), self.per, failures))
        });
        let ended = tokio::time::timeout(TIMEOUT, reading).await;
        if ended.is_ok() {
            *open_read = None;
        }
        latest.error = match ended {
            Ok(Ok(Ok(snapshot))) => {
                latest.snapshot = Some(Arc::new(snapshot));
                None
            }
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_)) => Some(INTERRUPTED.to_owned()),
            Err(_) => Some(timeout_message()),
        };
        state.last_attempt = Some(Instant::now());
        state.latest.clone()
    }

    /// Searches for the course with this key.
    pub(super) async fn search(&self, key: &str, unconfirmed: UnconfirmedPolicy) -> SearchResult {
        let (searches, database, key) = (Arc::clone(&self.searches), self.database.clone(), key.to_owned());
        let search = async move {
            // The task keeps the permit, so that at most one search can hang in the database.
            let permit = searches.acquire_owned().await;
            let searching = tokio::spawn(async move {
                let result = search_course(&database, &key, unconfirmed).await;
                drop(permit);
                result
            });
            searching.await
        };
        match tokio::time::timeout(TIMEOUT, search).await {
            Ok(Ok(Ok(result))) => result,
            Ok(Ok(Err(error))) => SearchResult::Failed(error.to_string()),
            Ok(Err(_)) => SearchResult::Failed(INTERRUPTED.to_owned()),
            Err(_) => SearchResult::Failed(timeout_message()),
        }
    }
}

const INTERRUPTED: &str = "reading the database was interrupted";

fn timeout_message() -> String {
    format!("the database did not respond within {} s", TIMEOUT.as_secs())
}

async fn search_course(
    database: &Database,
    key: &str,
    unconfirmed: UnconfirmedPolicy,
) -> Result<SearchResult, OutboxError> {
    match read_explanation(database, key, unconfirmed).await? {
        Some(explanation) => Ok(SearchResult::Found(Box::new(explanation))),
        None => history::read_adjacent_keys(database, key).await.map(SearchResult::NotFound),
    }
}

async fn read_snapshot(
    database: Database,
    per: Duration,
    failures: Option<Arc<GroupedFailures>>,
) -> Result<OutboxSnapshot, OutboxError> {
    Ok(OutboxSnapshot {
        readings: StatusReadings::read(&database, per).await?,
        requests: requests::newest_requests(&database, SHOWN_REQUESTS).await?,
        failures: match failures {
            Some(recent) if recent.read_at.elapsed() < recent.took * GROUPING_SHARE => recent,
            _ => Arc::new(group_failures(&database).await?),
        },
        taken: Timestamp::now(),
    })
}

async fn group_failures(database: &Database) -> Result<GroupedFailures, OutboxError> {
    let began = Instant::now();
    let groups = failures::group_failures(database, None).await?;
    Ok(GroupedFailures { groups, took: began.elapsed(), read_at: Instant::now() })
}
