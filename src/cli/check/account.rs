//! The checks of the HubSpot account: token, scopes, object type, quota, record limit, unique property.
//!
//! What decides are the calls that `run` makes, sent so that they have no effect: a create without courses, and a look-up
//! of a key that no course has. The token's list of scopes, the property list and the object library explain the result.
//! They may be closed to a token that can create courses, so they alone make nothing ✗.

use uuid::Uuid;

use super::scopes::{READ, WRITE, lacking};
use super::{Finding, unique};
use crate::config::Config;
use crate::hubspot::Client;
use crate::hubspot::limits::RecordLimit;
use crate::hubspot::schema::Token;
use crate::policy::access::{Access, access};
use crate::policy::answer::QuotaHeaders;
use crate::policy::pause::{Reason, Trouble};
use crate::policy::schema::{Ending, Schema, Sensitivity};

/// From this usage of the record limit on there is a warning, in percent.
const NEARLY_FULL: u64 = 90;
const SWITCH_ON: &str = "switch Courses on in HubSpot: Settings, Objects, object library";

/// What HubSpot answered.
struct Answers {
    create: Access,
    /// Only with a unique property.
    look_up: Option<Access>,
    token: Ending<Token>,
    properties: Ending<Schema>,
    library: Ending<Option<bool>>,
    limit: Ending<Option<RecordLimit>>,
    quota: Option<QuotaHeaders>,
}

/// All of them. A check that depends on a failed one is skipped.
pub(super) async fn check(config: &Config, client: &Client, fix: bool) -> Vec<Finding> {
    let create = client.create_nothing().await;
    let token = client.token().await.ending();
    let quota = create.quota().copied();
    let create = access(&create);
    if let Some(findings) = stopped([Some(&create), None], &token) {
        return findings;
    }
    let look_up = match config.hubspot.unique_property.as_deref() {
        Some(unique) => {
            let key = format!("course-sync-check-{}", Uuid::new_v4());
            Some(access(&client.look_up(unique, &key).await))
        }
        None => None,
    };
    if let Some(findings) = stopped([Some(&create), look_up.as_ref()], &token) {
        return findings;
    }
    let properties = client.properties(Sensitivity::None).await;
    let quota = properties.exchange.quota().copied().or(quota);
    let answers = Answers {
        create,
        look_up,
        token,
        properties: properties.ending().map(|definitions| Schema::of(definitions.listing(), None, None)),
        library: client.enablement().await.ending().map(|library| library.courses()),
        limit: client.record_limits().await.ending().map(|limits| limits.courses()),
        quota,
    };
    vec![
        answers.token(),
        answers.scopes(),
        answers.object_type(),
        answers.quota(config),
        answers.record_limit(),
        unique::check(config, client, &answers.properties, answers.look_up.as_ref(), fix).await,
    ]
}

/// The findings where nothing works for the whole account: token, quota, address, network.
fn stopped(needed: [Option<&Access>; 2], token: &Ending<Token>) -> Option<Vec<Finding>> {
    let stop = needed.into_iter().flatten().find_map(|access| match access {
        Access::Stop(trouble) => Some(trouble),
        _ => None,
    });
    if let Some(trouble) = stop {
        return Some(standstill(trouble));
    }
    match (needed, token) {
        // The call showed nothing, so the token's own endpoint decides.
        ([Some(Access::Unknown(_)), _], Ending::Stop(trouble)) => Some(standstill(trouble)),
        ([Some(Access::Unknown(_)), _], Ending::Told(Token { active: Some(false), .. })) => {
            Some(without_token("HubSpot does not accept the token as active"))
        }
        ([Some(Access::Unknown(why)), _], Ending::Away(_)) => {
            let mut findings = vec![Finding::wrong(
                "token",
                format!("HubSpot could not be asked: {why}"),
                "check the network and hubspot.base_url",
            )];
            findings.extend(later("HubSpot could not be asked"));
            Some(findings)
        }
        _ => None,
    }
}

fn standstill(trouble: &Trouble) -> Vec<Finding> {
    match trouble.reason {
        Reason::DailyQuota => without_quota(&trouble.message, "wait for the account's midnight"),
        Reason::IntervalQuota => without_quota(&trouble.message, "wait for some seconds"),
        Reason::ObjectType => {
            // The message ends with what to set.
            let (text, fix) =
                trouble.message.rsplit_once("; ").unwrap_or((&trouble.message, "check hubspot.base_url"));
            let skipped = |code| Finding::skipped(code, "hubspot.base_url leads to the wrong place");
            vec![
                skipped("token"),
                skipped("scopes"),
                Finding::wrong("object_type", text, fix),
                skipped("quota"),
                skipped("record_limit"),
                skipped("unique_property"),
            ]
        }
        _ => without_token(&trouble.message),
    }
}

fn later(why: &str) -> [Finding; 5] {
    ["scopes", "object_type", "quota", "record_limit", "unique_property"]
        .map(|code| Finding::skipped(code, why))
}

fn without_token(why: &str) -> Vec<Finding> {
    let fix = "set HUBSPOT_ACCESS_TOKEN to a token of this account's private app or service key, or fix hubspot.oauth";
    let mut findings = vec![Finding::wrong("token", why, fix)];
    findings.extend(later("there is no valid token"));
    findings
}

fn without_quota(why: &str, fix: &str) -> Vec<Finding> {
    let skipped = |code| Finding::skipped(code, "the account's quota is used up");
    vec![
        skipped("token"),
        skipped("scopes"),
        skipped("object_type"),
        Finding::wrong("quota", why, fix),
        skipped("record_limit"),
        skipped("unique_property"),
    ]
}

impl Answers {
    fn token(&self) -> Finding {
        match (&self.token, &self.create) {
            (Ending::Told(Token { hub_id: Some(id), .. }), _) => {
                Finding::fine("token", format!("HubSpot accepts it, of account {id}"))
            }
            (Ending::Told(_), _) | (_, Access::Granted | Access::Refused(_) | Access::Denied(..)) => {
                Finding::fine("token", "HubSpot accepts it")
            }
            (Ending::Denied(why, _) | Ending::Refused(why) | Ending::Away(why), _) => {
                Finding::unknown("token", why)
            }
            (Ending::Stop(trouble), _) => Finding::unknown("token", &trouble.message),
        }
    }

    /// The scopes that HubSpot lists for the token; none where it does not.
    fn listed(&self) -> Option<&[String]> {
        match &self.token {
            Ending::Told(token) if !token.scopes.is_empty() => Some(&token.scopes),
            _ => None,
        }
    }

    /// The scopes without which `run` cannot work, as HubSpot's refusals of its calls name them; with HubSpot's message.
    fn denied(&self) -> Vec<(String, &str)> {
        let calls = [(WRITE, Some(&self.create)), (READ, self.look_up.as_ref())];
        let denied = calls.into_iter().filter_map(|(scope, call)| match call {
            Some(Access::Denied(why, named)) => Some((lacking(scope, named), why.as_str())),
            _ => None,
        });
        denied.collect()
    }

    fn scopes(&self) -> Finding {
        let lists = |scope: &str| self.listed().map(|scopes| scopes.iter().any(|it| it == scope));
        let denied = self.denied();
        let is_off = matches!(self.library, Ending::Told(Some(false)));
        // Where Courses are off, HubSpot answers as if the scopes were missing; the object type is ✗ then.
        let is_explained = is_off && denied.iter().all(|(scope, _)| lists(scope) == Some(true));
        if let Some((_, why)) = denied.first()
            && !is_explained
        {
            let list: Vec<&str> = denied.iter().map(|(scope, _)| scope.as_str()).collect();
            let list = list.join(", ");
            if denied.iter().all(|(scope, _)| lists(scope) == Some(true)) {
                let fix = format!(
                    "the token lists {list}: a firewall or the account's settings may be the reason; or create a new token"
                );
                return Finding::wrong(
                    "scopes",
                    format!("HubSpot refuses a call that `run` needs: {why}"),
                    fix,
                );
            }
            return wrong_scopes(&list, &format!(": {why}"));
        }
        let calls = [(WRITE, Some(&self.create)), (READ, self.look_up.as_ref())];
        // A call whose content is refused proves less than the list: the scopes may be checked later.
        let unlisted: Vec<&str> = calls
            .into_iter()
            .filter(|(scope, call)| {
                let is_proved = matches!(call, Some(Access::Granted));
                call.is_some() && !is_proved && lists(scope) == Some(false)
            })
            .map(|(scope, _)| scope)
            .collect();
        if !unlisted.is_empty() {
            return wrong_scopes(&unlisted.join(", "), "");
        }
        let is_proved = matches!(self.create, Access::Granted | Access::Refused(_));
        match (&self.create, lists(WRITE)) {
            (Access::Unknown(why), None) => {
                Finding::unknown("scopes", format!("they could not be checked: {why}"))
            }
            (_, None) if !is_proved => {
                Finding::unknown("scopes", "HubSpot does not list the scopes of this token")
            }
            _ => Finding::fine(
                "scopes",
                format!("courses may be read and written{}", self.remark(lists(READ))),
            ),
        }
    }

    /// What a token cannot do that `run` can do without.
    fn remark(&self, lists_read: Option<bool>) -> String {
        let unread = match &self.properties {
            Ending::Told(_) => None,
            Ending::Denied(why, _) | Ending::Refused(why) | Ending::Away(why) => Some(why),
            Ending::Stop(trouble) => Some(&trouble.message),
        };
        let mut remark = String::new();
        if self.look_up.is_none() && lists_read == Some(false) {
            remark.push_str("; ");
            remark.push_str(READ);
            remark.push_str(" is missing, which a unique property needs");
        }
        if let Some(why) = unread {
            remark.push_str(
                "; `preview` cannot check their values, because the property list could not be read: ",
            );
            remark.push_str(why);
        }
        remark
    }

    fn object_type(&self) -> Finding {
        let missing =
            [Some(&self.create), self.look_up.as_ref()].into_iter().flatten().find_map(|call| match call {
                Access::NoSuchType(why) => Some(why),
                _ => None,
            });
        let denied = self.denied();
        match (&self.library, missing, denied.first()) {
            (Ending::Told(Some(false)), ..) => {
                Finding::wrong("object_type", "Courses are not switched on in this account", SWITCH_ON)
            }
            (_, Some(why), _) => Finding::wrong("object_type", why, SWITCH_ON),
            (Ending::Told(Some(true)), ..) => Finding::fine("object_type", "Courses are switched on"),
            (_, None, Some((_, why))) => {
                let list: Vec<&str> = denied.iter().map(|(scope, _)| scope.as_str()).collect();
                let fix = format!(
                    "add {}, then check again. A scope that cannot be granted: {SWITCH_ON}",
                    list.join(", ")
                );
                Finding::wrong("object_type", format!("HubSpot does not show it to this token: {why}"), fix)
            }
            _ => match (&self.create, &self.properties) {
                (Access::Granted | Access::Refused(_), _) | (_, Ending::Told(_)) => {
                    Finding::fine("object_type", "HubSpot knows Courses")
                }
                (Access::Unknown(why), _) => Finding::unknown("object_type", why),
                _ => Finding::unknown("object_type", "HubSpot does not show whether Courses are switched on"),
            },
        }
    }

    fn quota(&self, config: &Config) -> Finding {
        let quota = self.quota.as_ref();
        let (ours, per) = (config.rate_limit.requests, config.rate_limit.per);
        let configured = format!("{ours} requests in {} are configured", humantime::format_duration(per));
        let Some((max, interval)) = quota.and_then(|quota| Some((quota.max?, quota.interval_ms?))) else {
            return Finding::unknown("quota", format!("{configured}; HubSpot does not show its limit here"));
        };
        let allowed = format!("HubSpot allows {max} in {} s", interval / 1_000);
        let left = quota.and_then(|quota| Some((quota.daily_remaining?, quota.daily?)));
        let left =
            left.map(|(left, daily)| format!("; {left} of the day's {daily} are left")).unwrap_or_default();
        // As many as the smaller of the two windows may hold.
        let most = u128::from(ours) * u128::from(interval).max(1);
        if most > u128::from(max) * per.as_millis().max(1) {
            let fix = format!(
                "set rate_limit.requests = {max} and rate_limit.per = \"{}s\", or less",
                interval / 1_000
            );
            return Finding::wrong("quota", format!("{configured}, but {allowed}"), fix);
        }
        Finding::fine("quota", format!("{configured}, {allowed}{left}"))
    }

    fn record_limit(&self) -> Finding {
        const CODE: &str = "record_limit";
        const FIX: &str = "archive records in HubSpot, or have the account's limit raised";
        let limit = match &self.limit {
            Ending::Told(Some(limit)) => *limit,
            Ending::Told(None) => {
                return Finding::unknown(CODE, "HubSpot does not list a record limit of Courses");
            }
            Ending::Denied(why, _) | Ending::Refused(why) | Ending::Away(why) => {
                return Finding::unknown(CODE, format!("it could not be read: {why}"));
            }
            Ending::Stop(trouble) => {
                return Finding::unknown(CODE, format!("it could not be read: {}", trouble.message));
            }
        };
        let RecordLimit { usage, limit: most } = limit;
        let text = format!("{usage} of {most} records are used ({} %)", limit.percent());
        if limit.is_full() {
            Finding::wrong(CODE, format!("{text}: HubSpot takes no further course"), FIX)
        } else if limit.percent() >= NEARLY_FULL {
            Finding::warning(CODE, format!("{text}: {} are left", most.saturating_sub(usage)), FIX)
        } else {
            Finding::fine(CODE, text)
        }
    }
}

fn wrong_scopes(list: &str, why: &str) -> Finding {
    let fix = format!("add {list} to the private app or service key; a new token may be needed");
    Finding::wrong("scopes", format!("the token lacks {list}{why}"), fix)
}
