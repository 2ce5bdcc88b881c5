//! Nodes that `deploy/upgrade/local` starts, exchanges and stops, and the commands of an upgrade.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::changes::stage::Stage;

/// What a program takes itself for.
pub const PROGRAM: &str = "DOCKET_TEST_PROGRAM";
/// A program from before, which is what it is.
const OLDER: &str = "DOCKET_TEST_OLDER";

/// What the old program says that it is.
pub fn old_version() -> &'static str {
    match env::var_os(OLDER) {
        Some(_) => env!("CARGO_PKG_VERSION"),
        None => "0.0.9",
    }
}

/// The folder of `deploy/upgrade/local`.
pub struct Local {
    folder: TempDir,
    key: PathBuf,
}

impl Local {
    /// The folders of these nodes, of which none is started.
    pub fn of(stage: &Stage, nodes: &[usize]) -> Self {
        let local = Self {
            folder: tempfile::tempdir().unwrap(),
            key: stage.home(1).data().join("admin.key"),
        };
        for node in nodes {
            let home = stage.home(*node);
            let (data, grpc, admin) = (home.data(), stage.grpc(*node), stage.admin(*node));
            let variables = home.variables().iter().filter(|(name, _)| name != PROGRAM);
            let exports: String = variables
                .map(|(name, value)| format!("export {name}='{value}'\n"))
                .collect();
            fs::create_dir(local.path(&node.to_string())).unwrap();
            local.script(
                &format!("{node}/start"),
                &format!(
                    "{exports}exec \"$1\" serve --data-dir '{}' --listen {grpc} --admin-listen {admin}",
                    data.display()
                ),
            );
        }
        local
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        // Whole at any moment: a node may be about to be started by it.
        let unfinished = self.path("unfinished");
        fs::write(&unfinished, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(unfinished, path).unwrap();
    }

    /// Has a program be one that takes itself for this, and is started by that.
    pub fn program(&self, name: &str, takes_itself_for: &str, starter: &str) {
        let older = env::var(OLDER).ok().filter(|_| name == "old");
        let (variable, program) = match older {
            Some(older) => (String::new(), older),
            None => (
                format!("export {PROGRAM}={takes_itself_for}\n"),
                env!("CARGO_BIN_EXE_docket").to_owned(),
            ),
        };
        self.script(name, &format!("{variable}exec {starter} '{program}' \"$@\""));
    }

    fn exchanger(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/upgrade/local")
    }

    /// Has a node run this program, or none.
    pub fn run(&self, program: &str, node: usize) {
        self.try_run(program, node).unwrap();
    }

    /// The same of one that may not start.
    pub fn try_run(&self, program: &str, node: usize) -> Result<(), String> {
        let run = Command::new(self.exchanger())
            .arg(self.folder.path())
            .args([program, &node.to_string()])
            .output()
            .unwrap();
        match run.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
        }
    }

    /// A node's log.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.path(&format!("{node}/stderr"))).unwrap_or_default()
    }

    async fn docket(&self, args: Vec<String>) -> Output {
        let key = self.key.clone();
        let run = move || {
            Command::new(env!("CARGO_BIN_EXE_docket"))
                .args(args)
                .env_clear()
                .env("PATH", env::var_os("PATH").unwrap_or_default())
                .env(PROGRAM, super::NEW)
                .env("DOCKET_API_KEY_FILE", key)
                .output()
                .unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// `docket upgrade run`: its exit code, its report, and what it said.
    pub async fn upgrade(&self, stage: &Stage, more: &[&str]) -> (i32, Value, String) {
        let hook = |program: &str| {
            format!(
                "'{}' '{}' {program}",
                self.exchanger().display(),
                self.folder.path().display()
            )
        };
        let mut args: Vec<String> = ["upgrade", "run", "-o", "json"].map(str::to_owned).into();
        for node in super::NODES.into_iter().rev() {
            args.extend(["--node".to_owned(), format!("{node}={}", stage.admin(node))]);
        }
        args.extend([
            "--exchange".to_owned(),
            hook("new"),
            "--restore".to_owned(),
            hook("old"),
        ]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let run = self.docket(args).await;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        println!("{said}");
        let report = serde_json::from_slice(&run.stdout).unwrap_or_default();
        (run.status.code().unwrap(), report, said)
    }

    /// `docket upgrade status`: its exit code, and what it tells.
    pub async fn status(&self, stage: &Stage) -> (i32, Value) {
        let address = format!("http://{}", stage.grpc(1));
        let args = ["upgrade", "status", "-o", "json", "--addr", &address].map(str::to_owned);
        let run = self.docket(args.into()).await;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let told = serde_json::from_slice(&run.stdout);
        (
            run.status.code().unwrap(),
            told.unwrap_or_else(|_| panic!("{said}")),
        )
    }

    /// `docket upgrade finalize`, asked of a node that need not lead.
    pub async fn finalize(&self, stage: &Stage) -> Result<(), String> {
        let address = format!("http://{}", stage.grpc(2));
        let args = ["upgrade", "finalize", "--addr", &address].map(str::to_owned);
        let run = self.docket(args.into()).await;
        match run.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A failing test must leave no process behind.
        for node in super::NODES {
            let pid = fs::read_to_string(self.path(&format!("{node}/pid"))).ok();
            let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
