//! Advice on connection errors: from the text of an error to what the operator can change. Pure.
//!
//! The texts are those of `hyper-util` (proxies), `rustls` (certificates) and the system's resolver. They are matched
//! as texts, because `reqwest` does not expose the errors behind them. A text that is not in the table is returned
//! unchanged.

/// Parts of an error's text, in lower case, and the advice where all of them occur. The first match counts.
const ADVICE: [(&[&str], &str); 11] = [
    (
        &["proxy authorization required"],
        // Not as an example URL with both in it: the log would redact it.
        "the proxy requires a user and a password: put both into HTTPS_PROXY, as USER:PASSWORD and an @ before the host",
    ),
    (
        &["tunnel error", "failed to create underlying connection"],
        "the proxy cannot be reached: check host and port in HTTPS_PROXY, or add HubSpot's host to NO_PROXY",
    ),
    (
        &["tunnel error"],
        "the proxy in HTTPS_PROXY did not open a tunnel: allow it to connect to HubSpot's host on port 443, or add the host \
         to NO_PROXY",
    ),
    (
        &["unknownissuer"],
        "the certificate's issuer is not trusted: if a proxy or firewall inspects TLS, set SSL_CERT_FILE to a PEM file with \
         its root certificate",
    ),
    (
        &["certificate not valid for name"],
        "the certificate belongs to another server: check hubspot.base_url, DNS and HTTPS_PROXY",
    ),
    (
        &["notvalidforname"],
        "the certificate belongs to another server: check hubspot.base_url, DNS and HTTPS_PROXY",
    ),
    (
        &["certificate expired"],
        "check the clock of this machine; if it is right, the owner of the server or proxy must renew the certificate",
    ),
    (&["certificate not valid yet"], "check the clock of this machine"),
    (
        &["invalid peer certificate"],
        "the certificate is not accepted; another server may have answered under HubSpot's name: check hubspot.base_url, DNS \
         and HTTPS_PROXY",
    ),
    (
        &["invalidcontenttype"],
        "the server does not use TLS on this port: check hubspot.base_url and HTTPS_PROXY",
    ),
    (
        &["dns error"],
        "the host name cannot be resolved: check hubspot.base_url and DNS; where the network requires a proxy, set HTTPS_PROXY",
    ),
];

/// The text of a connection error, with the advice for it where there is one.
pub(super) fn with_advice(text: String) -> String {
    let searched = text.to_lowercase();
    match ADVICE.iter().find(|(parts, _)| parts.iter().all(|part| searched.contains(part))) {
        Some((_, advice)) => format!("{text}; {advice}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_errors_have_advice() {
        for (error, advice) in [
            ("tunnel error: proxy authorization required", "put both into HTTPS_PROXY, as USER:PASSWORD"),
            (
                "tunnel error: failed to create underlying connection: tcp connect error: Connection refused (os error 111)",
                "check host and port in HTTPS_PROXY",
            ),
            ("tunnel error: unsuccessful", "did not open a tunnel"),
            ("tunnel error: unexpected end of file", "did not open a tunnel"),
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            (
                "invalid peer certificate: certificate expired: verification time 1796000000 (UNIX), but certificate is not \
                 valid after 1780000000 (16000000 seconds ago)",
                "the clock of this machine",
            ),
            (
                "invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid \
                 before 2 (1 seconds in future)",
                "the clock of this machine",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"api.hubapi.com\"; certificate is only valid for \
                 DnsName(\"elsewhere.example\")",
                "check hubspot.base_url, DNS and HTTPS_PROXY",
            ),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "is not accepted"),
            ("invalid peer certificate: NotValidForName", "check hubspot.base_url, DNS and HTTPS_PROXY"),
            ("received corrupt message of type InvalidContentType", "does not use TLS"),
            (
                "dns error: failed to lookup address information: Name or service not known",
                "cannot be resolved",
            ),
        ] {
            let text = format!("HubSpot could not be reached: {error}");
            let advised = with_advice(text.clone());
            assert!(advised.starts_with(&format!("{text}; ")), "{advised}");
            assert!(advised.contains(advice), "{advice:?} in {advised}");
        }
    }

    #[test]
    fn an_unknown_error_is_unchanged() {
        for text in ["tcp connect error: Connection refused (os error 111)", "operation timed out", ""] {
            assert_eq!(with_advice(text.to_owned()), text);
        }
    }
}
