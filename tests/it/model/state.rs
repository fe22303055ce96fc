//! What there is at one instant: the database, the daemons' memories, the requests under way, HubSpot.
//!
//! Courses, daemons, batches and records are named by their position, so that equal situations are
//! equal values.

/// A course and its row: a position in [`State::rows`].
pub type Course = usize;
/// A daemon: a position in [`State::daemons`].
pub type Instance = usize;
/// A request for courses, from its claim on: a position in [`State::batches`].
pub type BatchId = usize;
/// A record in HubSpot: a position in [`State::records`].
pub type RecordId = usize;
/// A leader's term.
pub type Term = u8;

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// `course_outbox`.
    pub rows: Vec<Row>,
    /// `course_sync_leader`.
    pub lease: Lease,
    /// The memories of the two daemons; what they know of a batch stands with the batch.
    pub daemons: Vec<Daemon>,
    /// `course_sync_batch`, and for each request the task that sends it and its way to HubSpot.
    pub batches: Vec<Batch>,
    /// What HubSpot holds: the key of each record.
    pub records: Vec<Course>,
    /// How many faults may still happen.
    pub faults_left: u8,
    /// What no state may have behind it, and no table shows.
    pub history: History,
}

/// A row's status, as the contract names it. `failed` is left out: see the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Pending,
    InFlight,
    Unconfirmed,
    Synced,
}

/// One course in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub status: Status,
    /// The batch it was last claimed for.
    pub batch: Option<BatchId>,
    pub hubspot_id: Option<RecordId>,
}

/// The lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    pub term: Term,
    pub holder: Holder,
    pub is_expired: bool,
}

/// Who holds the lease. A daemon that starts again is somebody else: it draws a new identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    Nobody,
    Alive(Instance),
    Dead,
}

/// The memory of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Daemon {
    pub leads: Leads,
    pub look: Option<Look>,
}

/// What a daemon believes of its lease. It may be wrong: the database decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leads {
    #[default]
    No,
    /// It has the lease, and has not yet dealt with what older terms left in flight.
    Taken(Term),
    Held(Term),
}

/// A look at courses in doubt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Look {
    /// The rows that were in doubt, and for which batch.
    pub doubted: Vec<(Course, BatchId)>,
    /// What HubSpot answered, once it did: the record that carries each key.
    pub found: Option<Vec<Option<RecordId>>>,
}

/// One request to create courses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    pub sender: Instance,
    pub term: Term,
    pub courses: Vec<Course>,
    pub intent: Intent,
    pub task: Task,
    pub request: Request,
}

/// The batch's row in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// Not committed. Only where [`super::variants::Claiming::AfterSend`] is tried.
    Missing,
    Open,
    Unknown,
    Closed,
}

/// How far the sender's task has come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    Claimed,
    /// The lease was found to be valid; not a byte is written.
    Checked,
    /// Waiting for the answer.
    Sent,
    /// What is to be recorded, one verdict a course.
    Answered(Vec<Verdict>),
    /// Done, or dead.
    Gone,
}

/// What an answer, or its absence, says of one course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Created(RecordId),
    /// HubSpot says that somebody holds the key.
    Exists,
    /// Certainly not created.
    NotTaken,
    Unknown,
}

/// The request between the daemon and HubSpot, and HubSpot's work on it. It outlives its sender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    Unwritten,
    /// On its way or being worked on: what has become of each course so far.
    Open(Vec<Fate>),
    /// HubSpot turned the whole request away; the answer says so.
    Refused,
    /// Lost, or finished with nobody left to hear the answer.
    Over,
}

/// What HubSpot has done about one course of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    Untouched,
    /// Nobody held the key when HubSpot looked. Only where it looks and inserts in two steps.
    Free,
    Created(RecordId),
    Conflict,
}

/// What has ever happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History {
    /// An answer to one batch changed a row that was claimed for another.
    pub stale_write: bool,
    /// A synced row became something else.
    pub synced_was_left: bool,
    /// A byte was written for a batch whose intent was not in the database.
    pub sent_unclaimed: bool,
}

impl State {
    /// `courses` pending courses, and nobody leads.
    pub fn new(courses: usize, faults: u8) -> Self {
        let row = Row { status: Status::Pending, batch: None, hubspot_id: None };
        Self {
            rows: vec![row; courses],
            lease: Lease { term: 0, holder: Holder::Nobody, is_expired: true },
            daemons: vec![Daemon::default(); 2],
            batches: Vec::new(),
            records: Vec::new(),
            faults_left: faults,
            history: History::default(),
        }
    }

    /// Whether the database grants this daemon what needs the lease of this term.
    pub fn grants(&self, daemon: Instance, term: Term) -> bool {
        self.lease == Lease { term, holder: Holder::Alive(daemon), is_expired: false }
    }

    /// Whether the daemon leads, has done a leader's first duty, and the database agrees.
    pub fn leads(&self, daemon: Instance) -> bool {
        matches!(self.daemons[daemon].leads, Leads::Held(term) if self.grants(daemon, term))
    }

    /// Whether a crash of this daemon changes anything.
    pub fn has_something_to_lose(&self, instance: Instance) -> bool {
        let daemon = &self.daemons[instance];
        self.lease.holder == Holder::Alive(instance)
            || matches!(daemon.leads, Leads::Taken(_))
            || daemon.look.is_some()
            || self.batches.iter().any(|batch| batch.sender == instance && batch.task != Task::Gone)
    }

    /// The courses whose rows have this status.
    pub fn courses_in(&self, status: Status) -> Vec<Course> {
        (0..self.rows.len()).filter(|course| self.rows[*course].status == status).collect()
    }

    /// The record that carries the course's key.
    pub fn record_of(&self, course: Course) -> Option<RecordId> {
        self.records.iter().position(|key| *key == course)
    }
}

impl Row {
    /// Whether the row waits for an answer or for a look.
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::InFlight | Status::Unconfirmed)
    }
}

impl Batch {
    /// Whether HubSpot is done with it, so that an answer may come.
    pub fn is_answered(&self) -> bool {
        match &self.request {
            Request::Open(fates) => {
                fates.iter().all(|fate| matches!(fate, Fate::Created(_) | Fate::Conflict))
            }
            Request::Refused => true,
            Request::Unwritten | Request::Over => false,
        }
    }
}
