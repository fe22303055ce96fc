//! The shell that owns the cluster: starts and stops it on request, ends it when the pipe closes.
//!
//! May touch: one child process and its pipes; the directories that dead watchdogs left behind.
//! The log file is the watchdog's standard error and carries a file lock, which thus lasts exactly
//! as long as the watchdog: a directory whose log can be locked is nobody's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::binaries::Installation;
use super::user::Identity;
use super::{PostgresError, SUPERUSER, Shutdown};

/// How the throwaway directories are called, so that the sweep knows them.
pub(super) const DIRECTORY_PREFIX: &str = "course-sync-pg-";
const LOG: &str = "log";
/// Lines of the log that an error shows.
const LOG_LINES: usize = 20;
/// A directory younger than this may be about to get its watchdog.
const NEWBORN: Duration = Duration::from_mins(1);

/// Reads one command a line from standard input and answers each with one line.
/// Signals of the terminal are ignored: only the end of the pipe ends it.
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
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    child: Child,
    /// `None` once the pipe was closed on purpose.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Watchdog {
    /// Starts the shell as the user of the cluster, before anything else is put in the directory.
    pub(super) fn spawn(root: &Path, identity: &Identity) -> Result<Self, PostgresError> {
        let log_path = root.join(LOG);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(PostgresError::io(format!("create {}", log_path.display())))?;
        identity.give(&log_path)?;
        log.lock().map_err(PostgresError::io(format!("lock {}", log_path.display())))?;
        let mut child = identity
            .command("sh")
            .args(["-c", SCRIPT, "course-sync-postgres-watchdog"])
            .arg(root)
            .arg(SUPERUSER)
            .current_dir("/")
            // A group of its own: the terminal's Ctrl-C is for this process, not for the cluster.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(PostgresError::io("start a shell for Postgres"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(commands), Some(answers)) => {
                let line = Line { child, commands: Some(commands), answers: BufReader::new(answers) };
                Ok(Self { log: log_path, line: Mutex::new(line) })
            }
            _ => Err(PostgresError::io("talk to the shell of Postgres")(ErrorKind::BrokenPipe.into())),
        }
    }

    /// Makes the cluster and starts it on the first of the ports that is free; returns that port.
    pub(super) fn init(&self, installation: &Installation, ports: &[u16]) -> Result<u16, PostgresError> {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let library = installation.library_path.as_ref().map(|path| format!("lib {path}\n"));
        let command = format!(
            "bin {}\n{}ports {}\ninit",
            installation.bin_dir.display(),
            library.unwrap_or_default(),
            ports.join(" ")
        );
        let answer = self.ask(&command, "start")?;
        answer.parse().map_err(|_| self.failure("start"))
    }

    pub(super) fn start_server(&self) -> Result<(), PostgresError> {
        self.ask("start", "start again").map(drop)
    }

    pub(super) fn stop_server(&self, how: Shutdown) -> Result<(), PostgresError> {
        let command = match how {
            Shutdown::Fast => "stop fast",
            Shutdown::Immediate => "stop immediate",
        };
        self.ask(command, "stop").map(drop)
    }

    /// Closes the pipe and waits until the shell has cleaned up.
    pub(super) fn finish(&self) -> Result<(), PostgresError> {
        let mut line = self.line();
        line.commands = None;
        line.child.wait().map_err(PostgresError::io("wait for the end of Postgres"))?;
        // The shell's user may empty the directory; to remove it takes the right to write beside it.
        match self.log.parent().map(fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                Err(PostgresError::io("remove the directory of Postgres")(error))
            }
            _ => Ok(()),
        }
    }

    /// Sends a command; what follows the `ok` of its answer.
    fn ask(&self, command: &str, doing: &'static str) -> Result<String, PostgresError> {
        let mut line = self.line();
        let mut answer = String::new();
        let exchanged = match &mut line.commands {
            Some(commands) => writeln!(commands, "{command}").and_then(|()| commands.flush()),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
        .and_then(|()| line.answers.read_line(&mut answer));
        exchanged.map_err(PostgresError::io("talk to the shell of Postgres"))?;
        match answer.trim_end().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(self.failure(doing)),
        }
    }

    fn failure(&self, doing: &'static str) -> PostgresError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        PostgresError::Server { doing, log: tail.join("\n") }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the directories whose watchdog is dead (killed by force, or the machine went down).
///
/// A Postgres that still runs in one ends by itself: it looks every minute whether its lock file
/// is there. No process id is taken from a file, so no stranger is ever killed. What cannot be read
/// or removed belongs to somebody else and stays.
pub(super) fn sweep(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(DIRECTORY_PREFIX);
        let stale = named && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_abandoned(&entry.path());
        if stale && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(directory = %entry.path().display(), %error, "left a stale cluster alone");
        }
    }
}

fn is_abandoned(root: &Path) -> bool {
    let log = root.join(LOG);
    match fs::symlink_metadata(&log) {
        // Whatever else stands there was put there by a stranger: a pipe would block the opening.
        Ok(meta) => meta.is_file() && File::open(log).is_ok_and(|log| log.try_lock().is_ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::metadata(root)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > NEWBORN)),
        Err(_) => false,
    }
}
