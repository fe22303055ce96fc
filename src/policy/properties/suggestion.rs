//! The known name or option that a mistyped one probably means. Pure.

/// The minimal similarity of a suggestion, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.85;

/// The word that is most similar to `wanted` without regard to letter case, if any is similar enough.
pub(super) fn closest<'a>(wanted: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    words
        .map(|word| (strsim::jaro_winkler(&wanted, &word.to_lowercase()), word))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}
