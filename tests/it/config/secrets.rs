//! Secrets from values and files: re-read, and never shown.

use std::fs;

use course_sync::config::{Config, Credentials, SecretSource};
use secrecy::ExposeSecret as _;

use super::{CREDENTIALS, EVERYTHING, NOTHING, file, load, rejected, sources, valid};

const CANARY: &str = "pat-na1-canary-4711";

fn token(config: &Config) -> &SecretSource {
    match &config.hubspot.credentials {
        Some(Credentials::AccessToken(token)) => token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_file_is_read_again_at_every_read() {
    let secret = file("pat-na1-first\n");
    let path = secret.path().to_str().unwrap();
    let config = valid("", &[("HUBSPOT_ACCESS_TOKEN_FILE", path)]);
    assert_eq!(token(&config).read().unwrap().expose_secret(), "pat-na1-first");
    fs::write(secret.path(), "pat-na1-second\r\n").unwrap();
    assert_eq!(token(&config).read().unwrap().expose_secret(), "pat-na1-second");
    fs::remove_file(secret.path()).unwrap();
    let error = token(&config).read().unwrap_err().to_string();
    assert_eq!(error, format!("hubspot.access_token: the file {path} does not exist"));
}

#[test]
fn a_token_keeps_its_leading_zeros() {
    let config = valid("", &[("HUBSPOT_ACCESS_TOKEN", "00123\n")]);
    assert_eq!(token(&config).read().unwrap().expose_secret(), "00123");
    assert_eq!(
        rejected("hubspot.access_token = 123", &[], NOTHING),
        ["hubspot.access_token (FILE:1): expected text in quotes (the value is not shown)"]
    );
}

#[test]
fn a_secret_overrides_its_file_in_a_lower_layer_and_the_other_way_round() {
    let secret = file("pat-na1-of-file");
    let path = secret.path().to_str().unwrap();
    let config =
        valid(&format!("hubspot.access_token_file = {path:?}"), &[("HUBSPOT_ACCESS_TOKEN", "of-env")]);
    assert_eq!(token(&config).read().unwrap().expose_secret(), "of-env");
    let env = [("COURSE_SYNC__HUBSPOT__ACCESS_TOKEN_FILE", path)];
    let config = valid("hubspot.access_token = \"of-toml\"", &env);
    assert_eq!(token(&config).read().unwrap().expose_secret(), "pat-na1-of-file");
}

#[test]
fn contradicting_credentials_are_rejected() {
    let path = "/run/secrets/x";
    let both = [("HUBSPOT_ACCESS_TOKEN", "x"), ("HUBSPOT_ACCESS_TOKEN_FILE", path)];
    assert_eq!(
        rejected("", &both, NOTHING),
        ["hubspot.access_token (HUBSPOT_ACCESS_TOKEN): contradicts hubspot.access_token_file \
          (HUBSPOT_ACCESS_TOKEN_FILE): give the secret or its file, not both"]
    );
    assert_eq!(
        rejected("[hubspot.oauth]\nclient_id = \"id\"\n", &[("HUBSPOT_ACCESS_TOKEN", "x")], NOTHING),
        [
            "hubspot.access_token (HUBSPOT_ACCESS_TOKEN): contradicts hubspot.oauth, which is set too: use the token \
          or OAuth, not both"
        ]
    );
    assert_eq!(
        rejected("[hubspot.oauth]\nclient_id = \"id\"\n", &[], NOTHING),
        ["client_secret", "refresh_token"].map(|part| format!(
            "hubspot.oauth.{part}: is not set; OAuth needs all three: hubspot.oauth.client_id, .client_secret and \
             .refresh_token"
        ))
    );
}

#[test]
fn secret_files_that_a_command_does_not_need_are_not_read() {
    let env = [("DATABASE_URL_FILE", "/no/such/file"), ("HUBSPOT_ACCESS_TOKEN_FILE", "/no/such/file")];
    valid("", &env);
    assert_eq!(
        rejected("", &env, EVERYTHING),
        [
            "database.url_file (DATABASE_URL_FILE): the file /no/such/file does not exist",
            "hubspot.access_token_file (HUBSPOT_ACCESS_TOKEN_FILE): the file /no/such/file does not exist",
        ]
    );
}

#[test]
fn files_without_a_valid_secret_are_rejected() {
    let long = "x".repeat(20_000);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let cases = [
        ("", "is empty"),
        ("\n", "is empty"),
        ("two words", "contains spaces, line breaks or non-ASCII characters"),
        ("two\nlines", "contains spaces, line breaks or non-ASCII characters"),
        ("tökén", "contains spaces, line breaks or non-ASCII characters"),
        (&long, "is longer than 16 KiB"),
    ];
    for (text, problem) in cases {
        let secret = file(text);
        let path = secret.path().to_str().unwrap();
        let env = [CREDENTIALS[0], ("HUBSPOT_ACCESS_TOKEN_FILE", path)];
        let problems = rejected("", &env, EVERYTHING);
        assert!(problems[0].contains(&format!("the file {path} {problem}")), "{problems:?}");
    }
    let problems = rejected("", &[CREDENTIALS[0], ("HUBSPOT_ACCESS_TOKEN_FILE", folder)], EVERYTHING);
    assert!(problems[0].ends_with("is not a regular file"), "{problems:?}");
}

#[test]
fn an_invalid_database_url_is_rejected_and_not_shown() {
    for (url, problem) in [
        ("mysql://u:canary@db/x", "must start with postgres:// or postgresql://"),
        (
            "postgres://u:canary@[db/x",
            "is not a valid URL; special characters in the password must be percent-encoded",
        ),
        (
            "postgres://u:can/ary@[db/x",
            "has no valid port; special characters in the password must be percent-encoded",
        ),
        (
            "postgres://u:canary@db:notaport/x",
            "has no valid port; special characters in the password must be percent-encoded",
        ),
        (
            "postgres://u:canary@db/x?sslmode=bogus",
            "has an unknown sslmode; use disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "postgres://u:can ary@db/x",
            "contains spaces, line breaks or non-ASCII characters: check how it was copied",
        ),
    ] {
        let expected = format!("database.url (DATABASE_URL): {problem} (the value is not shown)");
        assert_eq!(rejected("", &[("DATABASE_URL", url)], NOTHING), [expected]);
    }
    valid("", &[("DATABASE_URL", "postgresql:///catalogue?host=/run/postgresql")]);
    valid("", &[("DATABASE_URL", "postgres://u@db/x?sslmode=verify-full")]);
}

#[test]
fn parameters_of_the_database_url_are_honoured_or_rejected_by_name() {
    let cases: &[(&str, &[&str])] = &[
        ("target_session_attrs=read-write", &["target_session_attrs", "the address of the primary"]),
        ("channel_binding=require", &["channel_binding", "sslmode=verify-full"]),
        ("gssencmode=require", &["gssencmode", "GSSAPI"]),
        ("sslpassword=canary", &["sslpassword", "decrypt"]),
        ("canary=canary&sslpassword=canary", &["unknown parameter, which is not shown", "sslpassword"]),
        ("password=a&canary", &["unknown parameter, which is not shown"]),
        ("connect_timeout=10&pool_size=canary", &["connect_timeout", "pool_size"]),
        ("sslrootcert=system&sslmode=require", &["sslrootcert=system, which needs sslmode=verify-full"]),
        ("host=a,b", &["several hosts"]),
        ("port=canary", &["no valid port"]),
        ("hostaddr=canary", &["no IP address"]),
        ("ssl-mode=canary", &["unknown sslmode"]),
        ("application_name=%ff", &["not UTF-8"]),
    ];
    for (query, expected) in cases {
        let url = format!("postgres://u:canary@db/x?{query}");
        let problems = rejected("", &[("DATABASE_URL", &url)], NOTHING);
        assert_eq!(problems.len(), 1, "{query}: {problems:?}");
        assert!(problems[0].starts_with("database.url (DATABASE_URL): "), "{problems:?}");
        assert!(!problems[0].contains("canary"), "{query}: {problems:?}");
        for part in *expected {
            assert!(problems[0].contains(part), "{query}: {problems:?}");
        }
    }
    for query in [
        "",
        "sslmode=require&channel_binding=prefer",
        "sslrootcert=system",
        "sslrootcert=system&sslmode=verify-full",
        "target_session_attrs=any&gssencmode=disable",
        "user=me@server&password=p@ss",
        "options=-c%20geqo%3Doff&options[work_mem]=8MB",
        "fallback_application_name=x&client_encoding=utf8",
    ] {
        valid("", &[("DATABASE_URL", &format!("postgres://u@db/x?{query}"))]);
    }
    valid("", &[("DATABASE_URL", "postgres://u:p@ss@db/x")]);
}

#[test]
fn an_unencoded_character_in_the_database_password_is_rejected_and_not_shown() {
    for password in [
        "12?canary",
        "12#canary",
        "12/canary",
        "canary?x",
        "canary#x",
        "canary/x",
        "12?canary&x=1",
        "12?a=canary",
        "12?sslmode=canary",
        "12?canary@x",
        "1@2?canary",
        "12/x?canary",
        "12?canary#x",
    ] {
        let url = format!("postgres://u:{password}@db:5432/x?sslmode=disable");
        let problems = rejected("", &[("DATABASE_URL", &url)], NOTHING);
        assert!(!problems.concat().contains("canary"), "{password}: {problems:?}");
    }
    for (url, problem) in [
        ("postgres://u@canary,b:5432/x", "several hosts"),
        ("postgres://u@canary:5432,b:5433/x", "several hosts"),
    ] {
        let problems = rejected("", &[("DATABASE_URL", url)], NOTHING);
        assert!(problems[0].contains(problem) && !problems[0].contains("canary"), "{problems:?}");
    }
}

#[test]
fn no_secret_is_shown() {
    let secret = file(CANARY);
    let path = secret.path().to_str().unwrap();
    let url = format!("postgres://u:{CANARY}@db/x");
    let config = load("", &[("DATABASE_URL", &url), ("HUBSPOT_ACCESS_TOKEN", CANARY)], EVERYTHING).unwrap();
    let shown = format!("{config:?}{:?}", config.warnings());
    assert!(!shown.contains("canary") && shown.contains("[secret]"), "{shown}");

    let quoted = format!("\"{CANARY}\"");
    for toml in [
        format!("hubspot.access_token = {CANARY}"),
        format!("hubspot.access_token = \"{CANARY}"),
        format!("hubspot.access_token = \"{CANARY}\\q\""),
        format!("hubspot.access_token = [{quoted}]"),
        format!("hubspot.access_token = {{ a = {quoted} }}"),
        format!("hubspot.access_token = \"{CANARY} \""),
        format!("hubspot.access_token = {quoted}\nhubspot.access_token = {quoted}"),
        format!("hubspot.acess_token = {quoted}"),
        format!("hubspot.base_url = {quoted}"),
        format!("hubspot.base_url = \"https://u:{CANARY}@h.example\""),
        format!("hubspot.unique_property = {quoted}"),
        format!("hubspot.oauth.client_secret = {quoted}"),
        format!("admin.hosts = [{quoted}, 5]"),
        format!("log.filter = \"info,{CANARY}=loud\""),
        format!("database.url = {quoted}"),
        format!("hubspot.access_token = {quoted}\nhubspot.access_token_file = {path:?}"),
        quoted.clone(),
    ] {
        let problems = rejected(&toml, &[], NOTHING).join("\n");
        assert!(!problems.contains("canary"), "{toml}: {problems}");
    }
    let env = [("COURSE_SYNC_HUBSPOT_ACCESS_TOKEN", CANARY), ("COURSE_SYNC__BATCH__MAX_SIZE", CANARY)];
    for misplaced in [CANARY, "0000-canary", &url] {
        let problems = rejected("", &[CREDENTIALS[0], ("HUBSPOT_ACCESS_TOKEN_FILE", misplaced)], EVERYTHING);
        assert!(!problems.concat().contains("canary"), "{problems:?}");
    }
    assert!(!format!("{:?}", sources(None, &env)).contains("canary"));
    let error = Config::load(&sources(None, &env), EVERYTHING).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn a_secret_file_open_to_every_user_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = file(CANARY);
    let path = secret.path().to_str().unwrap();
    let config = valid("hubspot.unique_property = \"k\"", &[("HUBSPOT_ACCESS_TOKEN_FILE", path)]);
    for (mode, word) in [(0o600, None), (0o640, None), (0o644, Some("read")), (0o666, Some("changed"))] {
        fs::set_permissions(secret.path(), fs::Permissions::from_mode(mode)).unwrap();
        let expected = word.map(|word| {
            format!(
                "hubspot.access_token_file: {path} can be {word} by every user of this machine; chmod 600 it \
                 (Kubernetes: fsGroup, and defaultMode 0440)"
            )
        });
        assert_eq!(config.warnings(), Vec::from_iter(expected));
    }
}
