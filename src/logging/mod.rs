//! Logs: on stderr, as text for people at a terminal and as JSON for everything else.
//!
//! A line of a call whose client names a trace, or that is sampled, has that trace's id (`trace_id`, of the span that JSON shows as `span`). No line has what a
//! person wrote: `tests/e2e/logs.rs` looks through all of them for that.

mod kept;
mod repeats;

use std::{
    env,
    io::{self, IsTerminal as _},
    sync::Arc,
};

use tracing_subscriber::{
    EnvFilter, fmt, reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{
    config::{Log, LogFormat},
    failure::Failure,
};

use kept::Both;
pub use kept::Kept;
pub use repeats::MISTAKES;
use repeats::{Bounded, Repeats};

/// Changes what is logged from now on.
pub struct Level {
    reload: Box<Reload>,
    repeats: Arc<Repeats>,
    kept: Arc<Kept>,
}

type Reload = dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync;

impl Level {
    /// As `log.level` says it.
    ///
    /// # Errors
    /// Directives that are none; then all is logged as before.
    pub fn set(&self, level: &str) -> Result<(), Failure> {
        let set = (self.reload)(filter(level)?);
        set.map_err(|cause| Failure::Other(format!("log.level cannot be changed: {cause}")))
    }

    /// As `log.repeats_max` says it.
    pub fn set_repeats_max(&self, lines_max: u32) {
        self.repeats.set_lines_max(lines_max);
    }

    /// As `log.kept_lines` says it.
    pub fn set_kept_lines(&self, lines_max: u32) {
        self.kept.set_lines_max(lines_max);
    }

    /// The last lines.
    pub fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    // openraft warns of elections that go as they should. A directive of the user's for it comes later, and wins.
    EnvFilter::try_new(format!("openraft=error,{level}"))
        .map_err(|cause| Failure::Usage(format!("log.level = \"{level}\": {cause}")))
}

/// Starts logging for the whole process, once.
///
/// # Errors
/// Directives that are none, or logging that has been started before.
pub fn start(log: &Log) -> Result<Level, Failure> {
    let filter = filter(&log.level)?;
    let terminal = io::stderr().is_terminal();
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // What cannot be written, on a full disk, is lost. The default is to say so on stderr, which is the same place, and to panic where
    // that fails: whoever logs is then gone, before it has told anybody what it logged.
    let kept = Arc::new(Kept::new(log.kept_lines));
    let lines = fmt()
        .with_writer(Both(Arc::clone(&kept)))
        .log_internal_errors(false)
        .with_env_filter(filter);
    let repeats = Arc::new(Repeats::new(log.repeats_max));
    let bounded = Arc::clone(&repeats);
    let (started, reload): (_, Box<Reload>) = if text {
        let lines = lines.with_ansi(colour).map_event_format(|format| Bounded {
            format,
            repeats: bounded,
        });
        let lines = lines.with_filter_reloading();
        let handle = lines.reload_handle();
        (
            lines.finish().try_init(),
            Box::new(move |filter| handle.reload(filter)),
        )
    } else {
        let lines = lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .map_event_format(|format| Bounded {
                format,
                repeats: bounded,
            })
            .with_filter_reloading();
        let handle = lines.reload_handle();
        (
            lines.finish().try_init(),
            Box::new(move |filter| handle.reload(filter)),
        )
    };
    started.map_err(|cause: TryInitError| Failure::Other(format!("cannot start logging: {cause}")))?;
    let told = repeats.tell_every_second();
    told.map_err(|cause| Failure::Other(format!("cannot start logging: {cause}")))?;
    Ok(Level {
        reload,
        repeats,
        kept,
    })
}
