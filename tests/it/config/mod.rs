//! Configuration from the operator's view: files and variables in, settings or problems out.

mod documentation;
mod layers;
mod secrets;
mod values;

use std::io::Write as _;
use std::path::PathBuf;

use course_sync::config::{Config, Needs, Problems, Sources};

const NOTHING: Needs = Needs { database: false, hubspot: false };
const EVERYTHING: Needs = Needs { database: true, hubspot: true };

/// The minimum that `run` needs.
const CREDENTIALS: [(&str, &str); 2] =
    [("DATABASE_URL", "postgres://sync@db/catalogue"), ("HUBSPOT_ACCESS_TOKEN", "pat-na1-canary")];

/// A file with `text` that is deleted when the value is dropped.
fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn sources(path: Option<PathBuf>, env: &[(&str, &str)]) -> Sources {
    Sources { file: path, env: env.iter().map(|(name, value)| (name.into(), value.into())).collect() }
}

/// Loads `toml` (no file if empty) and `env`. Each problem is a line, with the path of the file as `FILE`.
fn load(toml: &str, env: &[(&str, &str)], needs: Needs) -> Result<Config, Vec<String>> {
    let file = (!toml.is_empty()).then(|| file(toml));
    let path = file.as_ref().map(|file| file.path().to_owned());
    let name = path.as_ref().map_or("FILE".to_owned(), |path| path.display().to_string());
    Config::load(&sources(path, env), needs).map_err(|problems| lines(&problems, &name))
}

fn lines(problems: &Problems, file: &str) -> Vec<String> {
    problems.0.iter().map(|problem| problem.to_string().replace(file, "FILE")).collect()
}

/// The settings of a configuration that must be valid; credentials are not needed.
fn valid(toml: &str, env: &[(&str, &str)]) -> Config {
    load(toml, env, NOTHING).unwrap_or_else(|problems| panic!("{toml} {env:?}: {problems:#?}"))
}

/// The problems of a configuration that must be rejected.
fn rejected(toml: &str, env: &[(&str, &str)], needs: Needs) -> Vec<String> {
    match load(toml, env, needs) {
        Ok(config) => panic!("accepted: {toml} {env:?}: {config:#?}"),
        Err(problems) => problems,
    }
}
