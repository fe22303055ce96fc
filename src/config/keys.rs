//! Every key there is, under its three kinds of name, and the nearest one to a mistyped name. Pure.

/// Every key there is, in the order of `config/default.toml`.
pub const KEYS: &[&str] = &[
    "database.url",
    "database.url_file",
    "database.max_connections",
    "database.migrate",
    "hubspot.base_url",
    "hubspot.api_version",
    "hubspot.access_token",
    "hubspot.access_token_file",
    "hubspot.unique_property",
    "hubspot.connect_timeout",
    "hubspot.request_timeout",
    "hubspot.oauth.client_id",
    "hubspot.oauth.client_secret",
    "hubspot.oauth.client_secret_file",
    "hubspot.oauth.refresh_token",
    "hubspot.oauth.refresh_token_file",
    "batch.max_size",
    "batch.max_bytes",
    "batch.linger",
    "batch.max_in_flight",
    "rate_limit.requests",
    "rate_limit.per",
    "rate_limit.daily_reserve",
    "retry.initial_interval",
    "retry.max_interval",
    "retry.multiplier",
    "retry.max_attempts",
    "outbox.poll_interval",
    "outbox.listen",
    "outbox.lease",
    "outbox.unconfirmed",
    "outbox.settle",
    "outbox.retention",
    "outbox.history_retention",
    "admin.listen",
    "admin.hosts",
    "shutdown.grace",
    "log.format",
    "log.filter",
];

/// A secret's key, and the key that names a file instead.
pub(super) type SecretKeys = (&'static str, &'static str);

pub(super) const DATABASE_URL: SecretKeys = ("database.url", "database.url_file");
pub(super) const ACCESS_TOKEN: SecretKeys = ("hubspot.access_token", "hubspot.access_token_file");
pub(super) const CLIENT_SECRET: SecretKeys =
    ("hubspot.oauth.client_secret", "hubspot.oauth.client_secret_file");
pub(super) const REFRESH_TOKEN: SecretKeys =
    ("hubspot.oauth.refresh_token", "hubspot.oauth.refresh_token_file");

/// Every secret.
pub(super) const SECRETS: [SecretKeys; 4] = [DATABASE_URL, ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN];

/// The variables everybody expects, and the keys they stand for.
pub(super) const SHORT_VARIABLES: &[(&str, &str)] = &[
    ("DATABASE_URL", "database.url"),
    ("DATABASE_URL_FILE", "database.url_file"),
    ("HUBSPOT_ACCESS_TOKEN", "hubspot.access_token"),
    ("HUBSPOT_ACCESS_TOKEN_FILE", "hubspot.access_token_file"),
];

/// Names the configuration file where the command line does not.
pub(super) const FILE_VARIABLE: &str = "COURSE_SYNC_CONFIG";

/// What every variable of this program begins with.
pub(super) const PREFIX: &str = "COURSE_SYNC";

/// Separates the prefix, the section and the key of a variable.
pub(super) const SEPARATOR: &str = "__";

/// The known key equal to `path`.
pub(super) fn known(path: &str) -> Option<&'static str> {
    KEYS.iter().copied().find(|key| *key == path)
}

/// Whether the value of `key` may not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|(secret, _)| *secret == key)
}

/// Whether `path` is a section, such as `hubspot.oauth`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// `COURSE_SYNC__BATCH__MAX_SIZE` for `batch.max_size`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR).to_ascii_uppercase())
}

/// The known key a mistyped `path` most likely means.
pub(super) fn nearest_key(path: &str) -> Option<String> {
    let last = |key: &str| flat(key.rsplit('.').next().unwrap_or(key));
    // The right key in the wrong section is a commoner slip than a wrong letter.
    let misplaced = || KEYS.iter().find(|key| last(key) == last(path)).map(|key| (*key).to_owned());
    nearest(path, KEYS.iter().map(|key| (*key).to_owned())).or_else(misplaced)
}

/// The known variable a mistyped `name` most likely means.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    let short = SHORT_VARIABLES.iter().map(|(name, _)| (*name).to_owned());
    let all = KEYS.iter().map(|key| variable(key)).chain(short).chain([FILE_VARIABLE.to_owned()]);
    nearest(name, all)
}

fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let name = flat(name);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, &flat(&candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= name.len() / 5)
        .map(|(_, candidate)| candidate)
}

/// Case, dots, dashes and the number of underscores are what people get wrong first.
fn flat(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
