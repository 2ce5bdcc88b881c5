//! A profile of processor time: while somebody waits for it, a signal interrupts whichever thread is at work, so many times a second of processor time,
//! and what is on its stack then is counted. Before and after there is no signal, no timer and no handler.
//!
//! The sampler is the crate `pprof`. The first profile has it set memory aside (some 90 MB), which it keeps until the process ends.

use std::{
    collections::HashMap,
    ffi::c_void,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Once,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, UNIX_EPOCH},
};

use ::pprof::ProfilerGuardBuilder;
use backtrace::Frame;
use prost::Message as _;
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};

use super::{
    archive::gzip,
    flames,
    pprof::{At, Stack, Timing, folded, profile},
};

/// Looks a second of processor time. It is no divisor of what happens every so many milliseconds.
const HERTZ: u64 = 99;
/// Looks of one profile: with many processors and a long time it is looked less often. Each may be a stack of its own, of 4 KiB.
const LOOKS_MAX: u64 = 16 * 1_024;
/// Where nothing may be unwound: libraries that hold locks of their own, which the unwinder takes, too.
const NOT_IN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];
/// What the sampler's handler is called; one more frame behind it is the system's.
const HANDLER: &str = "perf_signal_handler";

/// A profile in its three forms.
#[derive(Debug)]
pub(super) struct Profile {
    /// For `pprof`, compressed.
    pub(super) pprof: Vec<u8>,
    /// A line a stack.
    pub(super) folded: String,
    /// A picture.
    pub(super) svg: String,
}

/// Takes one. The turn is given back with it; where nobody waits any more it is kept until the sampler has stopped.
pub(super) async fn take(
    seconds: u64,
    folder: Option<PathBuf>,
    turn: OwnedSemaphorePermit,
) -> (Result<Profile, String>, Option<OwnedSemaphorePermit>) {
    let (waits, gone) = mpsc::channel::<()>();
    let taken = spawn_blocking(move || (sample(seconds, folder.as_deref(), &gone), turn)).await;
    drop(waits);
    match taken {
        Ok((profile, turn)) => (profile, Some(turn)),
        Err(error) => (Err(error.to_string()), None),
    }
}

fn sample(seconds: u64, folder: Option<&Path>, gone: &Receiver<()>) -> Result<Profile, String> {
    if let Some(folder) = folder {
        let made = place(folder);
        made.map_err(|error| format!("no folder for its files can be made: {error}"))?;
    }
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let hertz = hertz(seconds, threads);
    let guard = ProfilerGuardBuilder::default()
        .frequency(hertz as i32)
        .blocklist(&NOT_IN)
        .build();
    let guard = guard.map_err(|error| format!("the sampler cannot be started: {error}"))?;
    let waited = gone.recv_timeout(Duration::from_secs(seconds));
    if folder.is_some() {
        // When it stops the sampler makes its next file, and where it cannot there is no profile any more.
        let _ = fs::create_dir_all(tempfile::env::temp_dir());
    }
    if waited != Err(RecvTimeoutError::Timeout) {
        return Err("nobody waits for it".to_owned());
    }
    let counted = guard.report().build_unresolved();
    // Names are looked up when nobody is interrupted any more.
    drop(guard);
    let counted = counted.map_err(|error| format!("the sampler failed: {error}"))?;
    let mut names = Names::default();
    let mut stacks: HashMap<(String, Vec<usize>), i64> = HashMap::new();
    for (seen, times) in &counted.data {
        let name = seen
            .thread_name
            .get(..seen.thread_name_length)
            .unwrap_or_default();
        let thread = match name {
            [] => seen.thread_id.to_string(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        let frames = names.of(&seen.frames);
        *stacks.entry((thread, frames)).or_default() += *times as i64;
    }
    let stacks: Vec<Stack> = stacks
        .into_iter()
        .map(|((thread, frames), times)| Stack {
            thread,
            frames: frames
                .iter()
                .filter_map(|ip| Some(names.known.get(ip)?.to_vec()))
                .collect(),
            times,
        })
        .collect();
    drop(names);
    // What it has read of the program's own file is large, and needed no more.
    backtrace::clear_symbol_cache();
    let began = counted.timing.start_time.duration_since(UNIX_EPOCH);
    let timing = Timing {
        began_ns: began.unwrap_or_default().as_nanos() as i64,
        lasted_ns: counted.timing.duration.as_nanos() as i64,
        period_ns: 1_000_000_000 / hertz as i64,
    };
    let pprof = gzip(&profile(&stacks, timing).encode_to_vec());
    let looks: i64 = stacks.iter().map(|stack| stack.times).sum();
    let title = format!("Docket: {looks} looks in {seconds} s, {hertz} a second of processor time");
    Ok(Profile {
        pprof: pprof.map_err(|error| error.to_string())?,
        folded: folded(&stacks),
        svg: flames::svg(&stacks, &title),
    })
}

/// How often a second it is looked.
fn hertz(seconds: u64, threads: u64) -> u64 {
    let most = LOOKS_MAX / seconds.saturating_mul(threads).max(1);
    most.clamp(1, HERTZ)
}

/// Has the sampler's files made in this folder, which the first one empties: the sampler leaves an empty one behind, and where the system's folder
/// for such files cannot be written, as in a container, makes none ever after.
fn place(folder: &Path) -> io::Result<()> {
    static PLACED: Once = Once::new();
    if PLACED.is_completed() {
        // Somebody may have removed it.
        return fs::create_dir_all(tempfile::env::temp_dir());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(folder)?,
    }
    // There is one in a process, also where several nodes run in it.
    PLACED.call_once(|| {
        let _ = tempfile::env::override_temp_dir(folder);
    });
    Ok(())
}

/// What is at each address, looked up once.
#[derive(Default)]
struct Names {
    known: HashMap<usize, Rc<[At]>>,
    handlers: HashMap<usize, bool>,
}

impl Names {
    /// The addresses of a stack, without the sampler's own; what is there is known afterwards.
    fn of(&mut self, frames: &[Frame]) -> Vec<usize> {
        let ips: Vec<usize> = frames.iter().map(|frame| address(frame.ip())).collect();
        for (frame, ip) in frames.iter().zip(&ips) {
            if !self.known.contains_key(ip) {
                let mut found = Vec::new();
                backtrace::resolve_frame(frame, |symbol| found.push(at(symbol)));
                let is_handler = found.iter().any(|at| at.function == HANDLER);
                self.handlers.insert(*ip, is_handler);
                // The sampler counts as one what it saw anywhere in a function of the program, so that this address stands for all of them: what
                // was inlined at it, which comes before, and its line do not.
                let function = found.pop().unwrap_or_else(|| At {
                    function: format!("{ip:#x}"),
                    file: String::new(),
                    line: 0,
                });
                self.known.insert(*ip, [function].into());
            }
        }
        let is_handler = |ip: &usize| self.handlers.get(ip) == Some(&true);
        let own = ips.iter().rposition(is_handler).map_or(0, |at| at + 2);
        ips.get(own..).unwrap_or_default().to_vec()
    }
}

fn address(ip: *mut c_void) -> usize {
    ip as usize
}

fn at(symbol: &backtrace::Symbol) -> At {
    At {
        // Without the hash that tells two of the same name apart.
        function: symbol.name().map(|name| format!("{name:#}")).unwrap_or_default(),
        file: symbol
            .filename()
            .map(|file| file.display().to_string())
            .unwrap_or_default(),
        line: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_less_often_where_it_would_be_too_much() {
        assert_eq!(hertz(60, 2), 99);
        assert_eq!(hertz(10, 8), 99);
        assert_eq!(hertz(60, 64), 4);
        assert_eq!(hertz(60, 1_000), 1);
        for threads in [1, 3, 16, 64, 256] {
            assert!(hertz(60, threads) * 60 * threads <= LOOKS_MAX, "{threads}");
        }
    }
}
