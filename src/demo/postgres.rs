//! A throwaway Postgres: a private cluster on a unix socket that is removed in every case, even if this process is
//! killed.
//!
//! May touch: child processes and one new directory under the temp directory. A small shell script, the
//! [`watchdog`], owns the cluster. It reads a pipe from this process and removes the cluster when the pipe closes:
//! by `stop`, by drop, or because this process died. After `start` nothing depends on the async runtime, so one
//! cluster can be shared by many runtimes (each test has its own).

mod binaries;
mod download;
mod user;
mod watchdog;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::binaries::Installation;
use self::user::Identity;
use self::watchdog::Watchdog;

/// The superuser of every throwaway cluster.
const SUPERUSER: &str = "course_sync";

/// Why the throwaway Postgres could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server binaries were found, and they could not be downloaded.
    #[error(
        "no PostgreSQL server found ({looked}); {hint}, or set PG_BIN to the folder of its programs, \
         or use your own database"
    )]
    NotFound {
        /// Where it was searched, and why the download failed.
        looked: String,
        /// How to install it on this system.
        hint: &'static str,
    },
    /// Running as root, and no other user exists that Postgres could run as.
    #[error(
        "Postgres does not run as root, and no user `postgres` or `nobody` exists; run this as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// An operating system call failed.
    #[error("could not {doing}: {source}")]
    Io {
        /// The step that failed, as an infinitive.
        doing: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// `initdb` or `pg_ctl` failed.
    #[error("the throwaway Postgres did not {doing}; the end of its log:\n{log}")]
    Server {
        /// The command that failed.
        doing: &'static str,
        /// The last lines of the log.
        log: String,
    },
}

impl PostgresError {
    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }
}

/// How to set up a throwaway cluster.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Keeps `fsync` and `synchronous_commit` on, for tests of crashes.
    pub durable: bool,
    /// Also listens on a random port of 127.0.0.1, with a password ([`ThrowawayPostgres::tcp_url`]).
    pub listen_tcp: bool,
    /// Further settings of postgresql.conf, applied last.
    pub settings: Vec<(String, String)>,
    /// Called with one line before each step that takes long (a download).
    pub on_progress: fn(&str),
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { durable: false, listen_tcp: false, settings: Vec::new(), on_progress: |_| {} }
    }
}

/// How to stop a server whose cluster is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// A clean stop: ends the sessions and writes a checkpoint.
    Fast,
    /// Like a crash: no checkpoint, recovery at the next start.
    Immediate,
}

/// A running cluster. Dropping it removes it in the background; [`stop`](Self::stop) waits until it is removed.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    root: PathBuf,
    installation: Installation,
    password: String,
    port: u16,
    watchdog: Arc<Watchdog>,
}

impl ThrowawayPostgres {
    /// Removes the clusters of processes that died, then creates and starts a new one (about a second).
    ///
    /// # Errors
    /// [`PostgresError`]; nothing is left behind then.
    pub async fn start(options: PostgresOptions) -> Result<Self, PostgresError> {
        in_background(move || Self::start_blocking(&options)).await
    }

    fn start_blocking(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let temp = std::env::temp_dir();
        watchdog::remove_abandoned(&temp);
        let dir = tempfile::Builder::new()
            .prefix(watchdog::DIRECTORY_PREFIX)
            .tempdir_in(&temp)
            .map_err(PostgresError::io(format!("create a directory in {}", temp.display())))?;
        let identity = Identity::detect(dir.path())?;
        identity.own(dir.path())?;
        let watchdog = Watchdog::spawn(dir.path(), &identity)?;
        // From here on the watchdog removes the directory.
        let root = dir.keep();

        let installation = match binaries::find() {
            Some(found) => found,
            None => download::download(&root, &identity, options.on_progress)?,
        };
        let password = uuid::Uuid::new_v4().simple().to_string();
        identity.write(&root.join("password"), &password)?;
        identity.write(&root.join("settings"), &settings(options, &root))?;
        let ports = if options.listen_tcp { random_ports() } else { vec![5432] };
        let port = watchdog.init(&installation, &ports)?;
        Ok(Self { root, installation, password, port, watchdog: Arc::new(watchdog) })
    }

    /// The URL of a database of this cluster over the unix socket, in the form that sqlx parses.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket_dir = percent_encoded(&self.root.to_string_lossy());
        // Overrides PGSSLMODE of the environment, which is meant for other databases.
        format!("postgres://{SUPERUSER}@localhost:{}/{database}?host={socket_dir}&sslmode=disable", self.port)
    }

    /// The URL of a database over TCP, with the password; needs [`PostgresOptions::listen_tcp`].
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port)
    }

    /// The port on 127.0.0.1 (with [`PostgresOptions::listen_tcp`]), and the number in the socket's name.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The private directory, which holds the data directory and the socket.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cluster's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The folder of the server's programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.installation.bin_dir
    }

    /// Stops the server and keeps the cluster, to simulate a database outage.
    ///
    /// # Errors
    /// [`PostgresError::Server`] with the end of the log.
    pub async fn stop_server(&self, mode: StopMode) -> Result<(), PostgresError> {
        let watchdog = Arc::clone(&self.watchdog);
        in_background(move || watchdog.stop_server(mode)).await
    }

    /// Starts a stopped server again, on the same socket and port.
    ///
    /// # Errors
    /// [`PostgresError::Server`] with the end of the log.
    pub async fn start_server(&self) -> Result<(), PostgresError> {
        let watchdog = Arc::clone(&self.watchdog);
        in_background(move || watchdog.start_server()).await
    }

    /// Stops the server and removes the directory; returns when both are done.
    ///
    /// # Errors
    /// [`PostgresError::Io`] if the watchdog cannot be waited for.
    pub async fn stop(self) -> Result<(), PostgresError> {
        in_background(move || self.watchdog.shut_down()).await
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| {
        Err(PostgresError::Io { doing: "wait for Postgres".into(), source: std::io::Error::other(gone) })
    })
}

/// Ports to try in turn, because Postgres cannot choose a free one (port 0). They are below Linux's ephemeral range,
/// so that no outgoing connection uses one.
fn random_ports() -> Vec<u16> {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(10).collect()
}

/// The text appended to postgresql.conf; the last value of a setting applies.
fn settings(options: &PostgresOptions, root: &Path) -> String {
    let safety = if options.durable { "on" } else { "off" };
    let tcp = if options.listen_tcp { "127.0.0.1" } else { "" };
    let root = root.to_string_lossy();
    let fixed = [
        ("listen_addresses", tcp),
        ("unix_socket_directories", &*root),
        ("fsync", safety),
        ("synchronous_commit", safety),
        ("full_page_writes", safety),
        ("max_connections", "200"),
        ("shared_buffers", "32MB"),
        ("max_wal_size", "256MB"),
        ("wal_level", "replica"),
        ("jit", "off"),
        ("autovacuum_naptime", "5min"),
    ];
    let own = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let lines = fixed
        .into_iter()
        .chain(own)
        .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")));
    lines.collect::<Vec<_>>().concat()
}

/// Percent-encodes what is not allowed in the query of a URL.
fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect::<Vec<_>>().concat()
}
