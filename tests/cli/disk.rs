//! A disk that is nearly full: writes are refused, reads go on, and so do writes when there is space again.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    server::{Server, until},
    support::Shell,
};

const MIB: usize = 1024 * 1024;
const DISK_BYTES: usize = 128 * MIB;
const RESERVE_BYTES: usize = 32 * MIB;

/// A small disk in memory.
pub struct Disk(PathBuf);

impl Disk {
    /// # Errors
    /// Why there is none.
    pub fn mount(at: &Path, bytes: usize) -> Result<Self, String> {
        fs::create_dir(at).map_err(|error| error.to_string())?;
        let size = format!("size={bytes}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output();
        match mount {
            Err(error) => Err(error.to_string()),
            Ok(run) if run.status.success() => Ok(Self(at.to_owned())),
            Ok(run) => Err(String::from_utf8_lossy(&run.stderr).trim().to_owned()),
        }
    }

    /// Leaves less than the reserve, or, with no bytes to leave, nothing.
    pub fn fill(&self, leave_bytes: usize) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = (stat.f_bavail * stat.f_frsize) as usize;
        filler
            .write_all(&vec![1; free.saturating_sub(leave_bytes)])
            .unwrap();
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

#[test]
fn a_disk_that_fills_up_refuses_writes_and_takes_them_again_when_there_is_space() {
    let shell = Shell::new().variable("DOCKET__JOURNAL__DISK_RESERVE_BYTES", &RESERVE_BYTES.to_string());
    let disk = match Disk::mount(&shell.path().join("disk"), DISK_BYTES) {
        Ok(disk) => disk,
        Err(why) => {
            // Written as it is: what is printed by a test that passes is not shown.
            let line = format!("SKIPPED: a server on a full disk: no tmpfs can be mounted: {why}\n");
            return std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    };
    let server = Server::start_with(&shell, &["--data-dir", "disk/data"]);
    let flags = format!("{} --api-key-file disk/data/admin.key", server.flags());
    let run = |command: &str| shell.run(&format!("{command} {flags}"));
    run("customer create acme --currency EUR --credit-limit 500.00").ends(0);
    run("item create tea --price 4.50 --currency EUR --on-hand 100").ends(0);
    let placed = run("order place --customer acme tea:1 -o json").ends(0).json();
    let name = placed["name"].as_str().unwrap();

    // Within the reserve, and with nothing left at all.
    for leave_bytes in [RESERVE_BYTES / 2, 0] {
        disk.fill(leave_bytes);
        let refused = until(
            "writes to be refused",
            || {
                let answer = run("order place --customer acme tea:1");
                (answer.code == 1).then_some(answer)
            },
            || server.log(),
        );
        refused
            .says("RESOURCE_EXHAUSTED")
            .says("LOW_SPACE")
            .prints_nothing();
        for write in [
            "customer create other --currency EUR".to_owned(),
            "item adjust tea 5".to_owned(),
            format!("order cancel {name}"),
            "auth key create --scope read".to_owned(),
        ] {
            run(&write).ends(1).says("LOW_SPACE");
        }

        assert_eq!(run(&format!("order get {name} -o json")).ends(0).json(), placed);
        let listed = run("order list --customer acme --all -o json").ends(0).json();
        assert!(listed["orders"].as_array().unwrap().contains(&placed), "{listed}");
        run("customer get acme").ends(0);
        run("health").ends(0);
        let status = run("status -o json").ends(0).json();
        assert_eq!(status["journal"]["low_space"], true, "{status}");
        let metrics = server.admin("/metrics").unwrap().1;
        let denials = metrics
            .lines()
            .find_map(|line| line.strip_prefix("docket_limiter_denials_total{limiter=\"disk\"} "));
        assert!(denials.is_some_and(|denials| denials != "0"), "{metrics}");

        disk.clear();
        until(
            "writes to be taken again",
            || (run("order place --customer acme tea:1").code == 0).then_some(()),
            || server.log(),
        );
    }
    run(&format!("order cancel {name}")).ends(0);
    server.stop();
    shell.run("journal verify --data-dir disk/data").ends(0);
}
