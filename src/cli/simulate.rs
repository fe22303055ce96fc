//! `course-sync simulate`: the HubSpot simulator alone, for a catalogue's own developers.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::simulator::{Behaviour, Latency, Limits, Settings, Simulator};

/// Run a HubSpot simulator, for trying things out without an account
///
/// In memory, and as strict as HubSpot. Its first line on stdout is `listening on http://ADDR:PORT`;
/// that is the `hubspot.base_url` to set, and a page for a browser. Stops at SIGTERM or Ctrl-C.
/// Custom properties are created as in HubSpot: `POST /crm/v3/properties/0-410`. A control API
/// under `/_simulator/` injects faults (by operation, content or size of a request; for single
/// courses of a batch), changes how the account behaves, and lists requests and records;
/// docs/simulator.md describes it. Reads no configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9465", value_parser = address)]
    listen: SocketAddr,
    /// Access token that it accepts
    #[arg(long, default_value = "pat-na1-simulator")]
    token: String,
    /// Text property with unique values that exists from the start
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
    /// How long an answer takes: a duration such as 80ms, or a range
    #[arg(long, value_name = "FROM..TO", default_value = "50ms..150ms", value_parser = latency)]
    latency: Latency,
    /// Where its randomness starts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
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

fn settings(args: Args) -> Settings {
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

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9465".to_owned())
}

fn latency(text: &str) -> Result<Latency, String> {
    let parse = |part: &str| {
        humantime::parse_duration(part.trim()).map(milliseconds).map_err(|error| {
            format!("{error}; write a duration such as 80ms, or a range such as 50ms..150ms")
        })
    };
    let (min_ms, max_ms) = match text.split_once("..") {
        None => (parse(text)?, parse(text)?),
        Some((from, to)) => (parse(from)?, parse(to)?),
    };
    if min_ms > max_ms {
        return Err("the range runs backwards; write the shorter duration first".to_owned());
    }
    Ok(Latency { min_ms, max_ms })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_a_duration_or_a_range() {
        assert_eq!(latency("50ms..150ms"), Ok(Latency { min_ms: 50, max_ms: 150 }));
        assert_eq!(latency("1s"), Ok(Latency { min_ms: 1_000, max_ms: 1_000 }));
        assert!(latency("2s..1s").is_err());
        assert!(latency("fast").is_err());
    }
}
