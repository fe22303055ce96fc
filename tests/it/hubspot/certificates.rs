//! A server with an untrusted certificate receives no data, in particular no token.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use course_sync::hubspot::api::response::{Exchange, NotSent};

use super::client::{client_with, one_course, settings, token};

/// A TLS server with a self-signed certificate. The process is killed when this value is dropped.
struct UntrustedServer(Child);

impl UntrustedServer {
    /// Returns `None` if openssl is not installed.
    fn start(folder: &std::path::Path, name: &str, is_ca: &str) -> Option<(Self, String)> {
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
            ])
            .args(["-subj", "/CN=HubSpot", "-addext", &format!("subjectAltName={name}")])
            .args(["-addext", &format!("basicConstraints=critical,CA:{is_ca}")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(child.stdout.take()?).lines().map_while(Result::ok);
        let address = lines.into_iter().find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        Some((Self(child), format!("https://{}", address.expect("the server prints its address"))))
    }
}

impl Drop for UntrustedServer {
    fn drop(&mut self) {
        // The process may have exited already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_before_any_data_is_sent() {
    for (name, is_ca, advice) in [
        ("IP:127.0.0.1", "FALSE", "set SSL_CERT_FILE"),
        ("IP:127.0.0.1", "TRUE", "check hubspot.base_url, DNS and HTTPS_PROXY"),
        // The TLS library may check the issuer or the name first.
        ("DNS:elsewhere.example", "FALSE", "; "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some((_server, url)) = UntrustedServer::start(folder.path(), name, is_ca) else {
            return eprintln!("skipped: openssl is not installed");
        };
        let exchange = client_with(&settings(&url, token())).write(&one_course()).await;
        let Exchange::NotSent(NotSent::Unreachable(why)) = exchange else { panic!("{exchange:?}") };
        assert!(why.contains("certificate") && why.contains(advice), "{why}");
    }
}
