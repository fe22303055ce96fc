//! A server whose certificate no authority vouches for gets nothing, the token least of all.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use course_sync::policy::answer::{Exchange, NotSent};

use super::client::{client_of, one_course, settings, token};

/// A TLS server with a certificate of its own making; killed when dropped.
struct Impostor(Child);

impl Impostor {
    /// `None` where openssl is not installed.
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
        let said = BufReader::new(child.stdout.take()?).lines().map_while(Result::ok);
        let address = said.into_iter().find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        Some((Self(child), format!("https://{}", address.expect("it listens"))))
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_said() {
    for (name, is_ca, advice) in [
        ("IP:127.0.0.1", "FALSE", "set SSL_CERT_FILE"),
        ("IP:127.0.0.1", "TRUE", "check hubspot.base_url, DNS and HTTPS_PROXY"),
        // Whether the issuer or the name is checked first is the TLS library's choice.
        ("DNS:elsewhere.example", "FALSE", "; "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some((_impostor, url)) = Impostor::start(folder.path(), name, is_ca) else {
            return eprintln!("skipped: openssl is not installed");
        };
        let exchange = client_of(&settings(&url, token())).create(&one_course()).await;
        let Exchange::NotSent(NotSent::Unreachable(why)) = exchange else { panic!("{exchange:?}") };
        assert!(why.contains("certificate") && why.contains(advice), "{why}");
    }
}
