//! Runs the built program in a folder of its own, with an environment of its own.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A folder to run in. Nothing of the caller's environment reaches the program.
pub struct Shell {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run printed and returned.
#[derive(Clone, Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Shell {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program, ready to be started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docket"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs(self.variables.clone())
            .stdin(Stdio::null());
        command
    }

    /// Runs it with arguments that blanks separate.
    #[track_caller]
    pub fn run(&self, args: &str) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args.split_whitespace()).output().unwrap();
        Run {
            code: status.code().expect("ended by a signal"),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

impl Run {
    /// Asserts the exit code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that stderr says this.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no `{part}` in: {}", self.stderr);
        self
    }

    /// Asserts that stdout is empty.
    #[track_caller]
    pub fn prints_nothing(self) -> Self {
        assert_eq!(self.stdout, "");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}
