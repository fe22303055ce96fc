//! Writes many rows although the database refuses some of them: in one statement if possible, else in halves, down to the rows
//! that it refuses. Touches nothing: the caller runs the statements.

use crate::outbox::OutboxError;
use crate::telemetry::events;

/// The most keys in a log line.
const LOGGED_KEYS: usize = 5;

/// The items that are still to be written, in groups, and those whose rows the database refuses to write.
#[derive(Debug)]
pub(crate) struct Halves<'a, T> {
    groups: Vec<&'a [T]>,
    refused: Vec<&'a T>,
    reason: Option<String>,
}

impl<'a, T> Halves<'a, T> {
    /// All items, in one group at first.
    pub(crate) fn new(items: &'a [T]) -> Self {
        Self { groups: vec![items], refused: Vec::new(), reason: None }
    }

    /// The next group to write.
    pub(crate) fn next_group(&mut self) -> Option<&'a [T]> {
        self.groups.pop()
    }

    /// A group was not written. If single rows may have caused that, its halves follow; a single item is refused. Any other error
    /// is returned.
    pub(crate) fn divide(&mut self, group: &'a [T], error: OutboxError) -> Result<(), OutboxError> {
        if !error.concerns_single_rows() {
            self.groups.push(group);
            return Err(error);
        }
        if let [item] = group {
            self.refused.push(item);
            self.reason = Some(error.to_string());
        } else {
            let (first, second) = group.split_at(group.len() / 2);
            self.groups.extend([second, first]);
        }
        Ok(())
    }

    /// The items whose rows the database refuses to write.
    pub(crate) fn refused(&self) -> &[&'a T] {
        &self.refused
    }

    /// Why it refuses the last of them.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The items that are not written: those that are refused, and those of the groups that are left.
    pub(crate) fn into_unwritten(self) -> impl Iterator<Item = &'a T> {
        self.refused.into_iter().chain(self.groups.into_iter().flatten())
    }
}

/// Logs courses whose rows cannot be written, apart from those of a batch.
pub(crate) fn log_not_writable<'a>(keys: impl ExactSizeIterator<Item = &'a str>, reason: &str) {
    let courses = keys.len();
    if courses > 0 {
        let keys = first_keys(keys);
        tracing::warn!(event = events::ROWS_NOT_WRITABLE, courses, keys, reason, "rows not writable");
    }
}

/// The first keys, for a log line.
pub(crate) fn first_keys(keys: impl Iterator<Item: Into<String>>) -> String {
    keys.take(LOGGED_KEYS).map(Into::into).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::RowId;

    fn refusal() -> OutboxError {
        OutboxError::Row { row: RowId(1), column: "properties", why: "no".into() }
    }

    #[test]
    fn an_error_that_is_not_about_single_rows_leaves_everything_unwritten() {
        let items = [1, 2, 3];
        let mut halves = Halves::new(&items);
        let group = halves.next_group().unwrap();
        assert!(halves.divide(group, refusal()).is_err());
        assert!(halves.refused().is_empty() && halves.reason().is_none());
        assert_eq!(halves.into_unwritten().copied().collect::<Vec<_>>(), items);
    }

    #[test]
    fn keys_in_a_log_line_are_limited() {
        let keys: Vec<_> = (1..=7).map(|n| n.to_string()).collect();
        assert_eq!(first_keys(keys.iter().map(String::as_str)), "1, 2, 3, 4, 5");
    }
}
