//! What was fuzzed, in small: each seed of each target, and each of them changed a little, some hundred times. What libFuzzer finds becomes a seed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod change;
mod made;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use docket_fuzzed::TARGETS;

/// How often each seed is changed.
const CHANGES: u64 = 200;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(target);
    let mut seeds = Vec::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        seeds.push((name, fs::read(path).unwrap()));
    }
    seeds.sort();
    seeds
}

/// Runs all that there is of a target; how many inputs.
fn replay(target: &str, run: fn(&[u8])) -> usize {
    let mut runs = 0;
    for (name, seed) in seeds(target) {
        let mut random = change::Random::new(&name);
        for nth in 0..=CHANGES {
            let input = match nth {
                0 => seed.clone(),
                _ => change::changed(&seed, &mut random),
            };
            runs += 1;
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                let kept = std::env::temp_dir().join(format!("docket-fuzzed-{target}-{name}-{nth}"));
                fs::write(&kept, &input).unwrap();
                panic!(
                    "{target}: change {nth} of the seed {name} fails; it is in {}",
                    kept.display()
                );
            }
        }
    }
    runs
}

#[test]
fn every_seed_and_what_is_like_it_is_read_or_refused() {
    let mut told = Vec::new();
    for (target, run) in TARGETS {
        let began = Instant::now();
        let runs = replay(target, run);
        assert!(runs > 0, "{target} has no seed");
        told.push(format!("{target} {runs} in {} ms", began.elapsed().as_millis()));
    }
    println!("{}", told.join("\n"));
}

#[test]
fn every_target_is_built_run_and_told_of() {
    let read = |path: &str| fs::read_to_string(fuzz().join(path)).unwrap();
    let (manifest, script, page) = (read("Cargo.toml"), read("run"), read("../docs/security.md"));
    let list = script.split_once("targets=(").unwrap().1;
    let list = list.split_once("targets=(").unwrap().1.split_once(')').unwrap().0;
    assert_eq!(list.split(' ').collect::<Vec<_>>(), TARGETS.map(|(name, _)| name));
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    for (name, _) in TARGETS {
        let path = format!("targets/{name}.rs");
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")),
            "{name}"
        );
        assert!(
            read(&path).contains(&format!("docket_fuzzed::{name}::run(")),
            "{name}"
        );
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/security.md says nothing of {name}"
        );
    }
}

/// Real pieces, for those targets whose seeds are made here: `DOCKET_WRITE_SEEDS=1 cargo test --package docket-fuzzed`. They are made anew each time, under new
/// salts, so that the files are written only then.
#[test]
fn real_pieces_are_read() {
    let writes = std::env::var_os("DOCKET_WRITE_SEEDS").is_some();
    if docket_fuzzed::keys::ARCHIVE_HEAD.is_empty() {
        return made::make_archive_head();
    }
    for (target, name, bytes) in made::all() {
        let (_, run) = TARGETS.iter().find(|(known, _)| *known == target).unwrap();
        run(&bytes);
        let path = fuzz().join("seeds").join(target).join(&name);
        if writes {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        assert!(
            path.exists(),
            "{} is not there: DOCKET_WRITE_SEEDS=1 writes it",
            path.display()
        );
    }
}
