//! Logs to stderr: readable text on a terminal, one JSON object per line elsewhere.
//!
//! Touches stderr and the process's panic hook. Never blocks the caller, never fails after the start.

mod output;

use std::any::Any;
use std::io::{self, IsTerminal as _};
use std::sync::LazyLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use tracing::Dispatch;
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::events;
use crate::config::{LogConfig, LogFormat, parse_log_filter};
use output::DroppedLines;
pub use output::LogGuard;

/// Log lines that wait to be written, at most: a few megabytes.
const QUEUE_LINES: usize = 8 * 1024;

/// Log lines dropped by this process so far.
static DROPPED: LazyLock<DroppedLines> = LazyLock::new(DroppedLines::default);

/// The metric `log_lines_dropped_total`.
#[derive(Debug)]
pub(super) struct DroppedLinesMetric;

impl Collector for DroppedLinesMetric {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let count = ConstCounter::new(DROPPED.count());
        let help = "Log lines dropped because stderr was read too slowly.";
        count.encode(encoder.encode_descriptor("log_lines_dropped", help, None, count.metric_type())?)
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.filter` does not parse.
    #[error("log.filter: expected a level or directives such as \"info,course_sync=debug\"")]
    Filter,
    /// Logging was started before.
    #[error("logging was already started in this process")]
    AlreadyStarted,
}

/// Installs the process's logger, and a panic hook that logs.
pub fn init(log: &LogConfig) -> Result<LogGuard, LogError> {
    let terminal = io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = LineFormat::new(log.format, terminal, colours);
    let colours = matches!(format, LineFormat::Pretty { colours: true });
    let (writer, guard) = output::start(io::stderr(), QUEUE_LINES, colours, &DROPPED, log_dropped_lines);
    dispatch(&log.filter, format, writer)?.try_init().map_err(|_| LogError::AlreadyStarted)?;
    log_panics();
    Ok(guard)
}

fn log_dropped_lines(dropped: u64) {
    tracing::warn!(event = events::LOG_LINES_DROPPED, dropped, "log lines dropped");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Pretty { colours: bool },
    Json,
}

impl LineFormat {
    fn new(format: LogFormat, terminal: bool, colours: bool) -> Self {
        match format {
            LogFormat::Pretty => Self::Pretty { colours },
            LogFormat::Auto if terminal => Self::Pretty { colours },
            LogFormat::Auto | LogFormat::Json => Self::Json,
        }
    }
}

fn dispatch(filter: &str, format: LineFormat, writer: NonBlocking) -> Result<Dispatch, LogError> {
    let filter = parse_log_filter(filter).ok_or(LogError::Filter)?;
    // The driver logs lines of the password file that it cannot read, whole.
    let filter = filter.with_target("sqlx_postgres::options", LevelFilter::OFF);
    let builder = tracing_subscriber::fmt()
        // `filter` decides.
        .with_max_level(LevelFilter::TRACE)
        // They would be written to stderr directly, which can block.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match format {
        LineFormat::Pretty { colours } => Dispatch::new(builder.with_ansi(colours).finish().with(filter)),
        LineFormat::Json => {
            Dispatch::new(builder.json().flatten_event(true).with_span_list(false).finish().with(filter))
        }
    })
}

/// The standard hook writes to stderr unredacted, and blocks while stderr is not read.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let error = panic_text(panic.payload());
        tracing::error!(event = events::THREAD_PANICKED, location, error, "thread panicked");
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

    use super::output::{self, DroppedLines, LogGuard};
    use super::{LineFormat, LogError, NonBlocking, dispatch};
    use crate::config::LogFormat;

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

    fn start(output: impl Write + Send + 'static, format: LineFormat) -> (NonBlocking, LogGuard) {
        let colours = matches!(format, LineFormat::Pretty { colours: true });
        output::start(output, 100, colours, &DroppedLines::default(), |_| ())
    }

    /// The text that `events` leave in the log.
    fn logged(filter: &str, format: LineFormat, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let (writer, guard) = start(memory.clone(), format);
        tracing::dispatcher::with_default(&dispatch(filter, format, writer).unwrap(), events);
        drop(guard);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    fn log_hostile_fields() {
        tracing::info!(course = "a\u{1b}[31m\nWARN forged\u{202e}", token = %"pat-na1-canary", "sent\u{9b}1m");
    }

    #[test]
    fn json_is_one_object_per_line_with_fields_at_the_top_level() {
        let text = logged("info", LineFormat::Json, || {
            let span = tracing::info_span!("batch", size = 3);
            let _entered = span.enter();
            log_hostile_fields();
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
    fn pretty_is_one_line_without_escape_codes_from_fields() {
        for colours in [false, true] {
            let text = logged("info", LineFormat::Pretty { colours }, log_hostile_fields);
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
        assert_eq!(LineFormat::new(LogFormat::Auto, true, true), LineFormat::Pretty { colours: true });
        assert_eq!(LineFormat::new(LogFormat::Auto, false, false), LineFormat::Json);
        assert_eq!(LineFormat::new(LogFormat::Json, true, true), LineFormat::Json);
        assert_eq!(LineFormat::new(LogFormat::Pretty, false, false), LineFormat::Pretty { colours: false });
    }

    #[test]
    fn bad_filter_is_reported_with_its_setting() {
        let (writer, _guard) = start(io::sink(), LineFormat::Json);
        let error: LogError = dispatch("info,x=loud", LineFormat::Json, writer).unwrap_err();
        assert!(error.to_string().starts_with("log.filter: "), "{error}");
    }
}
