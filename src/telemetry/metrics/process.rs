//! What the kernel says of this process.
//!
//! In: files of `/proc/self`. Out: numbers, each 0 where its file can't be read: metrics must not
//! fail because a container hides something.

use std::fs;

/// Clock ticks of `/proc` per second: `USER_HZ` is 100 on every Linux we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process, as the kernel sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// CPU time used since the start, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most that may be open.
    pub max_fds: u64,
}

// === impl Process ===

impl Process {
    /// Reads the numbers now.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            rss_bytes: rss_bytes(&text("/proc/self/status")).unwrap_or_default(),
            cpu_seconds: cpu_seconds(&text("/proc/self/stat")).unwrap_or_default(),
            // One of them is the directory that is being read.
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1) as u64),
            max_fds: max_fds(&text("/proc/self/limits")).unwrap_or_default(),
        }
    }
}

/// `VmRSS:      1234 kB`
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The 14th and 15th field, counted after the name in parentheses, which may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// `Max open files   1024   4096   files`: the first number is the one in force.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_something_of_this_process() {
        let process = Process::read();
        assert!(process.rss_bytes > 100_000 && process.open_fds > 2, "{process:?}");
    }

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn limits_and_memory_are_read_in_their_units() {
        assert_eq!(
            max_fds("Max open files            1024                 4096                 files\n"),
            Some(1024)
        );
        assert_eq!(rss_bytes("VmSize:\t9 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
    }
}
