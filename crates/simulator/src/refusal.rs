//! Error bodies in HubSpot's format: for invalid inputs (of a whole batch and in a 207), authentication, scopes and
//! object types. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::behaviour::{Behaviour, ConflictForm};
use super::lifecycle::MissingNamedBy;
use super::rules::{Problem, ValueProblem};
use super::wire::{BatchError, ErrorBody, ErrorDetail, iso};

/// The account's ID.
pub(super) const PORTAL: u64 = 48_210_377;
/// The ID of the private app and of the OAuth app.
pub(super) const APP: u64 = 3_410_871;
const INVALID: &str = "VALIDATION_ERROR";
/// HubSpot names every invalid property in the message, but lists only this many in `errors`.
const DETAILS_MAX: usize = 3;

/// The error for a whole request with these problems.
pub(super) fn whole(problems: &[&Problem], behaviour: &Behaviour) -> (u16, ErrorBody) {
    match problems.first() {
        Some(Problem::NotFound(_) | Problem::MergedAway(_)) => (404, not_found()),
        // A conflict is always reported, in every mode.
        Some(problem @ Problem::Taken { .. }) => (400, single(problem)),
        Some(_) if !behaviour.name_properties => (400, ErrorBody::new("Invalid input").category(INVALID)),
        Some(Problem::Values(_)) => {
            let all: Vec<&ValueProblem> = problems
                .iter()
                .filter_map(|problem| match problem {
                    Problem::Values(values) => Some(values),
                    _ => None,
                })
                .flatten()
                .collect();
            let mut error = values(&all);
            error.errors = all.iter().take(DETAILS_MAX).map(|problem| detail(problem)).collect();
            (400, error)
        }
        Some(problem) => (400, single(problem)),
        None => (400, ErrorBody::new("Invalid input").category(INVALID)),
    }
}

/// The one error of a 207 for all records of an update that do not exist, given as ID and trace ID.
pub(super) fn missing_on_update(named: Vec<(String, Option<String>)>, by: MissingNamedBy) -> ErrorBody {
    let (ids, traces): (Vec<String>, Vec<Option<String>>) = named.into_iter().unzip();
    let all_traced = traces.iter().all(Option::is_some);
    let traces = || traces.iter().flatten().cloned().collect();
    match by {
        MissingNamedBy::TraceIds if all_traced => {
            ErrorBody { context: None, ..missing(Vec::new()) }.context("objectWriteTraceId", traces())
        }
        MissingNamedBy::Ids | MissingNamedBy::TraceIds => missing(ids),
        MissingNamedBy::Both => missing(ids).context("objectWriteTraceId", traces()),
    }
}

/// One of the `errors` of a 207. The error of a fault already contains its input's trace ID if required.
pub(super) fn error_of(problem: Problem, trace: Option<&str>, behaviour: &Behaviour) -> BatchError {
    match problem {
        Problem::Injected(error) => BatchError::Literal(error),
        problem => partial(&problem, trace, behaviour).into(),
    }
}

/// One of the `errors` of a 207. It has no `errors` and `links`, contrary to HubSpot's documentation.
fn partial(problem: &Problem, trace: Option<&str>, behaviour: &Behaviour) -> ErrorBody {
    let mut error = match problem {
        Problem::Values(problems) => values(&problems.iter().collect::<Vec<_>>()),
        Problem::Taken { holder, .. } if behaviour.conflict == ConflictForm::ExistingId => {
            ErrorBody::new(format!("Course already exists. Existing ID: {holder}"))
                .category("CONFLICT")
                .context("existingId", vec![holder.to_string()])
        }
        other => single(other),
    };
    error.context.get_or_insert_default();
    match trace {
        Some(trace) if behaviour.name_inputs => error.context("objectWriteTraceId", vec![trace.to_owned()]),
        _ => error,
    }
}

fn single(problem: &Problem) -> ErrorBody {
    match problem {
        Problem::Values(problems) => values(&problems.iter().collect::<Vec<_>>()),
        Problem::Missing(names) => {
            ErrorBody::new("Error creating COURSE. Some required properties were not set.")
                .category(INVALID)
                .context("properties", names.clone())
        }
        Problem::Associations => ErrorBody {
            sub_category: Some("crm.associations.INVALID_IDENTIFIER"),
            ..ErrorBody::new("one or more associations are not valid").category(INVALID)
        },
        Problem::Taken { property, value, half_made, holder } => ErrorBody::new(format!(
            "Cannot set PropertyValueCoordinates{{portalId={PORTAL}, \
             objectTypeId=ObjectTypeId{{legacyObjectType=COURSE}}, propertyName={property}, value={value}}} \
             on {half_made}. {holder} already has that value."
        ))
        .category(INVALID),
        Problem::NotFound(_) | Problem::MergedAway(_) => not_found(),
        Problem::Full(limit) => {
            let message = format!("The limit of {limit} COURSE records has been reached in this account.");
            ErrorBody::new(message).category(INVALID)
        }
        // Replaced by the error of the fault; see `error_of`.
        Problem::Injected(_) => ErrorBody::new("Invalid input").category(INVALID),
    }
}

fn values(problems: &[&ValueProblem]) -> ErrorBody {
    let list = serde_json::to_string(problems).unwrap_or_default();
    ErrorBody::new(format!("Property values were not valid: {list}")).category(INVALID)
}

fn detail(problem: &ValueProblem) -> ErrorDetail {
    ErrorDetail {
        message: problem.message.clone(),
        code: Some(problem.code),
        context: BTreeMap::from([("propertyName", vec![problem.name.clone()])]),
    }
}

/// The error that lists all missing records of a batch.
pub(super) fn missing(ids: Vec<String>) -> ErrorBody {
    let message =
        "Could not get some COURSE objects, they may be deleted or not exist. Check that ids are valid.";
    ErrorBody::new(message).category("OBJECT_NOT_FOUND").context("ids", ids)
}

/// The error for a batch that names a record twice.
pub(super) fn duplicate_ids(twice: &str) -> ErrorBody {
    let message = format!("Duplicate IDs found in batch input: [{twice}]. IDs must be unique");
    ErrorBody::new(message).category(INVALID).context("ids", vec![twice.to_owned()])
}

/// The error for an ID that is not a number.
pub(super) fn bad_id(id: &str) -> ErrorBody {
    ErrorBody::new(format!("{id} is not a valid ID")).category(INVALID).context("ids", vec![id.to_owned()])
}

/// The error for a record that does not exist.
pub(super) fn not_found() -> ErrorBody {
    ErrorBody::new("resource not found").category("OBJECT_NOT_FOUND")
}

/// The error for a lookup by a property whose values are not unique.
pub(super) fn not_unique(property: &str) -> ErrorBody {
    let message = format!(
        "Unable to perform update/upsert by non-unique 0-410 property {property} in portal ID {PORTAL}"
    );
    ErrorBody::new(message).category(INVALID)
}

/// The error for an unknown object type: 400 without category, not 404.
pub(super) fn unknown_type(kind: &str) -> ErrorBody {
    let is_id = kind.split_once('-').is_some_and(|(meta, inner)| is_number(meta) && is_number(inner));
    if is_id && kind != "0-410" {
        ErrorBody::new(format!("Invalid object or event type id: {kind}"))
    } else {
        ErrorBody::new(format!("Unable to infer object type from: {kind}"))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The error for a token without any of these scopes.
pub(super) fn missing_scopes(scopes: &[&str]) -> ErrorBody {
    let needed = scopes.iter().map(|&scope| scope.to_owned()).collect();
    ErrorBody {
        errors: vec![ErrorDetail {
            message: "One or more of the following scopes are required.".to_owned(),
            code: None,
            context: BTreeMap::from([("requiredGranularScopes", needed)]),
        }],
        links: BTreeMap::from([("scopes", "https://developers.hubspot.com/scopes")]),
        ..ErrorBody::new(
            "This app hasn't been granted all required scopes to make this call. Read more about required \
             scopes here: https://developers.hubspot.com/scopes.",
        )
        .category("MISSING_SCOPES")
    }
}

/// The error for a missing token, or a well-formed but unknown one.
pub(super) fn unauthenticated() -> ErrorBody {
    ErrorBody::new(
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find \
         more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
    )
    .category("INVALID_AUTHENTICATION")
}

/// The error for an expired token. A malformed token is reported as expired in 1970.
pub(super) fn expired(at: Timestamp, now: Timestamp) -> ErrorBody {
    let seconds = now.duration_since(at).as_secs();
    let ago = if seconds < 86_400 {
        format!("{seconds} second(s)")
    } else {
        format!("{} day(s)", seconds / 86_400)
    };
    let when = if at == Timestamp::UNIX_EPOCH { at.to_string() } else { iso(at) };
    ErrorBody::new(format!("The OAuth token used to make this call expired {ago} ago."))
        .category("EXPIRED_AUTHENTICATION")
        .context("expire time", vec![when])
}
