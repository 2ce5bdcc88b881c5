//! What takes effect while the server runs, where a configuration is loaded anew.

use std::collections::BTreeMap;

use docket_edge::config::LimitsConfig;

use super::{Loaded, Setting};

/// The keys that do; those of a section end with a dot.
const TAKES_EFFECT: [&str; 8] = [
    "limits.address.",
    "limits.admin.",
    "limits.customer.",
    "limits.failure.",
    "limits.open.",
    "limits.probe.",
    "limits.service.",
    "log.level",
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
