//! Signals: SIGTERM and SIGINT stop the server in order, the second of them at once; SIGHUP reads the certificate again.

use std::{fmt, io, process, thread};

use rustix::process::{getpid, kill_process};
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;

/// A process that a signal ended has this plus the signal's number as its exit code, as shells count.
const EXIT_BASE: i32 = 128;

/// A signal that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

impl Signal {
    /// The exit code of a process that it ended: 130 for SIGINT, 143 for SIGTERM.
    fn exit_code(self) -> i32 {
        EXIT_BASE
            + match self {
                Self::Hangup => 1,
                Self::Interrupt => 2,
                Self::Terminate => 15,
            }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// The signals as they come.
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            unix::signal(kind).map_err(|cause| Failure::Other(format!("cannot listen for signals: {cause}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }

    /// The next signal that asks to stop.
    pub async fn stop(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::Hangup => {}
                signal => return signal,
            }
        }
    }

    /// Ends the process at the next signal that asks to stop, whatever it is doing then: what is acknowledged is durable.
    pub fn exit_at_the_next(mut self) {
        tokio::spawn(async move {
            let signal = self.stop().await;
            tracing::warn!(%signal, "stopped at once");
            process::exit(signal.exit_code());
        });
    }
}

/// Has the end of stdin count as a SIGTERM. In a thread of its own, since nothing else can give up a read of stdin.
pub fn terminate_with_stdin() {
    thread::spawn(|| {
        // Nobody writes: this ends with stdin, whatever the reason.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        if let Err(cause) = kill_process(getpid(), rustix::process::Signal::TERM) {
            tracing::error!(%cause, "stdin has ended, and the server cannot be told to stop");
        }
    });
}
