//! What a request does with courses in HubSpot.

/// What a request does with its courses. All courses of a request have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// Creates their records.
    Create,
    /// Changes properties of their records.
    Update,
    /// Moves their records to the recycle bin.
    Archive,
}

impl Write {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Archive];

    /// As the journal stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Archive => "archive",
        }
    }

    /// The verb of a sentence such as "HubSpot created this course".
    #[must_use]
    pub fn past(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Archive => "archived",
        }
    }
}
