//! Logs to stderr: for people on a terminal, one JSON object a line elsewhere.
//!
//! Touches stderr and the process's panic hook. Never blocks the caller, never fails after the start.

mod lines;

use std::any::Any;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};
use lines::Lines;

/// Log text that waits to be written, at most. Enough for some ten thousand lines.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Log lines dropped by this process so far.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The lines dropped, as a metric.
#[derive(Debug)]
pub(super) struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let count = ConstCounter::new(DROPPED.load(Ordering::Relaxed));
        let help = "Log lines that the reader of stderr was too slow for";
        count.encode(encoder.encode_descriptor("log_lines_dropped", help, None, count.metric_type())?)
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.filter` does not parse.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The system refused the thread that writes.
    #[error("the thread that writes the log cannot start: {0}")]
    Thread(#[source] io::Error),
    /// Logging was started before.
    #[error("logging was already started in this process")]
    Twice,
}

/// Writes out what is still queued when it is dropped, for a second at most. Keep it until the end of `main`.
#[must_use = "dropped at once, it would not wait for the last lines"]
pub struct LogGuard(Lines);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Installs the process's logger, and a panic hook that logs.
pub fn init(log: &Log) -> Result<LogGuard, LogError> {
    let terminal = io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let shape = Shape::of(log.format, terminal, colours);
    let report = |dropped| {
        DROPPED.fetch_add(dropped, Ordering::Relaxed);
        tracing::warn!(dropped, "log lines were dropped: the reader of stderr is too slow");
    };
    let colours = matches!(shape, Shape::Pretty { colours: true });
    let lines = Lines::start(io::stderr(), QUEUE_BYTES, colours, report).map_err(LogError::Thread)?;
    dispatch(&log.filter, shape, lines.clone())?.try_init().map_err(|_| LogError::Twice)?;
    log_panics();
    Ok(LogGuard(lines))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Pretty { colours: bool },
    Json,
}

impl Shape {
    fn of(format: LogFormat, terminal: bool, colours: bool) -> Self {
        match format {
            LogFormat::Pretty => Self::Pretty { colours },
            LogFormat::Auto if terminal => Self::Pretty { colours },
            LogFormat::Auto | LogFormat::Json => Self::Json,
        }
    }
}

fn dispatch(filter: &str, shape: Shape, lines: Lines) -> Result<Dispatch, LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse(filter)?)
        // They would go to stderr by a way that blocks.
        .log_internal_errors(false)
        .with_writer(lines);
    Ok(match shape {
        Shape::Pretty { colours } => builder.with_ansi(colours).into(),
        Shape::Json => builder.json().flatten_event(true).with_span_list(false).into(),
    })
}

/// The standard hook writes to stderr unredacted, and waits for its reader.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, error = panic_text(panic.payload()), "panicked");
    }));
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{LogError, Shape, dispatch};
    use crate::config::LogFormat;
    use crate::telemetry::logging::lines::Lines;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `events` leave in the log.
    fn logged(filter: &str, shape: Shape, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let colours = matches!(shape, Shape::Pretty { colours: true });
        let lines = Lines::start(memory.clone(), 10_000, colours, |_| ()).unwrap();
        tracing::dispatcher::with_default(&dispatch(filter, shape, lines.clone()).unwrap(), events);
        lines.flush();
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    fn hostile() {
        tracing::info!(course = "a\u{1b}[31m\nWARN forged\u{202e}", token = %"pat-na1-canary", "sent\u{9b}1m");
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields_on_top() {
        let text = logged("info", Shape::Json, || {
            let span = tracing::info_span!("batch", size = 3);
            let _entered = span.enter();
            hostile();
            tracing::debug!("not logged");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "sent\u{9b}1m");
        assert_eq!(line["course"], "a\u{1b}[31m\nWARN forged\u{202e}");
        assert_eq!(line["token"], "[redacted]");
        assert_eq!(line["span"]["size"].as_u64(), Some(3));
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{text}");
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    }

    #[test]
    fn pretty_is_one_line_without_foreign_escapes() {
        for colours in [false, true] {
            let text = logged("info", Shape::Pretty { colours }, hostile);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(text.contains("\u{1b}["), colours, "{text:?}");
            assert!(
                !text.contains("\u{1b}[31m") && !text.contains('\u{202e}') && !text.contains('\u{9b}'),
                "{text:?}"
            );
            assert!(
                text.contains("forged") && text.contains("[redacted]") && !text.contains("canary"),
                "{text}"
            );
        }
    }

    #[test]
    fn auto_is_pretty_on_a_terminal_only() {
        assert_eq!(Shape::of(LogFormat::Auto, true, true), Shape::Pretty { colours: true });
        assert_eq!(Shape::of(LogFormat::Auto, false, false), Shape::Json);
        assert_eq!(Shape::of(LogFormat::Json, true, true), Shape::Json);
        assert_eq!(Shape::of(LogFormat::Pretty, false, false), Shape::Pretty { colours: false });
    }

    #[test]
    fn a_bad_filter_names_its_setting() {
        let lines = Lines::start(io::sink(), 1000, false, |_| ()).unwrap();
        let error: LogError = dispatch("info,x=loud", Shape::Json, lines).unwrap_err();
        assert!(error.to_string().starts_with("log.filter: "), "{error}");
    }
}
