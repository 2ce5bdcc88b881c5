//! A repository, and `docket backup` on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prost_types::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Home, Server};

/// A repository, with the key that it is sealed with.
pub struct Repository {
    folder: TempDir,
    key: Option<String>,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    pub id: String,
    pub until: Timestamp,
    pub full: bool,
    pub bytes: u64,
}

impl Repository {
    /// An empty one, sealed where a key's name is given.
    pub fn new(key: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = key.map(|name| {
            let path = folder.path().join(name);
            fs::write(&path, format!("{}\n", "5a".repeat(32))).unwrap();
            format!("file:{}", path.display())
        });
        Self { folder, key }
    }

    /// Where the key is, as `--key` takes it.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where it is.
    pub fn place(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Runs a command on it; what it said, or why it failed.
    fn run(&self, words: &[&str], more: &[&str], home: &Home) -> Result<Value, String> {
        let place = self.place();
        let which = match words[0] {
            "create" => "--to",
            _ => "--from",
        };
        let mut args = vec!["backup"];
        args.extend(words);
        args.extend([which, place.to_str().unwrap(), "-o", "json"]);
        if let Some(key) = &self.key {
            args.extend(["--key", key]);
        }
        args.extend(more);
        let run = home.command(&args).output().unwrap();
        match run.status.success() {
            true => Ok(serde_json::from_slice(&run.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
        }
    }

    /// Has a server backed up.
    pub fn create(&self, server: &Server, home: &Home) -> Made {
        let (address, key) = (format!("http://{}", server.grpc), home.admin_key());
        let more = ["--addr", &address, "--api-key", &key];
        let made = self.run(&["create"], &more, home).unwrap();
        Made {
            id: made["backup"].as_str().unwrap().to_owned(),
            until: made["until"].as_str().unwrap().parse().unwrap(),
            full: made["full"].as_bool().unwrap(),
            bytes: made["bytes"].as_u64().unwrap(),
        }
    }

    /// The names of all backups.
    pub fn list(&self, home: &Home) -> Vec<String> {
        let listed = self.run(&["list"], &[], home).unwrap();
        let backups = listed["backups"].as_array().unwrap();
        backups
            .iter()
            .map(|one| one["backup"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Reads and applies the newest.
    pub fn verify(&self, home: &Home) {
        self.run(&["verify"], &[], home).unwrap();
        let deep = self.run(&["verify", "--deep"], &[], home).unwrap();
        assert!(deep["entries"].as_u64().unwrap() > 0, "{deep}");
    }

    /// Why a command fails.
    pub fn fails(&self, words: &[&str], home: &Home) -> String {
        self.run(words, &[], home).unwrap_err()
    }

    /// Restores to a new home.
    pub fn restore(&self, args: &[&str], home: &Home) -> Home {
        let restored = Home::new();
        self.restore_to(&restored, args, home).unwrap();
        Self::give_key(home, &restored);
        restored
    }

    /// Restores there.
    pub fn restore_to(&self, to: &Home, args: &[&str], home: &Home) -> Result<Value, String> {
        let data = to.data();
        let mut words = vec!["restore"];
        words.extend(args);
        self.run(&words, &["--data-dir", data.to_str().unwrap()], home)
    }

    /// Why nothing is restored.
    pub fn restore_fails(&self, home: &Home) -> String {
        self.restore_to(&Home::new(), &[], home).unwrap_err()
    }

    /// The first administrator's key is as it was.
    pub fn give_key(from: &Home, to: &Home) {
        fs::copy(from.data().join("admin.key"), to.data().join("admin.key")).unwrap();
    }

    /// All of its files that a restore reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.place(), &mut files);
        files.sort();
        files
    }

    /// Flips the last bit but some of a file.
    pub fn flip_a_bit(&self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.len() * 2 / 3;
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}
