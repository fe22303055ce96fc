//! The state of the model of changes: the row of the course, HubSpot's records of it, and the requests in progress.
//!
//! States are kept in a canonical form ([`State::forget`]): what no later step reads is removed.

/// The value of the course's only property. 0: it has no value.
pub type Value = u8;
/// A revision of the row.
pub type Revision = u8;
/// A record in HubSpot: a position in [`State::records`].
pub type RecordId = usize;
/// A request: a position in [`State::requests`]. It changes with every step.
pub type RequestId = usize;

/// The state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub row: Row,
    /// HubSpot's records of the course.
    pub records: Vec<Record>,
    /// `course_sync_batch`, with the task that sends each request and the state of the request itself.
    pub requests: Vec<Request>,
    /// What the leader has read and not settled yet.
    pub reading: Option<Reading>,
    /// How often the catalogue may still write the row.
    pub writes_left: u8,
    /// The number of faults that may still occur.
    pub faults_left: u8,
    pub history: History,
}

/// What the catalogue wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    pub value: Value,
    pub archived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// To be sent, or in flight: the requests show which.
    Pending,
    Unconfirmed,
    Synced,
    Archived,
    /// An operator has to decide. No run of the designed protocol may lead here.
    Failed,
}

/// The row of the course.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub content: Content,
    pub revision: Revision,
    pub synced_revision: Revision,
    pub status: Status,
    /// `hubspot_id`.
    pub record: Option<RecordId>,
    /// `hubspot_properties`.
    pub held: Held,
    /// `late_values`.
    pub late: Late,
    /// Whether `recheck_at` is set.
    pub recheck: bool,
    /// `doubts` is not 0: a request to create the record may still be executed.
    pub doubts: bool,
}

/// What HubSpot is known to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// The column is null.
    Null,
    /// It may hold any value.
    Unknown,
    /// It holds this value. 0: the column does not name the property.
    Is(Value),
}

/// What requests with an unknown outcome may still do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Late {
    pub value: LateValue,
    pub archives: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LateValue {
    #[default]
    None,
    Is(Value),
    Any,
}

/// A record in HubSpot. If it is not live, it is in the recycle bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    pub is_live: bool,
    pub value: Value,
}

/// One request for the course, from its claim on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    pub write: Write,
    /// The revision that was claimed, and its value.
    pub revision: Revision,
    pub value: Value,
    /// It was claimed in the present term of the lease.
    pub is_current: bool,
    pub intent: Intent,
    pub task: Task,
    pub wire: Wire,
    /// The recheck is due only after the time within which this request can be executed.
    pub is_awaited: bool,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    Create,
    /// Sets the property. Without a value to set: HubSpot holds the properties, and nothing is sent.
    Update(RecordId, Option<Value>),
    /// Without a record: nothing is sent.
    Archive(Option<RecordId>),
}

/// The row of a request in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    Open,
    /// The row is unconfirmed because of this request. `answered`: HubSpot has answered it, so it cannot come late.
    Unknown {
        answered: bool,
    },
    Closed,
}

/// The progress of the task that sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    Claimed,
    /// Waiting for the response.
    Sent,
    /// The result that will be recorded.
    Answered(Verdict),
    /// Finished or dead.
    Ended,
}

/// A request on its way to HubSpot and in HubSpot. It outlives its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wire {
    /// Not sent, lost, or executed without a receiver for the response.
    Nothing,
    /// In transit.
    Open,
    /// Executed, and the response is on its way.
    Done(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The record holds what was sent.
    Applied(RecordId),
    /// The record is in the recycle bin, or there is none.
    Archived,
    /// A live record has the key.
    Exists,
    /// The record to be updated is not live.
    NotFound,
    /// Certainly not executed, or not sent.
    NotTaken,
    Unknown,
    /// Nothing is sent: the course is withdrawn, and may still be created by an earlier request.
    LookUpFirst,
}

/// The decision that follows from a read, before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// The revision on which the decision is based.
    pub revision: Revision,
    pub settlement: Settlement,
}

/// What a read shows, and what happens to the course.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Settlement {
    /// HubSpot holds the revision of the row. `late`: what may still come, if the read does not prove that nothing can.
    Synced {
        late: Option<Late>,
    },
    /// The record is in the recycle bin, as it should be.
    Archived,
    /// It was archived for an earlier revision. The course gets a new record.
    ArchivedBefore,
    /// HubSpot holds something else.
    Resend {
        held: Held,
        late: Option<Late>,
    },
    /// The record was found by its key. `is_sent`: it holds what the request sent, which has this revision.
    Found {
        record: RecordId,
        revision: Revision,
        is_sent: bool,
    },
    /// No record has the key.
    Absent,
    /// Recheck: a late request changed the record.
    Repair(Value),
    /// Recheck: no late request changed anything.
    Checked,
    /// The look-up of a withdrawn course before its archive: this record has its key.
    FoundFirst(RecordId),
    /// The same: no record has its key.
    AbsentFirst,
    Failed,
}

/// What happened before, which no table shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History {
    /// The highest revision that HubSpot has held or executed.
    pub reached: Revision,
    /// The highest revision that was sent.
    pub sent: Revision,
    /// A revision was sent after a newer one.
    pub sent_older: bool,
    /// A request was sent while another one could be executed unnoticed.
    pub sent_unnoticed: bool,
}

impl State {
    /// The first revision is synced, or (`is_new`) pending and not created yet.
    pub fn new(is_new: bool, writes: u8, faults: u8) -> Self {
        let row = Row {
            content: Content { value: 1, archived: false },
            revision: 1,
            synced_revision: u8::from(!is_new),
            status: if is_new { Status::Pending } else { Status::Synced },
            record: (!is_new).then_some(0),
            held: Held::Null,
            late: Late::default(),
            recheck: false,
            doubts: false,
        };
        let records = if is_new { Vec::new() } else { vec![Record { is_live: true, value: 1 }] };
        let history = History { reached: u8::from(!is_new), ..History::default() };
        Self {
            row,
            records,
            requests: Vec::new(),
            reading: None,
            writes_left: writes,
            faults_left: faults,
            history,
        }
    }

    /// The live record of the course.
    pub fn live(&self) -> Option<RecordId> {
        self.records.iter().position(|record| record.is_live)
    }

    /// Whether HubSpot holds what the row says.
    pub fn matches(&self) -> bool {
        let live: Vec<Value> =
            self.records.iter().filter(|record| record.is_live).map(|it| it.value).collect();
        if self.row.content.archived { live.is_empty() } else { live == [self.row.content.value] }
    }

    /// The request because of which the row is unconfirmed.
    pub fn unknown(&self) -> Option<RequestId> {
        self.requests.iter().position(|request| matches!(request.intent, Intent::Unknown { .. }))
    }

    /// The number of open requests.
    pub fn open(&self) -> usize {
        self.requests.iter().filter(|request| request.intent == Intent::Open).count()
    }

    /// The recheck is due after the time within which the requests up to now can be executed.
    pub fn schedule_recheck(&mut self) {
        self.row.recheck = true;
        for request in &mut self.requests {
            request.is_awaited = true;
        }
    }

    /// The canonical form: without what no later step reads.
    pub fn forget(&mut self) {
        if self.matches() {
            self.history.reached = self.history.reached.max(self.row.revision);
        }
        for request in &mut self.requests {
            let has_outcome = request.intent == Intent::Closed;
            if matches!(request.wire, Wire::Done(_)) && request.task != Task::Sent {
                request.wire = Wire::Nothing;
            }
            if request.intent != Intent::Open && request.task != Task::Claimed {
                request.is_current = false;
            }
            if has_outcome && matches!(request.task, Task::Answered(_)) {
                request.task = Task::Ended;
            }
            request.is_awaited &= request.wire == Wire::Open && self.row.recheck;
        }
        self.requests.retain(|request| {
            request.task != Task::Ended || request.wire == Wire::Open || request.intent != Intent::Closed
        });
        self.requests.sort_unstable();
    }
}

impl LateValue {
    /// What either of both may write.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, any) | (any, Self::None) => any,
            (one, other) if one == other => one,
            _ => Self::Any,
        }
    }
}

impl Late {
    /// What either of both may do.
    pub fn or(self, other: Self) -> Self {
        Self { value: self.value.or(other.value), archives: self.archives || other.archives }
    }
}
