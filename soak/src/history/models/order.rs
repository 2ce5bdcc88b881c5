//! One order: absent, pending, then confirmed or rejected; and what becomes of a confirmed one is a [`Life`]. Never back.
//!
//! Its etag is another one behind each change, and never one that it had. Some changes follow by themselves, behind what was asked: when all that
//! was taken for it has been given back, and the like. So many of them may come as what was asked has behind it ([`Deed::changes_behind`]).

use std::sync::Arc;

use super::{
    super::{
        life::{Deed, Life},
        linear::Model,
        operation::Phase,
    },
    UNSEEN,
};

/// The rules of one order.
#[derive(Clone, Debug, Default)]
pub struct OrderRules {
    /// What one of each of its lines costs.
    pub prices: Vec<i64>,
}

/// What an order is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Where it stands; none before it is there.
    pub phase: Option<Phase>,
    /// Its etag, where that was seen.
    pub etag: u32,
    /// The last that was seen and is gone.
    pub gone: u32,
    /// So many changes may still come by themselves.
    pub behind: u8,
    /// The etag at which an edit was begun that is not done.
    pub begun: u32,
    /// What became of it.
    pub life: Arc<Life>,
}

/// What happens to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read.
    See(Phase, u32, Arc<Life>),
    /// It was looked for, and was not there.
    SeeAbsent,
    /// A call was refused because of where it stands.
    SeePhase(Phase),
    /// Nothing of it could be called off any more.
    SeeOver,
    /// A call was refused because it was not at this etag.
    SeeOther(u32),
    /// Something was refused for this reason.
    Refuse(Arc<Deed>, String),
    /// It came to be.
    Create {
        /// As it was asked for.
        life: Arc<Life>,
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
        /// Only at this etag, unless that is [`UNSEEN`].
        at: u32,
        /// Whether that is certain.
        must: bool,
    },
    /// Something else was done.
    Do {
        /// What.
        deed: Arc<Deed>,
        /// As above.
        at: u32,
        /// Whether that is certain.
        must: bool,
    },
    /// An edit was begun, at this etag: it may be done later, or never.
    BeginEdit {
        /// As above; never [`UNSEEN`].
        at: u32,
    },
}

impl Standing {
    fn is_alive(&self) -> bool {
        !matches!(self.phase, None | Some(Phase::Pending | Phase::Rejected))
    }

    /// Whether it can be at this etag.
    fn may_be_at(&self, etag: u32) -> bool {
        match self.etag {
            _ if etag == UNSEEN => true,
            UNSEEN => etag != self.gone,
            is => is == etag || (self.behind > 0 && etag != self.gone),
        }
    }

    /// Whether it can be at another.
    fn may_not_be_at(&self, etag: u32) -> bool {
        self.etag == UNSEEN || self.etag != etag || self.behind > 0
    }

    fn see(&self, etag: u32) -> Option<Self> {
        match self.etag {
            UNSEEN if etag == self.gone && etag != UNSEEN => None,
            is if [UNSEEN, etag].contains(&is) => Some(Self { etag, ..self.clone() }),
            is => (self.behind > 0 && etag != self.gone).then(|| Self {
                etag,
                gone: is,
                behind: self.behind - 1,
                ..self.clone()
            }),
        }
    }

    /// It has changed, and this many changes follow at most.
    fn changed(&self, phase: Phase, life: Life, behind: u8) -> Self {
        Self {
            phase: Some(phase),
            etag: UNSEEN,
            gone: if self.etag == UNSEEN { self.gone } else { self.etag },
            behind: self.behind.saturating_add(behind),
            begun: UNSEEN,
            life: Arc::new(life),
        }
    }

    fn becomes(&self, life: Life, behind: u8) -> Self {
        match life == *self.life {
            true => self.clone(),
            false => self.changed(life.phase(), life, behind),
        }
    }
}

/// Whether whoever asked for more may be told that there is not enough, of which this model knows nothing.
fn is_scarce(life: &Life, deed: &Deed, reason: &str) -> bool {
    let Deed::Edit(lines) = deed else { return false };
    let ordered = |line: usize| life.lines.get(line).map_or(0, |line| line.ordered);
    let wants_more = lines.iter().any(|(line, many)| *many > ordered(*line));
    wants_more
        && matches!(
            reason,
            "INSUFFICIENT_STOCK" | "INSUFFICIENT_CREDIT" | "AMOUNT_OVERFLOW"
        )
}

impl Model for OrderRules {
    type State = Standing;
    type Step = Step;

    fn step(&self, state: &Standing, step: &Step) -> Option<Standing> {
        let is_so = |is_so: bool| is_so.then(|| state.clone());
        match (step, state.phase) {
            (Step::See(phase, etag, life), Some(is)) if is == *phase => {
                let is_same = !state.is_alive() || *life == state.life;
                is_same.then(|| state.see(*etag)).flatten()
            }
            (Step::SeeAbsent, None) => is_so(true),
            (Step::SeePhase(phase), Some(is)) => is_so(is == *phase),
            (Step::SeeOver, Some(is)) => {
                is_so(is == Phase::Rejected || (state.is_alive() && state.life.cancelled().is_err()))
            }
            (Step::SeeOther(etag), Some(_)) => is_so(state.may_not_be_at(*etag)),
            (Step::Refuse(deed, reason), Some(Phase::Rejected)) => {
                // Nothing can be done with it: nothing of it was sent, and nothing is to come back.
                let nothing = Life::default();
                let reasons = match **deed {
                    Deed::Deliver(_)
                    | Deed::ShipPlanned(_)
                    | Deed::GiveUp(_)
                    | Deed::Return(_)
                    | Deed::Move(..)
                    | Deed::Refund(_) => nothing.after(deed, &self.prices).err(),
                    Deed::Hold(_) | Deed::Release(_) => Some("NOT_HOLDABLE"),
                    Deed::Ship(_) | Deed::Plan(_) => Some("NOT_SHIPPABLE"),
                    Deed::CancelLines(_) => Some("NOT_CANCELLABLE"),
                    Deed::Edit(_) => Some("NOT_EDITABLE"),
                };
                is_so(reasons == Some(reason.as_str()))
            }
            (Step::Refuse(deed, reason), Some(_)) if state.is_alive() => {
                let refused = state.life.after(deed, &self.prices).err();
                is_so(match refused {
                    Some(is) => is == reason,
                    None => is_scarce(&state.life, deed, reason),
                })
            }
            (Step::Create { life, .. }, None) => Some(Standing {
                phase: Some(Phase::Pending),
                life: life.clone(),
                ..Standing::default()
            }),
            (Step::Settle { phase, .. }, Some(Phase::Pending)) => {
                let behind = u8::from(*phase == Phase::Rejected);
                Some(state.changed(*phase, Life::clone(&state.life), behind))
            }
            (Step::Cancel { at, .. }, Some(_)) if state.is_alive() && state.may_be_at(*at) => {
                let life = state.life.cancelled().ok()?;
                Some(state.becomes(life, 1))
            }
            (Step::Do { deed, at, .. }, Some(_)) if state.is_alive() => {
                let was_begun = *at != UNSEEN && *at == state.begun;
                if !was_begun && !state.may_be_at(*at) {
                    return None;
                }
                let life = state.life.after(deed, &self.prices).ok()?;
                Some(state.becomes(life, deed.changes_behind()))
            }
            (Step::BeginEdit { at }, Some(phase)) if state.is_alive() && state.may_be_at(*at) => {
                // Where it is refused, that and what is given back.
                let begun = state.changed(phase, Life::clone(&state.life), 2);
                Some(Standing { begun: *at, ..begun })
            }
            _ => None,
        }
    }

    fn must(&self, _: &Standing, step: &Step) -> bool {
        match step {
            Step::Create { must, .. }
            | Step::Settle { must, .. }
            | Step::Cancel { must, .. }
            | Step::Do { must, .. } => *must,
            Step::BeginEdit { .. } => false,
            Step::See(..)
            | Step::SeeAbsent
            | Step::SeePhase(_)
            | Step::SeeOver
            | Step::SeeOther(_)
            | Step::Refuse(..) => true,
        }
    }

    fn only_sees(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::See(..)
                | Step::SeeAbsent
                | Step::SeePhase(_)
                | Step::SeeOver
                | Step::SeeOther(_)
                | Step::Refuse(..)
        )
    }
}
