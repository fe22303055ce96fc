//! The standard metrics of a process, read from `/proc` at each scrape. Absent on systems without `/proc`.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The kernel counts CPU time in hundredths of a second on every supported system.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started: Duration,
}

impl Process {
    /// A process that starts now. The time to load the program is not counted.
    pub(super) fn start() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut write =
            |name: &str, help: &str, metric: &dyn Encodable| metric.write(&mut encoder, name, help);
        write(
            "process_start_time_seconds",
            "Start time, in seconds since 1970.",
            &ConstGauge::new(self.started.as_secs_f64()),
        )?;
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            write("process_cpu_seconds", "CPU time, user and system.", &ConstCounter::new(seconds))?;
        }
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            write("process_resident_memory_bytes", "Resident memory.", &ConstGauge::new(bytes))?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the open directory itself.
            let open = i64::try_from(open.count()).unwrap_or(i64::MAX).saturating_sub(1);
            write("process_open_fds", "Open files and sockets.", &ConstGauge::new(open))?;
        }
        if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_files) {
            write(
                "process_max_fds",
                "Limit of open files and sockets; absent if there is none.",
                &ConstGauge::new(max),
            )?;
        }
        Ok(())
    }
}

/// A metric of any type of value.
trait Encodable {
    fn write(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str) -> Result<(), std::fmt::Error>;
}

impl<T: EncodeMetric> Encodable for T {
    fn write(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str) -> Result<(), std::fmt::Error> {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

/// The program's name can contain anything, so fields are counted after it, from 3. User time is 14, system time 15.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(14 - 3);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// `None` also if there is no limit.
fn max_files(limits: &str) -> Option<i64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        let stat = "7 (a) S 9) S 1 7 7 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 4 0 12345 1000 200";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 * 1024 * 1024));
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024   4096   files\n";
        assert_eq!(max_files(limits), Some(1024));
        assert_eq!(max_files("Max open files   unlimited   unlimited   files"), None);
        for nonsense in ["", ")", "VmRSS:", "Max open files"] {
            assert_eq!(cpu_seconds(nonsense), None);
            assert_eq!(resident_bytes(nonsense), None);
            assert_eq!(max_files(nonsense), None);
        }
    }
}
