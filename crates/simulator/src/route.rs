//! Maps method and path to an [`Operation`], for both forms of paths. Pure.

use axum::extract::Query;
use axum::http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the endpoint of its name")]
pub enum Operation {
    BatchCreate,
    BatchRead,
    BatchUpsert,
    BatchUpdate,
    BatchArchive,
    Merge,
    Create,
    List,
    Read,
    Update,
    Archive,
    Search,
    PropertyList,
    PropertyCreate,
    PropertyRead,
    PropertyUpdate,
    PropertyArchive,
    PropertyGroups,
    Enablement,
    AccountDetails,
    ApiUsage,
    RecordLimits,
    TokenInfo,
    TokenRefresh,
    AccessTokenInfo,
    TokenIntrospect,
    Unknown,
}

/// A request's target, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) operation: Operation,
    /// The dated version in the path; `None`: v3.
    pub(super) version: Option<String>,
    /// The object type as written in the path.
    pub(super) object_type: Option<String>,
    /// Record ID, property name or token: the last segment, if any.
    pub(super) name: Option<String>,
    /// The decoded query parameters, in order.
    pub(super) params: Vec<(String, String)>,
}

impl Target {
    /// The first parameter with this name.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter with a list of names, repeated or separated by commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let given = self.params.iter().filter(|(key, _)| key == name);
        given.flat_map(|(_, value)| value.split(',')).map(str::to_owned).collect()
    }

    /// Whether this version validates writes more strictly (from 2026-09).
    pub(super) fn validates(&self) -> bool {
        self.version.as_deref().is_some_and(|version| version >= "2026-09")
    }

    /// Whether the request is for archived records.
    pub(super) fn archived(&self) -> bool {
        self.param("archived") == Some("true")
    }
}

/// The result of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    To(Target),
    WrongMethod,
    Nowhere,
}

/// Finds the operation of a request.
pub(super) fn resolve(method: &Method, uri: &Uri) -> Route {
    let decoded: Vec<String> = uri
        .path()
        .split('/')
        .skip(1)
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into())
        .collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (object_type, name, choices) = match parts.as_slice() {
        ["crm", "v3", "objects", kind, rest @ ..] => object(kind, rest),
        // Merges have no v3 path, are not in 2026-09, and name the type in words.
        ["crm", "objects", "2025-09" | "2026-03" | "2026-09-beta", "courses", "merge"] => {
            (Some("courses"), None, &[(Method::POST, Operation::Merge)] as &[_])
        }
        ["crm", "objects", version, kind, rest @ ..] if is_dated(version) => object(kind, rest),
        ["crm", "v3", "properties", kind, rest @ ..] => property(kind, rest),
        ["crm", "properties", version, kind, rest @ ..] if is_dated(version) => property(kind, rest),
        ["crm", "v3", "object-library", "enablement", rest @ ..] => enablement(rest),
        ["crm", "object-library", version, "enablement", rest @ ..] if is_dated(version) => enablement(rest),
        rest => account(rest),
    };
    if choices.is_empty() {
        return Route::Nowhere;
    }
    match choices.iter().find(|(allowed, _)| *allowed == method) {
        None => Route::WrongMethod,
        Some((_, operation)) => Route::To(Target {
            operation: *operation,
            version: version(&parts).map(str::to_owned),
            object_type: object_type.map(str::to_owned),
            name: name.map(str::to_owned),
            params: Query::try_from_uri(uri).map(|Query(params)| params).unwrap_or_default(),
        }),
    }
}

type Choices<'a> = (Option<&'a str>, Option<&'a str>, &'static [(Method, Operation)]);

fn object<'a>(kind: &'a str, rest: &[&'a str]) -> Choices<'a> {
    use Operation as Op;
    let (name, choices): (Option<&str>, &[(Method, Operation)]) = match rest {
        [] => (None, &[(Method::GET, Op::List), (Method::POST, Op::Create)]),
        ["search"] => (None, &[(Method::POST, Op::Search)]),
        ["batch", "create"] => (None, &[(Method::POST, Op::BatchCreate)]),
        ["batch", "read"] => (None, &[(Method::POST, Op::BatchRead)]),
        ["batch", "upsert"] => (None, &[(Method::POST, Op::BatchUpsert)]),
        ["batch", "update"] => (None, &[(Method::POST, Op::BatchUpdate)]),
        ["batch", "archive"] => (None, &[(Method::POST, Op::BatchArchive)]),
        [id] if !id.is_empty() => (
            Some(*id),
            &[(Method::GET, Op::Read), (Method::PATCH, Op::Update), (Method::DELETE, Op::Archive)],
        ),
        _ => (None, &[]),
    };
    (Some(kind), name, choices)
}

fn property<'a>(kind: &'a str, rest: &[&'a str]) -> Choices<'a> {
    use Operation as Op;
    let (name, choices): (Option<&str>, &[(Method, Operation)]) = match rest {
        [] => (None, &[(Method::GET, Op::PropertyList), (Method::POST, Op::PropertyCreate)]),
        ["groups"] => (None, &[(Method::GET, Op::PropertyGroups)]),
        [name] if !name.is_empty() => (
            Some(*name),
            &[
                (Method::GET, Op::PropertyRead),
                (Method::PATCH, Op::PropertyUpdate),
                (Method::DELETE, Op::PropertyArchive),
            ],
        ),
        _ => (None, &[]),
    };
    (Some(kind), name, choices)
}

fn enablement<'a>(rest: &[&'a str]) -> Choices<'a> {
    const GET: &[(Method, Operation)] = &[(Method::GET, Operation::Enablement)];
    match rest {
        [] => (None, None, GET),
        [kind] => (None, Some(*kind), GET),
        _ => (None, None, &[]),
    }
}

fn account<'a>(parts: &[&'a str]) -> Choices<'a> {
    use Operation as Op;
    match parts {
        ["account-info", version, "details"] if *version == "v3" || is_dated(version) => {
            (None, None, &[(Method::GET, Op::AccountDetails)])
        }
        ["account-info", version, "api-usage", "daily", "private-apps"]
            if *version == "v3" || is_dated(version) =>
        {
            (None, None, &[(Method::GET, Op::ApiUsage)])
        }
        ["crm", "v3", "limits", "records"] => (None, None, &[(Method::GET, Op::RecordLimits)]),
        ["crm", "limits", version, "records"] if is_dated(version) => {
            (None, None, &[(Method::GET, Op::RecordLimits)])
        }
        ["oauth", "v2", "private-apps", "get", "access-token-info"] => {
            (None, None, &[(Method::POST, Op::TokenInfo)])
        }
        ["oauth", version, "token"] if matches!(*version, "v1" | "v3") || is_dated(version) => {
            (None, None, &[(Method::POST, Op::TokenRefresh)])
        }
        ["oauth", version, "token", "introspect"] if *version == "v3" || is_dated(version) => {
            (None, None, &[(Method::POST, Op::TokenIntrospect)])
        }
        ["oauth", "v1", "access-tokens", token] => {
            (None, Some(*token), &[(Method::GET, Op::AccessTokenInfo)])
        }
        _ => (None, None, &[]),
    }
}

/// The dated version of a path. `v3` of OAuth counts as dated, because it responds in the same way.
fn version<'a>(parts: &[&'a str]) -> Option<&'a str> {
    match parts {
        ["oauth", version, ..] if *version == "v3" || is_dated(version) => Some(version),
        ["crm", _, version, ..] if is_dated(version) => Some(version),
        _ => None,
    }
}

/// `2026-03`, `2027-03-beta`: HubSpot's dated versions.
fn is_dated(version: &str) -> bool {
    let version = version.strip_suffix("-beta").unwrap_or(version);
    matches!(version.split_once('-'), Some((year, month))
        if year.len() == 4 && month.len() == 2 && (year.to_owned() + month).bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_paths_map_to_the_same_operations() {
        let cases = [
            (Method::POST, "/crm/v3/objects/0-410/batch/create", Some(Operation::BatchCreate)),
            (Method::POST, "/crm/objects/2026-03/0-410/batch/create", Some(Operation::BatchCreate)),
            (Method::GET, "/crm/v3/objects/courses/17", Some(Operation::Read)),
            (Method::GET, "/crm/properties/2026-09/0-410/groups", Some(Operation::PropertyGroups)),
            (Method::POST, "/oauth/v1/token", Some(Operation::TokenRefresh)),
            (Method::POST, "/oauth/2026-03/token", Some(Operation::TokenRefresh)),
            (Method::POST, "/oauth/2026-09/token/introspect", Some(Operation::TokenIntrospect)),
            (Method::POST, "/oauth/v1/token/introspect", None),
            (Method::GET, "/account-info/2026-03/details", Some(Operation::AccountDetails)),
            (Method::GET, "/account-info/2026-03/api-usage/daily/private-apps", Some(Operation::ApiUsage)),
            (Method::GET, "/crm/v3/limits/records", Some(Operation::RecordLimits)),
            (Method::GET, "/crm/limits/2026-09/records", Some(Operation::RecordLimits)),
            (Method::POST, "/crm/objects/latest/0-410/batch/create", None),
            (Method::GET, "/crm/v3/objects/0-410/batch/merge", None),
            (Method::POST, "/crm/objects/2026-03/courses/merge", Some(Operation::Merge)),
            (Method::POST, "/crm/objects/2026-03/0-410/merge", None),
            (Method::POST, "/crm/objects/2026-09/courses/merge", None),
            (Method::POST, "/crm/v3/objects/courses/merge", None),
        ];
        for (method, path, expected) in cases {
            let found = match resolve(&method, &path.parse::<Uri>().unwrap()) {
                Route::To(target) => Some(target.operation),
                Route::WrongMethod | Route::Nowhere => None,
            };
            assert_eq!(found, expected, "{method} {path}");
        }
        let wrong = resolve(&Method::GET, &"/crm/v3/objects/0-410/batch/create".parse::<Uri>().unwrap());
        assert_eq!(wrong, Route::WrongMethod);
    }
}
