//! Where log lines go: a bounded queue, and a thread that writes it out (`tracing-appender`).
//!
//! Logging never blocks or ends the program. While stderr is not read, the queue fills, and further lines are dropped
//! and counted. Once stderr is closed, lines are lost. Secrets and control characters are removed on the way out.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::config::{is_unprintable, redact};

/// How long the end of the program waits for queued lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before the marker of the end is queued again, where the queue is full.
const MARKER_RETRY: Duration = Duration::from_millis(20);
/// Marks the end of the log in the queue. No line equals it: lines are JSON or begin with a time.
const END_MARKER: &[u8] = b"\0end";

/// Writes out what is still queued when it is dropped, for a second at most. Keep it until the end of `main`.
#[must_use = "if dropped at once, later lines are lost"]
pub struct LogGuard {
    worker: Option<WorkerGuard>,
    queue: NonBlocking,
    dropped: DroppedLines,
    end_reached: mpsc::Receiver<()>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let is_flushed = self.queue_end_marker(deadline) && {
            let left = deadline.saturating_duration_since(Instant::now());
            // An error means that the thread has ended, so nothing is left to wait for.
            !matches!(self.end_reached.recv_timeout(left), Err(mpsc::RecvTimeoutError::Timeout))
        };
        if !is_flushed && let Some(worker) = self.worker.take() {
            // Where the queue stays full, dropping a `WorkerGuard` prints to stdout, which holds only results.
            std::mem::forget(worker);
        }
    }
}

impl LogGuard {
    /// False if the queue stayed full until the deadline.
    fn queue_end_marker(&mut self, deadline: Instant) -> bool {
        loop {
            let before = self.dropped.count();
            if self.queue.write_all(END_MARKER).is_err() || self.dropped.count() == before {
                return true;
            }
            self.dropped.markers.fetch_add(1, Ordering::Relaxed);
            if Instant::now() >= deadline {
                return false;
            }
            #[expect(clippy::disallowed_methods, reason = "the program ends, and no task runs any more")]
            thread::sleep(MARKER_RETRY);
        }
    }
}

/// Lines that a queue has dropped so far. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct DroppedLines {
    counter: Arc<OnceLock<ErrorCounter>>,
    /// Dropped markers of the end, which are no lines.
    markers: Arc<AtomicU64>,
}

impl DroppedLines {
    pub(super) fn count(&self) -> u64 {
        let dropped = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        u64::try_from(dropped).unwrap_or(u64::MAX).saturating_sub(self.markers.load(Ordering::Relaxed))
    }
}

/// Starts the thread that writes to `output`. `capacity` is the most lines that wait. `colours` lets the formatter's
/// own colour codes pass. `dropped` counts the lines that were dropped; `report` gets the number of new ones, once
/// those before them are written.
pub(super) fn start(
    output: impl Write + Send + 'static,
    capacity: usize,
    colours: bool,
    dropped: &DroppedLines,
    report: fn(u64),
) -> (NonBlocking, LogGuard) {
    let (end, end_reached) = mpsc::channel();
    let output = SafeOutput { output, colours, dropped: dropped.clone(), reported: 0, report, end };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(capacity);
    let (writer, worker) = builder.thread_name("log-writer").finish(output);
    // A process starts its log once; a second queue would keep the first one's count.
    dropped.counter.set(writer.error_counter()).ok();
    let guard =
        LogGuard { worker: Some(worker), queue: writer.clone(), dropped: dropped.clone(), end_reached };
    (writer, guard)
}

/// Removes secrets and control characters from each line before it is written.
struct SafeOutput<W> {
    output: W,
    colours: bool,
    dropped: DroppedLines,
    /// Dropped lines that were reported.
    reported: u64,
    report: fn(u64),
    /// Receives a message when the marker of the end is reached.
    end: mpsc::Sender<()>,
}

impl<W: Write> Write for SafeOutput<W> {
    /// Each call gets one whole line: the formatter writes it at once, and the queue keeps it together.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line == END_MARKER {
            self.output.flush().ok();
            self.end.send(()).ok();
            return Ok(line.len());
        }
        let text = String::from_utf8_lossy(line);
        self.output.write_all(escape(&redact(&text), self.colours).as_bytes())?;
        Ok(line.len())
    }

    /// The thread calls this each time it has emptied the queue.
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()?;
        let dropped = self.dropped.count();
        if dropped > self.reported {
            (self.report)(dropped - self.reported);
            self.reported = dropped;
        }
        Ok(())
    }
}

/// Makes one line that cannot forge another line, move the cursor or turn the text's direction. The escapes are
/// those of JSON, so a line of JSON stays valid.
fn escape(line: &str, colours: bool) -> String {
    let body = line.strip_suffix('\n').unwrap_or(line);
    let mut clean = String::with_capacity(line.len());
    for c in body.chars() {
        match c {
            // The formatter has already escaped those within fields.
            '\u{1b}' if colours => clean.push(c),
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            // All of these are below 0x10000, so four digits suffice.
            c if is_unprintable(c) => {
                clean.extend(format!("\\u{:04x}", u32::from(c)).chars());
            }
            c => clean.push(c),
        }
    }
    clean.push('\n');
    clean
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::{Duration, Instant};

    use super::{DroppedLines, FLUSH_TIMEOUT, escape, start};

    /// Completes each write only when the other end takes it; fails once that end is gone.
    struct Rendezvous(SyncSender<String>);

    fn rendezvous() -> (Rendezvous, Receiver<String>) {
        let (sender, receiver) = sync_channel(0);
        (Rendezvous(sender), receiver)
    }

    impl Write for Rendezvous {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn stalled_reader_blocks_no_writer_and_dropped_lines_are_counted_and_reported() {
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let (output, reader) = rendezvous();
        let dropped = DroppedLines::default();
        let (mut writer, _guard) = start(output, 4, false, &dropped, |count| {
            REPORTED.fetch_add(count, Ordering::SeqCst);
        });
        for n in 0..100 {
            writer.write_all(format!("line {n:04}\n").as_bytes()).unwrap();
        }
        // Nothing was read yet, and all hundred calls have returned. Read on until nothing is left.
        let mut read = 0;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && REPORTED.load(Ordering::SeqCst) + read < 100 {
            if reader.recv_timeout(Duration::from_millis(20)).is_ok() {
                read += 1;
            }
        }
        assert!((4..=8).contains(&read), "{read} lines passed a queue of 4 lines");
        assert_eq!(dropped.count(), 100 - read);
        assert_eq!(REPORTED.load(Ordering::SeqCst), 100 - read);
    }

    #[test]
    fn queued_lines_are_written_before_the_guard_is_dropped() {
        let (output, reader) = rendezvous();
        let (mut writer, guard) = start(output, 100, false, &DroppedLines::default(), |_| ());
        for _ in 0..10 {
            writer.write_all(b"line\n").unwrap();
        }
        let reading = std::thread::spawn(move || reader.into_iter().take(10).count());
        drop(guard);
        assert_eq!(reading.join().unwrap(), 10);
    }

    #[test]
    fn closed_reader_ends_nothing_and_does_not_delay_the_end() {
        let (output, reader) = rendezvous();
        drop(reader);
        let (mut writer, guard) = start(output, 100, false, &DroppedLines::default(), |_| ());
        for _ in 0..10 {
            writer.write_all(b"lost\n").unwrap();
        }
        let began = Instant::now();
        drop(guard);
        assert!(began.elapsed() < FLUSH_TIMEOUT, "{:?}", began.elapsed());
    }

    #[test]
    fn stalled_reader_delays_the_end_for_a_second_at_most() {
        for capacity in [100, 1] {
            let (output, _reader) = rendezvous();
            let (mut writer, guard) = start(output, capacity, false, &DroppedLines::default(), |_| ());
            for _ in 0..10 {
                writer.write_all(b"stuck\n").unwrap();
            }
            let began = Instant::now();
            drop(guard);
            assert!(began.elapsed() < FLUSH_TIMEOUT * 2, "{capacity}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn line_stays_one_line_without_control_characters() {
        let cases = [
            ("plain ü\n", false, "plain ü\n"),
            ("a\nFAKE INFO\r\tb\n", false, "a\\nFAKE INFO\\r\\tb\n"),
            ("\u{1b}[31mred\u{7}\u{9b}1m\n", false, "\\u001b[31mred\\u0007\\u009b1m\n"),
            ("\u{1b}[31mred\n", true, "\u{1b}[31mred\n"),
            ("\u{202e}txt.exe\n", false, "\\u202etxt.exe\n"),
            ("no end", false, "no end\n"),
        ];
        for (line, colours, clean) in cases {
            assert_eq!(escape(line, colours), clean);
        }
    }
}
