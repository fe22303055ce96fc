//! A temporary PostgreSQL cluster on a unix socket. Removed when dropped.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::process;

/// The settings of a production server: durable commits, full page writes, autovacuum.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
autovacuum_naptime = 15s
jit = off
";

/// A running cluster.
pub struct Cluster {
    root: TempDir,
    programs: PathBuf,
    /// The user and group of the server; Postgres does not run as root.
    user: Option<(u32, u32)>,
    databases: std::sync::atomic::AtomicU32,
}

impl Cluster {
    /// Creates and starts a cluster.
    pub fn start() -> anyhow::Result<Self> {
        let root = tempfile::Builder::new().prefix("compared-").tempdir()?;
        let user =
            if id(&["-u"])? == 0 { Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?)) } else { None };
        if let Some((user, group)) = user {
            chown(root.path(), Some(user), Some(group))?;
        }
        let cluster = Self { root, programs: programs()?, user, databases: 0.into() };
        cluster.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])?;
        let configuration = cluster.data().join("postgresql.conf");
        let socket = format!("unix_socket_directories = '{}'\n", cluster.root.path().display());
        let text = std::fs::read_to_string(&configuration)? + SETTINGS + &socket;
        std::fs::write(configuration, text)?;
        cluster.start_server()?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-D").arg(self.data()).args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        ensure!(command.status()?.success(), "{program} failed");
        Ok(())
    }

    /// Starts the server.
    pub fn start_server(&self) -> anyhow::Result<()> {
        let log = self.root.path().join("log");
        self.run("pg_ctl", &["-w", "-t", "60", "-l", &log.to_string_lossy(), "start"])
    }

    /// Stops the server as a crash does: without a checkpoint.
    pub fn crash_server(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"])
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost/{database}?host={}&sslmode=disable",
            self.root.path().display()
        )
    }

    /// Creates a database. Returns its URL and a pool.
    pub async fn database(&self) -> anyhow::Result<(String, PgPool)> {
        let number = self.databases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let server = PgPool::connect(&self.url("postgres")).await?;
        // The name needs no quoting.
        let create = format!("create database run_{number}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&server).await?;
        server.close().await;
        let url = self.url(&format!("run_{number}"));
        let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
        Ok((url, pool))
    }

    /// Removes a database, also if sessions are open.
    pub async fn remove_database(&self, name: &str) -> anyhow::Result<()> {
        let server = PgPool::connect(&self.url("postgres")).await?;
        let remove = format!("drop database {name} with (force)");
        sqlx::query(sqlx::AssertSqlSafe(remove)).execute(&server).await?;
        server.close().await;
        Ok(())
    }

    /// The CPU time of the server's processes so far, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        process::cpu_of_family(text.lines().next().context("an empty postmaster.pid")?.trim().parse()?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The folder is removed afterwards in any case.
        self.crash_server().ok();
    }
}

fn id(arguments: &[&str]) -> anyhow::Result<u32> {
    let output = Command::new("id").args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// The folder of the server's programs.
fn programs() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PG_BIN") {
        return Ok(folder.into());
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders.retain(|folder| Path::new(folder).join("initdb").is_file());
    folders.into_iter().next().context("no PostgreSQL server found: install it, or set PG_BIN")
}
