//! The checks of the HubSpot account: token, scopes, object type, quota, record limit, unique property.
//!
//! The calls that `run` makes decide. They are sent so that they have no effect: a create without courses, and a look-up
//! of a key that no course has. The token's list of scopes, the property list and the object library explain the result.
//! A token that can create courses may lack access to them, so they alone fail no check.

use uuid::Uuid;

use super::Fix;
use super::result::CheckResult;
use super::scopes::{READ, WRITE, missing_scope};
use super::unique;
use crate::config::Config;
use crate::hubspot::Client;
use crate::hubspot::api::account::TokenInfo;
use crate::hubspot::api::limits::RecordLimit;
use crate::hubspot::api::properties::Sensitivity;
use crate::hubspot::api::response::QuotaHeaders;
use crate::policy::access::{Access, access};
use crate::policy::gate::{Incident, Reason};
use crate::policy::properties::AccountProperties;
use crate::policy::read_result::ReadResult;

/// From this usage of the record limit, in percent, the check warns.
const RECORD_WARNING_PERCENT: u64 = 90;
const SWITCH_ON: &str = "switch Courses on in HubSpot: Settings > Objects > Object library";

/// The responses of HubSpot.
struct AccountAnswers {
    create: Access,
    /// Only with a unique property.
    look_up: Option<Access>,
    token: ReadResult<TokenInfo>,
    properties: ReadResult<AccountProperties>,
    library: ReadResult<Option<bool>>,
    limit: ReadResult<Option<RecordLimit>>,
    quota: Option<QuotaHeaders>,
}

/// Makes all checks. A check that depends on a failed one is not made. Second: the property list, if it was requested.
pub(super) async fn check_account(
    config: &Config,
    client: &Client,
    fix: Fix,
) -> (Vec<CheckResult>, Option<ReadResult<AccountProperties>>) {
    let create = client.create_nothing().await;
    let token = client.token_info().await.result();
    let quota = create.quota().copied();
    let create = access(&create);
    if let Some(results) = results_if_blocked([Some(&create), None], &token) {
        return (results, None);
    }
    let look_up = match config.hubspot.unique_property.as_deref() {
        Some(unique) => {
            let key = format!("course-sync-check-{}", Uuid::new_v4());
            Some(access(&client.look_up(unique, &key).await))
        }
        None => None,
    };
    if let Some(results) = results_if_blocked([Some(&create), look_up.as_ref()], &token) {
        return (results, None);
    }
    let properties = client.properties(Sensitivity::None).await;
    let quota = properties.exchange.quota().copied().or(quota);
    let answers = AccountAnswers {
        create,
        look_up,
        token,
        properties: properties
            .result()
            .map(|definitions| AccountProperties::new(definitions.into_list(), None, None)),
        library: client.enablement().await.result().map(|library| library.courses()),
        limit: client.record_limits().await.result().map(|limits| limits.courses()),
        quota,
    };
    let results = vec![
        answers.check_token(),
        answers.check_scopes(),
        answers.check_object_type(),
        answers.check_quota(config),
        answers.check_record_limit(),
        unique::check_unique_property(config, client, &answers.properties, answers.look_up.as_ref(), fix)
            .await,
    ];
    (results, Some(answers.properties))
}

/// The results if nothing works for the whole account: token, quota, address, network.
fn results_if_blocked(
    needed: [Option<&Access>; 2],
    token: &ReadResult<TokenInfo>,
) -> Option<Vec<CheckResult>> {
    let stop = needed.into_iter().flatten().find_map(|access| match access {
        Access::Stop(incident) => Some(incident),
        _ => None,
    });
    if let Some(incident) = stop {
        return Some(blocked_by(incident));
    }
    match (needed, token) {
        // The call showed nothing, so the token endpoint decides.
        ([Some(Access::Unknown(_)), _], ReadResult::Stop(incident)) => Some(blocked_by(incident)),
        ([Some(Access::Unknown(_)), _], ReadResult::Found(TokenInfo { active: Some(false), .. })) => {
            Some(without_token("HubSpot reports that the token is not active"))
        }
        ([Some(Access::Unknown(why)), _], ReadResult::Unavailable(_)) => {
            let mut results = vec![CheckResult::failed(
                "token",
                format!("HubSpot could not be reached: {why}"),
                "check the network and hubspot.base_url",
            )];
            results.extend(later_checks("HubSpot could not be reached"));
            Some(results)
        }
        _ => None,
    }
}

fn blocked_by(incident: &Incident) -> Vec<CheckResult> {
    match incident.reason {
        Reason::DailyQuota => {
            without_quota(&incident.message, "wait until midnight in the account's time zone")
        }
        Reason::IntervalQuota => without_quota(&incident.message, "wait a few seconds, then check again"),
        Reason::ObjectType => {
            // The message ends with the setting to change.
            let (text, fix) =
                incident.message.rsplit_once("; ").unwrap_or((&incident.message, "check hubspot.base_url"));
            let why = "hubspot.base_url is wrong";
            vec![
                CheckResult::not_checked("token", why),
                CheckResult::not_checked("scopes", why),
                CheckResult::failed("object_type", text, fix),
                CheckResult::not_checked("quota", why),
                CheckResult::not_checked("record_limit", why),
                CheckResult::not_checked("unique_property", why),
            ]
        }
        _ => without_token(&incident.message),
    }
}

fn later_checks(why: &str) -> [CheckResult; 5] {
    ["scopes", "object_type", "quota", "record_limit", "unique_property"]
        .map(|code| CheckResult::not_checked(code, why))
}

fn without_token(why: &str) -> Vec<CheckResult> {
    let fix = "set HUBSPOT_ACCESS_TOKEN to a token of this account's private app or service key, or fix hubspot.oauth";
    let mut results = vec![CheckResult::failed("token", why, fix)];
    results.extend(later_checks("there is no valid token"));
    results
}

fn without_quota(why: &str, fix: &str) -> Vec<CheckResult> {
    let because = "the account's quota is used up";
    vec![
        CheckResult::not_checked("token", because),
        CheckResult::not_checked("scopes", because),
        CheckResult::not_checked("object_type", because),
        CheckResult::failed("quota", why, fix),
        CheckResult::not_checked("record_limit", because),
        CheckResult::not_checked("unique_property", because),
    ]
}

impl AccountAnswers {
    fn check_token(&self) -> CheckResult {
        match (&self.token, &self.create) {
            (ReadResult::Found(TokenInfo { hub_id: Some(id), .. }), _) => {
                CheckResult::ok("token", format!("accepted by HubSpot for account {id}"))
            }
            (ReadResult::Found(_), _) | (_, Access::Granted | Access::Refused(_) | Access::Denied(..)) => {
                CheckResult::ok("token", "accepted by HubSpot")
            }
            (ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why), _) => {
                CheckResult::skipped("token", why)
            }
            (ReadResult::Stop(incident), _) => CheckResult::skipped("token", &incident.message),
        }
    }

    /// The scopes that HubSpot lists for the token, if it lists any.
    fn listed_scopes(&self) -> Option<&[String]> {
        match &self.token {
            ReadResult::Found(token) if !token.scopes.is_empty() => Some(&token.scopes),
            _ => None,
        }
    }

    /// The scopes that `run` lacks, as HubSpot's rejections name them, each with HubSpot's message.
    fn denied_scopes(&self) -> Vec<(String, &str)> {
        let calls = [(WRITE, Some(&self.create)), (READ, self.look_up.as_ref())];
        let denied = calls.into_iter().filter_map(|(scope, call)| match call {
            Some(Access::Denied(why, named)) => Some((missing_scope(scope, named), why.as_str())),
            _ => None,
        });
        denied.collect()
    }

    /// Whether HubSpot lists this scope for the token, if it lists any.
    fn has_scope(&self, scope: &str) -> Option<bool> {
        self.listed_scopes().map(|scopes| scopes.iter().any(|it| it == scope))
    }

    fn check_scopes(&self) -> CheckResult {
        let denied = self.denied_scopes();
        let is_off = matches!(self.library, ReadResult::Found(Some(false)));
        // If Courses are off, HubSpot responds as if the scopes were missing. Then the object type check fails instead.
        let is_explained = is_off && self.has_all(&denied);
        if let Some((_, why)) = denied.first()
            && !is_explained
        {
            return self.report_denied(&denied, why);
        }
        let unlisted = self.unlisted_scopes();
        if !unlisted.is_empty() {
            return wrong_scopes(&unlisted.join(", "), "");
        }
        let is_proved = matches!(self.create, Access::Granted | Access::Refused(_));
        match (&self.create, self.has_scope(WRITE)) {
            (Access::Unknown(why), None) => {
                CheckResult::skipped("scopes", format!("could not be checked: {why}"))
            }
            (_, None) if !is_proved => {
                CheckResult::skipped("scopes", "HubSpot does not list the scopes of this token")
            }
            _ => CheckResult::ok(
                "scopes",
                format!("the token can read and write courses{}", self.scope_remark(self.has_scope(READ))),
            ),
        }
    }

    /// Whether HubSpot lists all of these scopes for the token.
    fn has_all(&self, scopes: &[(String, &str)]) -> bool {
        scopes.iter().all(|(scope, _)| self.has_scope(scope) == Some(true))
    }

    /// The result if HubSpot denied requests, of which the first with the message `why`.
    fn report_denied(&self, denied: &[(String, &str)], why: &str) -> CheckResult {
        let list: Vec<&str> = denied.iter().map(|(scope, _)| scope.as_str()).collect();
        let list = list.join(", ");
        if !self.has_all(denied) {
            return wrong_scopes(&list, &format!(": {why}"));
        }
        CheckResult::failed(
            "scopes",
            format!("HubSpot rejects a request that `run` needs: {why}"),
            format!(
                "the token has {list}, so check for a firewall and the account's settings, or create a new token"
            ),
        )
    }

    /// The scopes that `run` needs and HubSpot does not list for the token, except those whose request was accepted. A
    /// request that was rejected for its content proves less than the list, because HubSpot may check scopes later.
    fn unlisted_scopes(&self) -> Vec<&'static str> {
        let calls = [(WRITE, Some(&self.create)), (READ, self.look_up.as_ref())];
        calls
            .into_iter()
            .filter(|(scope, call)| {
                let is_proved = matches!(call, Some(Access::Granted));
                call.is_some() && !is_proved && self.has_scope(scope) == Some(false)
            })
            .map(|(scope, _)| scope)
            .collect()
    }

    /// Limits of the token that `run` can work with.
    fn scope_remark(&self, lists_read: Option<bool>) -> String {
        let unread = match &self.properties {
            ReadResult::Found(_) => None,
            ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why) => Some(why),
            ReadResult::Stop(incident) => Some(&incident.message),
        };
        let mut remark = String::new();
        if self.look_up.is_none() && lists_read == Some(false) {
            remark.push_str("; ");
            remark.push_str(READ);
            remark.push_str(" is missing; it is needed with a unique property");
        }
        if let Some(why) = unread {
            remark.push_str(
                "; `preview` cannot check property values, because the property list could not be read: ",
            );
            remark.push_str(why);
        }
        remark
    }

    fn check_object_type(&self) -> CheckResult {
        let missing =
            [Some(&self.create), self.look_up.as_ref()].into_iter().flatten().find_map(|call| match call {
                Access::NoSuchType(why) => Some(why),
                _ => None,
            });
        let denied = self.denied_scopes();
        match (&self.library, missing, denied.first()) {
            (ReadResult::Found(Some(false)), ..) => {
                CheckResult::failed("object_type", "Courses are switched off in this account", SWITCH_ON)
            }
            (_, Some(why), _) => CheckResult::failed("object_type", why, SWITCH_ON),
            (ReadResult::Found(Some(true)), ..) => CheckResult::ok("object_type", "Courses are switched on"),
            (_, None, Some((_, why))) => {
                let list: Vec<&str> = denied.iter().map(|(scope, _)| scope.as_str()).collect();
                let fix = format!(
                    "add {}, then check again. If the scope cannot be granted, {SWITCH_ON}",
                    list.join(", ")
                );
                CheckResult::failed("object_type", format!("this token cannot access Courses: {why}"), fix)
            }
            _ => match (&self.create, &self.properties) {
                (Access::Granted | Access::Refused(_), _) | (_, ReadResult::Found(_)) => {
                    CheckResult::ok("object_type", "Courses are available")
                }
                (Access::Unknown(why), _) => CheckResult::skipped("object_type", why),
                _ => CheckResult::skipped(
                    "object_type",
                    "HubSpot does not report whether Courses are switched on",
                ),
            },
        }
    }

    fn check_quota(&self, config: &Config) -> CheckResult {
        let quota = self.quota.as_ref();
        let (ours, per) = (config.rate_limit.requests, config.rate_limit.per);
        let configured = format!("configured: {ours} requests in {}", humantime::format_duration(per));
        let Some((max, interval)) = quota.and_then(|quota| Some((quota.max?, quota.interval_ms?))) else {
            return CheckResult::skipped("quota", format!("{configured}; HubSpot does not report its limit"));
        };
        let allowed = format!("allowed by HubSpot: {max} in {} s", interval / 1_000);
        let left = quota.and_then(|quota| Some((quota.daily_remaining?, quota.daily?)));
        let left =
            left.map(|(left, daily)| format!(", {left} of {daily} calls left today")).unwrap_or_default();
        // Compares the two rates without dividing.
        let most = u128::from(ours) * u128::from(interval).max(1);
        if most > u128::from(max) * per.as_millis().max(1) {
            let fix = format!(
                "set rate_limit.requests = {max} (or less) and rate_limit.per = \"{}s\"",
                interval / 1_000
            );
            return CheckResult::failed("quota", format!("{configured}; {allowed}"), fix);
        }
        CheckResult::ok("quota", format!("{configured}; {allowed}{left}"))
    }

    fn check_record_limit(&self) -> CheckResult {
        const CODE: &str = "record_limit";
        const FIX: &str = "archive records in HubSpot, or raise the account's limit";
        let limit = match &self.limit {
            ReadResult::Found(Some(limit)) => *limit,
            ReadResult::Found(None) => {
                return CheckResult::skipped(CODE, "HubSpot does not list a record limit for Courses");
            }
            ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why) => {
                return CheckResult::skipped(CODE, format!("could not be read: {why}"));
            }
            ReadResult::Stop(incident) => {
                return CheckResult::skipped(CODE, format!("could not be read: {}", incident.message));
            }
        };
        let RecordLimit { usage, limit: most } = limit;
        let text = format!("{usage} of {most} records used ({} %)", limit.percent());
        if limit.is_full() {
            CheckResult::failed(CODE, format!("{text}: HubSpot accepts no more courses"), FIX)
        } else if limit.percent() >= RECORD_WARNING_PERCENT {
            CheckResult::warning(CODE, format!("{text}: {} left", most.saturating_sub(usage)), FIX)
        } else {
            CheckResult::ok(CODE, text)
        }
    }
}

fn wrong_scopes(list: &str, why: &str) -> CheckResult {
    let fix = format!("add {list} to the private app or service key; a new token may be needed");
    CheckResult::failed("scopes", format!("the token lacks {list}{why}"), fix)
}
