//! A folder in memory where there is one: what is fuzzed waits for no disk.

use std::path::Path;

use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

pub(crate) fn folder() -> TempDir {
    let made = match Path::new(MEMORY).is_dir() {
        true => TempDir::new_in(MEMORY).or_else(|_| TempDir::new()),
        false => TempDir::new(),
    };
    made.expect("a folder")
}
