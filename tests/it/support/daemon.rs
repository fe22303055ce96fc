//! The real program, as a child process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::eventually::eventually;

/// A command of the real program with nothing of this process's environment but PATH.
pub fn program(settings: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_course-sync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(settings);
    command
}

/// Runs a command to its end, off the runtime's threads.
pub async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .expect("the command was not interrupted")
        .expect("the program runs")
}

/// A running `course-sync run`. Killed when dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Starts it.
    pub fn start(settings: &BTreeMap<String, String>, arguments: &[&str]) -> Self {
        let mut command = program(settings);
        command.arg("run").args(arguments);
        Self::spawn(command)
    }

    /// Starts it by a command of one's own.
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

    /// Everything it has logged so far, one JSON object a line.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a line that contains `text`, and gives it.
    pub async fn logged(&self, text: &str) -> String {
        eventually(&format!("the daemon logs {text:?}"), async || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line.contains(text)).cloned().ok_or_else(|| log.join("\n"))
        })
        .await
    }

    /// `http://ADDR:PORT` of its admin port.
    pub async fn admin(&self) -> String {
        let line = self.logged("admin listening").await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("a log line is JSON");
        format!("http://{}", line["address"].as_str().expect("an address"))
    }

    /// One series of its metrics, as it is written.
    pub async fn metric(&self, series: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let metrics = client.get(format!("{}/metrics", self.admin().await)).send().await.expect("an answer");
        let metrics = metrics.text().await.expect("metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {metrics}")).to_owned()
    }

    /// The most memory it has had so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a process of Linux");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(status.success(), "no process to signal");
    }

    /// Waits until it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = eventually("the daemon ends", async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await;
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log was read");
        }
        status
    }

    /// SIGTERM, and the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}
