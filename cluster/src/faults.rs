//! What goes wrong because a test wants it to, so that what tells of it is seen to tell: alerts, above all.
//!
//! Only a build with debug assertions does any of this, and only what a file says that [`VARIABLE`] names, while it runs. In any other build
//! there is nothing that could go wrong so, and the variable is refused.

/// The variable that names a file with the faults, by their names, with blanks between them.
pub const VARIABLE: &str = "DOCKET_TEST_FAULTS";

/// Something that goes wrong on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `apply-waits`: committed entries are not applied.
    ApplyWaits,
    /// `stock-is-wrong`: an item counts a reservation twice that is applied meanwhile, on this node alone.
    StockIsWrong,
    /// `items-panic`: actors of items panic over whatever they are told.
    ItemsPanic,
}

/// Whether this goes wrong now.
#[cfg(not(debug_assertions))]
pub const fn is(_: Fault) -> bool {
    false
}

/// Whether this goes wrong now.
#[cfg(debug_assertions)]
pub fn is(fault: Fault) -> bool {
    set::has(fault)
}

/// Has go wrong from now on what the file says that [`VARIABLE`] names. Does nothing where that is not set.
///
/// # Errors
/// In this build nothing goes wrong on demand, or the file cannot be followed.
pub fn follow_variable() -> Result<(), String> {
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        #[cfg(debug_assertions)]
        Some(path) => crate::followed::follow(VARIABLE, path.into(), set::take),
        #[cfg(not(debug_assertions))]
        Some(_) => Err(format!(
            "{VARIABLE} has things go wrong, which only a build with debug assertions does, for its tests: unset it"
        )),
    }
}

#[cfg(debug_assertions)]
mod set {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Fault;

    static SET: AtomicU8 = AtomicU8::new(0);

    fn bit(fault: Fault) -> u8 {
        1 << fault as u8
    }

    pub(super) fn has(fault: Fault) -> bool {
        SET.load(Ordering::Relaxed) & bit(fault) != 0
    }

    /// The faults of a text, as bits.
    pub(super) fn read(text: &str) -> Result<u8, String> {
        let named = |name| match name {
            "apply-waits" => Ok(Fault::ApplyWaits),
            "stock-is-wrong" => Ok(Fault::StockIsWrong),
            "items-panic" => Ok(Fault::ItemsPanic),
            other => Err(format!("there is no fault {other:?}")),
        };
        text.split_whitespace()
            .map(named)
            .try_fold(0, |set, fault| Ok(set | bit(fault?)))
    }

    /// Has these go wrong, and no others.
    pub(super) fn take(text: &str) -> Result<(), String> {
        let set = read(text)?;
        if SET.swap(set, Ordering::Relaxed) != set {
            tracing::warn!(faults = text, "things go wrong since a test wants it");
        }
        Ok(())
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::set::read;

    #[test]
    fn faults_are_named_and_any_other_name_is_refused() {
        assert_eq!(read(""), Ok(0));
        assert_eq!(read("apply-waits"), Ok(1));
        assert_eq!(read("items-panic\nstock-is-wrong"), Ok(6));
        assert!(read("apply-waits nonsense").unwrap_err().contains("nonsense"));
    }
}
