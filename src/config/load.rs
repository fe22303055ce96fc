//! Loads a configuration: merges the layers, checks every value, collects all problems. Touches the configuration file
//! and secret files.

use std::fmt::Display;

use config::{ConfigError, File, FileFormat, Value, ValueKind};
use secrecy::ExposeSecret as _;

use super::database_url::parse_database_url;
use super::layer::Layer;
use super::problems::Problems;
use super::redact::redact;
use super::reference::{
    ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, DATABASE_URL, DEFAULTS, REFRESH_TOKEN, SECRETS, file_key,
};
use super::secret::{self, SecretSource};
use super::settings::{Config, Credentials};
use super::sources::{Needs, Sources};
use super::{environment, file, values};

/// Longer values are cut off in messages.
const SHOWN_CHARS: usize = 60;

impl Config {
    /// Reads every layer and checks everything; reports all problems at once.
    ///
    /// Reads each secret that the command needs once, to prove that it can be read.
    pub fn load(sources: &Sources, needs: Needs) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let file = file::read(sources, &mut problems);
        let is_complete = file.is_some();
        let mut settings = Layer::new();
        for layer in [file.unwrap_or_default(), environment::read(&sources.env, &mut problems)] {
            lay_over(&mut settings, layer, &mut problems);
        }
        let mut loader = Loader { settings, problems };
        let mut config = loader.deserialize();
        if let Some(config) = &mut config {
            // If the file cannot be read, it is unknown what is not set.
            let needs =
                Needs { database: needs.database && is_complete, hubspot: needs.hubspot && is_complete };
            config.database.url = loader.read_database_url(needs.database);
            config.hubspot.credentials = loader.read_credentials(needs.hubspot);
            if !loader.is_set("hubspot.connect_timeout") {
                let half = config.hubspot.request_timeout / 2;
                config.hubspot.connect_timeout = config.hubspot.connect_timeout.min(half);
            }
            if is_complete {
                loader.check_contradictions(config);
            }
        }
        match config {
            Some(config) if loader.problems.0.is_empty() => Ok(config),
            _ => Err(loader.problems.sorted()),
        }
    }
}

/// A secret given as a value replaces one given as a file in the layer below, and the other way round.
fn lay_over(below: &mut Layer, layer: Layer, problems: &mut Problems) {
    for secret in SECRETS {
        let file = file_key(secret);
        if let (Some(value), Some(other)) = (layer.get(secret), layer.get(&file)) {
            let source = &other.source;
            let text = format!("contradicts {file} ({source}): give the secret or its file, not both");
            problems.add(secret, Some(&value.source), text);
        }
        if layer.contains_key(secret) || layer.contains_key(&file) {
            below.remove(secret);
            below.remove(&file);
        }
    }
    below.extend(layer);
}

/// What is set besides the defaults, and the problems so far.
struct Loader {
    settings: Layer,
    problems: Problems,
}

impl Loader {
    /// All settings but the credentials. serde stops at the first bad value: it is rejected, replaced by its
    /// default, and all are read again, until every problem is found. `None` if a default itself is bad.
    fn deserialize(&mut self) -> Option<Config> {
        loop {
            let (key, expected) = match self.merge().and_then(config::Config::try_deserialize) {
                Ok(config) => return Some(config),
                Err(ConfigError::At { key: Some(key), error, .. }) => (key, error.to_string()),
                Err(error) => (String::new(), error.to_string()),
            };
            self.reject_value(&key, expected);
            self.settings.remove(&key)?;
        }
    }

    /// The defaults with the settings over them.
    fn merge(&self) -> Result<config::Config, ConfigError> {
        let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        for (key, setting) in &self.settings {
            if !is_credential(key) {
                builder = builder.set_override(key, Value::new(None, setting.value.clone()))?;
            }
        }
        builder.build()
    }

    fn is_set(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    fn is_secret_set(&self, secret: &str) -> bool {
        self.is_set(secret) || self.is_set(&file_key(secret))
    }

    fn reject(&mut self, key: &str, text: impl AsRef<str>) {
        let source = self.settings.get(key).map(|setting| setting.source.as_str());
        self.problems.add(key, source, text);
    }

    fn reject_value(&mut self, key: &str, expected: impl Display) {
        let text = match self.settings.get(key) {
            Some(_) if SECRETS.contains(&key) => format!("expected {expected} (the value is not shown)"),
            Some(setting) => format!("{} is not accepted; expected {expected}", show(&setting.value)),
            None => expected.to_string(),
        };
        self.reject(key, text);
    }

    /// Rejects `key` for a contradiction to `other`, unless one of them was rejected and has its default now.
    fn reject_contradiction(&mut self, key: &str, other: &str, text: impl AsRef<str>) {
        if !self.problems.concern(key) && !self.problems.concern(other) {
            self.reject(key, text);
        }
    }

    fn check_contradictions(&mut self, config: &Config) {
        let show = humantime::format_duration;
        let request_timeout = config.hubspot.request_timeout;
        if config.hubspot.connect_timeout >= request_timeout {
            let text = format!(
                "must be below hubspot.request_timeout ({}), otherwise a failed connection is treated as a lost response",
                show(request_timeout)
            );
            self.reject_contradiction("hubspot.connect_timeout", "hubspot.request_timeout", text);
        }
        let initial = config.retry.initial_interval;
        if config.retry.max_interval < initial {
            let text = format!("must not be below retry.initial_interval ({})", show(initial));
            self.reject_contradiction("retry.max_interval", "retry.initial_interval", text);
        }
        if config.outbox.retention.is_some() && config.hubspot.unique_property.is_none() {
            self.reject_contradiction(
                "outbox.retention",
                "hubspot.unique_property",
                "needs hubspot.unique_property: without it, a course whose row was deleted would be created twice \
                 if it is enqueued again",
            );
        }
        let per = config.rate_limit.per;
        if config.outbox.history_retention.is_some_and(|retention| retention < per) {
            let text = format!(
                "must not be below rate_limit.per ({}): after a restart, requests in this window are counted from the history",
                show(per)
            );
            self.reject_contradiction("outbox.history_retention", "rate_limit.per", text);
        }
    }

    fn read_database_url(&mut self, is_needed: bool) -> Option<SecretSource> {
        if is_needed && !self.is_secret_set(DATABASE_URL) {
            let text = "is not set; set DATABASE_URL, or DATABASE_URL_FILE to a file that contains it";
            self.reject(DATABASE_URL, text);
        }
        self.read_secret(DATABASE_URL, is_needed, |text| parse_database_url(text).map(|_| ()))
    }

    fn read_credentials(&mut self, is_needed: bool) -> Option<Credentials> {
        let has_token = self.is_secret_set(ACCESS_TOKEN);
        let has_oauth = [CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN].iter().any(|key| self.is_secret_set(key));
        match (has_token, has_oauth) {
            (true, false) => {
                self.read_secret(ACCESS_TOKEN, is_needed, |_| Ok(())).map(Credentials::AccessToken)
            }
            (false, true) => self.read_oauth(is_needed),
            (false, false) => {
                if is_needed {
                    self.reject(
                        ACCESS_TOKEN,
                        "is not set; set HUBSPOT_ACCESS_TOKEN, or HUBSPOT_ACCESS_TOKEN_FILE to a file that \
                         contains it (or the three keys of hubspot.oauth)",
                    );
                }
                None
            }
            (true, true) => {
                let file = file_key(ACCESS_TOKEN);
                let key = if self.is_set(ACCESS_TOKEN) { ACCESS_TOKEN } else { &file };
                self.reject(
                    key,
                    "contradicts hubspot.oauth, which is set too: use the token or OAuth, not both",
                );
                None
            }
        }
    }

    fn read_oauth(&mut self, is_needed: bool) -> Option<Credentials> {
        for key in [CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN] {
            if !self.is_secret_set(key) {
                self.reject(
                    key,
                    "is not set; OAuth needs all three: hubspot.oauth.client_id, .client_secret and .refresh_token",
                );
            }
        }
        let client_id = self.read_text(CLIENT_ID, values::client_id);
        let client_secret = self.read_secret(CLIENT_SECRET, is_needed, |_| Ok(()));
        let refresh_token = self.read_secret(REFRESH_TOKEN, is_needed, |_| Ok(()));
        Some(Credentials::OAuth {
            client_id: client_id?,
            client_secret: client_secret?,
            refresh_token: refresh_token?,
        })
    }

    /// A text in quotes; `None` if it is not set or was rejected, as numbers are: 00123 would become 123.
    fn read_text<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        let parsed = match &self.settings.get(key)?.value {
            ValueKind::String(text) => parse(text),
            _ => Err("text in quotes"),
        };
        parsed.map_err(|expected| self.reject_value(key, expected)).ok()
    }

    /// A secret from its value or its file, which must be readable now if the secret `is_needed`.
    fn read_secret(
        &mut self,
        setting: &'static str,
        is_needed: bool,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<SecretSource> {
        let file = file_key(setting);
        let (key, source) = if self.is_set(&file) {
            let path = self.read_text(&file, values::path)?;
            (file.as_str(), SecretSource::file(setting, path))
        } else {
            (setting, SecretSource::value(setting, self.read_text(setting, |text| Ok(text.to_owned()))?))
        };
        if !is_needed && source.path().is_some() {
            return Some(source);
        }
        let flaw = match source.read() {
            Ok(secret) => check(secret.expose_secret()).err(),
            Err(error) => Some(error.reason),
        };
        let Some(flaw) = flaw else { return Some(source) };
        let text = match source.path() {
            Some(path) => format!("the file {} {flaw}", secret::show_path(path)),
            None => format!("{flaw} (the value is not shown)"),
        };
        self.reject(key, text);
        None
    }
}

/// Credentials do not pass through serde, whose errors could quote them.
fn is_credential(key: &str) -> bool {
    key == CLIENT_ID || SECRETS.contains(&key.trim_end_matches("_file"))
}

/// A value as a message may show it.
fn show(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => {
            let text = redact(text);
            let mut short: String = text.chars().take(SHOWN_CHARS).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            format!("{short:?}")
        }
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| show(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a section".to_owned(),
        other => other.to_string(),
    }
}
