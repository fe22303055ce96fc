//! A worker in its own process: start, signals, CPU time and peak memory. Reads `/proc`.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

/// Clock ticks of `/proc` in a second; the same on every Linux.
const TICKS: f64 = 100.0;

/// A running worker. Killed when dropped.
pub struct Worker {
    child: Child,
    id: u32,
}

impl Worker {
    /// Starts a program with exactly these environment variables.
    pub fn start(mut command: Command, settings: &[(String, String)]) -> anyhow::Result<Self> {
        command.env_clear().envs(settings.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        if std::env::var_os("COMPARED_VERBOSE").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let child = command.spawn().context("starting a worker")?;
        let id = child.id().context("the worker ended at once")?;
        Ok(Self { child, id })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends SIGKILL and waits for its end.
    pub async fn kill(mut self) {
        // It may have ended by itself.
        self.child.kill().await.ok();
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status =
            std::process::Command::new("kill").arg(format!("-{name}")).arg(self.id.to_string()).status()?;
        ensure!(status.success(), "the worker was not running");
        Ok(())
    }

    /// The CPU time used so far, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        Ok(ticks(self.id, 2)? / TICKS)
    }

    /// The peak memory so far, in MiB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("an unknown /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}

/// The CPU time of a process, its children, and those of them that have ended, in seconds.
pub fn cpu_of_family(server: u32) -> anyhow::Result<f64> {
    let mut sum = ticks(server, 4)?;
    for process in std::fs::read_dir("/proc")? {
        let Ok(process) = process?.file_name().to_string_lossy().parse::<u32>() else { continue };
        if parent(process) == Some(server) {
            // A child may end at this moment.
            sum += ticks(process, 2).unwrap_or_default();
        }
    }
    Ok(sum / TICKS)
}

/// The first so many of a process's times: user, system, and those of its children that have ended.
fn ticks(process: u32, times: usize) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may contain any character, the times begin at the 12th field.
    let (_, fields) = stat.rsplit_once(')').context("an unknown /proc")?;
    let ticks = fields.split_whitespace().skip(11).take(times).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()?)
}

fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
