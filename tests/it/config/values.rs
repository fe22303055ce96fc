//! Each key's type and range, and what must hold between keys.

use std::time::Duration;

use course_sync::config::{ApiVersion, KEYS, LogFormat, Percent, Unconfirmed};

use super::{EVERYTHING, NOTHING, good, load, refused};

/// The variable that sets `key`.
fn variable(key: &str) -> String {
    format!("COURSE_SYNC__{}", key.replace('.', "__").to_uppercase())
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = good("", &[]);
    assert_eq!((config.database.max_connections, config.database.migrate), (6, true));
    assert!(config.database.url.is_none() && config.hubspot.credentials.is_none());
    assert_eq!(config.hubspot.base_url, "https://api.hubapi.com");
    assert_eq!(config.hubspot.api_version, ApiVersion::V3);
    assert_eq!(config.hubspot.unique_property, None);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.hubspot.request_timeout, Duration::from_secs(20));
    assert_eq!((config.batch.max_size, config.batch.max_bytes), (100, 2_097_152));
    assert_eq!((config.batch.linger, config.batch.max_in_flight), (Duration::from_millis(50), 32));
    assert_eq!((config.rate_limit.requests, config.rate_limit.per), (190, Duration::from_secs(10)));
    assert_eq!(config.rate_limit.daily_reserve, Percent::new(5));
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
fn values_that_are_accepted() {
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
            good("", &[(&variable(key), value)]);
        }
    }
}

#[test]
fn values_that_are_refused() {
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
            "expected https, since the token",
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
        ("log.filter", &["=", "info,course_sync=loud", " "], "expected a level"),
    ] {
        for value in values {
            let env = [(variable(key), *value)];
            let finding = if value.is_empty() {
                refused(&format!("{key} = \"\""), &[], NOTHING)
            } else {
                refused("", &[(&env[0].0, value)], NOTHING)
            };
            assert_eq!(finding.len(), 1, "{key} = {value:?}: {finding:?}");
            assert!(finding[0].starts_with(&format!("{key} (")), "{finding:?}");
            assert!(finding[0].contains(&format!("{value:?} is not accepted; {expected}")), "{finding:?}");
        }
    }
}

#[test]
fn toml_has_types_and_they_are_kept() {
    let toml = "batch = { max_size = 10, max_bytes = 4096 }\noutbox.listen = false\nretry.multiplier = 3\n\
                admin.hosts = [\"A.example\", \"b.example\"]\nrate_limit.requests = \"100\"\n";
    let config = good(toml, &[]);
    assert_eq!((config.batch.max_size, config.batch.max_bytes), (10, 4096));
    assert!(!config.outbox.listen);
    assert!((config.retry.multiplier - 3.0).abs() < f64::EPSILON);
    assert_eq!(config.admin.hosts, ["a.example", "b.example"]);
    assert_eq!(config.rate_limit.requests, 100);
    for (toml, finding) in [
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
        let findings = refused(toml, &[], NOTHING);
        assert!(findings.iter().any(|one| one.contains(finding)), "{toml}: {findings:?}");
    }
}

#[test]
fn values_come_out_as_they_will_be_used() {
    let config = good(
        "hubspot.base_url = \"HTTPS://API.HubAPI.com//\"\nhubspot.unique_property = \"k\"\noutbox.retention = \"keep\"",
        &[("COURSE_SYNC__HUBSPOT__API_VERSION", "2026-03")],
    );
    assert_eq!(config.hubspot.base_url, "https://api.hubapi.com");
    assert_eq!(config.hubspot.api_version.to_string(), "2026-03");
    assert_eq!(config.outbox.retention, None);
    assert_eq!(good("outbox.history_retention = \"keep\"", &[]).outbox.history_retention, None);
    assert_eq!(good("rate_limit.daily_reserve = \"2.5%\"", &[]).rate_limit.daily_reserve.of(1001), 26);
    assert_eq!(Percent::new(5).to_string(), "5%");
}

#[test]
fn a_short_request_timeout_alone_shortens_the_time_to_connect() {
    let config = good("hubspot.request_timeout = \"2s\"", &[]);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(1));
    let config = good("hubspot.request_timeout = \"2m\"", &[]);
    assert_eq!(config.hubspot.connect_timeout, Duration::from_secs(5));
}

#[test]
fn what_must_hold_between_keys() {
    for (toml, finding) in [
        (
            "hubspot.connect_timeout = \"20s\"",
            "hubspot.connect_timeout (FILE:1): must be below hubspot.request_timeout (20s), or a failed connection \
             looks like a lost answer",
        ),
        (
            "retry.max_interval = \"10ms\"",
            "retry.max_interval (FILE:1): must not be below retry.initial_interval (1s)",
        ),
        (
            "outbox.retention = \"30d\"",
            "outbox.retention (FILE:1): needs hubspot.unique_property: without it, a course whose row was deleted \
             and that is enqueued again would be created twice",
        ),
        (
            "outbox.history_retention = \"5s\"",
            "outbox.history_retention (FILE:1): must not be below rate_limit.per (10s), which a restart reads from \
             the history",
        ),
    ] {
        assert_eq!(refused(toml, &[], NOTHING), [finding]);
    }
}

#[test]
fn contradictions_are_told_beside_all_other_problems() {
    let toml = "outbox.retention = \"30d\"\noutbox.history_retention = \"5s\"\nbatch.max_size = 0\nadmin.listen = \"x\"";
    let found = refused(toml, &[], EVERYTHING);
    for named in [
        "outbox.retention",
        "outbox.history_retention",
        "batch.max_size",
        "admin.listen",
        "database.url",
        "hubspot.access_token",
    ] {
        assert!(found.iter().any(|finding| finding.starts_with(named)), "{named} is not among {found:#?}");
    }
}

#[test]
fn warnings_name_both_settings_and_the_consequence() {
    let quiet = "hubspot.unique_property = \"course_key\"\n";
    assert_eq!(good(quiet, &[]).warnings(), [""; 0]);
    let local = [("COURSE_SYNC__HUBSPOT__BASE_URL", "http://127.0.0.1:1")];
    assert_eq!(good(quiet, &local).warnings(), [""; 0]);
    let slow = good(&format!("{quiet}hubspot.request_timeout = \"30s\"\n"), &[]).warnings();
    assert_eq!(
        slow,
        [
            "hubspot.request_timeout (30s) is not below what shutdown.grace leaves to requests (22s 500ms): a slow \
             request is cut off at shutdown and its courses become unconfirmed",
            "hubspot.request_timeout (30s) is not below outbox.lease (30s): a slow request may outlive the lease it \
             was sent under",
        ]
    );
    let hold = good("", &[]).warnings();
    assert!(hold.len() == 1 && hold[0].contains("held for a person"), "{hold:?}");
    let resend = good("outbox.unconfirmed = \"resend\"", &[]).warnings();
    assert!(resend.len() == 1 && resend[0].contains("may create its courses twice"), "{resend:?}");
}

#[test]
fn no_value_of_any_key_does_more_than_be_refused() {
    let odd = [
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
    for key in KEYS {
        for value in odd.map(str::to_owned).into_iter().chain([" ".repeat(99), "9".repeat(9999)]) {
            let problems = load("", &[(&variable(key), &value)], EVERYTHING).unwrap_err();
            let shown = problems.join("\n");
            assert!(
                shown.len() < 3000 && !shown.contains(['\u{0}', '\u{1b}', '\u{202e}']),
                "{key}: {shown:?}"
            );
        }
    }
}
