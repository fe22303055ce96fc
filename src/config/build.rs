//! Builds the settings: each key's type and range, then what must hold between keys.
//!
//! Every key is read before the first `?`, so that one load finds everything.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::keys::{ACCESS_TOKEN, CLIENT_SECRET, DATABASE_URL, REFRESH_TOKEN, SecretKeys};
use super::reader::{Noted, Read, Reader};
use super::settings::{
    Admin, Batch, Config, Credentials, Database, HubSpot, Log, LogFormat, Outbox, RateLimit, Retry, Shutdown,
    Unconfirmed,
};
use super::sources::Needs;
use super::values;

const CLIENT_ID: &str = "hubspot.oauth.client_id";
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Ten years: what is to stay longer is better kept for good.
const LONGEST: Duration = Duration::from_hours(24 * 3650);

pub(super) fn config(r: &mut Reader, needs: Needs) -> Read<Config> {
    let database = database(r, needs.database);
    let hubspot = hubspot(r, needs.hubspot);
    let batch = batch(r);
    let per = r.duration("rate_limit.per", 10 * MILLISECOND..=DAY);
    let rate_limit = rate_limit(r, per);
    let retry = retry(r);
    let outbox = outbox(r, per);
    let admin = admin(r);
    let shutdown = r.duration("shutdown.grace", Duration::ZERO..=HOUR).map(|grace| Shutdown { grace });
    let log = log(r);
    Ok(Config {
        database: database?,
        hubspot: hubspot?,
        batch: batch?,
        rate_limit: rate_limit?,
        retry: retry?,
        outbox: outbox?,
        admin: admin?,
        shutdown: shutdown?,
        log: log?,
    })
}

fn database(r: &mut Reader, needed: bool) -> Read<Database> {
    if needed && !has_secret(r, DATABASE_URL) {
        r.reject(
            DATABASE_URL.0,
            "is not set; set DATABASE_URL, or DATABASE_URL_FILE to a file that holds it",
        );
    }
    let url = r.secret(DATABASE_URL, needed, values::database_url);
    let max_connections = r.number("database.max_connections", 2..=1000);
    let migrate = r.switch("database.migrate");
    Ok(Database { url: url?, max_connections: max_connections?, migrate: migrate? })
}

fn hubspot(r: &mut Reader, needed: bool) -> Read<HubSpot> {
    let base_url = r.text("hubspot.base_url", values::base_url);
    let api_version = r.text("hubspot.api_version", values::api_version);
    let credentials = credentials(r, needed);
    let unique_property = r.optional("hubspot.unique_property", |r, key| r.text(key, values::property_name));
    let mut connect_timeout = r.duration("hubspot.connect_timeout", MILLISECOND..=10 * MINUTE);
    let request_timeout = r.duration("hubspot.request_timeout", MILLISECOND..=10 * MINUTE);
    if let (Ok(connect), Ok(request)) = (&mut connect_timeout, &request_timeout)
        && r.is_built_in("hubspot.connect_timeout")
    {
        *connect = (*connect).min(*request / 2);
    }
    if let (Ok(connect), Ok(request)) = (connect_timeout, request_timeout)
        && connect >= request
    {
        r.reject(
            "hubspot.connect_timeout",
            format!(
                "must be below hubspot.request_timeout ({}), or a failed connection looks like a lost answer",
                humantime::format_duration(request)
            ),
        );
    }
    Ok(HubSpot {
        base_url: base_url?,
        api_version: api_version?,
        credentials: credentials?,
        unique_property: unique_property?,
        connect_timeout: connect_timeout?,
        request_timeout: request_timeout?,
    })
}

fn has_secret(r: &Reader, (value, file): SecretKeys) -> bool {
    r.has(value) || r.has(file)
}

/// None at all is a problem only where they are `needed`.
fn credentials(r: &mut Reader, needed: bool) -> Read<Option<Credentials>> {
    let token = has_secret(r, ACCESS_TOKEN);
    let oauth = r.has(CLIENT_ID) || has_secret(r, CLIENT_SECRET) || has_secret(r, REFRESH_TOKEN);
    let (key, problem) = match (token, oauth) {
        (true, false) => {
            return Ok(r.secret(ACCESS_TOKEN, needed, |_| Ok(()))?.map(Credentials::AccessToken));
        }
        (false, true) => return self::oauth(r, needed).map(Some),
        (false, false) if !needed => return Ok(None),
        (false, false) => (
            ACCESS_TOKEN.0,
            "is not set; set HUBSPOT_ACCESS_TOKEN, or HUBSPOT_ACCESS_TOKEN_FILE to a file that holds it (or the \
             three keys of hubspot.oauth)",
        ),
        (true, true) => (
            if r.has(ACCESS_TOKEN.0) { ACCESS_TOKEN.0 } else { ACCESS_TOKEN.1 },
            "contradicts hubspot.oauth, which is set too: use the token or OAuth, not both",
        ),
    };
    r.reject(key, problem);
    Err(Noted)
}

fn oauth(r: &mut Reader, needed: bool) -> Read<Credentials> {
    for part in [(CLIENT_ID, CLIENT_ID), CLIENT_SECRET, REFRESH_TOKEN] {
        if !has_secret(r, part) {
            r.reject(
                part.0,
                "is not set; OAuth needs all three: hubspot.oauth.client_id, .client_secret and .refresh_token",
            );
        }
    }
    let client_id = r.optional(CLIENT_ID, |r, key| {
        r.text(key, |text| match text {
            id if !id.is_empty() && id.chars().all(|c| c.is_ascii_graphic()) => Ok(id.to_owned()),
            _ => Err("the app's client id"),
        })
    });
    let client_secret = r.secret(CLIENT_SECRET, needed, |_| Ok(()));
    let refresh_token = r.secret(REFRESH_TOKEN, needed, |_| Ok(()));
    Ok(Credentials::OAuth {
        client_id: client_id?.ok_or(Noted)?,
        client_secret: client_secret?.ok_or(Noted)?,
        refresh_token: refresh_token?.ok_or(Noted)?,
    })
}

fn batch(r: &mut Reader) -> Read<Batch> {
    let max_size = r.number("batch.max_size", 1..=100);
    let max_bytes = r.size("batch.max_bytes", 1024..=64 * 1024 * 1024);
    let linger = r.duration("batch.linger", Duration::ZERO..=MINUTE);
    let max_in_flight = r.number("batch.max_in_flight", 1..=1000);
    Ok(Batch { max_size: max_size?, max_bytes: max_bytes?, linger: linger?, max_in_flight: max_in_flight? })
}

fn rate_limit(r: &mut Reader, per: Read<Duration>) -> Read<RateLimit> {
    let requests = r.number("rate_limit.requests", 1..=100_000);
    let daily_reserve = r.percent("rate_limit.daily_reserve");
    Ok(RateLimit { requests: requests?, per: per?, daily_reserve: daily_reserve? })
}

fn retry(r: &mut Reader) -> Read<Retry> {
    let initial_interval = r.duration("retry.initial_interval", MILLISECOND..=DAY);
    let max_interval = r.duration("retry.max_interval", MILLISECOND..=30 * DAY);
    let multiplier = r.factor("retry.multiplier", 1.0..=100.0);
    let max_attempts = r.number("retry.max_attempts", 1..=1000);
    if let (Ok(initial), Ok(max)) = (initial_interval, max_interval)
        && max < initial
    {
        let initial = humantime::format_duration(initial);
        r.reject("retry.max_interval", format!("must not be below retry.initial_interval ({initial})"));
    }
    Ok(Retry {
        initial_interval: initial_interval?,
        max_interval: max_interval?,
        multiplier: multiplier?,
        max_attempts: max_attempts?,
    })
}

fn outbox(r: &mut Reader, per: Read<Duration>) -> Read<Outbox> {
    let poll_interval = r.duration("outbox.poll_interval", 10 * MILLISECOND..=HOUR);
    let listen = r.switch("outbox.listen");
    let lease = r.duration("outbox.lease", 100 * MILLISECOND..=HOUR);
    let unconfirmed =
        r.word("outbox.unconfirmed", &[("hold", Unconfirmed::Hold), ("resend", Unconfirmed::Resend)]);
    let settle = r.duration("outbox.settle", Duration::ZERO..=DAY);
    let retention = r.optional("outbox.retention", |r, key| r.retention(key, MILLISECOND..=LONGEST));
    let history_retention = r.retention("outbox.history_retention", MILLISECOND..=LONGEST);
    if matches!(retention, Ok(Some(Some(_)))) && !r.has("hubspot.unique_property") {
        r.reject(
            "outbox.retention",
            "needs hubspot.unique_property: without it, a course whose row was deleted and that is enqueued \
             again would be created twice",
        );
    }
    if let (Ok(Some(retention)), Ok(per)) = (history_retention, per)
        && retention < per
    {
        let per = humantime::format_duration(per);
        r.reject(
            "outbox.history_retention",
            format!("must not be below rate_limit.per ({per}), which a restart reads from the history"),
        );
    }
    Ok(Outbox {
        poll_interval: poll_interval?,
        listen: listen?,
        lease: lease?,
        unconfirmed: unconfirmed?,
        settle: settle?,
        retention: retention?.flatten(),
        history_retention: history_retention?,
    })
}

fn admin(r: &mut Reader) -> Read<Admin> {
    let listen = r.text("admin.listen", |text| {
        text.parse().map_err(|_| "an address with its port, such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"")
    });
    let hosts = r.optional("admin.hosts", |r, key| r.list(key, values::host_name));
    Ok(Admin { listen: listen?, hosts: hosts?.unwrap_or_default() })
}

fn log(r: &mut Reader) -> Read<Log> {
    let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    let format = r.word("log.format", &formats);
    let filter = r.text("log.filter", |text| match EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => {
            Err("a level (error, warn, info, debug, trace) or directives such as \"info,course_sync=debug\"")
        }
    });
    Ok(Log { format: format?, filter: filter? })
}
