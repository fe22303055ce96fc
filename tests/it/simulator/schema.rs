//! Selects the schema of a response.

use serde_json::{Value, json};

const SCHEMAS: &str = include_str!("schemas/answers.json");

/// Fails unless `body` fits the schema that belongs to `path` and `status`.
pub(super) fn check(path: &str, status: u16, body: &Value) {
    let name = name(path, status, body);
    let mut schema: Value = serde_json::from_str(SCHEMAS).unwrap();
    schema["$ref"] = json!(format!("#/$defs/{name}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let complaints: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(complaints.is_empty(), "{path} {status} is no {name}: {complaints:#?}\n{body:#}");
}

fn name(path: &str, status: u16, body: &Value) -> &'static str {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let ends = |end: &str| path.ends_with(end);
    match status {
        400 if path.starts_with("/oauth/") && (ends("/token") || ends("/introspect")) => "OauthRefusal",
        400.. => "Error",
        _ if body.get("errors").is_some() => "BatchWithErrors",
        _ if ends("batch/create") => "BatchCreated",
        _ if ends("batch/upsert") => "BatchUpserted",
        _ if path.contains("/batch/") => "Batch",
        _ if ends("/search") => "Found",
        _ if ends("/groups") => "Groups",
        _ if path.contains("/properties/") && body.get("results").is_some() => "Properties",
        _ if path.contains("/properties/") => "Property",
        _ if path.contains("/enablement") => "Enablement",
        _ if ends("/details") => "AccountDetails",
        _ if ends("/private-apps") => "ApiUsage",
        _ if ends("/access-token-info") => "TokenInfo",
        _ if path.contains("/access-tokens/") => "AccessToken",
        _ if ends("/introspect") => "Introspection",
        _ if path.contains("/limits/") => "RecordLimits",
        _ if ends("/token") => "Grant",
        201 => "Created",
        _ if body.get("results").is_some() => "Page",
        _ => "Record",
    }
}
