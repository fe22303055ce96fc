//! Reads one key as one type; what cannot be read becomes a problem, and reading goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use secrecy::ExposeSecret as _;

use super::keys::{self, SecretKeys};
use super::layers::Layer;
use super::problems::{Origin, Problems};
use super::redact::redact;
use super::secret::{self, SecretSource};
use super::values::{self, Percent};

/// Longer values are shown by their beginning.
const SHOWN_CHARS: usize = 60;

/// A problem was noted; reading the other keys goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted;

/// A value, or the sign that its problem was noted.
pub(super) type Read<T> = Result<T, Noted>;

/// The merged settings and the findings so far.
pub(super) struct Reader {
    settings: Layer,
    pub(super) problems: Problems,
}

impl Reader {
    pub(super) fn new(settings: Layer, problems: Problems) -> Self {
        Self { settings, problems }
    }

    /// Whether any source sets the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// Whether the key is as the program brings it: nobody set it.
    pub(super) fn is_built_in(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|setting| matches!(setting.origin, Origin::BuiltIn))
    }

    /// Notes what is wrong about `key`, with the place it was set at.
    pub(super) fn reject(&mut self, key: &'static str, text: impl Into<String>) {
        let origin = self.settings.get(key).map(|setting| &setting.origin);
        self.problems.add(key, origin, text);
    }

    /// Reads a key that need not be set.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Read<T>,
    ) -> Read<Option<T>> {
        if self.has(key) { read(self, key).map(Some) } else { Ok(None) }
    }

    /// Reads the key by `parse`, which answers with what it would have accepted.
    pub(super) fn parse<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&ValueKind) -> Result<T, E>,
    ) -> Read<T> {
        let Some(setting) = self.settings.get(key) else {
            self.problems.add(key, None, "is not set");
            return Err(Noted);
        };
        match parse(&setting.value) {
            Ok(value) => Ok(value),
            Err(expected) => {
                let text = if keys::is_secret(key) {
                    format!("expected {expected} (the value is not shown)")
                } else {
                    format!("{} is not accepted; expected {expected}", shown(&setting.value))
                };
                self.problems.add(key, Some(&setting.origin), text);
                Err(Noted)
            }
        }
    }

    /// Text in quotes; a number is refused, so that 00123 never becomes 123.
    pub(super) fn text<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Read<T> {
        self.parse(key, |value| match value {
            ValueKind::String(text) => parse(text).map_err(|expected| expected.to_string()),
            _ => Err("text in quotes".to_owned()),
        })
    }

    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Read<T> {
        self.parse(key, |value| {
            integer(value)
                .filter(|number| range.contains(number))
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn factor(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Read<f64> {
        self.parse(key, |value| {
            let number = match value {
                ValueKind::Float(number) => Some(*number),
                ValueKind::String(text) if !text.contains(['e', 'E']) => text.parse().ok(),
                other => integer(other).and_then(|number| u32::try_from(number).ok()).map(f64::from),
            };
            number
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn switch(&mut self, key: &'static str) -> Read<bool> {
        self.parse(key, |value| match value {
            ValueKind::Boolean(on) => Ok(*on),
            ValueKind::String(text) if text == "true" => Ok(true),
            ValueKind::String(text) if text == "false" => Ok(false),
            _ => Err("true or false"),
        })
    }

    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Read<Duration> {
        self.parse(key, |value| values::duration(&plain(value).unwrap_or_default(), &range))
    }

    /// How long something stays; `None` where it is kept for good.
    pub(super) fn retention(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Read<Option<Duration>> {
        self.parse(key, |value| match plain(value).unwrap_or_default().as_str() {
            "keep" => Ok(None),
            text => {
                values::duration(text, &range).map(Some).map_err(|expected| format!("\"keep\" or {expected}"))
            }
        })
    }

    pub(super) fn percent(&mut self, key: &'static str) -> Read<Percent> {
        self.parse(key, |value| values::percent(&plain(value).unwrap_or_default()))
    }

    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Read<u64> {
        self.parse(key, |value| values::size(&plain(value).unwrap_or_default(), &range))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Read<T> {
        self.text(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            })
        })
    }

    /// A list of texts, or one text with commas.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> Read<Vec<String>> {
        self.parse(key, |value| match value {
            ValueKind::String(text) => text.split(',').map(|item| parse(item.trim())).collect(),
            ValueKind::Array(items) => items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(text) => parse(text),
                    _ => Err("a list of texts in quotes".to_owned()),
                })
                .collect(),
            _ => Err("a list of texts, or one text with commas between".to_owned()),
        })
    }

    /// A secret under its two keys; where it is `needed`, its file must be readable now.
    pub(super) fn secret(
        &mut self,
        (value_key, file_key): SecretKeys,
        needed: bool,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> Read<Option<SecretSource>> {
        let (key, source) = if self.has(file_key) {
            let path = self.text(file_key, |path| match path {
                "" => Err("the path of a file"),
                path => Ok(PathBuf::from(path)),
            })?;
            (file_key, SecretSource::file(value_key, path))
        } else if self.has(value_key) {
            let value = self.text(value_key, |text| Ok::<_, String>(text.to_owned()))?;
            (value_key, SecretSource::value(value_key, value))
        } else {
            return Ok(None);
        };
        if !needed && source.path().is_some() {
            return Ok(Some(source));
        }
        let flaw = match source.read() {
            Ok(secret) => check(secret.expose_secret()).err().map(ToOwned::to_owned),
            Err(error) => Some(error.reason),
        };
        let Some(flaw) = flaw else { return Ok(Some(source)) };
        let text = match source.path() {
            Some(path) => format!("the file {} {flaw}", secret::shown(path)),
            None => format!("{flaw} (the value is not shown)"),
        };
        self.reject(key, text);
        Err(Noted)
    }
}

fn integer(value: &ValueKind) -> Option<u64> {
    match value {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::String(text) => values::digits(text),
        _ => None,
    }
}

/// A number or text as it was written.
fn plain(value: &ValueKind) -> Option<String> {
    match value {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The value as a message may show it.
fn shown(value: &ValueKind) -> String {
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
            let items: Vec<_> = items.iter().map(|item| shown(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a section".to_owned(),
        number => number.to_string(),
    }
}
