//! Checks `database.url` before the driver reads it: the driver would log unknown parameters with their values. Pure.
//!
//! No message contains a part of the URL but the names of parameters, and those only where a name cannot be a piece of
//! a password.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, ParseError, Url};

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Parameters that the driver honours, with its other spellings.
const HONOURED: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// A parameter of libpq that the driver does not know.
struct Unsupported {
    name: &'static str,
    /// Values that ask for nothing more than what happens anyway.
    harmless: &'static [&'static str],
    reason: &'static str,
}

const fn unsupported(
    name: &'static str,
    harmless: &'static [&'static str],
    reason: &'static str,
) -> Unsupported {
    Unsupported { name, harmless, reason }
}

const AUTHENTICATION: &str = "the method of authentication cannot be restricted; use sslmode=verify-full";
const ENCRYPTED_KEY: &str = "an encrypted client key is not supported; decrypt the file of sslkey";
const FIXED_TIMEOUT: &str = "the timeout is fixed (5 seconds)";
const GSSAPI: &str = "GSSAPI is not supported; use TLS (sslmode=verify-full)";
const KEEPALIVE: &str = "course-sync detects a dead connection by its own timeouts";
const ONE_SERVER: &str = "course-sync uses one address and waits until its server accepts writes; use the address of \
                          the primary, or one that follows it";
const OAUTH: &str = "OAuth is not supported; use a password or a client certificate";
const PROTOCOL: &str = "only version 3.0 of the protocol is supported";
const REVOCATION: &str = "certificate revocation lists are not supported";
const SERVICE: &str = "service files are not read; write the parameters of the service into the URL";
const TLS_VERSION: &str = "TLS 1.2 and 1.3 are used, the newest that the server supports";

const UNSUPPORTED: &[Unsupported] = &[
    unsupported(
        "channel_binding",
        &["disable", "prefer"],
        "channel binding is not supported; use sslmode=verify-full, which verifies that the server is the right one",
    ),
    unsupported("client_encoding", &["UTF8", "utf8", "UTF-8", "utf-8"], "the encoding is always UTF8"),
    unsupported("connect_timeout", &[], FIXED_TIMEOUT),
    unsupported("gssdelegation", &["0"], GSSAPI),
    unsupported("gssencmode", &["disable", "prefer"], GSSAPI),
    unsupported("gsslib", &[], GSSAPI),
    unsupported("keepalives", &[], KEEPALIVE),
    unsupported("keepalives_count", &[], KEEPALIVE),
    unsupported("keepalives_idle", &[], KEEPALIVE),
    unsupported("keepalives_interval", &[], KEEPALIVE),
    unsupported("krbsrvname", &[], GSSAPI),
    unsupported("load_balance_hosts", &["disable"], ONE_SERVER),
    unsupported("max_protocol_version", &["3.0", "3.2", "latest"], PROTOCOL),
    unsupported("min_protocol_version", &["3.0"], PROTOCOL),
    unsupported("oauth_client_id", &[], OAUTH),
    unsupported("oauth_client_secret", &[], OAUTH),
    unsupported("oauth_issuer", &[], OAUTH),
    unsupported("oauth_scope", &[], OAUTH),
    unsupported("passfile", &[], "set the variable PGPASSFILE instead"),
    unsupported("replication", &["false", "off", "no", "0"], "course-sync uses ordinary sessions"),
    unsupported("require_auth", &[], AUTHENTICATION),
    unsupported("requirepeer", &[], "the user of the server's process cannot be verified; use TLS"),
    unsupported("scram_client_key", &[], "use a password or a client certificate"),
    unsupported("scram_server_key", &[], "use a password or a client certificate"),
    unsupported("service", &[], SERVICE),
    unsupported("servicefile", &[], SERVICE),
    unsupported("ssl_max_protocol_version", &["TLSv1.3"], TLS_VERSION),
    unsupported("ssl_min_protocol_version", &["TLSv1", "TLSv1.1", "TLSv1.2"], TLS_VERSION),
    unsupported("sslcertmode", &["allow"], "a client certificate is sent if sslcert and sslkey are set"),
    unsupported("sslcompression", &["0"], "TLS is never compressed"),
    unsupported("sslcrl", &[], REVOCATION),
    unsupported("sslcrldir", &[], REVOCATION),
    unsupported("sslkeylogfile", &[], "the keys of TLS are not logged"),
    unsupported("sslnegotiation", &["postgres"], "TLS starts only after the server agrees to it"),
    unsupported("sslpassword", &[], ENCRYPTED_KEY),
    unsupported("sslsni", &["1"], "the host name is always sent in the TLS handshake"),
    unsupported("target_session_attrs", &["any"], ONE_SERVER),
    unsupported("tcp_user_timeout", &[], KEEPALIVE),
];

const PASSWORD: &str = "has an @ after its host; special characters in the password must be percent-encoded \
                        (/ is %2F, ? is %3F, # is %23, @ is %40)";
const SEVERAL_HOSTS: &str = "names several hosts or ports; course-sync uses one address: that of the primary, or one \
                             that follows it";
const NOT_UTF8: &str = "is not UTF-8 text after percent-decoding";

/// Parses the URL of a Postgres database into one that the driver honours completely. The error is the end of a
/// sentence that starts with the name of the setting.
pub(crate) fn parse_database_url(text: &str) -> Result<Url, String> {
    let after_scheme = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let Some(after_scheme) = after_scheme else {
        return Err("must start with postgres:// or postgresql://".to_owned());
    };
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.rsplit('@').next().unwrap_or_default().contains(',') {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => {
            "has no valid port; special characters in the password must be percent-encoded"
        }
        _ => "is not a valid URL; special characters in the password must be percent-encoded",
    })?;
    if url.fragment().is_some() {
        return Err(
            "has an unencoded #; special characters in the password must be percent-encoded (# is %23)"
                .to_owned(),
        );
    }
    if url.path().contains('@') || url.query().is_some_and(has_password_piece) {
        return Err(PASSWORD.to_owned());
    }
    let parts =
        [url.username(), url.password().unwrap_or_default(), url.path(), url.query().unwrap_or_default()];
    if parts.iter().any(|part| percent_decode_str(part).decode_utf8().is_err()) {
        return Err(NOT_UTF8.to_owned());
    }
    without_harmless_parameters(url)
}

/// Whether the query contains an `@` where only the end of a password can have one: in a name, or beside a name that
/// no parameter has.
fn has_password_piece(query: &str) -> bool {
    let names = || query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names().any(|name| name.contains('@')) || (query.contains('@') && names().any(|name| !is_known(name)))
}

fn is_known(name: &str) -> bool {
    name.is_empty() || is_honoured(name) || UNSUPPORTED.iter().any(|parameter| parameter.name == name)
}

fn is_honoured(name: &str) -> bool {
    HONOURED.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// The URL without the parameters that ask for nothing, or all problems of its parameters.
fn without_harmless_parameters(url: Url) -> Result<Url, String> {
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    // An unencoded & in such a value would make the rest of it a name.
    let has_secret = pairs.iter().any(|(name, _)| matches!(name.as_str(), "password" | "sslpassword"));
    let (mut kept, mut problems) = (Vec::new(), Vec::new());
    // As in libpq, it names no file but the system's store, and needs the strictest mode.
    let uses_system_roots = pairs.iter().any(|(name, value)| is_system_roots(name, value));
    let mode = pairs.iter().rfind(|(name, _)| is_ssl_mode(name)).map(|(_, value)| value.as_str());
    match mode {
        None if uses_system_roots => kept.push(("sslmode".to_owned(), "verify-full".to_owned())),
        Some(mode) if uses_system_roots && mode != "verify-full" => {
            problems.push("has sslrootcert=system, which needs sslmode=verify-full".to_owned());
        }
        _ => {}
    }
    for (name, value) in pairs {
        if is_system_roots(&name, &value) {
            // The system's roots are used where no file is named.
        } else if is_honoured(&name) {
            problems.extend(flaw(&name, &value).map(ToOwned::to_owned));
            kept.push((name, value));
        } else if let Some(parameter) = UNSUPPORTED.iter().find(|parameter| parameter.name == name) {
            if !parameter.harmless.contains(&value.as_str()) {
                let Unsupported { name, reason, .. } = parameter;
                problems.push(format!("has the parameter {name}, which is not supported: {reason}"));
            }
        } else if name == "fallback_application_name" {
            // The application name is always set.
        } else if is_plain(&name) && !has_secret {
            problems.push(format!("has an unknown parameter {name}; remove it"));
        } else {
            problems.push("has an unknown parameter, which is not shown because it may be secret".to_owned());
        }
    }
    if !problems.is_empty() {
        problems.dedup();
        return Err(problems.join("; it "));
    }
    // The driver would look up an IPv6 address with its brackets as a name.
    if let Some(Host::Ipv6(address)) = url.host()
        && !kept.iter().any(|(name, _)| matches!(name.as_str(), "host" | "hostaddr"))
    {
        kept.push(("hostaddr".to_owned(), address.to_string()));
    }
    let mut url = url;
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    Ok(url)
}

fn is_ssl_mode(name: &str) -> bool {
    matches!(name, "sslmode" | "ssl-mode")
}

fn is_system_roots(name: &str, value: &str) -> bool {
    matches!(name, "sslrootcert" | "ssl-root-cert" | "ssl-ca") && value == "system"
}

/// Whether this can be shown as the name of a parameter.
fn is_plain(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-')
}

/// What the driver would reject, or misunderstand, in the value of a parameter that it honours.
fn flaw(name: &str, value: &str) -> Option<&'static str> {
    match name {
        name if is_ssl_mode(name) && !SSL_MODES.contains(&value) => {
            Some("has an unknown sslmode; use disable, allow, prefer, require, verify-ca or verify-full")
        }
        "host" | "hostaddr" | "port" if value.contains(',') => Some(SEVERAL_HOSTS),
        "host" if value.starts_with('[') => {
            Some("has brackets in the parameter host; write the address without them")
        }
        "port" if value.parse::<u16>().is_err() => Some("has no valid port in the parameter port"),
        "hostaddr" if value.parse::<IpAddr>().is_err() => Some("has no IP address in the parameter hostaddr"),
        "statement-cache-capacity" if value.parse::<usize>().is_err() => {
            Some("has no whole number in the parameter statement-cache-capacity")
        }
        _ => None,
    }
}
