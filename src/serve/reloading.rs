//! The configuration and the certificates, read again while the server runs: where their files change, and at SIGHUP.
//!
//! Files are looked at, not listened for: what listens does not see a file that is exchanged behind a link, as a mounted secret is, and
//! some file systems tell nothing. A file that was changed is read once it stays as it is from one look to the next, and is not empty. Whoever changes it
//! should write another beside it, and exchange them: what is cut off where it can be read as a whole is taken for one.

use std::{ffi::OsString, fs::Metadata, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Running;
use crate::{
    config::{
        Config, ConfigError, Flags, Loaded,
        reload::{self, Changes},
    },
    logging::Level,
};

/// The time between two looks: what was changed is in force within twice that.
const LOOK: Duration = Duration::from_millis(250);

/// Where a configuration is loaded from.
pub struct Source {
    /// The file.
    pub file: Option<PathBuf>,
    /// The command line.
    pub flags: Flags,
    /// The environment, as it was at the start.
    pub variables: Vec<(OsString, OsString)>,
}

impl Source {
    fn load(&self) -> Result<Loaded, ConfigError> {
        Loaded::load(self.file.as_deref(), self.variables.iter().cloned(), &self.flags)
    }
}

/// What is to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    configuration: bool,
    certificates: bool,
}

impl Changed {
    /// All of it.
    pub const ALL: Self = Self {
        configuration: true,
        certificates: true,
    };
}

/// Which file there is: another one where it was written or exchanged. `None` where there is none, or it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(found: &Metadata) -> (u64, u64, i64, i64) {
    (found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

/// A file, as it was when it was read last and as it was at the last look.
struct Watched {
    path: PathBuf,
    is_certificate: bool,
    read: Stamp,
    seen: Stamp,
}

impl Watched {
    /// Whether it is another than the one that was read, and was so at the last look.
    async fn is_changed(&mut self) -> bool {
        let found = tokio::fs::metadata(&self.path).await.ok();
        // One that is empty is about to be written: to have all of its keys at their defaults meanwhile would be no small thing. (SIGHUP reads it.)
        let now = found.filter(|found| found.len() > 0).as_ref().map(stamp);
        let stays = now == self.seen;
        self.seen = now;
        // A file that is gone for a moment is about to be exchanged.
        let is_changed = stays && now.is_some() && now != self.read;
        if is_changed {
            self.read = now;
        }
        is_changed
    }
}

/// Has the server go on with what its files say.
pub struct Reloader {
    source: Source,
    /// What is in force.
    loaded: Loaded,
    level: Level,
    watched: Vec<Watched>,
    /// What a look has found that nobody was told of yet.
    found: Changed,
    looks: Option<Interval>,
}

impl Reloader {
    /// Of a server that starts with this.
    pub fn new(source: Source, loaded: Loaded, level: Level) -> Self {
        let config = &loaded.config;
        let certificates = [
            &config.tls.certificate,
            &config.tls.key,
            &config.cluster.ca,
            &config.cluster.certificate,
            &config.cluster.key,
            &config.auth.external.jwks_file,
        ];
        let certificates = certificates.into_iter().flatten().map(|path| (path, true));
        let files = source.file.iter().map(|path| (path, false)).chain(certificates);
        let watched = files.map(|(path, is_certificate)| Watched {
            path: path.clone(),
            is_certificate,
            // They were read a moment ago, and may have been changed since: the first looks read them once more.
            read: None,
            seen: None,
        });
        Self {
            watched: watched.collect(),
            source,
            loaded,
            level,
            found: Changed::default(),
            looks: None,
        }
    }

    /// What is in force.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Waits until something has to be read again. Cancelling it loses nothing.
    pub async fn changed(&mut self) -> Changed {
        loop {
            let looks = self.looks.get_or_insert_with(|| {
                let mut looks = interval(LOOK);
                looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                looks
            });
            looks.tick().await;
            for file in &mut self.watched {
                if file.is_changed().await {
                    match file.is_certificate {
                        true => self.found.certificates = true,
                        false => self.found.configuration = true,
                    }
                }
            }
            if self.found != Changed::default() {
                return std::mem::take(&mut self.found);
            }
        }
    }

    /// Reads it again. What cannot be used changes nothing.
    pub fn reload(&mut self, changed: &Changed, server: &Running) {
        if changed.configuration {
            match self.source.load() {
                Ok(new) => self.take(new, server),
                Err(ConfigError::Problems(problems)) => {
                    for problem in problems {
                        tracing::error!(%problem, "the configuration stays as it was");
                    }
                    count("invalid");
                }
                Err(problem) => {
                    tracing::error!(%problem, "the configuration stays as it was");
                    count("invalid");
                }
            }
        }
        if changed.certificates {
            server.reload_certificate();
        }
        if *changed == Changed::ALL {
            server.reread_secrets();
        }
    }

    fn take(&mut self, new: Loaded, server: &Running) {
        let Changes { now, restart } = reload::compare(&self.loaded, &new);
        if let Err(problem) = self.put_in_force(&new.config, server) {
            // It was valid a moment ago: what is in force is as before, or partly new.
            tracing::error!(%problem, "the configuration is not in force");
            count("invalid");
            return;
        }
        for setting in &now {
            tracing::info!(key = setting.key, value = setting.text(), origin = %setting.origin, "configured anew");
        }
        for setting in &restart {
            tracing::warn!(key = setting.key, value = setting.text(), origin = %setting.origin, "takes effect with a restart");
        }
        if now.is_empty() && restart.is_empty() {
            tracing::info!("the configuration was read again: nothing in it has changed");
        }
        metrics::gauge!("docket_config_restart_needed_keys").set(restart.len() as f64);
        count("valid");
        reload::apply(&mut self.loaded, &new);
    }

    fn put_in_force(&self, new: &Config, server: &Running) -> Result<(), String> {
        let old = &self.loaded.config;
        if new.log.level != old.log.level {
            self.level
                .set(&new.log.level)
                .map_err(|cause| cause.to_string())?;
        }
        let set_limits = server.control().set_limits(&new.limits);
        let set = set_limits.and_then(|()| server.control().set_feed(new.edge().feed));
        set.map_err(|cause| cause.to_string())?;
        server.docket().set_aging(new.orders.options());
        Ok(())
    }
}

/// A configuration was read again.
fn count(result: &'static str) {
    metrics::counter!("docket_config_reloads_total", "result" => result).increment(1);
}
