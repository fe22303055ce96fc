//! Responses about the account: token, scopes, quota. They do not count against a course.

use super::Of::{Keyed, Plain};
use super::{Row, check, error_of, meaning};
use course_sync::course::Verdict;
use course_sync::policy::signal::Signal;

type Responses<'a> = &'a [(&'static str, u16, &'static str, &'static str, &'static str)];

/// Checks responses that no course can cause: every course is untouched, for any batch.
fn check_untouched(responses: Responses<'_>) {
    check_for_any_batch("all untouched", responses);
}

/// Checks responses that name no course: none was created, and none counts as the cause without further evidence.
fn check_turned_away(responses: Responses<'_>) {
    check_for_any_batch("all turned away deferred: HubSpot answered ", responses);
}

fn check_for_any_batch(all: &'static str, responses: Responses<'_>) {
    for (name, status, headers, body, account) in responses {
        for of in [Keyed(3), Plain(1)] {
            let means: &[_] = vec![all, account].leak();
            check(&[Row { name, of, status: *status, headers, body, means }]);
        }
    }
}

#[test]
fn token_errors_create_and_blame_no_course() {
    check_turned_away(&[
        (
            "no token",
            401,
            "",
            r#"{"status":"error","message":"Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview","correlationId":"x","category":"INVALID_AUTHENTICATION"}"#,
            "failed token, unauthorized",
        ),
        (
            "expired",
            401,
            "",
            r#"{"status":"error","message":"The OAuth token used to make this call expired 75 second(s) ago.","correlationId":"x","category":"EXPIRED_AUTHENTICATION","context":{"expire time":["2022-06-21T10:37:52.040Z"]}}"#,
            "failed token, unauthorized",
        ),
        (
            "a malformed token is reported as expired in 1970",
            401,
            "",
            r#"{"status":"error","message":"The OAuth token used to make this call expired 20705 day(s) ago.","category":"EXPIRED_AUTHENTICATION","context":{"expire time":["1970-01-01T00:00:00Z"]}}"#,
            "failed token, unauthorized",
        ),
        ("blank", 401, "", "", "failed token, unauthorized"),
        ("a page", 401, "", "<html>401</html>", "failed token, unauthorized"),
        (
            "a Retry-After is kept although waiting does not help",
            401,
            "Retry-After: 60",
            r#"{"status":"error","message":"Authentication credentials not found","category":"INVALID_AUTHENTICATION"}"#,
            "failed token 60s, unauthorized",
        ),
        (
            "only a category",
            401,
            "",
            r#"{"category":"EXPIRED_AUTHENTICATION"}"#,
            "failed token, unauthorized",
        ),
    ]);
}

const SCOPES: &str = r#"{"status":"error","message":"This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.","correlationId":"dc49c0a8-","errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":["crm.schemas.courses.read","crm.objects.courses.write"]}}],"links":{"scopes":"https://developers.hubspot.com/scopes"},"category":"MISSING_SCOPES"}"#;
const OLD_SCOPES: &str = r#"{"status":"error","message":"This app hasn't been granted all required scopes","category":"MISSING_SCOPES","context":{"requiredGranularScopes":["crm.objects.courses.write"]}}"#;

#[test]
fn scope_and_object_type_errors_create_and_blame_no_course() {
    check_turned_away(&[
        ("scopes", 403, "", SCOPES, "failed scopes, unauthorized"),
        ("scopes, older form", 403, "", OLD_SCOPES, "failed scopes, unauthorized"),
        (
            "403 that names no scope",
            403,
            "",
            r#"{"status":"error","message":"You do not have permissions"}"#,
            "failed scopes, unauthorized",
        ),
        (
            "403 from the edge",
            403,
            "",
            "<!DOCTYPE html><title>Attention Required! | Cloudflare</title>",
            "failed unavailable, unavailable",
        ),
        ("403 empty", 403, "", "", "failed unavailable, unavailable"),
        (
            "scopes of a disabled object that cannot be granted",
            403,
            "",
            r#"{"status":"error","message":"This app hasn't been granted all required scopes to make this call.","errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":[]}}],"category":"MISSING_SCOPES"}"#,
            "failed scopes, unauthorized",
        ),
        (
            "404 page",
            404,
            "",
            "<html><head><title>Error 404 Not Found</title></head></html>",
            "failed object_type, rejected",
        ),
        ("404 empty", 404, "", "", "failed object_type, rejected"),
        (
            "404 JSON",
            404,
            "",
            r#"{"status":"error","message":"resource not found","correlationId":"x","category":"OBJECT_NOT_FOUND"}"#,
            "failed object_type, rejected",
        ),
        ("405", 405, "", "", "failed object_type, rejected"),
        ("406", 406, "", "", "failed object_type, rejected"),
        (
            "410: this version of the API has ended",
            410,
            "",
            r#"{"status":"error","message":"This API has been sunset"}"#,
            "failed object_type, rejected",
        ),
        (
            "415",
            415,
            "",
            r#"{"status":"error","message":"Unsupported Media Type"}"#,
            "failed object_type, rejected",
        ),
        (
            "no such type",
            400,
            "",
            r#"{"status":"error","message":"Unable to infer object type from: 0-410","correlationId":"x"}"#,
            "failed object_type, rejected",
        ),
        (
            "no such type id",
            400,
            "",
            r#"{"status":"error","message":"Invalid object or event type id: 0-410","correlationId":"x"}"#,
            "failed object_type, rejected",
        ),
    ]);
}

#[test]
fn the_message_names_the_missing_scopes() {
    for (body, scopes) in [
        (SCOPES, "crm.schemas.courses.read, crm.objects.courses.write"),
        (OLD_SCOPES, "crm.objects.courses.write"),
    ] {
        let row = Row { name: "", of: Keyed(1), status: 403, headers: "", body, means: &[] };
        let meaning = meaning(&row);
        let Signal::Failed(incident) = &meaning.signal else { panic!("{:?}", meaning.signal) };
        assert!(incident.message.ends_with(&format!("required scopes: {scopes}")), "{}", incident.message);
        // The error in the row contains the message as well.
        let error = error_of(&meaning.verdicts[0]).expect("an error");
        assert_eq!(error.message, incident.message);
    }
}

#[test]
fn a_wrong_region_or_a_redirect_names_the_remedy() {
    const ELSEWHERE: &str = "HubSpot answered 488: the account belongs to another region: ";
    const NOT_FOLLOWED: &str = ", which is not followed; set hubspot.base_url to HubSpot's API itself, https://api.hubapi.com or that of the account's region. A proxy or a sign-in page may have answered instead";
    for (status, headers, body, message) in [
        (
            488,
            "",
            r#"{"status":"error","message":"unknown","correctHublet":"eu1"}"#,
            format!(
                "{ELSEWHERE}unknown; the account is in the region eu1: set hubspot.base_url to https://api-eu1.hubapi.com"
            ),
        ),
        (
            488,
            "",
            r#"{"status":"error","correctHublet":"na1"}"#,
            format!(
                "{ELSEWHERE}no readable response; the account is in the region na1: set hubspot.base_url to https://api.hubapi.com"
            ),
        ),
        (
            488,
            "",
            "",
            format!(
                "{ELSEWHERE}no readable response; set hubspot.base_url to the API of the account's region, such as https://api-eu1.hubapi.com"
            ),
        ),
        (
            307,
            "Location: https://proxy.example/login",
            "",
            format!("HubSpot answered 307: a redirect to https://proxy.example/login{NOT_FOLLOWED}"),
        ),
        (302, "", "<html>Found</html>", format!("HubSpot answered 302: a redirect{NOT_FOLLOWED}")),
        // Not a redirect, but not a response to a create either.
        (304, "", "", "HubSpot answered 304: an empty body".to_owned()),
    ] {
        check_turned_away(&[("elsewhere", status, headers, body, "failed object_type, rejected")]);
        let row = Row { name: "", of: Keyed(1), status, headers, body, means: &[] };
        let meaning = meaning(&row);
        let Signal::Failed(incident) = &meaning.signal else { panic!("{status}") };
        assert_eq!(incident.message, message);
        assert_eq!(error_of(&meaning.verdicts[0]).expect("an error").message, message);
    }
}

#[test]
fn kept_error_texts_can_be_stored() {
    for body in [
        r#"{"status":"error","message":"a\u0000b","correlationId":"x\u0000y","category":"VALIDATION_ERROR","errors":[{"code":"C\u0000","context":{"propertyName":["p\u0000"]}}]}"#,
        r#"{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","message":"a\u0000b","correlationId":"x\u0000y"}]}"#,
    ] {
        let status = if body.contains("results") { 207 } else { 400 };
        let row = Row { name: "", of: Keyed(1), status, headers: "", body, means: &[] };
        let Verdict::Refused(error) = &meaning(&row).verdicts[0] else { panic!("not refused") };
        assert_eq!(error.correlation_id.as_deref(), Some("x\u{fffd}y"));
        assert!(!serde_json::to_string(error).unwrap().contains("\\u0000"), "{error:?}");
    }
}

const TEN_SECONDLY: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"c93e06a4-","policyName":"TEN_SECONDLY_ROLLING","groupName":"publicapi:private_app-api-calls-ten-secondly:6748263:1"}"#;
const DAILY: &str = r#"{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","correlationId":"c033cdaa-2c40-4a64-ae48-b4cec88dad24","policyName":"DAILY","requestId":"3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"}"#;
const SECONDLY: &str = r#"{"status":"error","message":"You have reached your secondly limit.","correlationId":"de61843f-b3ab-4bc1-8c54-358e37eb0621","category":"RATE_LIMITS"}"#;

#[test]
fn rate_limit_errors_in_three_forms() {
    check_untouched(&[
        ("rolling window", 429, "", TEN_SECONDLY, "pause interval_quota, rate_limited"),
        (
            "rolling window, with Retry-After",
            429,
            "Retry-After: 7",
            TEN_SECONDLY,
            "pause interval_quota 7s, rate_limited",
        ),
        ("day", 429, "", DAILY, "pause daily_quota, rate_limited"),
        ("day, with a wait", 429, "Retry-After: 3600", DAILY, "pause daily_quota 3600s, rate_limited"),
        (
            "daily limit in the policy name in lower case, with a message about seconds",
            429,
            "",
            r#"{"message":"You have reached your secondly limit.","policyName":"daily"}"#,
            "pause daily_quota, rate_limited",
        ),
        (
            "ten-second limit, from the message",
            429,
            "",
            r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit."}"#,
            "pause interval_quota, rate_limited",
        ),
        (
            "only an error type",
            429,
            "",
            r#"{"errorType":"RATE_LIMIT"}"#,
            "pause interval_quota, rate_limited",
        ),
        (
            "daily limit, with headers of an exhausted quota",
            429,
            "X-HubSpot-RateLimit-Daily: 250000\nX-HubSpot-RateLimit-Daily-Remaining: 0",
            DAILY,
            "pause daily_quota, rate_limited",
        ),
        (
            "a 429 from the edge",
            429,
            "Retry-After: 10",
            "error code: 1015",
            "pause interval_quota 10s, rate_limited",
        ),
        (
            "daily limit, from the message",
            429,
            "",
            r#"{"status":"error","message":"You have reached your daily limit."}"#,
            "pause daily_quota, rate_limited",
        ),
        ("second", 429, "", SECONDLY, "pause interval_quota 1s, rate_limited"),
        ("second, with a wait", 429, "Retry-After: 2", SECONDLY, "pause interval_quota 2s, rate_limited"),
        (
            "secondly limit, from the policy name",
            429,
            "",
            r#"{"message":"limit","policyName":"SECONDLY"}"#,
            "pause interval_quota 1s, rate_limited",
        ),
        ("a page", 429, "", "<html>Too many</html>", "pause interval_quota, rate_limited"),
        ("nothing", 429, "Retry-After: 3", "", "pause interval_quota 3s, rate_limited"),
        (
            "an undocumented quota",
            429,
            "",
            r#"{"message":"x","policyName":"FORTNIGHTLY"}"#,
            "pause interval_quota, rate_limited",
        ),
    ]);
}

#[test]
fn requested_waiting_times_are_read() {
    check_untouched(&[
        (
            "a Retry-After of zero is ignored",
            429,
            "Retry-After: 0",
            TEN_SECONDLY,
            "pause interval_quota, rate_limited",
        ),
        ("a negative wait", 429, "Retry-After: -1", TEN_SECONDLY, "pause interval_quota, rate_limited"),
        (
            "a date",
            429,
            "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",
            TEN_SECONDLY,
            "pause interval_quota, rate_limited",
        ),
        (
            "a future date",
            429,
            "Date: Wed, 21 Oct 2026 07:28:00 GMT\nRetry-After: Wed, 21 Oct 2026 07:28:30 GMT",
            TEN_SECONDLY,
            "pause interval_quota 30s, rate_limited",
        ),
        (
            "a past date",
            429,
            "Date: Wed, 21 Oct 2026 07:28:00 GMT\nRetry-After: Wed, 21 Oct 2026 07:00:00 GMT",
            TEN_SECONDLY,
            "pause interval_quota, rate_limited",
        ),
        ("a fraction", 429, "Retry-After: 1.5", TEN_SECONDLY, "pause interval_quota, rate_limited"),
        ("a word", 429, "Retry-After: soon", TEN_SECONDLY, "pause interval_quota, rate_limited"),
        (
            "a very long wait",
            429,
            "Retry-After: 1000000000",
            TEN_SECONDLY,
            "pause interval_quota 1000000000s, rate_limited",
        ),
        (
            "a number that is too large",
            429,
            "Retry-After: 99999999999999999999999",
            TEN_SECONDLY,
            "pause interval_quota, rate_limited",
        ),
    ]);
}
