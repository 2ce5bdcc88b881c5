//! strace as a killer: it kills the process when one of its threads makes a system call for the nth time, before the call
//! is carried out, and writes down what it saw.
//!
//! strace counts per thread, and sled writes with whichever thread of its pool wakes first. So the trace, which has the
//! calls of all threads in their order, is what says which call of the process it was.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::server::{LOOK_AGAIN, PATIENCE};

/// A kind of system call at which the process is killed.
#[derive(Debug)]
pub struct Point {
    /// As strace's option takes it: where several are named, those that this kind of machine has.
    calls: &'static str,
    since: Since,
    file: File,
}

/// Since when calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Start,
    /// Since it was ready: what a server does seldom is done by another thread every time, so that counting from the
    /// start would never get beyond what is done first of all.
    Ready,
}

/// Of which file they are counted.
#[derive(Debug, Clone, Copy)]
pub enum File {
    Any,
    Mark,
    NewestSegment,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first of those that stand for each other.
        let call = self.calls.split(',').next().unwrap_or_default();
        f.write_str(call.trim_start_matches('?'))?;
        match (self.file, self.since) {
            (File::Mark, _) => f.write_str(" of the mark"),
            (File::NewestSegment, _) => f.write_str(" of frames"),
            (File::Any, Since::Ready) => f.write_str(" once ready"),
            (File::Any, Since::Start) => Ok(()),
        }
    }
}

impl Point {
    pub fn of(calls: &'static str, since: Since, file: File) -> Self {
        Self { calls, since, file }
    }

    /// Whether every run makes such a call. How soon the next snapshot is due is different every time.
    pub fn is_certain(&self) -> bool {
        self.since == Since::Start
    }

    /// The words before the program's own. The process that they start becomes the program: strace is its grandchild.
    /// Without `nth` it is only watched.
    pub fn starter(&self, data: &Path, trace: &Path, nth: Option<usize>) -> Vec<String> {
        if self.since == Since::Ready {
            return Vec::new();
        }
        let mut words = vec!["strace".to_owned(), "-D".to_owned()];
        words.extend(self.arguments(trace, nth));
        let file = match self.file {
            File::Any => return words,
            File::Mark => data.join("journal/mark"),
            File::NewestSegment => newest_segment(data).join("db"),
        };
        words.extend(["-P".to_owned(), file.to_str().unwrap().to_owned()]);
        words
    }

    /// What follows the process once it is ready; it ends with it. `Err` says why it cannot.
    pub fn follow(&self, process: u32, trace: &Path, nth: Option<usize>) -> Result<Option<Child>, String> {
        if self.since == Since::Start {
            return Ok(None);
        }
        let said = trace.with_extension("said");
        let mut strace = Command::new("strace")
            .args(self.arguments(trace, nth))
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&said).unwrap();
            if text.contains(" attached") {
                return Ok(Some(strace));
            }
            if strace.try_wait().unwrap().is_some() {
                return Err(text);
            }
            assert!(begun.elapsed() < PATIENCE, "strace does not attach: {text}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn arguments(&self, trace: &Path, nth: Option<usize>) -> Vec<String> {
        // What an earlier run left would be read as this one's.
        let _ = fs::remove_file(trace);
        let mut words: Vec<String> = ["-f", "-y", "-o"].map(String::from).into();
        words.push(trace.to_str().unwrap().to_owned());
        words.extend(["-e".to_owned(), format!("trace={}", self.calls)]);
        if let Some(nth) = nth {
            let injection = format!("inject={}:signal=KILL:when={nth}", self.calls);
            words.extend(["-e".to_owned(), injection]);
        }
        words
    }
}

fn newest_segment(data: &Path) -> PathBuf {
    let segments = fs::read_dir(data.join("journal")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    // Their names are the numbers of their first frames.
    segments
        .filter(|path| path.is_dir() && path.extension().is_none())
        .max()
        .expect("the journal has a segment")
}

/// Why strace cannot be used here; none where it can.
pub fn missing(folder: &Path) -> Option<String> {
    let trace = folder.join("probe");
    let probe = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .args(["-e", "trace=execve", "true"])
        .output();
    match probe {
        Err(error) => Some(format!("strace cannot be run: {error}")),
        Ok(probe) if !probe.status.success() => Some(format!(
            "strace cannot trace here: {}",
            String::from_utf8_lossy(&probe.stderr)
        )),
        Ok(_) => None,
    }
}

/// The call at which a process was killed.
#[derive(Debug)]
pub struct Hit {
    /// Which of all threads' calls it was, from 1.
    pub of_process: usize,
    pub call: String,
    /// What it would have changed or made durable, below the data directory.
    pub file: String,
}

/// What strace saw of calls of one kind.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of all threads.
    pub calls: usize,
    /// By the thread that made the most of one of them.
    pub most_of_one_thread: usize,
    /// The call that a thread made for the nth time and that was not carried out.
    pub hit: Option<Hit>,
}

/// Reads the trace of a process that has ended, once strace has written its end.
pub fn read(trace: &Path, process: u32, data: &Path, nth: Option<usize>) -> Seen {
    let begun = Instant::now();
    let process = process.to_string();
    loop {
        let text = fs::read_to_string(trace).unwrap_or_default();
        // The thread with the process's number is the last to go.
        let is_end = |line: &str| line.contains("+++") && line.split(' ').next() == Some(&process);
        if text.lines().rev().any(is_end) {
            return seen(&text, data, nth);
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "strace does not come to an end: {text}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn seen(text: &str, data: &Path, nth: Option<usize>) -> Seen {
    let mut seen = Seen::default();
    let mut of_thread = BTreeMap::<(&str, &str), usize>::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if !call
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            continue;
        }
        seen.calls += 1;
        let count = of_thread.entry((thread, call)).or_default();
        *count += 1;
        seen.most_of_one_thread = seen.most_of_one_thread.max(*count);
        let unfinished = arguments.ends_with("<unfinished ...>")
            && !lines.clone().any(|later| {
                later.split_once(' ').is_some_and(|(of, rest)| {
                    of == thread && rest.contains("resumed>") && !rest.ends_with("= ?")
                })
            });
        let undone = unfinished || arguments.ends_with("= ?");
        if nth == Some(*count) && undone && seen.hit.is_none() {
            seen.hit = Some(Hit {
                of_process: seen.calls,
                call: call.to_owned(),
                file: file(arguments, data),
            });
        }
    }
    seen
}

/// The last path of a call's arguments that is below the data directory: of a rename, what it is to be called.
fn file(arguments: &str, data: &Path) -> String {
    let data = format!("{}/", data.to_str().unwrap());
    let Some((_, path)) = arguments.rsplit_once(&data) else {
        return arguments.to_owned();
    };
    let end = path.find(['"', '>']).unwrap_or(path.len());
    path[..end].to_owned()
}
