//! A node that gets no more memory: a bound of the kernel's, and what the kernel says of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::server::Server;

/// Where control groups are, by their version: their folder, the file of the bound, and the file that counts who was killed for it.
const GROUPS: [(&str, &str, &str); 2] = [
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.oom_control",
    ),
    ("/sys/fs/cgroup", "memory.max", "memory.events"),
];
/// What keeps a group from the machine's swap, by either version.
const NO_SWAP: [(&str, &str); 2] = [("memory.swappiness", "0"), ("memory.swap.max", "0")];

/// A control group: whoever goes beyond its bound is killed, as on a machine that has no more.
pub struct Bound {
    folder: PathBuf,
    counts: PathBuf,
}

impl Bound {
    /// Lets a server that runs have so many bytes more than it has; none where no group can be made, as by who is not root.
    pub fn on(server: &Server, bytes: u64) -> Option<Self> {
        GROUPS.into_iter().find_map(|(groups, bound, counts)| {
            let folder = Path::new(groups).join(format!("docket-modes-{}", server.id()));
            fs::create_dir(&folder).ok()?;
            let group = Self {
                counts: folder.join(counts),
                folder,
            };
            let set = |file: &str, value: String| fs::write(group.folder.join(file), value);
            // A group without memory's controller has no such files.
            fs::metadata(group.folder.join(bound)).ok()?;
            fs::metadata(&group.counts).ok()?;
            set(bound, bytes.to_string()).ok()?;
            for (swap, none) in NO_SWAP {
                // Each version has its own.
                let _ = set(swap, none.to_owned());
            }
            // What it has stays where it was counted; what it takes from now on is counted here.
            set("cgroup.procs", server.id().to_string()).ok()?;
            Some(group)
        })
    }

    /// Whether the kernel says that it has killed somebody for it: in the group's counts, and in its log where it shows that.
    pub fn has_killed(&self) -> bool {
        let counted = fs::read_to_string(&self.counts).unwrap();
        let killed = counted.lines().find_map(|line| line.strip_prefix("oom_kill "));
        if killed.is_none_or(|number| number.trim() == "0") {
            return false;
        }
        let log = Command::new("dmesg").output();
        let log = log.map(|log| String::from_utf8_lossy(&log.stdout).into_owned());
        let name = self.folder.file_name().unwrap().to_str().unwrap();
        match log.unwrap_or_default() {
            log if log.trim().is_empty() => {
                println!("the kernel's log is not shown to this test");
                true
            }
            log => log
                .lines()
                .any(|line| line.contains("oom-kill") && line.contains(name)),
        }
    }
}

impl Drop for Bound {
    /// Whoever was in it is gone.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
