//! What threads and the runtime did while somebody looked.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Threads that are told of; a node has a few dozen.
const THREADS_MAX: usize = 1_024;
/// What the kernel counts a thread's time in: a hundredth of a second on every Linux there is.
const MS_PER_TICK: u64 = 10;
/// Fields of a `stat` file behind the name: the state, and time in user mode and in the kernel.
const STATE: usize = 0;
const USER: usize = 11;
const SYSTEM: usize = 12;

/// A moment, which a later one is held against.
pub(super) struct Look {
    at: Instant,
    threads: Result<BTreeMap<u64, Thread>, String>,
    busy: Vec<Duration>,
}

struct Thread {
    name: String,
    state: String,
    ms: u64,
}

impl Look {
    /// As it is now.
    pub(super) fn now() -> Self {
        let runtime = Handle::try_current().ok().map(|handle| handle.metrics());
        let workers = runtime.iter().flat_map(|metrics| {
            let workers = 0..metrics.num_workers();
            workers.map(|worker| metrics.worker_total_busy_duration(worker))
        });
        Self {
            at: Instant::now(),
            threads: threads(Path::new("/proc/self/task")),
            busy: workers.collect(),
        }
    }

    /// Every thread, and how much of a processor each had since this moment.
    pub(super) fn threads_since(&self) -> Result<Value, String> {
        let seconds = self.at.elapsed().as_secs_f64();
        let before = self.threads.as_ref().map_err(Clone::clone)?;
        let mut shown: Vec<Value> = threads(Path::new("/proc/self/task"))?
            .iter()
            .map(|(id, thread)| {
                let earlier = before.get(id).map_or(0, |thread| thread.ms);
                json!({
                    "id": id,
                    "name": thread.name,
                    "state": thread.state,
                    "cpu_ms": thread.ms,
                    "cpu_ms_meanwhile": thread.ms.saturating_sub(earlier),
                })
            })
            .collect();
        shown.sort_by_key(|thread| std::cmp::Reverse(thread["cpu_ms_meanwhile"].as_u64()));
        Ok(json!({"seconds": seconds, "threads": shown}))
    }

    /// The runtime's tasks, its queue, and how busy each of its threads was since this moment.
    pub(super) fn runtime_since(&self) -> Result<Value, String> {
        let handle = Handle::try_current().map_err(|error| error.to_string())?;
        let metrics = handle.metrics();
        let elapsed = self.at.elapsed();
        let workers = (0..metrics.num_workers()).map(|worker| {
            let busy = metrics.worker_total_busy_duration(worker);
            let earlier = self.busy.get(worker).copied().unwrap_or_default();
            let share = busy.saturating_sub(earlier).as_secs_f64() / elapsed.as_secs_f64().max(1e-3);
            json!({
                "busy_ms": busy.as_millis() as u64,
                "busy_share_meanwhile": (share * 1e3).round() / 1e3,
                "parked": metrics.worker_park_count(worker),
            })
        });
        Ok(json!({
            "seconds": elapsed.as_secs_f64(),
            "tasks_alive": metrics.num_alive_tasks(),
            "tasks_in_common_queue": metrics.global_queue_depth(),
            "workers": workers.collect::<Vec<_>>(),
        }))
    }
}

fn threads(folder: &Path) -> Result<BTreeMap<u64, Thread>, String> {
    let read = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // One that ends meanwhile is left out.
    let each = read.filter_map(|entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((id, thread(&stat)?))
    });
    Ok(each.take(THREADS_MAX).collect())
}

fn thread(stat: &str) -> Option<Thread> {
    // The name may have blanks and parentheses in it.
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Thread {
        name: head.split_once('(')?.1.to_owned(),
        state: (*fields.get(STATE)?).to_owned(),
        ms: ticks(USER)?
            .checked_add(ticks(SYSTEM)?)?
            .checked_mul(MS_PER_TICK)?,
    })
}

/// What the kernel tells of the process: its memory, and what it may have.
pub(super) fn kernel() -> String {
    let mut text = String::new();
    for name in ["status", "limits", "io", "cgroup"] {
        let path = format!("/proc/self/{name}");
        match fs::read_to_string(&path) {
            Ok(found) => text.push_str(&format!("# {path}\n{found}\n")),
            Err(error) => text.push_str(&format!("# {path}: {error}\n\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thread;

    #[test]
    fn a_thread_s_time_is_read_whatever_it_is_called() {
        let found = thread("7 (a) b (c) R 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 9 0 100 5 6").unwrap();
        assert_eq!((&*found.name, &*found.state, found.ms), ("a) b (c", "R", 420));
        assert!(thread("7 (docket) S 1").is_none());
        assert!(thread("").is_none());
    }
}
