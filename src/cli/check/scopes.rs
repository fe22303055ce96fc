//! The scopes that `run` needs, by name. Pure.

/// The scope of look-ups. `run` needs it with a unique property.
pub(super) const READ: &str = "crm.objects.courses.read";
/// The scope of creates.
pub(super) const WRITE: &str = "crm.objects.courses.write";

/// The scope to add: the one that the call needs, or those that HubSpot names instead.
pub(super) fn missing_scope(scope: &str, named: &[String]) -> String {
    if named.is_empty() || named.iter().any(|it| it == scope) { scope.to_owned() } else { named.join(" or ") }
}
