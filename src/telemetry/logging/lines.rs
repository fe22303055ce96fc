//! A queue of log lines with a thread of its own that writes them out.
//!
//! Logging must never hold up or end the program: with a stalled reader at the other end of stderr the queue
//! fills, further lines are dropped and counted; with a closed one, lines are lost silently.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::config::{is_unprintable, redact};

/// How long the end of the program waits for lines to be written out.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The queue's entrance; each `write` is one line.
#[derive(Clone)]
pub(super) struct Lines {
    queue: Arc<Queue>,
    /// Whether the formatter's own colours pass. It has escaped those of the fields by then.
    colours: bool,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes waiting, at most.
    capacity: usize,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// Since the last report.
    dropped: u64,
    writing: bool,
}

impl Lines {
    /// Starts the writing thread. It calls `report` with the number of lines that were dropped, once it has
    /// written out those before them.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        capacity: usize,
        colours: bool,
        report: fn(u64),
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), capacity });
        let lines = Self { queue: Arc::clone(&queue), colours };
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || queue.write_out(output, report))?;
        Ok(lines)
    }

    /// Waits until every line so far is written, but not for long.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        let mut state = self.queue.lock();
        while state.writing || !state.lines.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            state = self.queue.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        let mut state = self.lock();
        if state.bytes + line.len() > self.capacity {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    fn write_out(&self, mut output: impl Write, report: fn(u64)) {
        loop {
            let mut state = self.lock();
            while state.lines.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut state.lines);
            let dropped = std::mem::take(&mut state.dropped);
            state.bytes = 0;
            state.writing = true;
            drop(state);

            for line in lines {
                // Nobody is left to be told that nobody reads.
                output.write_all(line.as_bytes()).ok();
            }
            output.flush().ok();
            if dropped > 0 {
                report(dropped);
            }
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.queue.push(printable(&redact(&text), self.colours));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line that cannot forge another, move a cursor or turn its direction; the escapes are JSON's own, so a
/// line of JSON stays one.
fn printable(line: &str, colours: bool) -> String {
    let body = line.strip_suffix('\n').unwrap_or(line);
    let mut clean = String::with_capacity(line.len());
    for c in body.chars() {
        match c {
            '\u{1b}' if colours => clean.push(c),
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            // All of these lie below 0x10000, so four digits suffice.
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

    use super::{Lines, printable};

    /// Hands on each write only when the other end takes it; fails once that end is gone.
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
    fn a_stalled_reader_holds_up_nobody_and_drops_are_counted() {
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let (output, reader) = rendezvous();
        let lines = Lines::start(output, 40, false, |count| {
            REPORTED.fetch_add(count, Ordering::SeqCst);
        })
        .unwrap();
        let mut writer = &lines;
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
        assert!((4..=8).contains(&read), "{read} lines of 10 bytes passed a queue of 40 bytes");
    }

    #[test]
    fn a_closed_reader_ends_nothing_and_flush_returns() {
        let (output, reader) = rendezvous();
        drop(reader);
        let lines = Lines::start(output, 1000, false, |_| ()).unwrap();
        for _ in 0..10 {
            (&lines).write_all(b"lost\n").unwrap();
        }
        lines.flush();
        assert!(lines.queue.lock().lines.is_empty());
    }

    #[test]
    fn flush_gives_up_on_a_stalled_reader() {
        let (output, _reader) = rendezvous();
        let lines = Lines::start(output, 1000, false, |_| ()).unwrap();
        (&lines).write_all(b"stuck\n").unwrap();
        lines.flush();
        assert!(lines.queue.lock().writing);
    }

    #[test]
    fn a_line_stays_one_line_and_moves_nothing() {
        let cases = [
            ("plain ü\n", false, "plain ü\n"),
            ("a\nFAKE INFO\r\tb\n", false, "a\\nFAKE INFO\\r\\tb\n"),
            ("\u{1b}[31mred\u{7}\u{9b}1m\n", false, "\\u001b[31mred\\u0007\\u009b1m\n"),
            ("\u{1b}[31mred\n", true, "\u{1b}[31mred\n"),
            ("\u{202e}txt.exe\n", false, "\\u202etxt.exe\n"),
            ("no end", false, "no end\n"),
        ];
        for (line, colours, clean) in cases {
            assert_eq!(printable(line, colours), clean);
        }
    }
}
