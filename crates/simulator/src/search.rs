//! The search endpoint: eventually consistent (new records are found after a delay), with paging and the most
//! important filters.

use serde::Deserialize;

use super::decode;
use super::output::{Collection, object, properties_or_default};
use super::state::{Call, State};
use super::store::Record;
use super::wire::{ErrorBody, ObjectOut, Reply, iso};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    filter_groups: Vec<Group>,
    query: Option<String>,
    limit: usize,
    after: Option<String>,
    properties: Vec<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self { filter_groups: Vec::new(), query: None, limit: 10, after: None, properties: Vec::new() }
    }
}

#[derive(Deserialize)]
struct Group {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: Operator,
    value: Option<String>,
    #[serde(default)]
    values: Vec<String>,
    high_value: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    Between,
    In,
    NotIn,
    HasProperty,
    NotHasProperty,
    ContainsToken,
    NotContainsToken,
}

/// `POST search`.
pub(super) fn search(state: &State, call: &Call) -> Reply {
    let class = "com.hubspot.inbounddb.publicobject.core.v2.PublicObjectSearchRequest";
    let request: Request = match decode::json(&call.body, class) {
        Ok(request) => request,
        Err(message) => return Reply::refusal(400, ErrorBody::new(message), &call.correlation),
    };
    if request.limit > 200 {
        return invalid(call, "limit must be less than or equal to 200");
    }
    if request.filter_groups.len() > 5 || request.filter_groups.iter().any(|group| group.filters.len() > 6) {
        return invalid(call, "A search may have at most 5 filter groups of at most 6 filters");
    }
    let mut filters = request.filter_groups.iter().flat_map(|group| &group.filters);
    if filters.any(|filter| filter.value.as_deref().is_some_and(|value| value.contains('"'))) {
        return invalid(
            call,
            "There was a problem with the request: a filter value holds an unescaped quote",
        );
    }
    let lag_us = state.behaviour.search_lag_ms.saturating_mul(1_000);
    let names = properties_or_default(request.properties.clone());
    let found: Vec<ObjectOut> = state
        .store
        .all()
        .filter(|record| !record.archived && record.created_us.saturating_add(lag_us) <= call.at_us)
        .filter(|record| request.finds(record))
        .map(|record| object(&state.store, record, &names))
        .collect();
    let total = found.len();
    let start: usize = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
    let end = start.saturating_add(request.limit);
    let page = found.into_iter().skip(start).take(request.limit).collect();
    Reply::json(200, &Collection::new(Some(total), page, (end < total).then(|| end.to_string())))
}

fn invalid(call: &Call, message: &str) -> Reply {
    Reply::refusal(400, ErrorBody::new(message).category("VALIDATION_ERROR"), &call.correlation)
}

impl Request {
    fn finds(&self, record: &Record) -> bool {
        let matches_query = self.query.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            record.properties.values().any(|value| value.to_lowercase().contains(&text))
        });
        let any_group = self.filter_groups.iter().any(|group| group.filters.iter().all(|f| f.fits(record)));
        matches_query && (self.filter_groups.is_empty() || any_group)
    }
}

impl Filter {
    fn fits(&self, record: &Record) -> bool {
        let computed = match self.property_name.as_str() {
            "hs_createdate" => Some(iso(record.created_at)),
            "hs_lastmodifieddate" => Some(iso(record.updated_at)),
            "hs_object_id" => Some(record.id.to_string()),
            _ => None,
        };
        let held = computed.or_else(|| record.properties.get(&self.property_name).cloned());
        let Some(held) = held.filter(|held| !held.is_empty()) else {
            return matches!(
                self.operator,
                Operator::NotHasProperty | Operator::Neq | Operator::NotIn | Operator::NotContainsToken
            );
        };
        let value = self.value.as_deref().unwrap_or_default();
        let high_value = self.high_value.as_deref().unwrap_or_default();
        match self.operator {
            Operator::Eq => compare(&held, value).is_eq(),
            Operator::Neq => compare(&held, value).is_ne(),
            Operator::Lt => compare(&held, value).is_lt(),
            Operator::Lte => compare(&held, value).is_le(),
            Operator::Gt => compare(&held, value).is_gt(),
            Operator::Gte => compare(&held, value).is_ge(),
            Operator::Between => compare(&held, value).is_ge() && compare(&held, high_value).is_le(),
            Operator::In => self.values.contains(&held),
            Operator::NotIn => !self.values.contains(&held),
            Operator::HasProperty => true,
            Operator::NotHasProperty => false,
            Operator::ContainsToken => self.contains(&held),
            Operator::NotContainsToken => !self.contains(&held),
        }
    }

    fn contains(&self, held: &str) -> bool {
        let token = self.value.as_deref().unwrap_or_default().trim_matches('*').to_lowercase();
        held.to_lowercase().contains(&token)
    }
}

/// Compares two values as times or numbers if both are, otherwise as texts. Times are ISO 8601 or milliseconds since
/// 1970.
fn compare(one: &str, other: &str) -> std::cmp::Ordering {
    if let Ok(held) = one.parse::<jiff::Timestamp>()
        && let Some(bound) = parse_time(other)
    {
        return held.cmp(&bound);
    }
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => one.total_cmp(&other),
        _ => one.cmp(other),
    }
}

/// A time in ISO 8601, or in milliseconds since 1970.
fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    jiff::Timestamp::from_millisecond(text.parse().ok()?).ok()
}
