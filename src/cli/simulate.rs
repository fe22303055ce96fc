//! `course-sync simulate`: the HubSpot simulator on its own, for the developers of a catalogue.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use simulator::{Behaviour, Latency, Limits, Settings, Simulator};
use tokio::signal::unix::{SignalKind, signal};

/// Run a HubSpot simulator for development and tests
///
/// The simulator keeps its data in memory and is as strict as HubSpot. The first line on stdout is
/// `listening on http://ADDR:PORT`. Set `hubspot.base_url` to this URL, or open it in a browser to see
/// records and requests. Stops on SIGTERM or Ctrl-C. Create custom properties as in HubSpot:
/// `POST /crm/v3/properties/0-410`. A control API under `/_simulator/` injects faults (by operation,
/// content or size of a request, or for single courses of a batch), changes the behaviour of the
/// account, and lists requests and records: see docs/simulator.md. Reads no configuration.
#[derive(Debug, clap::Args)]
pub struct SimulateArgs {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9465", value_parser = parse_address)]
    listen: SocketAddr,
    /// Access token to accept
    #[arg(long, default_value = "pat-na1-simulator")]
    token: String,
    /// Text property with unique values to create at start
    #[arg(long, value_name = "NAME")]
    unique_property: Option<String>,
    /// Requests allowed in any rolling interval
    #[arg(long, value_name = "N", default_value_t = 190)]
    requests: u64,
    /// Length of the rolling interval, with a unit
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    per: Duration,
    /// Requests allowed in a day
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    daily: u64,
    /// Response time: a duration such as 80ms, or a range
    #[arg(long, value_name = "FROM..TO", default_value = "50ms..150ms", value_parser = parse_latency)]
    latency: Latency,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: SimulateArgs) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let listen = args.listen;
    let simulator = Simulator::bind(listen, settings(args))
        .await
        .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", simulator.url()).context("writing to stdout")?;
    stdout.flush().context("writing to stdout")?;
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    simulator.serve(stopped).await.context("serving")
}

fn settings(args: SimulateArgs) -> Settings {
    let limits = Limits {
        requests: args.requests,
        per_ms: milliseconds(args.per),
        daily: args.daily,
        ..Limits::default()
    };
    Settings {
        token: args.token,
        unique_property: args.unique_property,
        seed: args.seed,
        behaviour: Behaviour { limits, latency: args.latency, ..Behaviour::default() },
        ..Settings::default()
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9465".to_owned())
}

fn parse_latency(text: &str) -> Result<Latency, String> {
    let (min_ms, max_ms) = match text.split_once("..") {
        None => (parse_milliseconds(text)?, parse_milliseconds(text)?),
        Some((from, to)) => (parse_milliseconds(from)?, parse_milliseconds(to)?),
    };
    if min_ms > max_ms {
        return Err("the range is reversed; write the shorter duration first".to_owned());
    }
    Ok(Latency { min_ms, max_ms })
}

fn parse_milliseconds(text: &str) -> Result<u64, String> {
    humantime::parse_duration(text.trim())
        .map(milliseconds)
        .map_err(|error| format!("{error}; write a duration such as 80ms, or a range such as 50ms..150ms"))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_a_duration_or_a_range() {
        assert_eq!(parse_latency("50ms..150ms"), Ok(Latency { min_ms: 50, max_ms: 150 }));
        assert_eq!(parse_latency("1s"), Ok(Latency { min_ms: 1_000, max_ms: 1_000 }));
        assert!(parse_latency("2s..1s").is_err());
        assert!(parse_latency("fast").is_err());
    }
}
