//! The configuration and the certificates, read again while the server runs: where their files change, and at SIGHUP.
//!
//! Files are looked at, not listened for: what listens does not see a file that is exchanged behind a link, as a mounted secret is, and
//! some file systems tell nothing. A file that was changed is read once it stays as it is from one look to the next, and is not empty. Whoever changes it
//! should write another beside it, and exchange them: what is cut off where it can be read as a whole is taken for one.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    hash::{DefaultHasher, Hasher as _},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use docket_audit::{Entry, Outcome, Who, actions};
use docket_edge::Sources;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    Running, measured,
    sources::{self, Shown},
};
use crate::{
    config::{
        Config, ConfigError, Flags, Loaded, Setting,
        reload::{self, Changes},
    },
    logging::{Level, MISTAKES},
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
    /// The certificate for clients, or its key.
    certificate: bool,
    /// The certificate for peers, its key, or the authority.
    peer_certificate: bool,
    /// The keys of the other issuer.
    issuer_keys: bool,
}

impl Changed {
    /// All of it.
    pub const ALL: Self = Self {
        configuration: true,
        certificate: true,
        peer_certificate: true,
        issuer_keys: true,
    };
}

/// Which file there is: another one where it was written or exchanged. `None` where there is none, or it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(found: &Metadata) -> (u64, u64, i64, i64) {
    (found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

/// What is in a file that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Configuration,
    Certificate,
    PeerCertificate,
    IssuerKeys,
}

/// A file, as it was when it was read last and as it was at the last look.
struct Watched {
    path: PathBuf,
    holds: Holds,
    read: Stamp,
    seen: Stamp,
    /// What was in it, in short: one that is only touched is not another. Of the configuration it is looked at each key.
    content: Option<u64>,
}

/// What is in a file, in short; `None` where it cannot be read.
fn content(read: io::Result<Vec<u8>>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&read.ok()?);
    Some(hasher.finish())
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
        if !is_changed {
            return false;
        }
        self.read = now;
        if self.holds == Holds::Configuration {
            return true;
        }
        let content = content(tokio::fs::read(&self.path).await);
        let is_other = content.is_none() || content != self.content;
        self.content = content;
        is_other
    }
}

/// Has the server go on with what its files say.
pub struct Reloader {
    source: Source,
    /// What is in force.
    loaded: Loaded,
    /// The same, as it may be shown.
    shown: Shown,
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
        let named = [
            (Holds::Configuration, &source.file),
            (Holds::Certificate, &config.tls.certificate),
            (Holds::Certificate, &config.tls.key),
            (Holds::PeerCertificate, &config.cluster.ca),
            (Holds::PeerCertificate, &config.cluster.certificate),
            (Holds::PeerCertificate, &config.cluster.key),
            (Holds::IssuerKeys, &config.auth.external.jwks_file),
        ];
        let files = named
            .into_iter()
            .filter_map(|(holds, path)| Some((holds, path.as_deref()?)));
        let watched = files.map(|(holds, path): (Holds, &Path)| Watched {
            path: path.to_owned(),
            holds,
            // The configuration was read a moment ago, others are about to be, and may be changed meanwhile: the first looks find that.
            read: None,
            seen: None,
            content: content(fs::read(path)),
        });
        Self {
            watched: watched.collect(),
            shown: Shown::of(&loaded),
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

    /// What is told of it, and of the log, to whoever takes a debug bundle.
    pub fn sources(&self) -> Sources {
        let data_dir = &self.loaded.config.server.data_dir;
        sources::sources(self.shown.clone(), self.level.kept().clone(), data_dir)
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
                    match file.holds {
                        Holds::Configuration => self.found.configuration = true,
                        Holds::Certificate => self.found.certificate = true,
                        Holds::PeerCertificate => self.found.peer_certificate = true,
                        Holds::IssuerKeys => self.found.issuer_keys = true,
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
                Err(problem) => self.refuse(&problem, server),
            }
        }
        if changed.certificate {
            server.reload_certificate();
        }
        if changed.peer_certificate {
            server.reload_peer_certificate();
        }
        if changed.issuer_keys {
            server.reload_issuer_keys();
        }
        if *changed == Changed::ALL {
            server.reread_secrets();
        }
    }

    /// Says what is wrong: in the log every line of it, and in the audit log that there was something.
    fn refuse(&self, problem: &ConfigError, server: &Running) {
        match problem {
            ConfigError::Problems(problems) => {
                for problem in problems {
                    tracing::error!(target: MISTAKES, %problem, "the configuration stays as it was");
                }
            }
            problem => tracing::error!(%problem, "the configuration stays as it was"),
        }
        count("invalid");
        server
            .audit()
            .note(self.reloaded().outcome(Outcome::Refused, "INVALID"));
    }

    /// What is recorded of it. Whoever changed the file is not known.
    fn reloaded(&self) -> Entry {
        let file = self.source.file.as_ref();
        let target = file.map(|file| file.display().to_string()).unwrap_or_default();
        Entry::new(Who::operator(), actions::CONFIGURATION_RELOAD, target)
    }

    fn take(&mut self, new: Loaded, server: &Running) {
        let Changes { now, restart } = reload::compare(&self.loaded, &new);
        if let Err((key, problem)) = self.put_in_force(&new.config, server) {
            let setting = new.settings.iter().find(|setting| setting.key == key);
            let origin = setting
                .map(|setting| setting.origin.to_string())
                .unwrap_or_default();
            tracing::error!(key, origin, %problem, "the configuration stays as it was");
            count("invalid");
            server
                .audit()
                .note(self.reloaded().outcome(Outcome::Refused, "NOT_IN_FORCE"));
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
        if !now.is_empty() || !restart.is_empty() {
            let keys = |settings: &[Setting]| {
                let keys: Vec<&str> = settings.iter().map(|setting| &*setting.key).collect();
                keys.join(" ")
            };
            let mut entry = self.reloaded();
            for (name, settings) in [("in_force", &now), ("needs_restart", &restart)] {
                if !settings.is_empty() {
                    entry = entry.detail(name, keys(settings));
                }
            }
            server.audit().note(entry);
        }
        metrics::gauge!(measured::RESTART_NEEDED).set(restart.len() as f64);
        count("valid");
        reload::apply(&mut self.loaded, &new);
        self.shown.set(&self.loaded);
    }

    /// What may fail comes first: then nothing is another than before. Which key it is about, and why.
    fn put_in_force(&self, new: &Config, server: &Running) -> Result<(), (&'static str, String)> {
        let old = &self.loaded.config;
        let (control, docket) = (server.control(), server.docket());
        if new.webhooks != old.webhooks {
            // It reads the authorities' file, and connects anew.
            let set = server.deliverer().set_options(&new.webhooks);
            set.map_err(|cause| ("webhooks.ca", cause.to_string()))?;
        }
        if new.log.level != old.log.level {
            let set = self.level.set(&new.log.level);
            set.map_err(|cause| ("log.level", cause.to_string()))?;
        }
        // These were found valid with the others.
        let set_limits = control.set_limits(&new.limits);
        set_limits.map_err(|cause| ("limits", cause.to_string()))?;
        let set_feed = control.set_feed(new.edge().feed);
        set_feed.map_err(|cause| ("feed", cause.to_string()))?;
        if new.admission != old.admission {
            let set = control.set_admission(&new.admission);
            set.map_err(|cause| ("admission", cause.to_string()))?;
        }
        self.level.set_repeats_max(new.log.repeats_max);
        self.level.set_kept_lines(new.log.kept_lines);
        server.traces().tracer().set_ratio(new.tracing.ratio);
        docket.set_aging(new.orders.options());
        docket.set_fraud_rules(new.fraud.rules());
        let payments = new.payments.options();
        docket.set_payment_bounds(payments.authorize_within, payments.at_once);
        docket.set_snapshot_pace(new.cluster.snapshot_bytes_per_second);
        if new.verify != old.verify {
            docket.set_verify(new.verify.options());
        }
        if new.scrub != old.scrub {
            docket.set_scrub(new.scrub.options());
        }
        if new.audit != old.audit {
            server.audit().set_options(new.audit);
        }
        Ok(())
    }
}

/// A configuration was read again.
fn count(result: &'static str) {
    metrics::counter!(measured::RELOADS, "result" => result).increment(1);
}
