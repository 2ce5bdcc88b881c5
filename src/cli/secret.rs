//! Passwords and refresh tokens: from a file, the environment or the keyboard, so that no command line shows them.

use std::{
    env, fs,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
    process, thread,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// The exit code of a process that Ctrl-C ended, as shells count.
const INTERRUPTED: i32 = 130;
/// What a secret's source may hold at most, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where one secret may come from.
#[derive(Clone, Copy, Debug)]
pub struct Secret {
    /// What it is, for prompts and messages.
    pub what: &'static str,
    /// The flag that names its file.
    pub flag: &'static str,
    /// The variable that may hold it.
    pub variable: &'static str,
}

impl Secret {
    /// Reads it: the file if one is given (`-` is stdin), else the variable, else the keyboard.
    ///
    /// # Errors
    /// A file that cannot be read, or nobody to ask.
    pub fn read(self, file: Option<PathBuf>) -> Result<String, Failure> {
        let Self { what, flag, variable } = self;
        let failed = |place: &str, cause: io::Error| {
            Failure::Usage(format!("cannot read the {what} from {place}: {cause}"))
        };
        let text = match file {
            Some(path) if path.as_os_str() == "-" => {
                let mut text = String::new();
                let read = io::stdin()
                    .lock()
                    .take(SECRET_BYTES_MAX)
                    .read_to_string(&mut text);
                read.map_err(|cause| failed("stdin", cause))?;
                text
            }
            Some(path) => {
                fs::read_to_string(&path).map_err(|cause| failed(&path.display().to_string(), cause))?
            }
            None => match env::var(variable) {
                Ok(text) if !text.is_empty() => text,
                _ if io::stdin().is_terminal() => {
                    prompt(what).map_err(|cause| failed("the terminal", cause))?
                }
                _ => {
                    return Err(Failure::Usage(format!(
                        "no {what}: give {flag} FILE (or `-` for stdin) or {variable}, or run in a terminal"
                    )));
                }
            },
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// Asks at the terminal, which shows nothing meanwhile, and shows again what is typed whatever happens.
fn prompt(what: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    restore_at_interrupt(shown.clone())?;
    write!(io::stderr(), "{what}: ")?;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    writeln!(io::stderr())?;
    read.map(|_| line)
}

/// Ctrl-C ends the process as it always does, but not before the terminal is as it was. A thread of its own waits for it:
/// the one that reads is busy.
fn restore_at_interrupt(shown: Termios) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("docket-prompt".to_owned())
        .spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                // There is nobody left to tell that it could not be done.
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &shown);
                process::exit(INTERRUPTED);
            }
        })?;
    Ok(())
}
