//! What the kernel knows of processes and threads: CPU time and peak memory.

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use std::process::Command;
use std::time::Duration;

/// CPU time of this thread: what other programs do meanwhile is not counted.
pub(crate) fn thread_cpu_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time of this process, all threads together.
pub(crate) fn process_cpu_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU seconds (user and system) of process `pid`, threads that have ended included.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    // utime and stime.
    times(pid, 14)
}

/// CPU seconds of those children of this process that have ended and were waited for.
pub(crate) fn children_cpu_seconds() -> Result<f64> {
    // cutime and cstime.
    times(std::process::id(), 16)
}

/// The sum of two fields of the process' line of figures, from `first` on (counted from 1).
fn times(pid: u32, first: usize) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses, field 2, may hold blanks: fields count from behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: Vec<f64> = fields.skip(first - 3).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "/proc/{pid}/stat has another shape than expected");
    Ok(ticks.iter().sum::<f64>() / ticks_per_second())
}

/// CPU seconds of this process.
pub(crate) fn own_cpu_seconds() -> Result<f64> {
    cpu_seconds(std::process::id())
}

/// The largest resident set of process `pid` so far, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let kib = field_of(&status, "VmHWM:").context("the kernel does not report VmHWM")?;
    Ok(kib << 10)
}

/// The resident set of this process, in bytes.
pub(crate) fn resident_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    field_of(&status, "VmRSS:").map(|kib| kib << 10).context("the kernel does not report VmRSS")
}

/// How often threads of this process have gone to sleep so far: each wake-up follows one of these.
pub(crate) fn context_switches() -> Result<u64> {
    let mut switches = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) else { continue };
        switches += field_of(&status, "voluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok(switches)
}

/// A number of a status file of the kernel.
fn field_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> f64 {
    static TICKS: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *TICKS.get_or_init(|| {
        let output = Command::new("getconf").arg("CLK_TCK").output().ok();
        let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
        // 100 on every Linux of today.
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(100.0)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        children_cpu_seconds, context_switches, cpu_seconds, own_cpu_seconds, peak_memory, resident_memory,
    };

    #[test]
    fn this_process_burns_time_and_holds_memory() {
        let before = own_cpu_seconds().unwrap();
        let mut sum = 0u64;
        while own_cpu_seconds().unwrap() < before + 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(peak_memory(std::process::id()).unwrap() > 100_000);
        assert!(resident_memory().unwrap() > 100_000);
        let switches = context_switches().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(context_switches().unwrap() > switches);
        assert!(cpu_seconds(u32::MAX).is_err());
    }

    #[test]
    fn a_child_that_ended_leaves_its_time_behind() {
        let before = children_cpu_seconds().unwrap();
        let loops = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", loops]).status().unwrap().success());
        assert!(children_cpu_seconds().unwrap() > before);
    }
}
