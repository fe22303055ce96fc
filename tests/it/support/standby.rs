//! A standby that fell behind: a copy of a cluster that hears nothing of it any more, to be promoted.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use course_sync::demo::postgres::ThrowawayPostgres;

use super::pgbouncer::unprivileged;
use super::proxy::Target;

/// A copy in a directory of its own, with a socket of its own, inside the cluster's directory: it must
/// not outlive it. Stopped when dropped.
pub struct Standby {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
}

impl Standby {
    /// Copies the cluster as it is now. The copy is not started.
    pub async fn of(primary: &ThrowawayPostgres) -> Self {
        let standby = Self {
            programs: primary.bin_dir().to_owned(),
            directory: primary.root().join("standby"),
            port: primary.port(),
        };
        std::fs::create_dir(&standby.directory).expect("its directory");
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(primary.root()).expect("the root"));
        std::os::unix::fs::chown(&standby.directory, Some(owner), None).expect("Postgres owns it");
        let mut copy = standby.program("pg_basebackup");
        copy.arg("--host").arg(primary.root()).arg("--port").arg(primary.port().to_string());
        copy.args(["--username=course_sync", "--checkpoint=fast", "--wal-method=fetch", "--no-sync"]);
        runs(copy.arg("--pgdata").arg(standby.data())).await;
        std::fs::write(standby.data().join("standby.signal"), "").expect("it is told to wait");
        standby
    }

    /// Starts it: it can be read, and waits for a primary or its promotion.
    pub async fn starts(&self) {
        let sockets = self.directory.display();
        let options = format!("-p {} -c unix_socket_directories={sockets}", self.port);
        let mut start = self.pg_ctl("start");
        runs(start.arg("-l").arg(self.directory.join("log")).args(["-o", &options])).await;
    }

    /// Makes it a primary, of a new timeline.
    pub async fn is_promoted(&self) {
        runs(&mut self.pg_ctl("promote")).await;
    }

    /// Where it listens.
    pub fn target(&self) -> Target {
        Target::Socket(self.directory.join(format!(".s.PGSQL.{}", self.port)))
    }

    /// The address of a database in it.
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

    fn pg_ctl(&self, order: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command.args(["-w", "-t", "60", "-D"]).arg(self.data()).arg(order);
        command
    }
}

/// Runs a command that has to succeed. What it leaves behind must not hold this process's pipes.
async fn runs(command: &mut Command) {
    let said = format!("{command:?}");
    let mut command = std::mem::replace(command, Command::new("true"));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("it was waited for");
    assert!(status.is_ok_and(|status| status.success()), "{said}");
}

impl Drop for Standby {
    fn drop(&mut self) {
        let mut stop = self.pg_ctl("stop");
        stop.args(["-m", "immediate"]).stdout(Stdio::null()).stderr(Stdio::null());
        // It may never have been started.
        let _stopped = stop.status();
    }
}
