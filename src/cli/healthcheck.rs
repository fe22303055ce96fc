//! `healthcheck`: asks the daemon's own `/readyz`, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Outcome;
use crate::config::Config;

/// The daemon answers within its own patience for the database, which is shorter.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than `/readyz` has to say.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    let address = reachable(config.admin.listen);
    let answer = tokio::time::timeout(PATIENCE, ask(address))
        .await
        .map_err(|_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))
        .and_then(|answer| answer.map_err(Into::into))
        .with_context(|| format!("the daemon at {address} (admin.listen) cannot be asked"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    super::say(body.trim())?;
    let is_ready = head.split(' ').nth(1) == Some("200");
    Ok(if is_ready { Outcome::Fine } else { Outcome::Failed })
}

/// Where a daemon that listens everywhere is found from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
