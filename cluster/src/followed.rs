//! A file that a test writes and this process follows while it lives: in builds with debug assertions alone.

use std::{fs, path::PathBuf, thread, time::Duration};

/// How often the file is read.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Has what the file says be taken now, and again and again as long as the process lives. `variable` names the file.
///
/// # Errors
/// The file cannot be read, what it says cannot be taken, or there is no thread to follow it.
pub(crate) fn follow(
    variable: &'static str,
    path: PathBuf,
    take: impl Fn(&str) -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    let named = move |cause: String| format!("{variable}: {cause}");
    let look = move || {
        let text = fs::read_to_string(&path).map_err(|cause| cause.to_string())?;
        take(text.trim())
    };
    look().map_err(named)?;
    let following = thread::Builder::new()
        .name("test-file".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(LOOK_AGAIN);
                // What cannot be taken is being written, or its test is over.
                let _ = look();
            }
        });
    following.map(drop).map_err(|cause| named(cause.to_string()))
}
