//! What a process uses, from `/proc`.

use std::{fs, io, time::Duration};

/// What a process has used so far, and uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on any core, its own and the kernel's for it; told in hundredths of a second.
    pub cpu: Duration,
    /// Memory that it holds now, in bytes.
    pub rss_bytes: u64,
    /// The most that it ever held, in bytes.
    pub rss_peak_bytes: u64,
}

impl Usage {
    /// That of the process `pid`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse(&stat, &status, rustix::param::clock_ticks_per_second())
            .ok_or_else(|| io::Error::other(format!("/proc/{pid} is not as expected")))
    }

    /// That of this process.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }
}

/// How many files the process `pid` has open, and how many threads it has.
///
/// # Errors
/// There is no such process, or it is somebody else's.
pub fn files_and_threads(pid: u32) -> io::Result<(usize, usize)> {
    let count = |what: &str| Ok::<_, io::Error>(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
    Ok((count("fd")?, count("task")?))
}

/// See proc(5): the command's name stands in brackets and may hold anything; user and system time are the 14th and 15th
/// field, the 12th and 13th behind it.
fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<Usage> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        cpu: Duration::from_secs_f64((user + system) as f64 / ticks_per_second as f64),
        rss_bytes: kib("VmRSS:")? * 1_024,
        rss_peak_bytes: kib("VmHWM:")? * 1_024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 100 1000 200";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let usage = parse(stat, status, 100).unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(2));
        assert_eq!((usage.rss_bytes, usage.rss_peak_bytes), (1 << 20, 2 << 20));
    }

    #[test]
    fn this_process_has_files_and_threads() {
        let (files, threads) = files_and_threads(std::process::id()).unwrap();
        assert!(files >= 1 && threads >= 1, "{files} {threads}");
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::own().unwrap();
        assert!(
            usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes,
            "{usage:?}"
        );
    }
}
