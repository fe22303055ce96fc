//! Runs the real program as a child process and reads its log, metrics and exit status.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use course_sync::telemetry::events::GROUPS;
use serde_json::Value;

use super::eventually::eventually;
use super::http::http_client;

/// A command that runs the real program with these settings. Of this process's environment it gets only PATH.
pub fn program(settings: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_course-sync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(settings);
    command
}

/// Runs a command to its end on a blocking thread, so that the runtime's threads stay free.
pub async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .expect("the command was not interrupted")
        .expect("the program runs")
}

/// A running `course-sync run`. The process is killed when this value is dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Starts `course-sync run` with these settings and additional arguments.
    pub fn start(settings: &BTreeMap<String, String>, arguments: &[&str]) -> Self {
        let mut command = program(settings);
        command.arg("run").args(arguments);
        Self::spawn(command)
    }

    /// Starts the daemon by the given command.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    /// Everything the daemon has logged so far, one JSON object per line.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a log line that contains `text` and returns the first one.
    pub async fn wait_for_log(&self, text: &str) -> String {
        eventually(&format!("the daemon logs {text:?}"), async || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line.contains(text)).cloned().ok_or_else(|| log.join("\n"))
        })
        .await
    }

    /// The log lines so far with this event (one of those listed in docs/logging.md).
    pub fn events(&self, event: &str) -> Vec<Value> {
        let mut known = GROUPS.iter().flat_map(|group| group.events);
        assert!(known.any(|known| known.name == event), "there is no event {event:?}");
        let log = self.log.lock().unwrap();
        let lines = log.iter().filter(|line| line.contains(event));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("a log line is JSON"));
        lines.filter(|line| line["event"] == event).collect()
    }

    /// Waits for this event and returns its first log line.
    pub async fn wait_for_event(&self, event: &str) -> Value {
        eventually(&format!("the daemon logs the event {event}"), async || {
            self.events(event).into_iter().next().ok_or_else(|| self.log())
        })
        .await
    }

    /// The base URL of the admin server, such as `http://127.0.0.1:8080`.
    pub async fn admin_url(&self) -> String {
        let line = self.wait_for_event("admin_server_started").await;
        format!("http://{}", line["address"].as_str().expect("an address"))
    }

    /// The value of one series of `/metrics`, as text.
    pub async fn metric(&self, series: &str) -> String {
        let client = http_client();
        let metrics =
            client.get(format!("{}/metrics", self.admin_url().await)).send().await.expect("an answer");
        let metrics = metrics.text().await.expect("metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {metrics}")).to_owned()
    }

    /// The peak resident memory of the process so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a Linux process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a VmHWM line");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Sends a signal to the process, by a name such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(status.success(), "no process to signal");
    }

    /// Waits until the process has exited.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let status = eventually("the daemon exits", async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await;
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log was read");
        }
        status
    }

    /// Sends SIGTERM and waits until the process has exited.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit().await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have exited already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}
