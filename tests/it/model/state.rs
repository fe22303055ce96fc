//! The state of the model: the database, the memory of the daemons, the requests in progress, and HubSpot.
//!
//! Courses, daemons, batches and records are identified by their positions, so that equal situations are equal values.

/// A course and its row: a position in [`State::rows`].
pub type Course = usize;
/// A daemon: a position in [`State::daemons`].
pub type Instance = usize;
/// A request to create courses, from its claim on: a position in [`State::batches`].
pub type BatchId = usize;
/// A record in HubSpot: a position in [`State::records`].
pub type RecordId = usize;
/// The number of a claim.
pub type ClaimNumber = u8;
/// The term of a lease.
pub type Term = u8;

/// The state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// `course_outbox`.
    pub rows: Vec<Row>,
    /// `course_sync_leader`.
    pub lease: Lease,
    /// The memory of the two daemons, except for the state of their batches.
    pub daemons: Vec<Daemon>,
    /// `course_sync_batch`, with the task that sends each request and the state of the request itself.
    pub batches: Vec<Batch>,
    /// The highest number of a claim in the journal.
    pub last_claim: ClaimNumber,
    /// HubSpot's records: the key of each.
    pub records: Vec<Course>,
    /// The number of faults that may still occur.
    pub faults_left: u8,
    /// Violations in the past, which no table shows.
    pub history: History,
}

/// The status of a row. `failed` is not modelled: see the header of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// To be sent, or in flight: the journal shows which.
    Pending,
    Unconfirmed,
    Synced,
}

/// One course in the outbox. A claim does not change it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub status: Status,
    /// The batch whose outcome was recorded last, or which made the row unconfirmed.
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

/// The holder of the lease. A restarted daemon has a new identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    None,
    Alive(Instance),
    Dead,
}

/// The memory of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Daemon {
    pub look_up: Option<LookUp>,
}

/// A look-up of unconfirmed courses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookUp {
    /// The unconfirmed rows, each with its batch.
    pub courses: Vec<(Course, BatchId)>,
    /// HubSpot's response, once received: the record with each key.
    pub found: Option<Vec<Option<RecordId>>>,
}

/// One request to create courses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    pub sender: Instance,
    pub term: Term,
    pub courses: Vec<Course>,
    /// The courses in flight: without a recorded outcome. Empty unless the intent is open.
    pub in_flight: Vec<Course>,
    pub intent: Intent,
    pub task: Task,
    pub request: Request,
}

/// The row of a batch in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// Not committed: the statement of the claim is running. It has chosen its courses and its number.
    Missing {
        /// The number after the last claim in the snapshot of the statement.
        number: ClaimNumber,
    },
    Open,
    Unknown,
    /// Also if the claim was not committed.
    Closed,
}

/// The progress of the task that sends a batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Waiting for the end of the claim.
    Claiming,
    /// The acknowledgement of the claim was lost. Nothing is sent; the claim is withdrawn if it was committed.
    ClaimLost,
    Claimed,
    /// The lease was valid when it was checked. Nothing is written yet.
    Checked,
    /// Waiting for the response.
    Sent,
    /// The result that will be recorded: one verdict per course.
    ResponseReceived(Vec<Verdict>),
    /// Finished or dead.
    Ended,
}

/// What a response, or its absence, shows about one course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Created(RecordId),
    /// HubSpot reports that a record has the key.
    Exists,
    /// Certainly not created.
    NotTaken,
    /// The request was not sent.
    NotSent,
    Unknown,
}

/// A request on its way to HubSpot and in HubSpot. It outlives its sender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    NotWritten,
    /// In transit or being executed, with the progress for each course.
    Open(Vec<CreateProgress>),
    /// HubSpot refused the whole request, and the response shows that.
    Refused,
    /// Lost, or finished without a receiver for the response.
    Ended,
}

/// How far HubSpot has executed a request for one course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CreateProgress {
    Untouched,
    /// No record had the key when HubSpot checked. Only if check and insert are two steps.
    KeyFree,
    Created(RecordId),
    Conflict,
}

/// Violations that have occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History {
    /// A result changed a row that was neither in flight for its batch nor unconfirmed because of it.
    pub stale_write: bool,
    /// A synced row changed its status.
    pub synced_was_left: bool,
    /// A request was written although its intent was not in the database.
    pub sent_unclaimed: bool,
}

/// The number of claims before the first one of a run. All of them are closed.
pub const EARLIER_CLAIMS: ClaimNumber = 8;

impl State {
    /// The initial state: `courses` pending courses and no leader.
    pub fn new(courses: usize, faults: u8) -> Self {
        let row = Row { status: Status::Pending, batch: None, hubspot_id: None };
        Self {
            rows: vec![row; courses],
            lease: Lease { term: 0, holder: Holder::None, is_expired: true },
            daemons: vec![Daemon::default(); 2],
            batches: Vec::new(),
            last_claim: EARLIER_CLAIMS,
            records: Vec::new(),
            faults_left: faults,
            history: History::default(),
        }
    }

    /// Whether the lease of this term is valid.
    pub fn grants(&self, term: Term) -> bool {
        self.lease.term == term && matches!(self.lease.holder, Holder::Alive(_)) && !self.lease.is_expired
    }

    /// Whether the daemon has a valid lease.
    pub fn leads(&self, daemon: Instance) -> bool {
        self.lease.holder == Holder::Alive(daemon) && !self.lease.is_expired
    }

    /// Whether a crash of this daemon would change the state.
    pub fn has_volatile_state(&self, instance: Instance) -> bool {
        let daemon = &self.daemons[instance];
        self.lease.holder == Holder::Alive(instance)
            || daemon.look_up.is_some()
            || self.batches.iter().any(|batch| batch.sender == instance && batch.task != Task::Ended)
    }

    /// The courses whose rows have this status.
    pub fn courses_in(&self, status: Status) -> Vec<Course> {
        (0..self.rows.len()).filter(|course| self.rows[*course].status == status).collect()
    }

    /// The open batches that list this course as in flight.
    pub fn batches_in_flight(&self, course: Course) -> usize {
        self.batches.iter().filter(|batch| batch.is_in_flight(course)).count()
    }

    /// Whether the course is unconfirmed because of this batch.
    pub fn is_unconfirmed_by(&self, course: Course, batch: BatchId) -> bool {
        self.rows[course].status == Status::Unconfirmed && self.rows[course].batch == Some(batch)
    }

    /// Whether this number is the next one. Otherwise another claim has it.
    pub fn is_free(&self, number: ClaimNumber) -> bool {
        number > self.last_claim
    }

    /// The record with the key of the course.
    pub fn record_of(&self, course: Course) -> Option<RecordId> {
        self.records.iter().position(|key| *key == course)
    }
}

impl Batch {
    /// Whether the course is in flight for this batch.
    pub fn is_in_flight(&self, course: Course) -> bool {
        self.intent == Intent::Open && self.in_flight.contains(&course)
    }

    /// Whether the claim is not committed yet.
    pub fn is_being_claimed(&self) -> bool {
        matches!(self.intent, Intent::Missing { .. })
    }

    /// Whether HubSpot has executed the request, so that a response may arrive.
    pub fn has_response(&self) -> bool {
        match &self.request {
            Request::Open(progress) => progress.iter().all(|create_progress| {
                matches!(create_progress, CreateProgress::Created(_) | CreateProgress::Conflict)
            }),
            Request::Refused => true,
            Request::NotWritten | Request::Ended => false,
        }
    }
}
