//! Which program this is: its version, and which versions of the peer protocol it speaks.
//!
//! So that upgrades can be tried with one program, a build with debug assertions calls itself what a variable says ([`VARIABLE`]), and speaks
//! no newer version of the peer protocol than that says: `0.2.0`, or `0.0.9/8`. In any other build the variable is refused.

use std::sync::OnceLock;

use crate::Versions;

/// The variable that says which program a test takes this one for: `VERSION`, or `VERSION/PROTOCOL`.
pub const VARIABLE: &str = "DOCKET_TEST_PROGRAM";

/// What a test says.
struct Taken {
    version: &'static str,
    speaks: Versions,
}

static TAKEN: OnceLock<Taken> = OnceLock::new();

/// The program's version.
pub fn version() -> &'static str {
    TAKEN
        .get()
        .map_or(env!("CARGO_PKG_VERSION"), |taken| taken.version)
}

/// The versions of the peer protocol that it speaks.
pub fn speaks() -> Versions {
    TAKEN.get().map_or_else(Versions::default, |taken| taken.speaks)
}

/// Takes this program for what [`VARIABLE`] says, from now on. Does nothing where that is not set.
///
/// # Errors
/// This build is what it is, or the variable makes no sense.
pub fn follow_variable() -> Result<(), String> {
    let Ok(said) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    if !cfg!(debug_assertions) {
        return Err(format!(
            "{VARIABLE} has a program taken for another one, which only a build with debug assertions does, for its tests: unset it"
        ));
    }
    let taken =
        taken(&said).ok_or_else(|| format!("{VARIABLE}: {said:?} is no VERSION or VERSION/PROTOCOL"))?;
    tracing::warn!(said, "this program is taken for another one by a test");
    TAKEN.get_or_init(|| taken);
    Ok(())
}

fn taken(said: &str) -> Option<Taken> {
    let (version, newest) = match said.split_once('/') {
        Some((version, newest)) => (version, Some(newest.parse::<u32>().ok()?)),
        None => (said, None),
    };
    let speaks = Versions::default();
    let newest = newest.unwrap_or(speaks.newest);
    if version.is_empty() || !speaks.contain(newest) {
        return None;
    }
    Some(Taken {
        // Once in the life of a process.
        version: version.to_owned().leak(),
        speaks: Versions { newest, ..speaks },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROTOCOL_VERSION;

    #[test]
    fn a_test_says_a_version_and_what_it_speaks() {
        let check = |said: &str, expected: Option<(&str, u32)>| {
            let taken = taken(said);
            assert_eq!(
                taken.map(|taken| (taken.version, taken.speaks.newest)),
                expected,
                "{said}"
            );
        };
        check("0.2.0", Some(("0.2.0", PROTOCOL_VERSION)));
        check("0.0.9/7", Some(("0.0.9", 7)));
        for wrong in ["", "/7", "0.2.0/", "0.2.0/x", "0.2.0/0", "0.2.0/4000000000"] {
            check(wrong, None);
        }
        assert_eq!(version(), env!("CARGO_PKG_VERSION"));
    }
}
