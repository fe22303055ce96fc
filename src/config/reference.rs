//! All keys, as `config/default.toml` documents them; names of variables; suggestions for typos. Pure.

use std::sync::LazyLock;

/// The built-in layer. It documents every key; a key without a default is commented out.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// One key as `config/default.toml` documents it.
#[derive(Debug)]
pub struct KeyReference {
    /// Such as `batch.max_size`.
    pub name: String,
    /// Its default or, if it has none, an example, in TOML's notation.
    pub value: String,
    /// Whether `value` is a default.
    pub has_default: bool,
    /// The comment above the key; empty for a key that directly follows another.
    pub comment: String,
}

/// Every key, in the order of `config/default.toml`.
pub static REFERENCE: LazyLock<Vec<KeyReference>> = LazyLock::new(|| parse(DEFAULTS));

/// The names of all keys.
pub static KEYS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| REFERENCE.iter().map(|key| key.name.as_str()).collect());

pub(super) const DATABASE_URL: &str = "database.url";
pub(super) const ACCESS_TOKEN: &str = "hubspot.access_token";
pub(super) const CLIENT_ID: &str = "hubspot.oauth.client_id";
pub(super) const CLIENT_SECRET: &str = "hubspot.oauth.client_secret";
pub(super) const REFRESH_TOKEN: &str = "hubspot.oauth.refresh_token";

/// Every secret. A second key, with `_file` appended, names a file that holds it.
pub(super) const SECRETS: [&str; 4] = [DATABASE_URL, ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN];

/// Conventional variables and the keys that they set.
const SHORT_VARIABLES: [(&str, &str); 4] = [
    ("DATABASE_URL", "database.url"),
    ("DATABASE_URL_FILE", "database.url_file"),
    ("HUBSPOT_ACCESS_TOKEN", "hubspot.access_token"),
    ("HUBSPOT_ACCESS_TOKEN_FILE", "hubspot.access_token_file"),
];

/// Names the configuration file if the command line does not.
pub(super) const FILE_VARIABLE: &str = "COURSE_SYNC_CONFIG";

/// The start of every other variable of this program.
pub(super) const PREFIX: &str = "COURSE_SYNC";

fn parse(text: &str) -> Vec<KeyReference> {
    let (mut section, mut comment, mut keys) = ("", String::new(), Vec::new());
    for line in text.lines() {
        let (content, is_comment) = match line.strip_prefix("# ") {
            Some(content) => (content, true),
            None => (line, false),
        };
        if let Some(header) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header;
        } else if let Some((name, value)) = content.split_once(" = ").filter(|(name, _)| is_key_name(name)) {
            keys.push(KeyReference {
                name: format!("{section}.{name}"),
                value: value.to_owned(),
                has_default: !is_comment,
                comment: std::mem::take(&mut comment),
            });
        } else if is_comment {
            let separator = if comment.is_empty() { "" } else { " " };
            comment = format!("{comment}{separator}{content}");
        } else {
            comment.clear();
        }
    }
    keys
}

fn is_key_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

pub(super) fn is_key(path: &str) -> bool {
    KEYS.contains(&path)
}

/// Whether `path` is a section, such as `hubspot.oauth`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that names a file with the secret.
pub(super) fn file_key(secret: &str) -> String {
    format!("{secret}_file")
}

/// The key that a variable sets.
pub(super) fn key_of_variable(name: &str) -> Option<&'static str> {
    let short = SHORT_VARIABLES.iter().find(|(short, _)| *short == name).map(|(_, key)| *key);
    short.or_else(|| KEYS.iter().copied().find(|key| variable(key) == name))
}

/// `COURSE_SYNC__BATCH__MAX_SIZE` for `batch.max_size`.
fn variable(key: &str) -> String {
    format!("{PREFIX}__{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The key that a mistyped `path` most likely means.
pub(super) fn nearest_key(path: &str) -> Option<String> {
    let nearest = nearest(path, KEYS.iter().map(ToString::to_string));
    nearest.or_else(|| same_key_elsewhere(path).map(ToOwned::to_owned))
}

/// The right key in the wrong section is a common mistake.
fn same_key_elsewhere(path: &str) -> Option<&'static str> {
    KEYS.iter().copied().find(|key| normalize(last_part(key)) == normalize(last_part(path)))
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The variable that a mistyped `name` most likely means.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    let short = SHORT_VARIABLES.iter().map(|(name, _)| (*name).to_owned());
    nearest(name, KEYS.iter().map(|key| variable(key)).chain(short).chain([FILE_VARIABLE.to_owned()]))
}

fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let name = normalize(name);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, &normalize(&candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= name.len() / 5)
        .map(|(_, candidate)| candidate)
}

/// Drops what is mistyped most often: case, dots, dashes, the number of underscores.
fn normalize(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
