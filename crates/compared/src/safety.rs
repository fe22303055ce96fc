//! The safety table: what faults leave behind, counted at the receiver.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Scope;
use crate::cluster::Cluster;
use crate::peers::LEASE;
use crate::process::Worker;
use crate::receiver::{Behaviour, Receiver};
use crate::subject::{Run, Subject, key};
use crate::table::Table;

/// The faults, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL while requests are open, then a restart; so many times.
    Kill(usize),
    /// Each tenth connection is cut after the courses were created.
    LostAnswers,
    /// The server crashes and starts again, three times.
    Restart,
    /// All sessions of the database are terminated, five times.
    Terminated,
    /// The first of two workers is stopped beyond its lease, then continued.
    Stopped,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::LostAnswers => "answers",
            Self::Restart => "restart",
            Self::Terminated => "sessions",
            Self::Stopped => "stopped",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Kill(_) => "50 × `kill -9` with open requests, three seeds",
            Self::LostAnswers => "one answer in ten lost after the commit",
            Self::Restart => "three crashes of Postgres",
            Self::Terminated => "all sessions terminated, five times",
            Self::Stopped => "worker stopped past its lease, second worker runs",
        }
    }
}

/// The kills of each seed.
const KILLS: [usize; 3] = [17, 17, 16];
/// A run with kills needs more courses, so that it outlasts them.
const LONGER: usize = 5;
/// The longest run.
const TIMEOUT: Duration = Duration::from_mins(3);
const RESPONSE_TIME: std::ops::Range<u64> = 100..200;
const FOREVER: Duration = Duration::from_mins(1);

/// What a run left behind.
#[derive(Debug, Default)]
struct Outcome {
    faults: usize,
    duplicates: u64,
    refused: u64,
    lost: usize,
    left: usize,
    requests: u64,
    seconds: f64,
    courses: usize,
}

/// Measures all of it.
pub async fn measure(scope: &Scope) -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    for is_unique in [false, true] {
        let heading = if is_unique { "With a unique property" } else { "Without a unique property" };
        let mut table = Table::new(&[
            "Fault",
            "Program",
            "faults",
            "duplicates",
            "creates refused",
            "lost",
            "left for an operator",
            "requests per 100 courses",
            "seconds to empty",
        ]);
        let faults = [Fault::Kill(0), Fault::LostAnswers, Fault::Restart, Fault::Terminated, Fault::Stopped];
        for fault in faults.into_iter().filter(|fault| scope.includes(fault.name())) {
            for subject in scope.subjects() {
                if is_unique && subject == Subject::CourseSyncResend {
                    continue;
                }
                let mut sum = Outcome::default();
                let kills = if matches!(fault, Fault::Kill(_)) { &KILLS[..] } else { &[0] };
                for (seed, kills) in (1..).zip(kills) {
                    let fault = if *kills > 0 { Fault::Kill(*kills) } else { fault };
                    sum.add(&run(&cluster, fault, subject, is_unique, seed, scope.courses).await?);
                }
                table.add(sum.row(fault, subject));
            }
        }
        println!("### {heading}\n\n{table}");
    }
    Ok(())
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.lost += other.lost;
        self.left += other.left;
        self.requests += other.requests;
        self.seconds += other.seconds;
        self.courses += other.courses;
    }

    #[allow(clippy::cast_precision_loss)]
    fn row(&self, fault: Fault, subject: Subject) -> Vec<String> {
        let rate = self.requests as f64 * 100.0 / self.courses as f64;
        let faults = if self.faults == 0 { String::new() } else { self.faults.to_string() };
        vec![
            fault.title().to_owned(),
            subject.name().to_owned(),
            faults,
            self.duplicates.to_string(),
            self.refused.to_string(),
            self.lost.to_string(),
            self.left.to_string(),
            format!("{rate:.2}"),
            format!("{:.1}", self.seconds),
        ]
    }
}

/// A run with its workers.
struct Stage<'a> {
    cluster: &'a Cluster,
    receiver: Receiver,
    run: Run,
    workers: Vec<Worker>,
    is_unique: bool,
    courses: usize,
}

async fn run(
    cluster: &Cluster,
    fault: Fault,
    subject: Subject,
    is_unique: bool,
    seed: u64,
    courses: usize,
) -> anyhow::Result<Outcome> {
    let courses = if matches!(fault, Fault::Kill(_)) { courses * LONGER } else { courses };
    let loses_answers = fault == Fault::LostAnswers;
    let receiver = Receiver::start(Behaviour { is_unique, delay: RESPONSE_TIME, loses_answers }).await?;
    let run = Run::new(subject, cluster.database().await?, receiver.url(), is_unique).await?;
    run.enqueue(courses).await?;
    // A crash soon after it is recovered from quickly.
    sqlx::query("checkpoint").execute(run.pool()).await?;
    let mut random = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let workers = vec![Worker::start(subject.worker()?, &run.settings)?];
    let mut stage = Stage { cluster, receiver, run, workers, is_unique, courses };
    let faults = match fault {
        Fault::Kill(kills) => stage.kill(kills, &mut random).await?,
        Fault::LostAnswers => 0,
        Fault::Restart => stage.restart_server().await?,
        Fault::Terminated => stage.terminate().await?,
        Fault::Stopped => stage.stop().await?,
    };
    stage.finish(began).await.map(|outcome| Outcome { faults, ..outcome })
}

impl Stage<'_> {
    /// Starts workers again that have ended.
    async fn supervise(&mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            if worker.has_ended()? {
                sleep(Duration::from_millis(100)).await;
                *worker = Worker::start(self.run.subject.worker()?, &self.run.settings)?;
            }
        }
        Ok(())
    }

    /// Waits for a condition of the receiver. `false`: it did not come true.
    async fn until(&mut self, is_met: impl Fn(&Receiver) -> bool) -> anyhow::Result<bool> {
        let (began, mut idle_since) = (Instant::now(), Instant::now());
        while !is_met(&self.receiver) {
            let is_done = {
                let counts = self.receiver.counts();
                counts.open == 0 && counts.distinct() == self.courses
            };
            if !is_done {
                idle_since = Instant::now();
            }
            // Something may be sent again after its lease.
            if idle_since.elapsed() > LEASE * 3 || began.elapsed() > FOREVER {
                return Ok(false);
            }
            self.supervise().await?;
            sleep(Duration::from_millis(2)).await;
        }
        Ok(true)
    }

    /// Kills the worker while requests are open, and starts it again.
    async fn kill(&mut self, kills: usize, random: &mut fastrand::Rng) -> anyhow::Result<usize> {
        let mut done = 0;
        while done < kills && self.until(|receiver| receiver.counts().open > 0).await? {
            // Long enough to kill some of them at full speed: course-sync begins with one course, then 10, then 100.
            sleep(Duration::from_millis(random.u64(0..800))).await;
            if self.receiver.counts().open == 0 {
                // The requests have ended meanwhile.
                continue;
            }
            let next = self.run.subject.worker()?;
            if let Some(worker) = self.workers.pop() {
                worker.kill().await;
            }
            done += 1;
            // What was sent is processed to its end.
            while self.receiver.counts().open > 0 {
                sleep(Duration::from_millis(2)).await;
            }
            self.workers.push(Worker::start(next, &self.run.settings)?);
        }
        Ok(done)
    }

    /// Waits until a part of the courses has arrived and requests are open.
    async fn until_part(&mut self, part: usize, of: usize) -> anyhow::Result<bool> {
        let courses = self.courses * part / of;
        self.until(|receiver| receiver.counts().open > 0 && receiver.counts().distinct() >= courses).await
    }

    async fn restart_server(&mut self) -> anyhow::Result<usize> {
        let mut done = 0;
        while done < 3 && self.until_part(done + 1, 5).await? {
            self.cluster.crash_server()?;
            sleep(Duration::from_millis(300)).await;
            self.cluster.start_server()?;
            done += 1;
        }
        Ok(done)
    }

    async fn terminate(&mut self) -> anyhow::Result<usize> {
        let mut done = 0;
        while done < 5 && self.until_part(done + 1, 7).await? {
            let others = "select pg_terminate_backend(pid) from pg_stat_activity
                           where datname = current_database() and pid <> pg_backend_pid()";
            sqlx::query(others).execute(self.run.pool()).await?;
            done += 1;
        }
        Ok(done)
    }

    async fn stop(&mut self) -> anyhow::Result<usize> {
        self.until(|receiver| receiver.counts().open > 0).await?;
        self.workers.push(Worker::start(self.run.subject.worker()?, &self.run.settings)?);
        if !self.until_part(1, 4).await? {
            return Ok(0);
        }
        self.workers[0].signal("STOP")?;
        sleep(LEASE + Duration::from_secs(3)).await;
        self.workers[0].signal("CONT")?;
        Ok(1)
    }

    /// Waits until nothing is left to do, and counts.
    async fn finish(mut self, began: Instant) -> anyhow::Result<Outcome> {
        let mut unfinished = vec![String::new()];
        while !unfinished.is_empty() && began.elapsed() < TIMEOUT {
            self.supervise().await?;
            // The server may have just been started.
            unfinished = self.run.unfinished(self.is_unique).await.unwrap_or(unfinished);
            sleep(Duration::from_millis(20)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let left: HashSet<String> = self.run.left().await?.into_iter().chain(unfinished).collect();
        while self.receiver.counts().open > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        for worker in self.workers {
            worker.kill().await;
        }
        self.run.remove(self.cluster).await?;
        let counts = self.receiver.counts();
        let missing = counts.missing((0..self.courses).map(key));
        Ok(Outcome {
            faults: 0,
            duplicates: counts.records - counts.distinct() as u64,
            refused: counts.refused,
            lost: missing.difference(&left).count(),
            left: left.len(),
            requests: counts.requests,
            seconds,
            courses: self.courses,
        })
    }
}
