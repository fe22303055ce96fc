//! The root certificates that verify the database's server. Touches the system's certificate store.
//!
//! The driver trusts only its built-in public authorities and the file of `sslrootcert`. A private authority is usually
//! in the system's store, or in the file that `SSL_CERT_FILE` names.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;

/// The system's root certificates as PEM text; empty if it has none. Read once: the store changes with the image.
static SYSTEM_ROOTS: LazyLock<String> = LazyLock::new(|| {
    let mut pem = String::new();
    // Errors concern single files of the store. If the needed certificate is in one of them, the connection fails.
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The driver would refuse to connect because of one certificate that it cannot read.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            let text = STANDARD.encode(&certificate);
            // Writing to a string cannot fail.
            write!(pem, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n").ok();
        }
    }
    pem
});

/// The system's root certificates as PEM text, if there are any.
pub(super) fn system_roots() -> Option<&'static str> {
    Some(SYSTEM_ROOTS.as_str()).filter(|pem| !pem.is_empty())
}
