//! What takes effect while the server runs, where a configuration is loaded anew.

use std::collections::BTreeMap;

use docket_edge::config::{AdmissionConfig, LimitsConfig};

use super::{Loaded, Setting};

/// The keys that do; those of a section end with a dot.
const TAKES_EFFECT: [&str; 38] = [
    "admission.max_bytes",
    "admission.max_calls",
    "admission.max_open_calls",
    "admission.max_open_per_address",
    "admission.max_open_streams",
    "admission.max_per_customer",
    "admission.max_probes",
    "admission.max_refusals_per_second",
    "admission.max_reply_bytes",
    "admission.max_streams",
    "admission.order_ms",
    "admission.retry_ms",
    "audit.",
    "cluster.snapshot_bytes_per_second",
    "feed.buffer_bytes",
    "feed.gather_ms",
    "feed.heartbeat_ms",
    "feed.stalled_ms",
    "feed.watches_max",
    "feed.watches_per_account",
    "fraud.",
    "limits.address.",
    "limits.admin.",
    "limits.customer.",
    "limits.failure.",
    "limits.open.",
    "limits.probe.",
    "limits.service.",
    "log.kept_lines",
    "log.level",
    "log.repeats_max",
    "orders.",
    "payments.at_once",
    "payments.authorize_within_s",
    "scrub.",
    "verify.",
    "webhooks.",
    "tracing.ratio",
];

/// Why others do not; the first that fits a key says so.
const NEEDS_RESTART: [(&str, &str); 19] = [
    ("actors.", "the shards are opened with it"),
    (
        "admin.",
        "the address is taken, and its server made, at the start",
    ),
    ("admission.max_refused", "the places are made at the start"),
    ("auth.", "what signs and looks at credentials is made with it"),
    ("calls.", "the gate is made with it"),
    ("chaos.", "the node is opened with it, or without"),
    (
        "cluster.ca",
        "which file; what is in it is read again when it changes",
    ),
    (
        "cluster.certificate",
        "which file; what is in it is read again when it changes",
    ),
    (
        "cluster.key",
        "which file; what is in it is read again when it changes",
    ),
    ("cluster.", "the node is opened, and its groups made, with it"),
    ("connections.", "the listener is made with it"),
    (
        "encryption.",
        "the files are opened with them, and what is new is sealed from the start on",
    ),
    ("feed.", "what is kept is laid out with it"),
    ("http2.", "connections are made with it"),
    ("journal.", "the journal is opened with it"),
    ("log.format", "the log is begun in it"),
    (
        "payments.providers.",
        "a provider's connections are made with it, and orders keep its name",
    ),
    ("rest.", "the address is taken at the start"),
    ("tls.", "which file; what is in it is read again when it changes"),
];

/// What is said of keys that are not named.
const AT_THE_START: &str = "what goes by it is made at the start";

/// Whether a change of a key takes effect while the server runs.
pub fn takes_effect(key: &str) -> bool {
    TAKES_EFFECT.iter().any(|known| match known.ends_with('.') {
        true => key.starts_with(known),
        false => key == *known,
    })
}

/// Why a change of a key needs a restart; none where it does not.
pub fn needs_restart(key: &str) -> Option<&'static str> {
    if takes_effect(key) {
        return None;
    }
    let found = NEEDS_RESTART
        .iter()
        .find(|(known, _)| match known.ends_with('.') {
            true => key.starts_with(known),
            false => key == *known,
        });
    Some(found.map_or(AT_THE_START, |(_, why)| why))
}

/// What is another than before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// It takes effect now.
    pub now: Vec<Setting>,
    /// It needs a restart.
    pub restart: Vec<Setting>,
}

/// What is another in `new` than in `old`. A key that is there no more, of a section with a name of its owner's choice, counts as null.
pub fn compare(old: &Loaded, new: &Loaded) -> Changes {
    let before: BTreeMap<&str, &Setting> = by_key(old);
    let after = by_key(new);
    let changed = new
        .settings
        .iter()
        .filter(|setting| {
            before
                .get(&*setting.key)
                .is_none_or(|old| old.value != setting.value)
        })
        .cloned();
    let gone = old
        .settings
        .iter()
        .filter(|setting| !after.contains_key(&*setting.key));
    let gone = gone.map(|setting| Setting {
        value: serde_json::Value::Null,
        ..setting.clone()
    });
    let (now, restart) = changed
        .chain(gone)
        .partition(|setting| takes_effect(&setting.key));
    Changes { now, restart }
}

/// Takes what takes effect from `new` into what is in force.
pub fn apply(loaded: &mut Loaded, new: &Loaded) {
    let prune_ms = loaded.config.limits.prune_ms;
    loaded.config.limits = LimitsConfig {
        prune_ms,
        ..new.config.limits
    };
    let max_refused = loaded.config.admission.max_refused;
    loaded.config.admission = AdmissionConfig {
        max_refused,
        ..new.config.admission
    };
    loaded.config.audit = new.config.audit;
    loaded.config.cluster.snapshot_bytes_per_second = new.config.cluster.snapshot_bytes_per_second;
    loaded.config.fraud.clone_from(&new.config.fraud);
    loaded.config.payments.at_once = new.config.payments.at_once;
    loaded.config.payments.authorize_within_s = new.config.payments.authorize_within_s;
    loaded.config.scrub.clone_from(&new.config.scrub);
    loaded.config.verify.clone_from(&new.config.verify);
    loaded.config.webhooks.clone_from(&new.config.webhooks);
    loaded.config.log.level.clone_from(&new.config.log.level);
    loaded.config.log.repeats_max = new.config.log.repeats_max;
    loaded.config.log.kept_lines = new.config.log.kept_lines;
    loaded.config.tracing.ratio = new.config.tracing.ratio;
    loaded.config.orders.clone_from(&new.config.orders);
    let retained = (loaded.config.feed.retained_max, loaded.config.feed.retained_s);
    loaded.config.feed.clone_from(&new.config.feed);
    (loaded.config.feed.retained_max, loaded.config.feed.retained_s) = retained;
    let known = by_key(new);
    for setting in &mut loaded.settings {
        if let Some(now) = known.get(&*setting.key).filter(|now| takes_effect(&now.key)) {
            *setting = (*now).clone();
        }
    }
}

fn by_key(loaded: &Loaded) -> BTreeMap<&str, &Setting> {
    let settings = loaded.settings.iter();
    settings.map(|setting| (&*setting.key, setting)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::Value;

    use super::*;
    use crate::config::{Flags, reference};

    fn load(path: &Path) -> Loaded {
        Loaded::load(Some(path), [], &Flags::default()).unwrap()
    }

    #[test]
    fn each_key_that_takes_effect_is_taken_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docket.toml");
        fs::write(&path, "").unwrap();
        let old = load(&path);
        let mut tried = 0;
        for key in reference::sections().into_iter().flat_map(|section| section.keys) {
            let (section, name) = key.key.rsplit_once('.').unwrap();
            // Another value of every key that has a number, or is true or false.
            let other = match &key.default {
                _ if section.contains("NAME") => continue,
                Value::Number(default) if default.is_u64() => (default.as_u64().unwrap() + 1).to_string(),
                Value::Bool(default) => (!default).to_string(),
                _ => {
                    let texts = ["log.level", "webhooks.ca", "tracing.ratio"];
                    assert!(!key.reloads || texts.contains(&&*key.key), "{}", key.key);
                    continue;
                }
            };
            fs::write(&path, format!("[{section}]\n{name} = {other}\n")).unwrap();
            let Ok(new) = Loaded::load(Some(&path), [], &Flags::default()) else {
                continue;
            };
            tried += usize::from(key.reloads);
            let Changes { now, restart } = compare(&old, &new);
            let names = |settings: &[Setting]| settings.iter().map(|it| it.key.clone()).collect::<Vec<_>>();
            let expected = match key.reloads {
                true => (vec![key.key.clone()], Vec::new()),
                false => (Vec::new(), vec![key.key.clone()]),
            };
            assert_eq!((names(&now), names(&restart)), expected);
            let mut taken = old.clone();
            apply(&mut taken, &new);
            match key.reloads {
                true => assert_eq!((&taken.config, &taken.settings), (&new.config, &new.settings)),
                false => assert_eq!((&taken.config, &taken.settings), (&old.config, &old.settings)),
            }
            assert_eq!(compare(&taken, &new).now, []);
        }
        let reloads = reference::sections().into_iter().flat_map(|section| section.keys);
        let reloads = reloads.filter(|key| key.reloads).count();
        // One that is a level, one that is a file; and what may not be one more than it is.
        assert!(tried >= reloads - 4, "{tried} of {reloads}");
    }

    #[test]
    fn another_share_of_the_calls_is_traced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docket.toml");
        fs::write(&path, "[tracing]\nratio = 0.25\n").unwrap();
        let old = load(&path);
        fs::write(
            &path,
            "[tracing]\nratio = 1\nendpoint = \"http://localhost:4317\"\n",
        )
        .unwrap();
        let new = load(&path);
        let Changes { now, restart } = compare(&old, &new);
        assert_eq!((&*now[0].key, now.len()), ("tracing.ratio", 1));
        assert_eq!((&*restart[0].key, restart.len()), ("tracing.endpoint", 1));
        let mut taken = old.clone();
        apply(&mut taken, &new);
        assert_eq!(taken.config.tracing.ratio, 1.0);
        assert_eq!(taken.config.tracing.endpoint, None);
    }

    #[test]
    fn a_provider_that_comes_or_goes_needs_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docket.toml");
        fs::write(&path, "").unwrap();
        let without = load(&path);
        fs::write(
            &path,
            "[payments.providers.cards]\nurl = \"https://pay.example.org\"\n",
        )
        .unwrap();
        let with = load(&path);
        for (old, new) in [(&without, &with), (&with, &without)] {
            let Changes { now, restart } = compare(old, new);
            assert!(now.is_empty());
            assert!(restart.iter().any(|it| it.key == "payments.providers.cards.url"));
        }
    }
}
