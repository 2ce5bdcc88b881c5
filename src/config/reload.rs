//! What takes effect while the server runs, where a configuration is loaded anew.

use std::collections::BTreeMap;

use docket_edge::config::LimitsConfig;

use super::{Loaded, Setting};

/// The keys that do; those of a section end with a dot.
const TAKES_EFFECT: [&str; 17] = [
    "feed.buffer_bytes",
    "feed.gather_ms",
    "feed.heartbeat_ms",
    "feed.stalled_ms",
    "feed.watches_max",
    "feed.watches_per_account",
    "limits.address.",
    "limits.admin.",
    "limits.customer.",
    "limits.failure.",
    "limits.open.",
    "limits.probe.",
    "limits.service.",
    "log.level",
    "log.repeats_max",
    "orders.",
    "tracing.ratio",
];

/// Whether a change of a key takes effect while the server runs.
pub fn takes_effect(key: &str) -> bool {
    TAKES_EFFECT.iter().any(|known| match known.ends_with('.') {
        true => key.starts_with(known),
        false => key == *known,
    })
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
    loaded.config.log.level.clone_from(&new.config.log.level);
    loaded.config.log.repeats_max = new.config.log.repeats_max;
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
            // Another value of every key that has a number.
            let Some(default) = key.default.as_u64().filter(|_| !section.contains("NAME")) else {
                let others = ["log.level", "tracing.ratio"];
                assert!(!key.reloads || others.contains(&&*key.key), "{}", key.key);
                continue;
            };
            fs::write(&path, format!("[{section}]\n{name} = {}\n", default + 1)).unwrap();
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
        assert_eq!(
            tried,
            7 * 2 + 6 + 2 + 1,
            "of limits, of the feed, of orders, of logs"
        );
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
