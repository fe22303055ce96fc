//! The error for a key that no course has, with a suggestion. Reads the outbox for similar keys.

use super::format::sanitize;
use crate::outbox::{Database, OutboxError, history};

/// How similar a key must be to be suggested (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.85;
const MAX_SUGGESTIONS: usize = 3;

/// The message that the outbox has no course with this key. Suggests similar keys, for a typing error.
pub(super) async fn unknown_key_message(database: &Database, key: &str) -> Result<String, OutboxError> {
    let lower_case = key.to_lowercase();
    let mut similar: Vec<(f64, String)> = history::read_adjacent_keys(database, key)
        .await?
        .into_iter()
        .map(|other| (strsim::jaro_winkler(&lower_case, &other.to_lowercase()), other))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .collect();
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let suggestions: Vec<String> =
        similar.iter().take(MAX_SUGGESTIONS).map(|(_, key)| sanitize(&format!("{key:?}"))).collect();
    let hint = match suggestions.as_slice() {
        [] => String::new(),
        keys => format!("; did you mean {}?", keys.join(", ")),
    };
    Ok(format!("the outbox has no course with the key {:?}{hint}", sanitize(key)))
}
