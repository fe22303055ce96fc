//! Debian's PgBouncer in transaction mode in front of a cluster: each transaction may get another session.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use course_sync::demo::postgres::ThrowawayPostgres;
use tempfile::TempDir;

use super::eventually::eventually;

/// A running PgBouncer in transaction mode. The process is killed when this value is dropped.
pub struct PgBouncer {
    child: Child,
    directory: TempDir,
}

/// The port number in the name of its socket.
const PORT: u16 = 6432;

impl PgBouncer {
    /// Starts PgBouncer in front of the cluster, with fewer sessions than its clients have connections. Returns
    /// `None` if PgBouncer is not installed.
    pub async fn start(cluster: &ThrowawayPostgres) -> Option<Self> {
        Self::with_sessions(cluster, 3).await
    }

    /// The same with this number of sessions.
    pub async fn with_sessions(cluster: &ThrowawayPostgres, sessions: u32) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let Some(program) = program.iter().map(PathBuf::from).find(|path| path.exists()) else {
            eprintln!("skipped: pgbouncer is not installed");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let settings = directory.path().join("pgbouncer.ini");
        let (own, theirs) = (directory.path().display().to_string(), cluster.url("postgres"));
        let socket = theirs
            .split("host=")
            .nth(1)
            .and_then(|rest| rest.split('&').next())
            .expect("a socket's directory");
        let socket = socket.replace("%2F", "/");
        let text = format!(
            "[databases]\n* = host={socket} port={} user=course_sync\n[pgbouncer]\nauth_type = any\nlisten_addr =\n\
             listen_port = {PORT}\nunix_socket_dir = {own}\npool_mode = transaction\ndefault_pool_size = {sessions}\n",
            cluster.port()
        );
        std::fs::write(&settings, text).expect("the settings can be written");
        chown_to_postgres(directory.path());
        let child = unprivileged(&program)
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        let pooler = Self { child, directory };
        let socket = pooler.socket();
        eventually("pgbouncer listens", async || if socket.exists() { Ok(()) } else { Err(()) }).await;
        Some(pooler)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// The URL of a database through PgBouncer.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.path().display();
        format!("postgres://course_sync@localhost/{database}?host={directory}&port={PORT}&sslmode=disable")
    }
}

/// A command for a program that refuses to run as root, such as Postgres: runs it as the user `postgres`.
pub fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Makes the user of [`unprivileged`] commands the owner of a directory.
fn chown_to_postgres(directory: &Path) {
    if is_root() {
        let owned = Command::new("chown").arg("-R").arg("postgres").arg(directory).status();
        assert!(
            owned.is_ok_and(|status| status.success()),
            "the owner of the directory could not be changed to postgres"
        );
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // The process may have exited already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
