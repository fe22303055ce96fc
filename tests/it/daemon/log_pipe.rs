//! A log that is not read, or cannot be read: the daemon keeps working and stops on request.

use std::process::{Child, Command, Stdio};

use crate::support::daemon::program;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A daemon whose output this process may leave unread; killed when dropped.
struct UnreadDaemon(Child);

impl UnreadDaemon {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self(command.spawn().expect("the program starts"))
    }

    async fn stop(&mut self) {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        assert!(sent.expect("a shell").success());
        let status =
            eventually("the daemon ends", async || self.0.try_wait().unwrap().ok_or("it is running")).await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for UnreadDaemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A world whose daemon logs more than a pipe and the log's queue hold.
async fn busy_world() -> World {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "trace");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    world
}

#[tokio::test]
async fn closed_stderr_does_not_end_the_daemon() {
    let world = busy_world().await;
    let mut command = program(&world.settings);
    command.arg("run").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = UnreadDaemon::start(command);
    drop(daemon.0.stderr.take());
    world.wait_until_all_are(&["synced"]).await;
    daemon.stop().await;
    world.audit().await;
}

#[tokio::test]
async fn stalled_reader_of_stderr_does_not_block_the_daemon() {
    let world = busy_world().await;
    let mut command = program(&world.settings);
    command.arg("run").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = UnreadDaemon::start(command);
    world.wait_until_all_are(&["synced"]).await;
    daemon.stop().await;
    world.audit().await;
}

#[tokio::test]
async fn stalled_reader_of_both_outputs_does_not_block_the_shutdown() {
    let world = busy_world().await;
    let program = program(&world.settings);
    let mut command = Command::new("sh");
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "exec \"$0\" run 2>&1"]).arg(program.get_program()).stdout(Stdio::piped());
    let mut daemon = UnreadDaemon::start(command);
    world.wait_until_all_are(&["synced"]).await;
    daemon.stop().await;
    world.audit().await;
}
