//! Idle and slow clients: they are disconnected, and they do not delay other clients.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::get;
use crate::support::daemon::{Daemon, program};
use crate::support::world::World;

async fn connect(admin: &str) -> TcpStream {
    TcpStream::connect(admin.trim_start_matches("http://")).await.expect("a connection")
}

/// Waits until the other side ended the connection.
async fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Closed and reset both end the connection.
    drop(tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await.expect("an end"));
}

#[tokio::test]
async fn a_client_that_sends_its_header_byte_by_byte_is_disconnected() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let (mut reading, mut writing) = connect(&admin).await.into_split();
    let began = Instant::now();
    let trickle = async {
        for byte in b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".iter().chain([b'x'; 200].iter()) {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ended = reading.read_to_end(&mut rest) => {}
        () = trickle => panic!("the connection stayed open for {:?}", began.elapsed()),
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(get(&format!("{admin}/readyz")).await.status, 200);
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let mut stream = connect(&admin).await;
    let endless = vec![b'x'; 256 * 1024];
    let mut written = stream.write_all(b"GET /readyz HTTP/1.1\r\nX: ").await;
    for _ in 0..64 {
        written = written.and(stream.write_all(&endless).await);
    }
    assert!(written.is_err(), "16 MiB of a header were accepted");
    assert_eq!(get(&format!("{admin}/livez")).await.status, 200);
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_affect_the_work() {
    let world = World::new().await;
    // A thousand connections would use up the limit of descriptors.
    let plain = program(&world.settings);
    let mut limited = std::process::Command::new("sh");
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.args(["-c", "ulimit -n 256 && exec \"$0\" run"]).arg(plain.get_program());
    let mut daemon = Daemon::spawn(limited);
    let admin = daemon.admin_url().await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(connect(&admin).await);
        // Keep fewer connections than the test may open: the daemon has already closed the oldest.
        if idle.len() > 300 {
            wait_for_end(&mut idle.remove(0)).await;
        }
    }
    // A health check does not wait until the idle connections time out.
    let readyz = format!("{admin}/readyz");
    let probe = get(&readyz);
    assert_eq!(tokio::time::timeout(Duration::from_secs(3), probe).await.expect("at once").status, 200);
    world.enqueue_many("A", 2_000).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(get(&format!("{admin}/metrics")).await.status, 200);
    for stream in &mut idle {
        wait_for_end(stream).await;
    }
    assert!(daemon.stop().await.success());
}
