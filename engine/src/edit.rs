//! Edits: how much of an order's lines is ordered, changed after the order was confirmed.

use crate::{LineQuantity, Rejection, Stamp, Version};

/// The most edits that one order may have, with those that were refused: what is remembered of it must not grow without end.
pub const EDITS_MAX: usize = 64;

/// One edit of an order, of now or of some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What the lines that it changes had in all before it: at least one, each once, in their order; 0 or more.
    pub before: Box<[LineQuantity]>,
    /// What the same lines are to have in all; 0 or more.
    pub after: Box<[LineQuantity]>,
    /// When it was asked for.
    pub begun: Stamp,
    /// What came of it; `None` while items, or a provider, are asked for more. Where nobody had to be asked, it came with the begin.
    pub ended: Option<EditEnd>,
}

/// What came of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditEnd {
    /// When.
    pub at: Stamp,
    /// Why it was refused; `None` where it was done.
    pub refused: Option<Box<Rejection>>,
}

impl Edit {
    /// Whether items, or a provider, are asked for it.
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether the lines are as it wants them.
    pub fn is_done(&self) -> bool {
        self.ended.as_ref().is_some_and(|end| end.refused.is_none())
    }

    /// Why it was refused.
    pub fn refusal(&self) -> Option<&Rejection> {
        self.ended.as_ref()?.refused.as_deref()
    }

    /// Whether it was done in the event that began it: nobody had to be asked for more.
    pub(crate) fn is_at_once(&self) -> bool {
        let ended = self.ended.as_ref();
        ended.is_some_and(|end| end.at.version == self.begun.version)
    }

    /// The edit as it was at a version of its order; `None` before it was there.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        (self.begun.version <= version).then(|| Self {
            ended: self.ended.clone().filter(|end| end.at.version <= version),
            ..self.clone()
        })
    }
}
