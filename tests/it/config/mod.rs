//! Configuration as a person meets it: files and variables in, settings or findings out.

mod documentation;
mod layers;
mod secrets;
mod values;

use std::io::Write as _;
use std::path::PathBuf;

use course_sync::config::{Config, Needs, Problems, Sources};

const NOTHING: Needs = Needs { database: false, hubspot: false };
const EVERYTHING: Needs = Needs { database: true, hubspot: true };

/// What `run` needs at least.
const CREDENTIALS: [(&str, &str); 2] =
    [("DATABASE_URL", "postgres://sync@db/catalogue"), ("HUBSPOT_ACCESS_TOKEN", "pat-na1-canary")];

/// A file with `text` that lives as long as the value.
fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn sources(path: Option<PathBuf>, env: &[(&str, &str)]) -> Sources {
    Sources { file: path, env: env.iter().map(|(name, value)| (name.into(), value.into())).collect() }
}

/// Loads `toml` (none if empty) and `env`; findings come as lines, with the file's path as `FILE`.
fn load(toml: &str, env: &[(&str, &str)], needs: Needs) -> Result<Config, Vec<String>> {
    let file = (!toml.is_empty()).then(|| file(toml));
    let path = file.as_ref().map(|file| file.path().to_owned());
    let name = path.as_ref().map_or("FILE".to_owned(), |path| path.display().to_string());
    Config::load(&sources(path, env), needs).map_err(|problems| lines(&problems, &name))
}

fn lines(problems: &Problems, file: &str) -> Vec<String> {
    problems.0.iter().map(|problem| problem.to_string().replace(file, "FILE")).collect()
}

/// The settings of a configuration that needs no credentials and must be good.
fn good(toml: &str, env: &[(&str, &str)]) -> Config {
    load(toml, env, NOTHING).unwrap_or_else(|problems| panic!("{toml} {env:?}: {problems:#?}"))
}

/// The findings of a configuration that must be refused.
fn refused(toml: &str, env: &[(&str, &str)], needs: Needs) -> Vec<String> {
    match load(toml, env, needs) {
        Ok(config) => panic!("accepted: {toml} {env:?}: {config:#?}"),
        Err(problems) => problems,
    }
}
