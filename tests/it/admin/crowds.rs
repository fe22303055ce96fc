//! Clients that connect and say little or nothing: they are shown out, and keep nobody else waiting.

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
async fn is_ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Closed or reset: either ends it.
    drop(tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await.expect("an end"));
}

#[tokio::test]
async fn who_sends_a_header_byte_by_byte_is_shown_out() {
    let world = World::new().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
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
        () = trickle => panic!("it was let go on for {:?}", began.elapsed()),
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(get(&format!("{admin}/readyz")).await.status, 200);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let world = World::new().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    let mut stream = connect(&admin).await;
    let endless = vec![b'x'; 256 * 1024];
    let mut written = stream.write_all(b"GET /readyz HTTP/1.1\r\nX: ").await;
    for _ in 0..64 {
        written = written.and(stream.write_all(&endless).await);
    }
    assert!(written.is_err(), "16 MiB of a header were taken in");
    assert_eq!(get(&format!("{admin}/livez")).await.status, 200);
}

#[tokio::test]
async fn a_thousand_idle_connections_take_nothing_from_the_work() {
    let world = World::new().await;
    // With so few descriptors the thousand would have taken them all.
    let plain = program(&world.settings);
    let mut limited = std::process::Command::new("sh");
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.args(["-c", "ulimit -n 256 && exec \"$0\" run"]).arg(plain.get_program());
    let mut daemon = Daemon::spawn(limited);
    let admin = daemon.admin().await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(connect(&admin).await);
        // Of ours no more than the daemon keeps: the oldest are closed on the other side by now.
        if idle.len() > 300 {
            is_ended(&mut idle.remove(0)).await;
        }
    }
    // A probe does not wait until the idle ones are shown out for their age.
    let readyz = format!("{admin}/readyz");
    let probe = get(&readyz);
    assert_eq!(tokio::time::timeout(Duration::from_secs(3), probe).await.expect("at once").status, 200);
    world.enqueue_many("A", 2_000).await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(get(&format!("{admin}/metrics")).await.status, 200);
    for stream in &mut idle {
        is_ended(stream).await;
    }
    assert!(daemon.stop().await.success());
}
