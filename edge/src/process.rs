//! What the process and its runtime are like at the moment that somebody asks: read when `/metrics` is, and not before.
//!
//! The clock is among it. Whoever reads it knows when they asked, and so how far it is off: what two nodes are apart is the difference of
//! that.

use std::{fs, path::Path, time::UNIX_EPOCH};

use docket_actors::{task_figures, wall_clock};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::runtime::Handle;

const TIME: &str = "docket_time_seconds";
const OPEN_FDS: &str = "docket_process_open_fds";
const MAX_FDS: &str = "docket_process_max_fds";
const THREADS: &str = "docket_process_threads";
const CPU: &str = "docket_process_cpu_seconds_total";
const WORKERS: &str = "docket_runtime_workers";
const TASKS: &str = "docket_runtime_tasks";
const QUEUE: &str = "docket_runtime_queue_tasks";
const BUSY: &str = "docket_runtime_busy_seconds_total";
const TASKS_STARTED: &str = "docket_tasks_started_total";
const TASKS_ALIVE: &str = "docket_tasks_alive";
const TASKS_POLLS: &str = "docket_tasks_polls_total";
const TASKS_BUSY: &str = "docket_tasks_busy_seconds_total";
const TASKS_WAITED: &str = "docket_tasks_waited_seconds_total";
const TASKS_LONG_POLLS: &str = "docket_tasks_long_polls_total";
const TASKS_LONG_WAITS: &str = "docket_tasks_long_waits_total";

/// What the kernel counts a process's time in: a hundredth of a second on every Linux there is.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of `/proc/self/stat` behind the program's name, which is the second: time in user mode and in the kernel, threads.
const USER: usize = 11;
const SYSTEM: usize = 12;
const THREAD_COUNT: usize = 17;

/// Describes what is measured here.
pub(crate) fn describe() {
    describe_gauge!(
        TIME,
        Unit::Seconds,
        "The node's clock as it was asked, in seconds since 1970."
    );
    describe_gauge!(
        OPEN_FDS,
        Unit::Count,
        "Files and connections that the process has open."
    );
    describe_gauge!(
        MAX_FDS,
        Unit::Count,
        "Files and connections that the process may have open."
    );
    describe_gauge!(THREADS, Unit::Count, "Threads of the process.");
    describe_counter!(
        CPU,
        Unit::Seconds,
        "Whole seconds of a processor that the process has used."
    );
    describe_gauge!(
        WORKERS,
        Unit::Count,
        "Threads of the runtime that carry out tasks."
    );
    describe_gauge!(TASKS, Unit::Count, "Tasks of the runtime that have not ended.");
    describe_gauge!(
        QUEUE,
        Unit::Count,
        "Tasks that wait in the runtime's common queue for a thread."
    );
    describe_counter!(
        BUSY,
        Unit::Seconds,
        "Whole seconds that the runtime's threads were busy, all of them together."
    );
    describe_counter!(
        TASKS_STARTED,
        Unit::Count,
        "Tasks that began, by what they are for."
    );
    describe_gauge!(TASKS_ALIVE, Unit::Count, "Tasks that have not ended.");
    describe_counter!(
        TASKS_POLLS,
        Unit::Count,
        "How often a task was carried out, until it waited for something or ended."
    );
    describe_counter!(
        TASKS_BUSY,
        Unit::Seconds,
        "Whole seconds that a thread was busy with tasks of the kind."
    );
    describe_counter!(
        TASKS_WAITED,
        Unit::Seconds,
        "Whole seconds that tasks of the kind had something to do and no thread to do it."
    );
    describe_counter!(
        TASKS_LONG_POLLS,
        Unit::Count,
        "How often a task kept its thread for more than 10 ms."
    );
    describe_counter!(
        TASKS_LONG_WAITS,
        Unit::Count,
        "How often a task that was not new waited for more than 10 ms for a thread."
    );
}

/// Sets all of it.
pub(crate) fn measure() {
    let now = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(TIME).set(now.as_secs_f64());
    let proc = Path::new("/proc/self");
    if let Some(open) = open_fds(&proc.join("fd")) {
        gauge!(OPEN_FDS).set(open as f64);
    }
    if let Some(most) = read(&proc.join("limits")).and_then(|limits| max_fds(&limits)) {
        gauge!(MAX_FDS).set(most);
    }
    if let Some((seconds, threads)) = read(&proc.join("stat")).and_then(|stat| work(&stat)) {
        counter!(CPU).absolute(seconds);
        gauge!(THREADS).set(threads as f64);
    }
    if let Ok(runtime) = Handle::try_current() {
        let runtime = runtime.metrics();
        let workers = runtime.num_workers();
        gauge!(WORKERS).set(workers as f64);
        gauge!(TASKS).set(runtime.num_alive_tasks() as f64);
        gauge!(QUEUE).set(runtime.global_queue_depth() as f64);
        let busy = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker));
        counter!(BUSY).absolute(busy.sum::<std::time::Duration>().as_secs());
    }
    for (kind, figures) in task_figures() {
        let kind = kind.name();
        counter!(TASKS_STARTED, "kind" => kind).absolute(figures.started);
        gauge!(TASKS_ALIVE, "kind" => kind).set(figures.alive as f64);
        counter!(TASKS_POLLS, "kind" => kind).absolute(figures.polls);
        counter!(TASKS_BUSY, "kind" => kind).absolute(figures.busy.as_secs());
        counter!(TASKS_WAITED, "kind" => kind).absolute(figures.waited.as_secs());
        counter!(TASKS_LONG_POLLS, "kind" => kind).absolute(figures.long_polls);
        counter!(TASKS_LONG_WAITS, "kind" => kind).absolute(figures.long_waits);
    }
}

/// How many files are open. The folder's size says so since Linux 6.2; to list it takes milliseconds where there are thousands of connections.
fn open_fds(folder: &Path) -> Option<u64> {
    match fs::metadata(folder).ok()?.len() {
        // Without the one that lists them.
        0 => Some((fs::read_dir(folder).ok()?.count() as u64).saturating_sub(1)),
        open => Some(open),
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The soft limit of open files, as `/proc/self/limits` says it.
fn max_fds(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// Seconds of a processor, and threads, as `/proc/self/stat` says them.
fn work(stat: &str) -> Option<(u64, u64)> {
    // The name may have blanks and parentheses in it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let ticks = number(USER)?.checked_add(number(SYSTEM)?)?;
    Some((ticks / TICKS_PER_SECOND, number(THREAD_COUNT)?))
}

#[cfg(test)]
mod tests {
    use super::{Path, max_fds, open_fds, work};

    #[test]
    fn open_files_are_counted() {
        let folder = Path::new("/proc/self/fd");
        let Some(before) = open_fds(folder) else { return };
        let opened: Vec<_> = (0..100).map_while(|_| tempfile::tempfile().ok()).collect();
        // Other tests open and close some meanwhile.
        let more = open_fds(folder).unwrap_or_default().saturating_sub(before);
        assert!(more + 50 >= opened.len() as u64, "{more}");
    }

    #[test]
    fn what_the_kernel_tells_is_read_whatever_the_program_is_called() {
        let stat = "7 (do) cket) S 1 7 7 0 -1 4194560 100 0 0 0 1234 766 0 0 20 0 9 0 100 5 6";
        assert_eq!(work(stat), Some((20, 9)));
        assert_eq!(work("7 (docket) S 1"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(max_fds(limits), Some(1_024.0));
        assert_eq!(
            max_fds("Max open files  unlimited  unlimited  files"),
            Some(f64::INFINITY)
        );
        assert_eq!(max_fds("nothing"), None);
    }
}
