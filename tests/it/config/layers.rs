//! Which layer overrides which, and unknown keys and variables.

use course_sync::config::{Config, Sources};
use secrecy::ExposeSecret as _;

use super::{CREDENTIALS, EVERYTHING, NOTHING, file, load, rejected, sources, valid};

#[test]
fn each_layer_overrides_the_one_below() {
    let toml = "[batch]\nmax_size = 50\nmax_in_flight = 4\n";
    let config = valid(toml, &[("COURSE_SYNC__BATCH__MAX_IN_FLIGHT", "8")]);
    assert_eq!(config.batch.max_bytes, 2 * 1024 * 1024, "the built-in default");
    assert_eq!(config.batch.max_size, 50, "the file");
    assert_eq!(config.batch.max_in_flight, 8, "the environment");
}

#[test]
fn config_argument_overrides_config_variable() {
    let (one, other) = (file("[batch]\nmax_size = 1\n"), file("[batch]\nmax_size = 2\n"));
    let env = [("COURSE_SYNC_CONFIG", other.path().to_str().unwrap())];
    let by_variable = Config::load(&sources(None, &env), NOTHING).unwrap();
    let by_argument = Config::load(&sources(Some(one.path().to_owned()), &env), NOTHING).unwrap();
    assert_eq!((by_variable.batch.max_size, by_argument.batch.max_size), (2, 1));
}

#[test]
fn a_missing_file_is_reported_with_the_source_of_its_path() {
    let missing = Config::load(&sources(Some("/no/such.toml".into()), &[]), NOTHING).unwrap_err().to_string();
    assert!(
        missing.contains("/no/such.toml: the configuration file named by --config cannot be read"),
        "{missing}"
    );
    let env = [("COURSE_SYNC_CONFIG", "/no/such.toml")];
    let missing = Config::load(&sources(None, &env), NOTHING).unwrap_err().to_string();
    assert!(missing.contains("named by COURSE_SYNC_CONFIG"), "{missing}");
}

#[test]
fn missing_settings_are_not_reported_if_the_file_cannot_be_parsed() {
    assert_eq!(
        rejected("[batch]\nmax_size = 5\nlinger = ", &[("COURSE_SYNC__LOG__FORMAT", "x")], EVERYTHING),
        [
            "FILE: TOML parse error at line 3, column 10: string values must be quoted, expected literal string",
            "log.format (COURSE_SYNC__LOG__FORMAT): \"x\" is not accepted; expected \"auto\" or \"pretty\" or \"json\"",
        ]
    );
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_accepted() {
    assert_eq!(valid("\u{feff}[batch]\r\nmax_size = 5\r\n", &[]).batch.max_size, 5);
}

#[test]
fn nested_sections_and_inline_tables_are_read() {
    let toml = "hubspot.oauth = { client_id = \"id\", client_secret = \"s\" }\n";
    let env = [("COURSE_SYNC__HUBSPOT__OAUTH__REFRESH_TOKEN", "r"), ("DATABASE_URL", "postgres://db/x")];
    load(toml, &env, EVERYTHING).unwrap();
}

#[test]
fn short_variables_set_the_same_keys_as_long_ones() {
    let url = |env: &[(&str, &str)]| {
        let config = valid("[database]\nurl = \"postgres://file/x\"\n", env);
        config.database_url().unwrap().expose_secret().to_owned()
    };
    assert_eq!(url(&[]), "postgres://file/x");
    assert_eq!(url(&[("DATABASE_URL", "postgres://short/x")]), "postgres://short/x");
    assert_eq!(url(&[("COURSE_SYNC__DATABASE__URL", "postgres://long/x")]), "postgres://long/x");
    let same = [("COURSE_SYNC__DATABASE__URL", "postgres://a/x"), ("DATABASE_URL", "postgres://a/x")];
    assert_eq!(url(&same), "postgres://a/x");
}

#[test]
fn short_and_long_variables_with_different_values_are_a_contradiction() {
    let env = [("COURSE_SYNC__DATABASE__URL", "postgres://a/x"), ("DATABASE_URL", "postgres://b/x")];
    assert_eq!(
        rejected("", &env, NOTHING),
        ["database.url (COURSE_SYNC__DATABASE__URL): contradicts DATABASE_URL, which has another value: \
          unset one of them"]
    );
}

#[test]
fn all_problems_are_reported_at_once_with_their_sources() {
    let toml = "\
[batch]
max_size = 101
lingr = \"5ms\"

[hubspot]
acess_token = \"pat-na1-canary\"
max_in_flight = 3
[outbox]
lease = 30
[nonsense]
";
    let env = [("COURSE_SYNC_BATCH__MAX_SIZE", "5"), ("COURSE_SYNC__RETRY__MULTIPLIER", "0.5")];
    assert_eq!(
        rejected(toml, &env, EVERYTHING),
        [
            "batch.lingr (FILE:3): unknown key; did you mean batch.linger?",
            "hubspot.acess_token (FILE:6): unknown key; did you mean hubspot.access_token?",
            "hubspot.max_in_flight (FILE:7): unknown key; did you mean batch.max_in_flight?",
            "nonsense (FILE:10): unknown key; config/default.toml lists all keys",
            "COURSE_SYNC_BATCH__MAX_SIZE: unknown variable; did you mean COURSE_SYNC__BATCH__MAX_SIZE?",
            "database.url: is not set; set DATABASE_URL, or DATABASE_URL_FILE to a file that contains it",
            "hubspot.access_token: is not set; set HUBSPOT_ACCESS_TOKEN, or HUBSPOT_ACCESS_TOKEN_FILE to a file \
             that contains it (or the three keys of hubspot.oauth)",
            "batch.max_size (FILE:2): 101 is not accepted; expected a whole number from 1 to 100",
            "retry.multiplier (COURSE_SYNC__RETRY__MULTIPLIER): \"0.5\" is not accepted; expected a number \
             from 1 to 100",
            "outbox.lease (FILE:9): 30 is not accepted; expected a unit after the number, such as \"30s\" or \
             \"30ms\", from 100ms to 1h",
        ]
    );
}

#[test]
fn problems_are_numbered() {
    let env = [("COURSE_SYNC__BATCH__MAX_SIZE", "0"), ("COURSE_SYNC__OUTBOX__LISTEN", "yes")];
    let text = Config::load(&sources(None, &env), NOTHING).unwrap_err().to_string();
    assert_eq!(
        text,
        "the configuration has 2 problems:
  1. batch.max_size (COURSE_SYNC__BATCH__MAX_SIZE): \"0\" is not accepted; expected a whole number from 1 to 100
  2. outbox.listen (COURSE_SYNC__OUTBOX__LISTEN): \"yes\" is not accepted; expected true or false"
    );
}

#[test]
fn unknown_keys_are_rejected() {
    for (toml, problem) in [
        ("batch = 5", "batch (FILE:1): is a section, not a key: write [batch] and its keys below"),
        ("\"batch.max_size\" = 5", "\"batch.max_size\" (FILE:1): unknown key; did you mean batch.max_size?"),
        ("\"\\u001b[31m\" = 5", "\"\\u{1b}[31m\" (FILE:1): unknown key; config/default.toml lists all keys"),
        (
            "[[batch]]\nmax_size = 5",
            "batch (FILE:1): is a section, not a key: write [batch] and its keys below",
        ),
        ("[batch]\nmax-size = 5", "batch.max-size (FILE:2): unknown key; did you mean batch.max_size?"),
        ("[Batch]\nmax_size = 5", "Batch.max_size (FILE:2): unknown key; did you mean batch.max_size?"),
        (
            "[batch.max_size]\nx = 5",
            "batch.max_size (FILE:1): a section is not accepted; expected a whole number from 1 to 100",
        ),
        ("[batch\n", "FILE: TOML parse error at line 1, column 7: unclosed table, expected `]`"),
    ] {
        assert_eq!(rejected(toml, &[], NOTHING), [problem], "{toml}");
    }
}

#[test]
fn unknown_variables_are_rejected() {
    for (name, problem) in [
        ("COURSE_SYNC__BATCH__MAXSIZE", "did you mean COURSE_SYNC__BATCH__MAX_SIZE?"),
        ("COURSE_SYNC__MAX_SIZE", "the names are COURSE_SYNC__SECTION__KEY, with two underscores each"),
        ("course_sync__batch__max_size", "did you mean COURSE_SYNC__BATCH__MAX_SIZE?"),
        ("COURSE_SYNC_DATABASE_URL", "did you mean COURSE_SYNC__DATABASE__URL?"),
        ("COURSE_SYNC_CONFIGS", "did you mean COURSE_SYNC_CONFIG?"),
        ("COURSE_SYNC_PORT", "the names are COURSE_SYNC__SECTION__KEY, with two underscores each"),
    ] {
        assert_eq!(rejected("", &[(name, "5")], NOTHING), [format!("{name}: unknown variable; {problem}")]);
    }
}

#[test]
fn unrelated_and_empty_variables_are_ignored() {
    valid(
        "",
        &[
            ("PATH", "/bin"),
            ("COURSE_SYNC__BATCH__MAX_SIZE", ""),
            ("COURSE_SYNC__BATCH__MXA_SIZE", ""),
            // Kubernetes sets these in every pod next to a Service named course-sync.
            ("COURSE_SYNC_SERVICE_HOST", "10.0.0.7"),
            ("COURSE_SYNC_SERVICE_PORT", "9464"),
            ("COURSE_SYNC_SERVICE_PORT_METRICS", "9464"),
            ("COURSE_SYNC_PORT", "tcp://10.0.0.7:9464"),
            ("COURSE_SYNC_PORT_9464_TCP", "tcp://10.0.0.7:9464"),
            ("COURSE_SYNC_PORT_9464_TCP_ADDR", "10.0.0.7"),
            ("COURSE_SYNC_DB_SERVICE_HOST", "10.0.0.8"),
        ],
    );
}

#[test]
fn text_that_is_not_utf8_is_reported_and_not_shown() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let mut env: Vec<_> = CREDENTIALS.map(|(name, value)| (name.into(), value.into())).to_vec();
    env.push(("COURSE_SYNC__LOG__FILTER".into(), OsString::from_vec(b"canary\xff".to_vec())));
    env.push((OsString::from_vec(b"COURSE_SYNC__\xff".to_vec()), "x".into()));
    env.push((OsString::from_vec(b"OTHER\xff".to_vec()), OsString::from_vec(b"\xff".to_vec())));
    let text = Config::load(&Sources { file: None, env }, EVERYTHING).unwrap_err().to_string();
    assert_eq!(
        text,
        "the configuration has 2 problems:
  1. COURSE_SYNC__LOG__FILTER: the value is not valid UTF-8 (not shown)
  2. COURSE_SYNC__\u{fffd}: the variable's name is not valid UTF-8"
    );
}
