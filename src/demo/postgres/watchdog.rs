//! The shell script that owns the cluster: starts and stops it on request, and removes it when the pipe closes.
//!
//! May touch: one child process and its pipes; directories left behind by watchdogs that died.
//! The log file is the watchdog's standard error and has a file lock, so the lock is held exactly as long as the
//! watchdog lives. A directory whose log can be locked is abandoned.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::binaries::Installation;
use super::user::Identity;
use super::{PostgresError, SUPERUSER, StopMode};
use crate::telemetry::events;

/// Prefix of the throwaway directories, by which abandoned ones are recognised.
pub(super) const DIRECTORY_PREFIX: &str = "course-sync-pg-";
const LOG: &str = "log";
/// Lines of the log in an error message.
const LOG_LINES: usize = 20;
/// The watchdog of a directory younger than this may not have started yet.
const STARTUP_TIME: Duration = Duration::from_mins(1);

/// Reads commands from standard input, one per line, and answers each with one line.
/// Ignores the terminal's signals: it ends only when the pipe closes.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
dir=$1 superuser=$2
pg_ctl() { "$bin/pg_ctl" -D "$dir/data" -w -t 60 "$@" </dev/null >>"$dir/log" 2>&1; }
start() {
  for port in $ports; do
    if pg_ctl start -l "$dir/log" -o "-p $port"; then ports=$port; echo "ok $port"; return; fi
  done
  echo failed
}
while read -r word rest; do
  case $word in
    bin) bin=$rest ;;
    lib) LD_LIBRARY_PATH=$rest; export LD_LIBRARY_PATH ;;
    ports) ports=$rest ;;
    init)
      if "$bin/initdb" -D "$dir/data" -U "$superuser" --pwfile="$dir/password" --no-sync -E UTF8 --locale=C \
          --auth-local=trust --auth-host=scram-sha-256 </dev/null >>"$dir/log" 2>&1 &&
        cat "$dir/settings" >>"$dir/data/postgresql.conf"
      then start; else echo failed; fi ;;
    start) start ;;
    stop) if pg_ctl stop -m "$rest"; then echo ok; else echo failed; fi ;;
  esac
done
if [ -e "$dir/data/postmaster.pid" ]; then pg_ctl stop -m immediate; fi
cd / && rm -rf -- "$dir"
"#;

/// The running shell.
#[derive(Debug)]
pub(super) struct Watchdog {
    log: PathBuf,
    pipe: Mutex<Pipe>,
}

#[derive(Debug)]
struct Pipe {
    child: Child,
    /// `None` after the pipe was closed by `shut_down`.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Watchdog {
    /// Starts the shell as the user of the cluster, before anything else is written to the directory.
    pub(super) fn spawn(root: &Path, identity: &Identity) -> Result<Self, PostgresError> {
        let log_path = root.join(LOG);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(PostgresError::io(format!("create {}", log_path.display())))?;
        identity.own(&log_path)?;
        log.lock().map_err(PostgresError::io(format!("lock {}", log_path.display())))?;
        let mut child = identity
            .command("sh")
            .args(["-c", SCRIPT, "course-sync-postgres-watchdog"])
            .arg(root)
            .arg(SUPERUSER)
            .current_dir("/")
            // Its own process group: the terminal's Ctrl-C must not reach the cluster.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(PostgresError::io("start a shell for Postgres"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(commands), Some(answers)) => {
                let pipe = Pipe { child, commands: Some(commands), answers: BufReader::new(answers) };
                Ok(Self { log: log_path, pipe: Mutex::new(pipe) })
            }
            _ => {
                Err(PostgresError::io("communicate with the shell of Postgres")(ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// Creates the cluster and starts it on the first free port of these; returns that port.
    pub(super) fn init(&self, installation: &Installation, ports: &[u16]) -> Result<u16, PostgresError> {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let library = installation.library_path.as_ref().map(|path| format!("lib {path}\n"));
        let command = format!(
            "bin {}\n{}ports {}\ninit",
            installation.bin_dir.display(),
            library.unwrap_or_default(),
            ports.join(" ")
        );
        let answer = self.send_command(&command, "start")?;
        answer.parse().map_err(|_| self.server_error("start"))
    }

    pub(super) fn start_server(&self) -> Result<(), PostgresError> {
        self.send_command("start", "start again").map(drop)
    }

    pub(super) fn stop_server(&self, mode: StopMode) -> Result<(), PostgresError> {
        let command = match mode {
            StopMode::Fast => "stop fast",
            StopMode::Immediate => "stop immediate",
        };
        self.send_command(command, "stop").map(drop)
    }

    /// Closes the pipe and waits until the shell has cleaned up.
    pub(super) fn shut_down(&self) -> Result<(), PostgresError> {
        let mut pipe = self.pipe();
        pipe.commands = None;
        pipe.child.wait().map_err(PostgresError::io("wait until Postgres has stopped"))?;
        // The shell's user can empty the directory, but may lack the right to remove it from its parent.
        match self.log.parent().map(fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                Err(PostgresError::io("remove the directory of Postgres")(error))
            }
            _ => Ok(()),
        }
    }

    /// Sends a command. Returns what follows `ok` in the answer.
    fn send_command(&self, command: &str, doing: &'static str) -> Result<String, PostgresError> {
        let mut pipe = self.pipe();
        let mut answer = String::new();
        let exchanged = match &mut pipe.commands {
            Some(commands) => writeln!(commands, "{command}").and_then(|()| commands.flush()),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
        .and_then(|()| pipe.answers.read_line(&mut answer));
        exchanged.map_err(PostgresError::io("communicate with the shell of Postgres"))?;
        match answer.trim_end().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(self.server_error(doing)),
        }
    }

    fn server_error(&self, doing: &'static str) -> PostgresError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        PostgresError::Server { doing, log: tail.join("\n") }
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the directories whose watchdog is dead (killed by SIGKILL, or the machine was restarted).
///
/// A Postgres that still runs in such a directory stops by itself, because it checks every minute whether its lock
/// file exists. Process IDs in files are not used, so no unrelated process can be killed. What cannot be read or
/// removed belongs to another user and is kept.
pub(super) fn remove_abandoned(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        let has_prefix = entry.file_name().to_string_lossy().starts_with(DIRECTORY_PREFIX);
        let is_stale =
            has_prefix && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_abandoned(&entry.path());
        if is_stale && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(
                event = events::STALE_CLUSTER_NOT_REMOVED,
                directory = %entry.path().display(),
                %error,
                "stale cluster not removed"
            );
        }
    }
}

fn is_abandoned(root: &Path) -> bool {
    let log = root.join(LOG);
    match fs::symlink_metadata(&log) {
        // Only a regular file is opened: a named pipe of another user would block.
        Ok(meta) => meta.is_file() && File::open(log).is_ok_and(|log| log.try_lock().is_ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::metadata(root)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STARTUP_TIME)),
        Err(_) => false,
    }
}
