//! A lagging standby: a copy of a cluster that receives no further changes and can be promoted.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use course_sync::demo::postgres::ThrowawayPostgres;

use super::pgbouncer::unprivileged;
use super::proxy::Target;

/// A copy of a cluster with its own socket. It lies inside the directory of the cluster, so that it is removed with
/// it. The server is stopped when this value is dropped.
pub struct Standby {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
}

impl Standby {
    /// Copies the cluster as it is now. Does not start the copy.
    pub async fn copy_of(primary: &ThrowawayPostgres) -> Self {
        let standby = Self {
            programs: primary.bin_dir().to_owned(),
            directory: primary.root().join("standby"),
            port: primary.port(),
        };
        std::fs::create_dir(&standby.directory).expect("the directory can be created");
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(primary.root()).expect("the root"));
        std::os::unix::fs::chown(&standby.directory, Some(owner), None).expect("Postgres owns it");
        let mut copy = standby.program("pg_basebackup");
        copy.arg("--host").arg(primary.root()).arg("--port").arg(primary.port().to_string());
        copy.args(["--username=course_sync", "--checkpoint=fast", "--wal-method=fetch", "--no-sync"]);
        run_command(copy.arg("--pgdata").arg(standby.data())).await;
        std::fs::write(standby.data().join("standby.signal"), "")
            .expect("the standby signal file can be written");
        standby
    }

    /// Starts the copy. It accepts reads only, until it is promoted.
    pub async fn start(&self) {
        let sockets = self.directory.display();
        let options = format!("-p {} -c unix_socket_directories={sockets}", self.port);
        let mut start = self.pg_ctl("start");
        run_command(start.arg("-l").arg(self.directory.join("log")).args(["-o", &options])).await;
    }

    /// Promotes the copy to a primary with a new timeline.
    pub async fn promote(&self) {
        run_command(&mut self.pg_ctl("promote")).await;
    }

    /// The socket that the server listens on.
    pub fn target(&self) -> Target {
        Target::Socket(self.directory.join(format!(".s.PGSQL.{}", self.port)))
    }

    /// The URL of a database in it.
    pub fn url(&self, database: &str) -> String {
        let sockets = self.directory.display();
        format!("postgres://course_sync@localhost:{}/{database}?host={sockets}&sslmode=disable", self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn program(&self, name: &str) -> Command {
        unprivileged(&self.programs.join(name))
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command.args(["-w", "-t", "60", "-D"]).arg(self.data()).arg(action);
        command
    }
}

/// Runs a command and panics if it fails. Its output goes nowhere, because a server that it leaves running would keep
/// this process's pipes open.
async fn run_command(command: &mut Command) {
    let shown = format!("{command:?}");
    let mut command = std::mem::replace(command, Command::new("true"));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("the command finishes");
    assert!(status.is_ok_and(|status| status.success()), "{shown}");
}

impl Drop for Standby {
    fn drop(&mut self) {
        let mut stop = self.pg_ctl("stop");
        stop.args(["-m", "immediate"]).stdout(Stdio::null()).stderr(Stdio::null());
        // The server may never have been started.
        let _stopped = stop.status();
    }
}
