//! TLS to the database: its certificate is verified with the system's roots or the file of `sslrootcert`.

use std::path::Path;
use std::process::Command;

use course_sync::demo::postgres::{PostgresOptions, ThrowawayPostgres};

use crate::support::daemon::{output, program};
use crate::support::world::World;

/// Makes a private authority and a certificate for `localhost` that it signed. False if openssl is not installed.
fn make_certificates(folder: &Path) -> bool {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=Private \\
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \\
            -keyout server.key -out server.csr &&
        echo subjectAltName=DNS:localhost,IP:127.0.0.1 >extensions &&
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \\
            -extfile extensions -out server.pem";
    if Command::new("openssl").arg("version").output().is_err() {
        return false;
    }
    let made = Command::new("sh").arg("-ec").arg(script).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    true
}

/// Turns TLS on in a running cluster.
async fn turn_tls_on(cluster: &ThrowawayPostgres, folder: &Path) {
    let admin = sqlx::PgPool::connect(&cluster.url("postgres")).await.unwrap();
    for name in ["server.pem", "server.key"] {
        // The server writes its own copy, because it accepts a key only from its own user.
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let copy = format!(
            "copy (select '{}') to program 'umask 077; tr , ''\\n'' >{name}'",
            text.trim_end().replace('\n', ",")
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&admin).await.unwrap();
    }
    for statement in [
        "alter system set ssl_cert_file = 'server.pem'",
        "alter system set ssl_key_file = 'server.key'",
        "alter system set ssl = on",
        "select pg_reload_conf()",
    ] {
        sqlx::raw_sql(statement).execute(&admin).await.unwrap();
    }
    admin.close().await;
}

#[tokio::test]
async fn a_private_authority_is_trusted_from_the_systems_store_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let options = PostgresOptions { listen_tcp: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(options).await.unwrap();
    turn_tls_on(&cluster, folder.path()).await;
    let url = cluster.tcp_url("postgres").replace("?sslmode=disable", "");
    let authority = folder.path().join("ca.pem").display().to_string();
    let mut world = World::new().await;
    for (parameters, store, is_trusted) in [
        ("sslmode=verify-full", Some(&authority), true),
        ("sslmode=verify-ca", Some(&authority), true),
        ("sslrootcert=system", Some(&authority), true),
        ("sslmode=verify-full", None, false),
        (&format!("sslmode=verify-full&sslrootcert={authority}"), None, true),
    ] {
        world.settings.insert("DATABASE_URL".into(), format!("{url}?{parameters}"));
        let mut migrate = program(&world.settings);
        migrate.arg("migrate");
        if let Some(store) = store {
            migrate.env("SSL_CERT_FILE", store);
        }
        let output = output(migrate).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_trusted, "{parameters} {store:?}: {text}");
        assert!(is_trusted || text.contains("certificate"), "{text}");
    }
    cluster.stop().await.unwrap();
}
