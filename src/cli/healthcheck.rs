//! `healthcheck`: queries `/readyz` of the daemon on this machine, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::outcome::CommandOutcome;
use super::output::print_result;
use crate::config::Config;

/// Longer than the daemon itself waits for the database.
const TIMEOUT: Duration = Duration::from_secs(4);
/// More than the response of `/readyz` ever has.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

pub(super) async fn run(config: &Config) -> anyhow::Result<CommandOutcome> {
    let address = local_address(config.admin.listen);
    let response = tokio::time::timeout(TIMEOUT, query_readyz(address))
        .await
        .map_err(|_| anyhow::anyhow!("no response within {} s", TIMEOUT.as_secs()))
        .and_then(|response| response.map_err(Into::into))
        .with_context(|| format!("failed to query the daemon at {address} (admin.listen)"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    print_result(body.trim())?;
    let is_ready = head.split(' ').nth(1) == Some("200");
    Ok(if is_ready { CommandOutcome::Success } else { CommandOutcome::Failure })
}

/// The address to connect to: a daemon that listens on all addresses is reached over loopback.
fn local_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn query_readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response).await?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
