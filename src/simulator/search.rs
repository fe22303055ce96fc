//! The search endpoint: eventually consistent (a new record stays invisible for a while), with paging and
//! filters enough for a client to look for candidates.

use serde::Deserialize;

use super::decode;
use super::output::{Collection, asked, object};
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
    let invalid = |message: &str| {
        Reply::refusal(400, ErrorBody::new(message).category("VALIDATION_ERROR"), &call.correlation)
    };
    let class = "com.hubspot.inbounddb.publicobject.core.v2.PublicObjectSearchRequest";
    let request: Request = match decode::json(&call.body, class) {
        Ok(request) => request,
        Err(message) => return Reply::refusal(400, ErrorBody::new(message), &call.correlation),
    };
    if request.limit > 200 {
        return invalid("limit must be less than or equal to 200");
    }
    if request.filter_groups.len() > 5 || request.filter_groups.iter().any(|group| group.filters.len() > 6) {
        return invalid("A search may have at most 5 filter groups of at most 6 filters");
    }
    let filters = || request.filter_groups.iter().flat_map(|group| &group.filters);
    if filters().any(|filter| filter.value.as_deref().is_some_and(|value| value.contains('"'))) {
        return invalid("There was a problem with the request: a filter value holds an unescaped quote");
    }
    let lag_us = state.behaviour.search_lag_ms.saturating_mul(1_000);
    let names = asked(request.properties.clone());
    let found: Vec<ObjectOut> = state
        .store
        .all()
        .filter(|record| !record.archived && record.created_us.saturating_add(lag_us) <= call.at_us)
        .filter(|record| request.finds(record))
        .map(|record| object(record, &names))
        .collect();
    let total = found.len();
    let start: usize = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
    let end = start.saturating_add(request.limit);
    let page = found.into_iter().skip(start).take(request.limit).collect();
    Reply::json(200, &Collection::new(Some(total), page, (end < total).then(|| end.to_string())))
}

impl Request {
    fn finds(&self, record: &Record) -> bool {
        let said = self.query.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            record.properties.values().any(|value| value.to_lowercase().contains(&text))
        });
        let any_group = self.filter_groups.iter().any(|group| group.filters.iter().all(|f| f.fits(record)));
        said && (self.filter_groups.is_empty() || any_group)
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
        let against = |bound: &Option<String>| compare(&held, bound.as_deref().unwrap_or_default());
        match self.operator {
            Operator::Eq => against(&self.value).is_eq(),
            Operator::Neq => against(&self.value).is_ne(),
            Operator::Lt => against(&self.value).is_lt(),
            Operator::Lte => against(&self.value).is_le(),
            Operator::Gt => against(&self.value).is_gt(),
            Operator::Gte => against(&self.value).is_ge(),
            Operator::Between => against(&self.value).is_ge() && against(&self.high_value).is_le(),
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

/// Compares as points in time or as numbers where both are, else as texts. Times come as ISO 8601 or as
/// epoch milliseconds.
fn compare(one: &str, other: &str) -> std::cmp::Ordering {
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    if let Some(held) = moment(one) {
        let bound = moment(other)
            .or_else(|| other.parse().ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()));
        if let Some(bound) = bound {
            return held.cmp(&bound);
        }
    }
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => one.total_cmp(&other),
        _ => one.cmp(other),
    }
}
