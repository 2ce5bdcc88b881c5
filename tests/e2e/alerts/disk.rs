//! A small disk in memory, where the system lets this process have one.

use std::{fs, io::Write as _, path::Path, path::PathBuf, process::Command};

/// It, until it is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one on a new folder; `None`, and a line says so, where that may not be.
    pub fn mount(what: &str, at: &Path, bytes: usize) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let size = format!("size={bytes}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output();
        let why = match mount {
            Ok(run) if run.status.success() => return Some(Self(at.to_owned())),
            Ok(run) => String::from_utf8_lossy(&run.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // Written as it is: what is printed by a test that passes is not shown.
        let line = format!("SKIPPED: {what}: no tmpfs can be mounted: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        None
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves so many bytes.
    pub fn fill(&self, leave: usize) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = (stat.f_bavail * stat.f_frsize) as usize;
        filler.write_all(&vec![1; free.saturating_sub(leave)]).unwrap();
    }

    pub fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test leaves behind may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
