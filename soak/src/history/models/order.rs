//! One order: absent, pending, then confirmed or rejected, and of the confirmed some cancelled. Never back.
//!
//! Its etag stays the same while it stands where it is, but for one change after it was cancelled or rejected: when all that was
//! taken for it has been given back.

use super::{super::linear::Model, super::operation::Phase, UNSEEN};

/// The rules of one order.
#[derive(Clone, Copy, Debug)]
pub struct OrderRules;

/// What an order is at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Where it stands; none before it is there.
    pub phase: Option<Phase>,
    /// Its etag, where that was seen.
    pub etag: u32,
    /// Whether the etag has changed since it was cancelled or rejected.
    pub has_changed: bool,
}

/// What happens to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read.
    See(Phase, u32),
    /// It was looked for, and was not there.
    SeeAbsent,
    /// A call was refused because of where it stands.
    SeePhase(Phase),
    /// A call was refused because it was not at this etag.
    SeeOther(u32),
    /// It came to be.
    Create {
        /// Whether that is certain.
        must: bool,
    },
    /// It became confirmed or rejected.
    Settle {
        /// Which of them.
        phase: Phase,
        /// Whether that is certain.
        must: bool,
    },
    /// It was cancelled, unless it was already.
    Cancel {
        /// Whether that is certain.
        must: bool,
    },
}

impl Model for OrderRules {
    type State = Standing;
    type Step = Step;

    fn step(&self, state: &Standing, step: &Step) -> Option<Standing> {
        let to = |phase| Standing {
            phase: Some(phase),
            ..Standing::default()
        };
        match (step, state.phase) {
            (Step::See(phase, etag), Some(is)) if is == *phase => see(*state, *etag),
            (Step::SeeAbsent, None) => Some(*state),
            (Step::SeePhase(phase), Some(is)) if is == *phase => Some(*state),
            (Step::SeeOther(etag), Some(_)) if state.etag == UNSEEN || state.etag != *etag => Some(*state),
            (Step::Create { .. }, None) => Some(to(Phase::Pending)),
            (Step::Settle { phase, .. }, Some(Phase::Pending)) => Some(to(*phase)),
            (Step::Cancel { .. }, Some(Phase::Confirmed)) => Some(to(Phase::Cancelled)),
            (Step::Cancel { .. }, Some(Phase::Cancelled)) => Some(*state),
            _ => None,
        }
    }

    fn must(&self, _: &Standing, step: &Step) -> bool {
        match step {
            Step::Create { must } | Step::Settle { must, .. } | Step::Cancel { must } => *must,
            Step::See(..) | Step::SeeAbsent | Step::SeePhase(_) | Step::SeeOther(_) => true,
        }
    }

    fn only_sees(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::See(..) | Step::SeeAbsent | Step::SeePhase(_) | Step::SeeOther(_)
        )
    }
}

fn see(state: Standing, etag: u32) -> Option<Standing> {
    if [UNSEEN, etag].contains(&state.etag) {
        return Some(Standing { etag, ..state });
    }
    let may_change = matches!(state.phase, Some(Phase::Cancelled | Phase::Rejected)) && !state.has_changed;
    may_change.then_some(Standing {
        etag,
        has_changed: true,
        ..state
    })
}
