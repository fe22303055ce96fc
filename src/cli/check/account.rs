//! The checks of the HubSpot account: token, scopes, object type, quota, unique property.

use super::{Finding, unique};
use crate::config::Config;
use crate::hubspot::Client;
use crate::hubspot::schema::Token;
use crate::policy::answer::QuotaHeaders;
use crate::policy::pause::Reason;
use crate::policy::schema::{Ending, Schema, Sensitivity};

/// What `run` cannot do without.
const SCOPES: [&str; 2] = ["crm.objects.courses.read", "crm.objects.courses.write"];

/// All of them; what depends on one that failed is not checked.
pub(super) async fn check(config: &Config, client: &Client, fix: bool) -> Vec<Finding> {
    let token = client.token().await.ending();
    let listed = client.properties(Sensitivity::None).await;
    let quota = listed.exchange.quota().copied();
    let listed = listed.ending();
    let stopped = match (&token, &listed) {
        (Ending::Stop(trouble), _) | (_, Ending::Stop(trouble)) => Some(trouble),
        _ => None,
    };
    if let Some(trouble) = stopped {
        return match trouble.reason {
            Reason::DailyQuota => without_quota(&trouble.message, "wait for the account's midnight"),
            Reason::IntervalQuota => without_quota(&trouble.message, "wait for some seconds"),
            _ => without_token(&trouble.message),
        };
    }
    if let (Ending::Away(why), Ending::Away(_)) = (&token, &listed) {
        let mend = "check the network and hubspot.base_url";
        let mut findings = vec![Finding::wrong("token", format!("HubSpot could not be asked: {why}"), mend)];
        findings.extend(later("HubSpot could not be asked"));
        return findings;
    }
    let schema = listed.map(|definitions| Schema::of(definitions.listing(), None, None));
    let object_type = object_type(client, &schema).await;
    vec![
        self::token(&token),
        scopes(&token, &schema),
        object_type,
        self::quota(config, quota.as_ref()),
        unique::check(config, client, &schema, fix).await,
    ]
}

fn later(why: &str) -> [Finding; 4] {
    ["scopes", "object_type", "quota", "unique_property"].map(|code| Finding::skipped(code, why))
}

fn without_token(why: &str) -> Vec<Finding> {
    let mend = "set HUBSPOT_ACCESS_TOKEN to a token of this account's private app or service key, or mend \
                hubspot.oauth";
    let mut findings = vec![Finding::wrong("token", why, mend)];
    findings.extend(later("there is no valid token"));
    findings
}

fn without_quota(why: &str, mend: &str) -> Vec<Finding> {
    let skipped = |code| Finding::skipped(code, "the account's quota is used up");
    vec![
        skipped("token"),
        skipped("scopes"),
        skipped("object_type"),
        Finding::wrong("quota", why, mend),
        skipped("unique_property"),
    ]
}

fn token(token: &Ending<Token>) -> Finding {
    let account = match token {
        Ending::Told(token) => token.hub_id.map(|id| format!(", of account {id}")),
        Ending::Denied(..) | Ending::Refused(_) | Ending::Stop(_) | Ending::Away(_) => None,
    };
    Finding::fine("token", format!("HubSpot accepts it{}", account.unwrap_or_default()))
}

fn scopes(token: &Ending<Token>, schema: &Ending<Schema>) -> Finding {
    match token {
        Ending::Told(token) if !token.scopes.is_empty() => {
            let lacking: Vec<_> =
                SCOPES.into_iter().filter(|scope| !token.scopes.iter().any(|it| it == scope)).collect();
            match lacking.as_slice() {
                [] => Finding::fine(
                    "scopes",
                    format!("courses may be read and written{}", without_properties(token, schema)),
                ),
                lacking => {
                    let list = lacking.join(", ");
                    let mend =
                        format!("add {list} to the private app or service key; a new token may be needed");
                    Finding::wrong("scopes", format!("the token lacks {list}"), mend)
                }
            }
        }
        _ => Finding::untold("scopes", "HubSpot does not tell the scopes of this token"),
    }
}

/// What a token goes without that may not read the account's properties.
fn without_properties(token: &Token, schema: &Ending<Schema>) -> &'static str {
    let is_lacking = !token.scopes.iter().any(|scope| scope == "crm.schemas.courses.read");
    match schema {
        Ending::Denied(..) if is_lacking => {
            "; without crm.schemas.courses.read they are not checked before they are sent"
        }
        _ => "",
    }
}

async fn object_type(client: &Client, schema: &Ending<Schema>) -> Finding {
    let mend = "switch Courses on in HubSpot: Settings, Objects, object library";
    match client.enablement().await.ending().map(|library| library.courses()) {
        Ending::Told(Some(true)) => Finding::fine("object_type", "Courses are switched on"),
        Ending::Told(Some(false)) => {
            Finding::wrong("object_type", "Courses are not switched on in this account", mend)
        }
        _ => match schema {
            Ending::Told(_) => Finding::fine("object_type", "HubSpot knows Courses"),
            Ending::Refused(why) => Finding::wrong("object_type", why, mend),
            Ending::Denied(why, _) | Ending::Away(why) => Finding::untold("object_type", why),
            Ending::Stop(trouble) => Finding::untold("object_type", &trouble.message),
        },
    }
}

fn quota(config: &Config, quota: Option<&QuotaHeaders>) -> Finding {
    let (ours, per) = (config.rate_limit.requests, config.rate_limit.per);
    let configured = format!("{ours} requests in {} are configured", humantime::format_duration(per));
    let Some((max, interval)) = quota.and_then(|quota| Some((quota.max?, quota.interval_ms?))) else {
        return Finding::untold("quota", format!("{configured}; HubSpot does not tell its limit here"));
    };
    let allowed = format!("HubSpot allows {max} in {} s", interval / 1_000);
    let left = quota.and_then(|quota| Some((quota.daily_remaining?, quota.daily?)));
    let left =
        left.map(|(left, daily)| format!("; {left} of the day's {daily} are left")).unwrap_or_default();
    // As many as the smaller of the two windows may hold.
    let most = u128::from(ours) * u128::from(interval).max(1);
    if most > u128::from(max) * per.as_millis().max(1) {
        let mend = format!(
            "set rate_limit.requests = {max} and rate_limit.per = \"{}s\", or less",
            interval / 1_000
        );
        return Finding::wrong("quota", format!("{configured}, but {allowed}"), mend);
    }
    Finding::fine("quota", format!("{configured}, {allowed}{left}"))
}
