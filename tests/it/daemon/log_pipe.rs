//! Nobody reads the log, or nobody can: the work goes on, and the daemon ends when it is told to.

use std::process::{Child, Stdio};

use crate::support::daemon::program;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A daemon whose log is this process's to read, or not; killed when dropped.
struct Unheard(Child);

impl Unheard {
    fn start(world: &World) -> Self {
        let mut command = program(&world.settings);
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("the program starts"))
    }

    async fn stops(&mut self) {
        let told =
            std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        assert!(told.expect("a shell").success());
        let status =
            eventually("the daemon ends", async || self.0.try_wait().unwrap().ok_or("it runs on")).await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn busy_world() -> World {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "trace");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    world
}

#[tokio::test]
async fn a_log_that_nobody_can_read_any_more_ends_nothing() {
    let world = busy_world().await;
    let mut daemon = Unheard::start(&world);
    drop(daemon.0.stderr.take());
    world.all_are(&["synced"]).await;
    daemon.stops().await;
    world.audit().await;
}

#[tokio::test]
async fn a_log_whose_reader_stands_still_holds_up_nothing() {
    let world = busy_world().await;
    let mut daemon = Unheard::start(&world);
    world.all_are(&["synced"]).await;
    daemon.stops().await;
    world.audit().await;
}
