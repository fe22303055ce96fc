//! HubSpot keeps two sets of records of an object type: the live ones and the recycle bin. One read covers one set.

/// Which of the two sets a read covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Records that are in use.
    Live,
    /// Records in the recycle bin.
    Archived,
}
