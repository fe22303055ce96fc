//! The type and range of each key, and contradictions between keys.

use std::time::Duration;

use course_sync::config::{ApiVersion, KEYS, LogFormat, Unconfirmed};

use super::{EVERYTHING, NOTHING, load, rejected, valid};

/// The variable that sets `key`.
fn variable(key: &str) -> String {
    format!("COURSE_SYNC__{}", key.replace('.', "__").to_uppercase())
}

#[test]
fn defaults_have_their_documented_values() {
    let config = valid("", &[]);
    assert_eq!((config.database.max_connections, config.database.migrate), (6, true));
    assert!(config.database.url.is_none() && config.hubspot.credentials.is_none());
    assert_eq!(config.hubspot.base_url, "https://api.hubapi.com");
    assert_eq!(config.hubspot.api_version, ApiVersion::V3);
    assert_eq!(config.hubspot.unique_property, None);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.hubspot.request_timeout, Duration::from_secs(20));
    assert_eq!((config.batch.max_size, config.batch.max_bytes), (100, 2_097_152));
    assert_eq!((config.batch.linger, config.batch.max_in_flight), (Duration::from_millis(500), 32));
    assert_eq!((config.rate_limit.requests, config.rate_limit.per), (190, Duration::from_secs(10)));
    assert_eq!(config.rate_limit.daily_reserve.of(10_000), 500);
    assert_eq!(config.retry.initial_interval, Duration::from_secs(1));
    assert_eq!(config.retry.max_interval, Duration::from_mins(10));
    assert!((config.retry.multiplier - 2.0).abs() < f64::EPSILON);
    assert_eq!(config.retry.max_attempts, 8);
    assert_eq!((config.outbox.poll_interval, config.outbox.listen), (Duration::from_secs(1), true));
    assert_eq!(
        (config.outbox.lease, config.outbox.settle),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!(config.outbox.unconfirmed, Unconfirmed::Hold);
    assert_eq!(config.outbox.retention, None);
    assert_eq!(config.outbox.history_retention, Some(Duration::from_hours(90 * 24)));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert!(config.admin.hosts.is_empty());
    assert_eq!(config.shutdown.grace, Duration::from_secs(25));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Auto, "info"));
}

#[test]
fn valid_values_are_accepted() {
    for (key, values) in [
        ("database.max_connections", &["2", "1000"][..]),
        ("database.migrate", &["true", "false"]),
        (
            "hubspot.base_url",
            &[
                "https://proxy.example:8443/hubspot/",
                "http://127.0.0.1:9465",
                "http://[::1]:1",
                "http://localhost",
            ],
        ),
        ("hubspot.api_version", &["v3", "2026-03", "2026-09-beta"]),
        ("hubspot.unique_property", &["course_key", "a", "k9_"]),
        ("batch.max_size", &["1", "100"]),
        ("batch.max_bytes", &["1024", "512KiB", "1MB", "2MiB", "2mib"]),
        ("batch.linger", &["0s", "0ms", "1m"]),
        ("rate_limit.per", &["10s", "1m 30s", "250ms"]),
        ("rate_limit.daily_reserve", &["0%", "5%", "2.5%", "99.99%"]),
        ("retry.multiplier", &["1", "1.5", "2.0"]),
        ("outbox.unconfirmed", &["hold", "resend"]),
        ("outbox.history_retention", &["keep", "90d", "1y"]),
        ("admin.listen", &["0.0.0.0:9464", "[::]:0"]),
        ("admin.hosts", &["courses.example.com", "a.example, b.example"]),
        ("log.format", &["auto", "pretty", "json"]),
        ("log.filter", &["info", "warn,course_sync=debug", "off"]),
    ] {
        for value in values {
            valid("", &[(&variable(key), value)]);
        }
    }
}

#[test]
fn invalid_values_are_rejected() {
    let whole = "expected a whole number from";
    for (key, values, expected) in [
        (
            "database.max_connections",
            &["0", "-1", "+6", "6.0", "1e2", " 6", "six", "99999999999999999999"][..],
            whole,
        ),
        ("database.migrate", &["yes", "1", "True"], "expected true or false"),
        ("hubspot.base_url", &["api.hubapi.com", "/crm", ""], "expected a URL such as"),
        (
            "hubspot.base_url",
            &["http://api.hubapi.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "ftp://localhost"],
            "expected https, because every request carries the token",
        ),
        ("hubspot.base_url", &["https://h.example/?a=b", "https://h.example/#x"], "expected a URL without"),
        (
            "hubspot.api_version",
            &["3", "V3", "2026", "2026-13", "2026-00", "2026-3", "2026-03-alpha"],
            "expected \"v3\" or a date",
        ),
        (
            "hubspot.unique_property",
            &["Course_Key", "9key", "course-key", "schlüssel", "_key"],
            "expected a property's internal name",
        ),
        ("batch.max_size", &["0", "101", "99.6", "true"], "expected a whole number from 1 to 100"),
        ("batch.max_bytes", &["2M", "1.5MiB", "MiB", "1023", "1GiB", "-1"], "expected a size such as"),
        ("batch.max_in_flight", &["0"], whole),
        ("rate_limit.requests", &["0"], whole),
        ("rate_limit.per", &["0s", "25h", "ten seconds", "10 bananas"], "expected a duration such as"),
        ("rate_limit.per", &["10", "0"], "expected a unit after the number"),
        (
            "rate_limit.daily_reserve",
            &["5", "100%", "-1%", "5.125%", "%", "5 %", "0.05"],
            "expected a percentage",
        ),
        ("retry.multiplier", &["0.9", "inf", "NaN", "1e1", "two", "101"], "expected a number from 1 to 100"),
        ("retry.max_attempts", &["0"], whole),
        ("outbox.unconfirmed", &["Hold", "drop"], "expected \"hold\" or \"resend\""),
        ("outbox.history_retention", &["forever", "11y", "0s"], "expected \"keep\" or a duration"),
        ("admin.listen", &["localhost:9464", "9464", "127.0.0.1"], "expected an address with its port"),
        ("admin.hosts", &["https://a.example", "a.example:80", "a.example,,b"], "expected host names"),
        ("log.format", &["text"], "expected \"auto\" or \"pretty\" or \"json\""),
        (
            "log.filter",
            &[
                "=",
                "info,course_sync=loud",
                " ",
                "*",
                "*=debug",
                "[batch]=debug",
                "info,course_sync[batch]=debug",
                "#x",
            ],
            "expected a level",
        ),
    ] {
        for value in values {
            let env = [(variable(key), *value)];
            let problem = if value.is_empty() {
                rejected(&format!("{key} = \"\""), &[], NOTHING)
            } else {
                rejected("", &[(&env[0].0, value)], NOTHING)
            };
            assert_eq!(problem.len(), 1, "{key} = {value:?}: {problem:?}");
            assert!(problem[0].starts_with(&format!("{key} (")), "{problem:?}");
            assert!(problem[0].contains(&format!("{value:?} is not accepted; {expected}")), "{problem:?}");
        }
    }
}

#[test]
fn toml_types_are_checked() {
    let toml = "batch = { max_size = 10, max_bytes = 4096 }\noutbox.listen = false\nretry.multiplier = 3\n\
                admin.hosts = [\"A.example\", \"b.example\"]\nrate_limit.requests = \"100\"\n";
    let config = valid(toml, &[]);
    assert_eq!((config.batch.max_size, config.batch.max_bytes), (10, 4096));
    assert!(!config.outbox.listen);
    assert!((config.retry.multiplier - 3.0).abs() < f64::EPSILON);
    assert_eq!(config.admin.hosts, ["a.example", "b.example"]);
    assert_eq!(config.rate_limit.requests, 100);
    for (toml, problem) in [
        ("batch.max_size = 99.6", "99.6 is not accepted; expected a whole number"),
        ("batch.max_size = true", "true is not accepted; expected a whole number"),
        ("batch.max_size = -5", "-5 is not accepted; expected a whole number"),
        ("batch.max_size = [5]", "[5] is not accepted; expected a whole number"),
        ("outbox.listen = 1", "1 is not accepted; expected true or false"),
        ("retry.multiplier = nan", "NaN is not accepted; expected a number"),
        ("hubspot.unique_property = 5", "5 is not accepted; expected text in quotes"),
        ("hubspot.oauth.client_id = 5", "5 is not accepted; expected text in quotes"),
        ("rate_limit.daily_reserve = 5", "5 is not accepted; expected a percentage"),
        ("admin.hosts = [\"a\", 5]", "[\"a\", 5] is not accepted; expected a list of texts in quotes"),
        ("admin.listen = {}", "a section is not accepted; expected text in quotes"),
    ] {
        let problems = rejected(toml, &[], NOTHING);
        assert!(problems.iter().any(|one| one.contains(problem)), "{toml}: {problems:?}");
    }
}

#[test]
fn values_are_normalized() {
    let config = valid(
        "hubspot.base_url = \"HTTPS://API.HubAPI.com//\"\nhubspot.unique_property = \"k\"\noutbox.retention = \"keep\"",
        &[("COURSE_SYNC__HUBSPOT__API_VERSION", "2026-03")],
    );
    assert_eq!(config.hubspot.base_url, "https://api.hubapi.com");
    assert_eq!(config.hubspot.api_version.to_string(), "2026-03");
    assert_eq!(config.outbox.retention, None);
    assert_eq!(valid("outbox.history_retention = \"keep\"", &[]).outbox.history_retention, None);
    assert_eq!(valid("rate_limit.daily_reserve = \"2.5%\"", &[]).rate_limit.daily_reserve.of(1001), 26);
}

#[test]
fn default_connect_timeout_is_at_most_half_of_request_timeout() {
    let config = valid("hubspot.request_timeout = \"2s\"", &[]);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(1));
    let config = valid("hubspot.request_timeout = \"2m\"", &[]);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(5));
}

#[test]
fn contradictions_between_keys_are_rejected() {
    for (toml, problem) in [
        (
            "hubspot.connect_timeout = \"20s\"",
            "hubspot.connect_timeout (FILE:1): must be below hubspot.request_timeout (20s), otherwise a failed \
             connection is treated as a lost response",
        ),
        (
            "retry.max_interval = \"10ms\"",
            "retry.max_interval (FILE:1): must not be below retry.initial_interval (1s)",
        ),
        (
            "outbox.retention = \"30d\"",
            "outbox.retention (FILE:1): needs hubspot.unique_property: without it, a course whose row was deleted \
             would be created twice if it is enqueued again",
        ),
        (
            "outbox.history_retention = \"5s\"",
            "outbox.history_retention (FILE:1): must not be below rate_limit.per (10s): after a restart, requests \
             in this window are counted from the history",
        ),
    ] {
        assert_eq!(rejected(toml, &[], NOTHING), [problem]);
    }
}

#[test]
fn contradictions_are_reported_with_all_other_problems() {
    let toml = "outbox.retention = \"30d\"\noutbox.history_retention = \"5s\"\nbatch.max_size = 0\nadmin.listen = \"x\"";
    let found = rejected(toml, &[], EVERYTHING);
    for named in [
        "outbox.retention",
        "outbox.history_retention",
        "batch.max_size",
        "admin.listen",
        "database.url",
        "hubspot.access_token",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(named)), "{named} is not among {found:#?}");
    }
}

#[test]
fn warnings_name_the_settings_and_the_consequence() {
    let quiet = "hubspot.unique_property = \"course_key\"\n";
    assert_eq!(valid(quiet, &[]).warnings(), [""; 0]);
    let local = [("COURSE_SYNC__HUBSPOT__BASE_URL", "http://127.0.0.1:1")];
    assert_eq!(valid(quiet, &local).warnings(), [""; 0]);
    let slow = valid(&format!("{quiet}hubspot.request_timeout = \"30s\"\n"), &[]).warnings();
    assert_eq!(
        slow,
        [
            "hubspot.request_timeout (30s) is not below the part of shutdown.grace for open requests (22s 500ms): a slow \
             request is cut off at shutdown and its courses become unconfirmed",
            "hubspot.request_timeout (30s) is not below outbox.lease (30s): a slow request may outlast the lease \
             under which it was sent",
        ]
    );
    let hasty = valid(&format!("{quiet}outbox.settle = \"10s\"\n"), &[]).warnings();
    assert!(hasty[0].starts_with("outbox.settle (10s) is below hubspot.request_timeout (20s)"), "{hasty:?}");
    assert_eq!(hasty.len(), 1);
    let hold = valid("", &[]).warnings();
    assert!(hold.len() == 1 && hold[0].contains("held for an operator"), "{hold:?}");
    let resend = valid("outbox.unconfirmed = \"resend\"", &[]).warnings();
    assert!(resend.len() == 1 && resend[0].contains("may create its courses twice"), "{resend:?}");
}

#[test]
fn odd_values_of_every_key_are_rejected_with_a_short_printable_message() {
    let odd_values = [
        "\u{0}",
        "\u{1b}[31m",
        "-",
        "%",
        "0",
        "18446744073709551616MiB",
        "9999999999999999d",
        "://@",
        "💥",
        "\u{202e}",
    ];
    for key in KEYS.iter() {
        for value in odd_values.map(str::to_owned).into_iter().chain([" ".repeat(99), "9".repeat(9999)]) {
            let problems = load("", &[(&variable(key), &value)], EVERYTHING).unwrap_err();
            let shown = problems.join("\n");
            assert!(
                shown.len() < 3000 && !shown.contains(['\u{0}', '\u{1b}', '\u{202e}']),
                "{key}: {shown:?}"
            );
        }
    }
}
