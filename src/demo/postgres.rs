//! A throwaway Postgres: a private cluster on a unix socket, gone at the end whatever happens.
//!
//! May touch: child processes and one new directory under the temp directory. A small shell, the
//! [`watchdog`], owns the cluster; it holds the read end of a pipe from this process and ends the
//! cluster when that pipe closes, be it by `stop`, by drop or by the death of this process. Nothing
//! here is bound to a runtime after `start`, so one cluster may serve many runtimes (one a test).

mod binaries;
mod fetch;
mod user;
mod watchdog;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::binaries::Installation;
use self::user::Identity;
use self::watchdog::Watchdog;

/// The superuser of every throwaway cluster.
const SUPERUSER: &str = "course_sync";

/// Why there is no throwaway Postgres.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server binaries, and no way to fetch them here.
    #[error(
        "no PostgreSQL server was found ({looked}); {advice}, or name the folder of its programs in PG_BIN, \
         or use a database of your own"
    )]
    NotFound {
        /// Where it was looked for, and why fetching it did not work.
        looked: String,
        /// The one command that installs it on this system.
        advice: &'static str,
    },
    /// Running as root, and no account that Postgres could run as.
    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it as; run this as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// The system refused a step.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was being done, as an infinitive.
        doing: String,
        /// The system's own error.
        source: std::io::Error,
    },
    /// Postgres, or its `initdb`, gave up.
    #[error("the throwaway Postgres did not {doing}; its log ends:\n{log}")]
    Server {
        /// What was asked of it.
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

/// How a throwaway cluster is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keeps `fsync` and `synchronous_commit` on, for what is about crashes.
    pub durable: bool,
    /// Listens on a random port of 127.0.0.1 too, with a password ([`ThrowawayPostgres::tcp_url`]).
    pub listen_tcp: bool,
    /// Further settings of postgresql.conf, applied last.
    pub settings: Vec<(String, String)>,
    /// Told, in one line, about what takes a while (a download).
    pub announce: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: false, listen_tcp: false, settings: Vec::new(), announce: |_| {} }
    }
}

/// How a server is made to stop while its cluster stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends the sessions, writes a checkpoint: a clean stop.
    Fast,
    /// No checkpoint, recovery at the next start: a crash.
    Immediate,
}

/// A running cluster. Dropping it ends it in the background; [`stop`](Self::stop) waits for the end.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    root: PathBuf,
    installation: Installation,
    password: String,
    port: u16,
    watchdog: Arc<Watchdog>,
}

impl ThrowawayPostgres {
    /// Sweeps what dead predecessors left, then makes and starts a new cluster (about a second).
    ///
    /// # Errors
    /// [`PostgresError`]; nothing is left behind then either.
    pub async fn start(options: Options) -> Result<Self, PostgresError> {
        in_background(move || Self::start_blocking(&options)).await
    }

    fn start_blocking(options: &Options) -> Result<Self, PostgresError> {
        let temp = std::env::temp_dir();
        watchdog::sweep(&temp);
        let dir = tempfile::Builder::new()
            .prefix(watchdog::DIRECTORY_PREFIX)
            .tempdir_in(&temp)
            .map_err(PostgresError::io(format!("create a directory in {}", temp.display())))?;
        let identity = Identity::for_owner_of(dir.path())?;
        identity.give(dir.path())?;
        let watchdog = Watchdog::spawn(dir.path(), &identity)?;
        // From here on the watchdog removes the directory.
        let root = dir.keep();

        let installation = match binaries::find() {
            Some(found) => found,
            None => fetch::fetch(&root, &identity, options.announce)?,
        };
        let password = uuid::Uuid::new_v4().simple().to_string();
        identity.write(&root.join("password"), &password)?;
        identity.write(&root.join("settings"), &settings(options, &root))?;
        let ports = if options.listen_tcp { random_ports() } else { vec![5432] };
        let port = watchdog.init(&installation, &ports)?;
        Ok(Self { root, installation, password, port, watchdog: Arc::new(watchdog) })
    }

    /// The address of a database of this cluster over the unix socket, as sqlx reads it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket_dir = percent_encoded(&self.root.to_string_lossy());
        // Without TLS, whatever PGSSLMODE may say of other databases.
        format!("postgres://{SUPERUSER}@localhost:{}/{database}?host={socket_dir}&sslmode=disable", self.port)
    }

    /// The address of a database over TCP, password included; works with [`Options::listen_tcp`].
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port)
    }

    /// The port on 127.0.0.1 (with [`Options::listen_tcp`]), and the number in the socket's name.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The private directory: the data directory and the socket lie in it.
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

    /// Stops the server and keeps the cluster: the database goes away.
    ///
    /// # Errors
    /// [`PostgresError::Server`] with the log's end.
    pub async fn stop_server(&self, how: Shutdown) -> Result<(), PostgresError> {
        let watchdog = Arc::clone(&self.watchdog);
        in_background(move || watchdog.stop_server(how)).await
    }

    /// Starts a stopped server again, on the same socket and port.
    ///
    /// # Errors
    /// [`PostgresError::Server`] with the log's end.
    pub async fn start_server(&self) -> Result<(), PostgresError> {
        let watchdog = Arc::clone(&self.watchdog);
        in_background(move || watchdog.start_server()).await
    }

    /// Ends the server, removes the directory, and returns when both are gone.
    ///
    /// # Errors
    /// [`PostgresError::Io`] if the watchdog cannot be waited for.
    pub async fn stop(self) -> Result<(), PostgresError> {
        in_background(move || self.watchdog.finish()).await
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| {
        Err(PostgresError::Io { doing: "wait for Postgres".into(), source: std::io::Error::other(gone) })
    })
}

/// Ports to try in turn: Postgres knows no port 0. Below Linux's usual ephemeral range, so that no
/// outgoing connection holds one.
fn random_ports() -> Vec<u16> {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(10).collect()
}

/// The text appended to postgresql.conf; the last mention of a setting holds.
fn settings(options: &Options, root: &Path) -> String {
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

/// Percent-encodes what may not stand in the query of a URL.
fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect::<Vec<_>>().concat()
}
